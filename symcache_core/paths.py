"""Reads the paths that settings name, where a home may be nobody's and the working directory gone."""

from __future__ import annotations

from pathlib import Path

from .errors import ConfigurationError


def working_directory() -> Path:
    """The working directory; the empty path if it is gone, which is no matter to whoever names whole paths."""
    try:
        return Path.cwd()
    except OSError:
        return Path()


def expanded(path: Path) -> Path:
    """A path whose ``~`` or ``~user`` is that user's home.

    Raises:
        ValueError: Nobody knows that home.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"nobody knows the home in {str(path)!r}: write the whole path") from None


def absolute(path: Path, base: Path) -> Path:
    """A path as it is meant: with ``~`` expanded, and relative to a folder.

    Args:
        path: As somebody wrote it.
        base: The folder, itself relative to the working directory if it is not absolute.

    Raises:
        ValueError: Nobody knows the home, or it is relative to a working directory that is gone.
    """
    meant = base / expanded(path)
    if not meant.is_absolute():
        meant = working_directory() / meant
    if not meant.is_absolute():
        raise ValueError(f"{str(meant)!r} is relative, and the working directory is gone: write the whole path")
    return meant


def absolute_setting(name: str, path: Path, base: Path) -> Path:
    """The same, of the setting that an error names.

    Raises:
        ConfigurationError: It is no path that can be meant.
    """
    try:
        return absolute(path, base)
    except ValueError as error:
        raise ConfigurationError(f"setting {name!r}: {error}") from None
