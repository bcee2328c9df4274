"""Whatever is in the place of a file or folder of bars, it is named, by an error of ours, and nothing waits for it."""

import logging
import os
import shutil
import threading
from datetime import UTC, datetime

import pytest
from patience import PATIENCE
from stored_bars import answer_of
from unlocked_handler import UnlockedHandler

from symcache_core.errors import BackendUnavailableError
from symcache_core.loading.bars.listing import drop_series, kept_series
from symcache_core.loading.bars.store import BarStore

ASKED = datetime(2024, 6, 1, 12, tzinfo=UTC)
USUAL = "265598/1d/usual"
BESIDE = [f"{USUAL}.json", f"{USUAL}.lock", f"{USUAL}.claim"]
PLACES = ["names.jsonl", "names.lock", *BESIDE, f"{USUAL}/2000s.parquet", USUAL, "265598/1d", "265598", ""]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "bars" / "ib"


@pytest.fixture
def bars(source):
    return source["AAPL"].head(20)


@pytest.fixture
def store(folder, bars):
    store = BarStore(folder.parent, "ib")
    store.names.saw("265598", "AAPL", ASKED)
    store.series("265598", "1d").save(answer_of(bars, ASKED))
    store.series("265598", "1d").claim().release()
    return store


PUT = {
    "FIFO": os.mkfifo,
    "folder": os.mkdir,
    "device": lambda path: os.symlink("/dev/zero", path),
    "loop of links": lambda path: os.symlink(path, path),
    "file": lambda path: path.write_text("mine"),
}


def put(kind, path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    PUT[kind](path)


def uses(store, bars):
    series = store.series("265598", "1d")
    return {
        "names": store.names.all,
        "saw": lambda: store.names.saw("272093", "MSFT", ASKED),
        "exists": series.exists,
        "state": series.state,
        "read": series.read,
        "save": lambda: series.save(answer_of(bars, ASKED)),
        "claim": lambda: series.claim().release(),
        "former": lambda: store.has_former("AAPL", "1d"),
        "list": lambda: list(kept_series(store)),
        "drop": lambda: drop_series(store, "ib:265598"),
    }


def failure_of(use):
    try:
        use()
    except BackendUnavailableError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", list(PUT))
@pytest.mark.parametrize("place", PLACES)
def test_whatever_is_in_the_place_of_bars_is_named_and_never_waited_for(store, folder, bars, place, kind):
    path = folder / place
    assert path.exists(), "there is no such place"
    put(kind, path)
    failures = [error for use in uses(store, bars).values() if (error := failure_of(use)) is not None]
    assert all(str(folder) in error and "'data_dir'" in error for error in failures if "removed" not in error)
    if kind in ("FIFO", "device", "loop of links"):
        assert failures, "nobody has said anything"


def test_the_very_file_is_named_where_it_is_not_the_bars(store, folder, bars):
    put("folder", folder / f"{USUAL}.lock")
    with pytest.raises(BackendUnavailableError, match=r"usual cannot be written: .*usual\.lock\); mend what is there"):
        store.series("265598", "1d").save(answer_of(bars, ASKED))


class AskingHandler(UnlockedHandler):
    """Uses the store that has just logged, from another thread, and waits for that."""

    def __init__(self, use):
        super().__init__()
        self.said = []
        self._use = use

    def emit(self, record):
        self.said.append(record.getMessage())
        if len(self.said) > 1:
            return
        other = threading.Thread(target=self._use, daemon=True)
        other.start()
        other.join(PATIENCE)
        assert not other.is_alive(), "it waits for whoever logs"


@pytest.mark.parametrize("damaged", [f"{USUAL}/2000s.parquet", f"{USUAL}.json"])
def test_a_logging_handler_may_save_bars_whatever_has_logged(store, folder, bars, damaged):
    series = store.series("265598", "1d")
    (folder / damaged).write_bytes(b"damaged" + damaged.encode())
    handler = AskingHandler(lambda: series.save(answer_of(bars, ASKED)))
    logging.getLogger("symcache").addHandler(handler)
    try:
        series.remember(head="2010-01-01")
        series.read()
    finally:
        logging.getLogger("symcache").removeHandler(handler)
    assert len(handler.said) == 1
    assert len(series.read().bars) == len(bars)
