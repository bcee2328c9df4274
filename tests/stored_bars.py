"""Bars for tests of the loader: answers of a provider that gives them, and files as symcache 0.1.0 kept them."""

import io
import zlib
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from symcache_core.loading.bars.answer import Answer
from symcache_core.loading.bars.frames import COLUMNS, frame_of, stamps_of
from symcache_core.loading.bars.moments import moment
from symcache_core.loading.bars.rows import Rows

_NOTHING = pd.DatetimeIndex([], tz="UTC")
_TIME = pa.timestamp("ns", tz="UTC")


def times(*texts: str) -> pd.DatetimeIndex:
    """Stamps (UTC)."""
    return pd.DatetimeIndex(texts, tz="UTC", name="timestamp").as_unit("ns")


def some_bars(stamps: pd.DatetimeIndex) -> pd.DataFrame:
    """Bars of these stamps, each unlike the others, with prices that show two digits."""
    at = stamps_of(pd.DatetimeIndex(stamps))
    low = 100.01 + np.arange(len(at))
    return frame_of(at, [(low + 1).round(2), (low + 3).round(2), low.round(2), (low + 2.25).round(2), low.round() * 10])


def rows_of(bars: pd.DataFrame) -> Rows:
    """Final bars as rows."""
    return Rows.of_bars(stamps_of(pd.DatetimeIndex(bars.index)), [bars[name].to_numpy("float64") for name in COLUMNS])


def answer_of(
    bars: pd.DataFrame, asked: datetime, absent: pd.DatetimeIndex = _NOTHING, *, proven: bool = False, **said: object
) -> Answer:
    """What a provider says who gives these final bars, and of these stamps none."""
    edges = bars.index.union(absent)
    first, last = (edges[[0, -1]].to_pydatetime()) if len(edges) else (asked, asked)
    gone = stamps_of(pd.DatetimeIndex(absent))
    told = {"absent": gone, "proven": np.full(len(gone), proven), "first": first, "last": last, "asked": asked}
    told |= {"final_until": moment(asked)} | said
    return Answer(rows=rows_of(bars), **told)


def former_file(
    provider: str, symbol: str, timeframe: str, bars: pd.DataFrame, absent: pd.DatetimeIndex = _NOTHING
) -> bytes:
    """The content of a file of bars of symcache 0.1.0, with what the provider did not have."""
    both = bars.reindex(bars.index.union(absent))
    asked = np.where(both.index.isin(absent), np.datetime64("2013-03-02", "ns"), np.datetime64("NaT", "ns"))
    arrays = [stamps_of(pd.DatetimeIndex(both.index)), *(both[name].to_numpy("float64") for name in COLUMNS), asked]
    told = {"version": "2", "provider": provider, "symbol": symbol, "timeframe": timeframe}
    told |= {"adjustment": "split", "verified": datetime(2013, 3, 2, tzinfo=UTC).isoformat()}
    metadata = {f"symcache.{name}".encode(): value.encode() for name, value in told.items()}
    crc = zlib.crc32(b"\0".join(piece for item in sorted(metadata.items()) for piece in item))
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).view("uint8").data, crc)
    metadata[b"symcache.sum"] = b"%08x" % crc
    fields = [("timestamp", _TIME), *((name, pa.float64()) for name in COLUMNS), ("asked", _TIME)]
    columns = [pa.array(array, type=kind) for array, (_, kind) in zip(arrays, fields, strict=True)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=metadata)), buffer)
    return buffer.getvalue()
