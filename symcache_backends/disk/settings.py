"""The options of the diskcache backend."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from symcache_core.plugin import StorePath

PATH_SETTING = "backends.diskcache.path"
"""What errors name."""

Eviction = Literal["none", "least-recently-stored", "least-recently-used", "least-frequently-used"]


_LONGEST = 86400.0
"""Seconds; SQLite and Python's locks cannot wait for as long as a number can say."""


class DiskSettings(BaseModel):
    """The options of the diskcache backend."""

    model_config = ConfigDict(extra="forbid")

    path: StorePath = Field(Path("{data_dir}/symbols.diskcache"), description="the folder")
    lock_timeout: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="seconds to wait for whoever has the folder locked"
    )
    timeout: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="an older name of lock_timeout, which it overrides"
    )
    eviction: Eviction = Field("none", description="what goes first when the folder outgrows size_limit")
    size_limit: int = Field(1 << 30, gt=0, description="bytes to keep the folder below, if anything may be evicted")

    @property
    def patience(self) -> float:
        """How long to wait for a lock, by whichever name it is set, in seconds, as far as threads can wait."""
        return min(self.lock_timeout if self.timeout is None else self.timeout, _LONGEST)
