"""The bars of one period as a Parquet file, and back, believed only if nothing about them is wrong."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import CorruptStoreError, NewerSchemaError
from .files import load
from .frames import COLUMNS, INDEX
from .rows import Rows, RowState, period_of

VERSION = 3
FORMER_VERSION = 2
"""Of the files of 0.1.0, which have no column ``state``: a row without a bar is one that the provider did not have."""

_TIME = pa.timestamp("ns", tz="UTC")
_FORMER_FIELDS = pa.schema([(INDEX, _TIME), *((column, pa.float64()) for column in COLUMNS), ("asked", _TIME)])
_FIELDS = _FORMER_FIELDS.append(pa.field("state", pa.uint8()))
_SCHEMAS = {VERSION: _FIELDS, FORMER_VERSION: _FORMER_FIELDS}
_VERSION_KEY, _SUM = b"symcache.version", b"symcache.sum"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose bars they are; it is in every file, so that one's never pass for another's.

    Args:
        provider: Who gave them.
        timeframe: The name of the bars' length.
        others: What else tells them apart, by name: the series, its basis; in files of 0.1.0 the symbol.
        version: Of the stored form.
    """

    provider: str
    timeframe: str
    others: tuple[tuple[str, str], ...]
    version: int = VERSION

    def metadata(self) -> dict[bytes, bytes]:
        """What a file says of itself."""
        told = {"version": str(self.version), "provider": self.provider, "timeframe": self.timeframe}
        return {f"symcache.{name}".encode(): value.encode() for name, value in (told | dict(self.others)).items()}


def encode(origin: Origin, rows: Rows) -> bytes:
    """Make the content of a file.

    Args:
        origin: Whose bars they are.
        rows: The bars, and what else is known.
    """
    arrays = (pa.array(array, from_pandas=True) for array in (rows.stamps, *rows.columns, rows.asked, rows.states))
    columns = [array.cast(field.type) for array, field in zip(arrays, _FIELDS, strict=True)]
    table = pa.Table.from_arrays(columns, schema=_FIELDS)
    metadata = origin.metadata()
    metadata[_SUM] = _checksum((rows.stamps, *rows.columns, rows.asked, rows.states), metadata)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


def read_partition(path: Path, origin: Origin) -> Rows | None:
    """Read the file of a period back, if there is one.

    Raises:
        BackendUnavailableError: It cannot be read.
        CorruptStoreError: It is damaged, or not that origin's bars of the period that its name says.
        NewerSchemaError: A newer symcache wrote it.
    """
    if (table := _table(path)) is None:
        return None
    metadata = _metadata(path, table, origin)
    arrays = [column.to_numpy() for column in table.columns]
    if metadata.get(_SUM) != _checksum(arrays, metadata):
        raise CorruptStoreError(f"bar file {path} is damaged: its checksum is wrong")
    rows = _rows(arrays)
    if fault := rows.fault():
        raise CorruptStoreError(f"bar file {path} does not hold bars: {fault}")
    if {period_of(stamp, origin.timeframe) for stamp in rows.stamps[[0, -1]]} != {path.stem}:
        raise CorruptStoreError(f"bar file {path} does not hold what its place says: its bars are of another period")
    return rows


def _table(path: Path) -> pa.Table | None:
    if (content := load(path)) is None:
        return None
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        return file.read(use_threads=False)  # threads would cost more than these few columns do
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())  # Arrow's may have several lines
        raise CorruptStoreError(f"bar file {path} is damaged: {reason}") from None


def _metadata(path: Path, table: pa.Table, origin: Origin) -> dict[bytes, bytes]:
    """What a file says of itself, if that is what its place says."""
    found: dict[bytes, bytes] = table.schema.metadata or {}
    version = found.get(_VERSION_KEY, b"")
    if version.isdigit() and int(version) > VERSION:
        raise NewerSchemaError(f"bar file {path} was written by a newer symcache: upgrade, or move the file away")
    for name, value in origin.metadata().items():
        if found.get(name) != value:
            raise CorruptStoreError(f"bar file {path} does not hold what its place says: {name.decode()} differs")
    if not table.schema.equals(_SCHEMAS[origin.version]):
        raise CorruptStoreError(f"bar file {path} has other columns than bars have")
    return found


def _rows(arrays: list[np.ndarray]) -> Rows:
    stamps, *columns, asked, states = arrays if len(arrays) == len(_FIELDS) else [*arrays, _former_states(arrays[-1])]
    return Rows(stamps, columns, asked, states)


def _former_states(asked: np.ndarray) -> np.ndarray:
    return np.where(np.isnat(asked), RowState.BAR, RowState.ABSENT).astype("uint8")


def _checksum(arrays: tuple[np.ndarray, ...] | list[np.ndarray], metadata: Mapping[bytes, bytes]) -> bytes:
    """The CRC-32 of all that is read; Parquet's own checksums leave out what tells how many rows there are."""
    says = sorted(item for item in metadata.items() if item[0].startswith(b"symcache.") and item[0] != _SUM)
    crc = zlib.crc32(b"\0".join(chain.from_iterable(says)))
    for array in arrays:
        crc = zlib.crc32(array.view("uint8").data, crc)
    return b"%08x" % crc
