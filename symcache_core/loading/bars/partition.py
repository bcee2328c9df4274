"""The bars of one period as a Parquet file, and back, believed only if nothing about them is wrong."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import CorruptStoreError, NewerSchemaError
from .files import load
from .frames import COLUMNS, INDEX
from .rows import Rows, period_of

_VERSION = 2
_MIXED = "mixed"
_TIME = pa.timestamp("ns", tz="UTC")
_FIELDS = pa.schema([(INDEX, _TIME), *((column, pa.float64()) for column in COLUMNS), ("asked", _TIME)])
_ADJUSTMENT, _VERIFIED, _SUM = b"symcache.adjustment", b"symcache.verified", b"symcache.sum"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose bars they are; it is in every file, so that one's never pass for another's.

    Args:
        provider: Who gave them.
        symbol: Canonical.
        timeframe: The name of the bars' length.
    """

    provider: str
    symbol: str
    timeframe: str

    def metadata(self) -> dict[bytes, bytes]:
        """What a file says of itself."""
        return {
            b"symcache.version": str(_VERSION).encode(),
            b"symcache.provider": self.provider.encode(),
            b"symcache.symbol": self.symbol.encode(),
            b"symcache.timeframe": self.timeframe.encode(),
        }


@dataclass(frozen=True, slots=True)
class Partition:
    """The rows of a period, and how their prices are adjusted: empty if nobody says, ``mixed`` if not alike."""

    rows: Rows
    adjustment: str = ""

    def updated(self, newer: Partition) -> Partition:
        """This one and a newer answer of the provider."""
        return Partition(self.rows.updated(newer.rows), common_adjustment([self, newer]))


def common_adjustment(partitions: Iterable[Partition]) -> str:
    """How the bars of all of them are adjusted."""
    found = {partition.adjustment for partition in partitions if partition.rows.has_bar.any()}
    return _MIXED if len(found) > 1 else next(iter(found), "")


def encode(origin: Origin, partition: Partition, verified: datetime) -> bytes:
    """Make the content of a file.

    Args:
        origin: Whose bars they are.
        partition: The bars.
        verified: When the last answer of the provider came that went into it (UTC).
    """
    rows = partition.rows
    arrays = (pa.array(array, from_pandas=True) for array in (rows.stamps, *rows.columns, rows.asked))
    columns = [array.cast(field.type) for array, field in zip(arrays, _FIELDS, strict=True)]
    table = pa.Table.from_arrays(columns, schema=_FIELDS)
    metadata = {
        **origin.metadata(),
        _ADJUSTMENT: partition.adjustment.encode(),
        _VERIFIED: verified.astimezone(UTC).isoformat().encode(),
    }
    metadata[_SUM] = _checksum(_rows(table), metadata)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


def read_partition(path: Path, origin: Origin) -> Partition | None:
    """Read the file of a period back, if there is one.

    Raises:
        BackendUnavailableError: It cannot be read.
        CorruptStoreError: It is damaged, or not that origin's bars of the period that its name says.
        NewerSchemaError: A newer symcache wrote it.
    """
    if (table := _table(path)) is None:
        return None
    metadata = _metadata(path, table, origin)
    rows = _rows(table)
    if metadata.get(_SUM) != _checksum(rows, metadata):
        raise CorruptStoreError(f"bar file {path} is damaged: its checksum is wrong")
    _check(path, rows)
    if {period_of(stamp, origin.timeframe) for stamp in rows.stamps[[0, -1]]} != {path.stem}:
        raise CorruptStoreError(f"bar file {path} does not hold what its place says: its bars are of another period")
    return Partition(rows, metadata[_ADJUSTMENT].decode())


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
    version = found.get(b"symcache.version", b"")
    if version.isdigit() and int(version) > _VERSION:
        raise NewerSchemaError(f"bar file {path} was written by a newer symcache: upgrade, or move the file away")
    for name, value in origin.metadata().items():
        if found.get(name) != value:
            raise CorruptStoreError(f"bar file {path} does not hold what its place says: {name.decode()} differs")
    if not table.schema.equals(_FIELDS):
        raise CorruptStoreError(f"bar file {path} has other columns than bars have")
    return found


def _rows(table: pa.Table) -> Rows:
    stamps, *columns, asked = (column.to_numpy() for column in table.columns)
    return Rows(stamps, columns, asked)


def _check(path: Path, rows: Rows) -> None:
    if fault := rows.fault():
        raise CorruptStoreError(f"bar file {path} does not hold bars: {fault}")


def _checksum(rows: Rows, metadata: Mapping[bytes, bytes]) -> bytes:
    """The CRC-32 of all that is read; Parquet's own checksums leave out what tells how many rows there are."""
    says = sorted(item for item in metadata.items() if item[0].startswith(b"symcache.") and item[0] != _SUM)
    crc = zlib.crc32(b"\0".join(chain.from_iterable(says)))
    for array in (rows.stamps, *rows.columns, rows.asked):
        crc = zlib.crc32(array.view("int64").data, crc)
    return b"%08x" % crc
