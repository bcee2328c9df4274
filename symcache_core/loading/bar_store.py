"""Bars on disk: one Parquet file for each provider, timeframe and instrument."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ..errors import BackendUnavailableError, CorruptStoreError, NewerSchemaError
from ..symbols import Instrument
from .bars import COLUMNS, INDEX, empty_bars, frame_of, merge

log = logging.getLogger("symcache")

_VERSION = 1
_FIELDS = pa.schema(
    [pa.field(INDEX, pa.timestamp("ns", tz="UTC")), *(pa.field(column, pa.float64()) for column in COLUMNS)]
)
_LOCK_TIMEOUT = 30.0
_LONGEST_NAME = 200
_DEVICE = re.compile(r"CON|PRN|AUX|NUL|(COM|LPT)[0-9]")


class BarStore:
    """The bars of one provider, below a folder; threads and processes may share it.

    The provider's name is in the path and in every file, so that one provider's bars never pass for another's.

    Args:
        root: The folder; it is made when there is something to write.
        provider: Whose bars these are.
    """

    def __init__(self, root: Path, provider: str) -> None:
        self.provider = provider
        self._root = root

    def path(self, symbol: str, timeframe: str) -> Path:
        """Where the bars of an instrument are, however its symbol is written."""
        return self._root / self.provider / timeframe / f"{file_name(_canonical(symbol))}.parquet"

    def read(self, symbol: str, timeframe: str) -> pd.DataFrame:
        """The bars at hand; a file that cannot be understood is set aside, with a warning, and counts as none.

        Raises:
            BackendUnavailableError: The file cannot be opened.
            NewerSchemaError: A newer symcache wrote the file.
        """
        path = self.path(symbol, timeframe)
        try:
            return self._read(path, symbol, timeframe)
        except CorruptStoreError:
            with _locked(path):
                return self._read_or_set_aside(path, symbol, timeframe)

    def merge(self, symbol: str, timeframe: str, bars: pd.DataFrame) -> pd.DataFrame:
        """Add conforming bars to those at hand; on the same stamp, the added one wins.

        Returns:
            All bars that are now at hand; they are on disk.

        Raises:
            BackendUnavailableError: The file cannot be written, or somebody else keeps it locked.
            NewerSchemaError: A newer symcache wrote the file.
        """
        path = self.path(symbol, timeframe)
        with _locked(path):
            merged = merge(self._read_or_set_aside(path, symbol, timeframe), bars)
            _replace(path, self._encode(merged, symbol, timeframe))
        return merged

    def _read_or_set_aside(self, path: Path, symbol: str, timeframe: str) -> pd.DataFrame:
        try:
            return self._read(path, symbol, timeframe)
        except CorruptStoreError as error:
            aside = path.with_name(f"{path.name}.corrupt")
            os.replace(path, aside)
            log.warning("%s; it is set aside as %s and its bars are fetched again", error, aside.name)
            return empty_bars()

    def _read(self, path: Path, symbol: str, timeframe: str) -> pd.DataFrame:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return empty_bars()
        except OSError as error:
            raise BackendUnavailableError(f"bar file {path} cannot be read: {error.strerror or error}") from None
        try:
            table = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptStoreError(f"bar file {path} is damaged: {error}") from None
        self._check(path, table.schema, self._metadata(symbol, timeframe))
        return frame_of(table.column(INDEX).to_numpy(), {column: table.column(column).to_numpy() for column in COLUMNS})

    def _check(self, path: Path, schema: pa.Schema, expected: dict[bytes, bytes]) -> None:
        found = schema.metadata or {}
        version = found.get(b"symcache.version", b"")
        if version.isdigit() and int(version) > _VERSION:
            raise NewerSchemaError(f"bar file {path} was written by a newer symcache: upgrade, or move the file away")
        for name, value in expected.items():
            if found.get(name) != value:
                raise CorruptStoreError(f"bar file {path} does not hold what its place says: {name.decode()} differs")
        if not schema.equals(_FIELDS):
            raise CorruptStoreError(f"bar file {path} has other columns than bars have")

    def _metadata(self, symbol: str, timeframe: str) -> dict[bytes, bytes]:
        return {
            b"symcache.version": str(_VERSION).encode(),
            b"symcache.provider": self.provider.encode(),
            b"symcache.symbol": _canonical(symbol).encode(),
            b"symcache.timeframe": timeframe.encode(),
        }

    def _encode(self, bars: pd.DataFrame, symbol: str, timeframe: str) -> bytes:
        schema = _FIELDS.with_metadata(self._metadata(symbol, timeframe))
        columns = [pa.array(bars.index), *(pa.array(bars[column]) for column in COLUMNS)]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), buffer, write_page_checksum=True)
        return buffer.getvalue()


def file_name(symbol: str) -> str:
    """A name for a symbol's file that any file system takes and no other symbol shares, even where case is ignored.

    Args:
        symbol: Canonical, hence upper-case.
    """
    escaped = quote(symbol, safe="").replace(".", "%2E")
    if _DEVICE.fullmatch(escaped):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    if len(escaped) <= _LONGEST_NAME:
        return escaped
    # quote() never leaves a "=", so no symbol short enough to be kept whole can look like this.
    return f"{escaped[:150]}={hashlib.sha256(symbol.encode()).hexdigest()[:32]}"


def _canonical(symbol: str) -> str:
    return str(Instrument.parse(symbol))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=_LOCK_TIMEOUT, mode=0o600):
            yield
    except Timeout:
        raise BackendUnavailableError(f"bar file {path} has been locked by someone for {_LOCK_TIMEOUT:g} s") from None
    except OSError as error:
        raise BackendUnavailableError(f"bar file {path} cannot be written: {error.strerror or error}") from None


def _replace(path: Path, content: bytes) -> None:
    """Put a file in its place in one step; the caller holds the lock, so one temporary name is enough."""
    temporary = path.with_name(f"{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
