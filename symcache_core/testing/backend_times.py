"""What a storage backend promises about time: an entry is there until its moment, to the fraction, in whatever zone."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..protocols import CanBatch, CanCompact, CanUpdate, StorageBackend
from .backend_sharing import SharingPromises
from .harness import FAR
from .worker_process import WorkerProcess

LIVES = (0.3, 0.5, 0.9, 1.0, 1.1, 1.5, 1.9, 2.0, 59.5, 59.999, 60.0, 3599.5, 86399.5, 86400.0)
"""Seconds, whole and broken, for which entries are kept."""

WATCHED = 2.1
"""Seconds for which such entries are watched, by the clock that counts for them: it cannot be made to go faster."""

MOMENTS = {
    "2038, the end of 31 bits": (2.0**31 - 1, 2.0**31, 2.0**31 + 0.5),
    "2100, no leap year": (4107542399.0, 4107542400.0, 4107542400.5),
    "2106, the end of 32 bits": (2.0**32 - 1, 2.0**32, 2.0**32 + 1, 2.0**32 + 3600),
    "the next century": (7258118400.0, 7258118400.25),
    "2262, the end of nanoseconds in 63 bits": (9223372036.0, 9223372037.0),
    "2286, the eleventh digit": (9999999999.0, 1e10, 1e10 + 0.5),
    "2554, the end of nanoseconds in 64 bits": (18446744073.0, 18446744074.0),
    "later than milliseconds look": (1e11, 2e11),
}
"""Seconds since the epoch at which calendars and counters have an end."""

ZONES = {"14 hours east": "<+14>-14", "12 hours west": "<-12>12"}
"""The ends of the world's time zones, in words that need no table of zones."""


class TimePromises(SharingPromises):
    """Promises about ``keep_until``: the time until which an entry has to be there; later it may go, or stay."""

    def test_an_entry_is_there_until_its_very_moment(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        store.write("far", b'"far"', FAR)
        began, until = time.time(), dict[str, float]()
        whole = math.floor(began)
        for life in LIVES:
            until |= {f"{life:g} s": began + life, f"{life:g} s, the second that ends then": whole + life + 0.999}
        for key, moment in until.items():
            store.write(key, b"{}", moment)
        self._renew(store, began + 0.2)
        while (now := time.time()) < began + WATCHED:
            due = {key: moment for key, moment in until.items() if moment > now}
            gone = [key for key in due if store.read(key) is None and time.time() < until[key]]
            assert not gone, (
                f"an entry with {until[gone[0]] - now:.3f} s left was gone ({gone[0]}): keep_until counts to the "
                "fraction of a second, so round a lifetime up, never down"
            )
            time.sleep(0.05)  # as much as the storage's own clock demands
        for key in ("far", "renewed", "renewed by update", "renewed in a batch"):
            assert store.read(key) == b'"far"', (
                f"an entry ({key}) went at the time of one that was there before, or beside"
            )

    def test_compacting_takes_nothing_before_its_time(self, tmp_path: Path, opened: ExitStack) -> None:
        store = self.open(tmp_path / "store", opened)
        if not isinstance(store, CanCompact):
            pytest.skip("the backend has no compact")
        began = time.time()
        until = {f"{moment:f}": moment for moments in MOMENTS.values() for moment in moments}
        until |= {"a minute": began + 60.5, "an hour": began + 3600.5, "for ever": math.inf}
        for key, moment in until.items():
            store.write(key, b"{}", moment)
            store.write(f"{key}, renewed", b"{}", began - 60)
            store.write(f"{key}, renewed", b"{}", moment)
        store.compact()
        if time.time() > began + 60:
            return  # a minute has passed on a machine that is very busy
        for key in until:
            for kept in (key, f"{key}, renewed"):
                assert store.read(kept) == b"{}", (
                    f"compact dropped an entry to keep until {kept}: drop what is over, by its newest time; "
                    "math.inf never is"
                )

    @pytest.mark.parametrize("which", MOMENTS)
    def test_an_entry_may_live_past_the_end_of_any_counter(self, tmp_path: Path, opened: ExitStack, which: str) -> None:
        store = self.open(tmp_path / "store", opened)
        moments = {f"{moment:f}": moment for moment in MOMENTS[which] if moment > time.time() + 60}
        for key, moment in moments.items():
            store.write(key, b"{}", moment)
        if self.record.persistent:
            store.close()
            store = self.open(tmp_path / "store", opened)
        for key in moments:
            assert store.read(key) == b"{}", f"keep_until {key} ({which}) is in the future, and the entry is gone"
        assert sorted(store.keys()) == sorted(moments), f"an entry until {which} is not listed"

    def test_nobodys_time_zone_matters(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        here = self.open(tmp_path / "store", opened)
        abroad = {where: WorkerProcess({"TZ": zone}) for where, zone in ZONES.items()}
        for worker in abroad.values():
            opened.callback(worker.close)
            worker.ask("open", **self.address(tmp_path / "store"))
        began = time.time()
        lives = {"a minute": 60.5, "an hour": 3600.0, "a day": 86400.25, "two days": 172800.0}
        for life, seconds in lives.items():
            here.write(f"{life}, written here", b"{}", began + seconds)
            for where, worker in abroad.items():
                worker.ask("write", key=f"{life}, written {where}", entry="{}", keep_until=began + seconds)
        keys = sorted(f"{life}, written {place}" for life in lives for place in ("here", *abroad))
        for where, worker in abroad.items():
            worker.ask("compact")
            self._sees(where, {key: worker.ask("read", key=key) for key in keys}, worker.ask("keys"), began)
        if isinstance(here, CanCompact):
            here.compact()
        self._sees("here", {key: here.read(key) for key in keys}, list(here.keys()), began)

    def _sees(self, where: str, found: dict[str, object], listed: list[str], began: float) -> None:
        if time.time() > began + 60:
            return  # a minute has passed on a machine that is very busy
        missing = sorted(key for key, entry in found.items() if entry is None or key not in listed)
        assert not missing, (
            f"an entry to keep for {missing[0]}, is gone for a process {where}: keep_until is UTC in every zone, so "
            "use no local time, and no datetime without a zone"
        )

    def _renew(self, store: StorageBackend, over: float) -> None:
        for key in ("renewed", "renewed by update", "renewed in a batch"):
            store.write(key, b"{}", over)
        store.write("renewed", b'"far"', FAR)
        if isinstance(store, CanUpdate):
            store.update("renewed by update", lambda _old: (b'"far"', FAR))
        else:
            store.write("renewed by update", b'"far"', FAR)
        if isinstance(store, CanBatch):
            store.write_many({"renewed in a batch": (b'"far"', FAR)})
        else:
            store.write("renewed in a batch", b'"far"', FAR)
