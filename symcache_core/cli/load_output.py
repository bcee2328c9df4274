"""What ``symcache load --out`` and ``symcache bars export`` do: write bars to a file that other programs read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..errors import ConfigurationError
from ..files import replacing

if TYPE_CHECKING:
    import pandas as pd

Write = Callable[["Sequence[pd.DataFrame]"], None]


def writer(path: Path, named: str = "option '--out'") -> Write:
    """How to write frames of bars to a file; settled before anything is loaded, so that a wrong name costs nothing.

    The rows of all frames go below each other, and each says whose bar it is and whether it is a replayed one. The
    file appears under its name when it is complete.

    Args:
        path: The file.
        named: How the command line calls it.

    Raises:
        ConfigurationError: The name ends in neither ``.csv`` nor ``.parquet``, or its folder is not there; from the
            writer: it cannot be written.
    """
    if not os.path.isdir(path.parent):
        raise ConfigurationError(f"{named}: there is no folder {str(path.parent)!r}")
    match path.suffix.lower():
        case ".csv":
            return lambda frames: _write(path, named, lambda file: _joined(frames).to_csv(file, index=False))
        case ".parquet":
            return lambda frames: _write(path, named, lambda file: _joined(frames).to_parquet(file, index=False))
    raise ConfigurationError(f"{named}: {path.name!r} ends in neither .csv nor .parquet")


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([_labelled(frame) for frame in frames], ignore_index=True)


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame.reset_index()
    rows.insert(0, "symbol", frame.attrs["symbol"])
    rows.insert(1, "provider", frame.attrs["provider"])
    return rows


def _write(path: Path, named: str, write: Callable[[BinaryIO], None]) -> None:
    try:
        with replacing(path) as file:
            write(file)
    except OSError as error:
        raise ConfigurationError(f"{named}: {path} cannot be written: {error.strerror or error}") from None
