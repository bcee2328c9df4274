"""``symcache new``: the beginning of a distribution of one's own, which passes the contract as it is."""

from __future__ import annotations

import os
import re
import tempfile
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from ..errors import ConfigurationError
from ..registry import Registry
from .output import Columns
from .session import Session

FILES = {
    ".github/workflows/check.yml": "check.yml.in",
    "README.md": "README.md.in",
    "pyproject.toml": "pyproject.toml.in",
    "src/$module.py": "module.py.in",
    "tests/test_$stem.py": "test_module.py.in",
}
"""The files of a distribution, and the template of each."""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")

WRITTEN: Columns = {"file": lambda line: line["file"]}


def new(_context: typer.Context) -> None:
    """Start a distribution of your own."""


def backend(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What configuration will choose the backend by.")],
    into: Annotated[Path, typer.Option(metavar="DIR", help="The folder to make its folder in.")] = Path(),
) -> None:
    """Write a distribution with a storage backend that works: a folder with a file for each entry.

    It has the module, the contract test, a README, and what packages and
    checks it. Put your storage in the folder's place.
    """
    _check_name(name)
    target, texts = into / f"symcache-{name}", backend_distribution(name)
    _write(texts, target)
    session.output.show(WRITTEN, ({"file": str(target / path)} for path in texts))
    session.output.note(f"next: cd {target} && pip install -e '.[test]' && pytest")


def backend_distribution(name: str) -> dict[str, str]:
    """The text of each file of a distribution with a backend of this name, by its path."""
    stem = name.replace("-", "_")
    words = {
        "backend": name,
        "distribution": f"symcache-{name}",
        "module": f"symcache_{stem}",
        "stem": stem,
        "class_name": "".join(word.capitalize() for word in stem.split("_")),
    }
    templates = files(__package__) / "templates" / "backend"
    return {
        Template(path).substitute(words): Template((templates / template).read_text("utf-8")).substitute(words)
        for path, template in FILES.items()
    }


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        hint = f"; did you mean {near!r}?" if _NAME.fullmatch(near) else ""
        raise ConfigurationError(
            f"backend name {name!r}: use lower-case letters, then digits, too, and single '-' or '_' in between{hint}"
        )
    stem = name.replace("-", "_")
    if stem in {taken.replace("-", "_") for taken in Registry().names()}:
        raise ConfigurationError(
            f"backend name {name!r} is taken: choose another; 'symcache backends' shows which there are"
        )
    if find_spec(f"symcache_{stem}"):
        raise ConfigurationError(f"backend name {name!r}: there is a module symcache_{stem} already; choose another")


def _write(texts: dict[str, str], target: Path) -> None:
    if not target.parent.is_dir():
        raise ConfigurationError(f"--into: there is no folder {target.parent}")
    if os.path.lexists(target):
        raise ConfigurationError(f"{target} exists already: move it away, or choose another name or folder")
    # Moved into its place as a whole, so that nothing is ever there by half.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".symcache-new-") as temporary:
        whole = Path(temporary, target.name)
        for path, text in texts.items():
            file = whole / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        whole.rename(target)
