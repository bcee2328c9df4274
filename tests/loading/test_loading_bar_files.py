"""Killed, out of space or shared by many, the files of bars are whole; and any symbol has some of its own."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symcache_core.errors import BackendUnavailableError
from symcache_core.loading.bars.files import file_name
from symcache_core.loading.bars.store import BarStore

ASKED = datetime(2024, 6, 1, 12, tzinfo=UTC)
PATIENCE = 60.0


@pytest.fixture
def store(tmp_path):
    return BarStore(tmp_path / "bars", "ib")


@pytest.fixture
def bars(source):
    return source["AAPL"].head(20)


def child(program, *arguments, **options):
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def files_below(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_every_file_is_for_its_owner_only_and_bars_lie_in_a_folder_of_their_own(store, bars, tmp_path):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    store.claim("AAPL", "1d").release()
    names = {str(path.relative_to(tmp_path / "bars")): path.stat().st_mode & 0o777 for path in files_below(tmp_path)}
    assert names == dict.fromkeys(["ib/1d/AAPL/2000s.parquet", "ib/1d/AAPL.lock", "ib/1d/AAPL.claim"], 0o600)


@pytest.mark.parametrize(
    "symbol",
    ["..", ".", "../X", "A/B", "CON", "NUL", "COM1", "ÄÖÜ", "漢字", "A B", "%41", "漢" * 128, "A" * 128, "AAPL.lock"],
)
def test_any_symbol_has_a_folder_inside_that_of_its_timeframe(store, bars, symbol):
    store.merge(symbol, "1d", bars, asked=ASKED)
    folder = store.folder(symbol, "1d")
    assert folder.parent == store.folder("AAPL", "1d").parent
    assert folder.is_dir()
    assert folder.name.isascii()
    assert len(folder.name) <= 200
    assert folder.name.partition(".")[0] not in {"", "CON", "NUL", "COM1"}
    pd.testing.assert_frame_equal(store.read(symbol, "1d").bars, bars)


@given(st.lists(st.text(min_size=1, max_size=128).map(str.upper), min_size=2, max_size=2, unique=True))
def test_no_two_symbols_share_a_file_name_even_where_case_is_ignored(symbols):
    assert len({file_name(symbol).casefold() for symbol in symbols}) == 2


def test_threads_that_merge_into_one_file_lose_nothing(store, bars):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: store.merge("AAPL", "1d", bars.iloc[[at]], asked=ASKED), range(len(bars))))
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)


_MERGE_ONE_BY_ONE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from symcache_core.loading.bars.store import BarStore
root, first, step, size = sys.argv[1:]
bars = BarStore(Path(root), "source").read("AAPL", "1d").bars
for at in range(int(first), len(bars), int(step)):
    BarStore(Path(root), "ib").merge("AAPL", "1d", bars.iloc[at : at + int(size)], asked=datetime.now(UTC))
    print(at, flush=True)
"""


def test_processes_that_merge_into_one_file_lose_nothing(store, bars, tmp_path):
    root = tmp_path / "bars"
    BarStore(root, "source").merge("AAPL", "1d", bars, asked=ASKED)
    writers = [child(_MERGE_ONE_BY_ONE, root, first, 2, 1) for first in (0, 1)]
    for writer in writers:
        with writer:
            writer.communicate(timeout=PATIENCE)
    assert [writer.returncode for writer in writers] == [0, 0]
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)


def check_killed_merges(root, source_bars, seed):
    """Kill a process that merges, at some moment; what it had acknowledged is there, and nothing is damaged."""
    chance = random.Random(seed)
    with child(_MERGE_ONE_BY_ONE, root, 0, 10, 10) as writer:
        acknowledged = [int(writer.stdout.readline()) for _ in range(chance.randint(1, 5))]
        for _ in range(chance.randint(0, 100_000)):  # until it is somewhere within the next merge
            pass
        writer.kill()
        acknowledged += map(int, writer.stdout.read().split())
    found = BarStore(root, "ib").read("AAPL", "1d").bars
    pd.testing.assert_frame_equal(found, source_bars.loc[found.index])
    assert len(found) >= acknowledged[-1] + 10
    assert len(found) % 10 == 0
    assert not list(root.rglob("*.corrupt"))
    return found


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_some_moment_nothing_acknowledged_is_lost(tmp_path, bars, seed):
    bars = pd.concat([bars.set_axis(bars.index + pd.Timedelta(days=40 * number)) for number in range(200)])
    BarStore(tmp_path, "source").merge("AAPL", "1d", bars, asked=ASKED)
    check_killed_merges(tmp_path, bars, seed)


@pytest.mark.soak
def test_killed_fifty_times_nothing_acknowledged_is_lost(tmp_path, bars):
    bars = pd.concat([bars.set_axis(bars.index + pd.Timedelta(days=40 * number)) for number in range(200)])
    BarStore(tmp_path, "source").merge("AAPL", "1d", bars, asked=ASKED)
    for seed in range(50):
        check_killed_merges(tmp_path, bars, seed)


# Forks a process for each step that Python reports, which kills itself there; the last one lives to see the end.
_KILLED_AT_EACH_STEP = """
import os, shutil, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from symcache_core.loading.bars.store import BarStore
root, seen = Path(sys.argv[1]), Path(sys.argv[2])
steps = {"open", "os.listdir", "os.mkdir", "os.rename", "os.remove", "fcntl.flock"}

def merge(step):
    left = step
    def count(event, arguments):
        nonlocal left
        if event not in steps:  # to kill is an event, too
            return
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    BarStore(seen / str(step), "ib").merge("AAPL", "1d", bars, asked=datetime.now(UTC))

bars = BarStore(root, "source").read("AAPL", "1d").bars
BarStore(seen / "rehearsal", "ib").merge("AAPL", "1d", bars, asked=datetime.now(UTC))
for step in range(1000):
    shutil.copytree(root / "ib", seen / str(step) / "ib")
    pid = os.fork()
    if not pid:
        merge(step)
        os._exit(0)
    if os.waitpid(pid, 0)[1] == 0:
        print(step)
        break
"""


def test_killed_at_any_step_of_a_merge_each_file_is_the_old_or_the_new_one(tmp_path, source, caplog):
    after = source["AAPL"]
    before = after.iloc[::2] + 1.0
    BarStore(tmp_path / "bars", "source").merge("AAPL", "1d", after, asked=ASKED)
    BarStore(tmp_path / "bars", "ib").merge("AAPL", "1d", before, asked=ASKED)
    with child(_KILLED_AT_EACH_STEP, tmp_path / "bars", tmp_path / "seen") as forker:
        printed, _ = forker.communicate(timeout=PATIENCE)
    steps = int(printed)
    assert steps >= 8, "two files are each read, written beside and renamed, under a lock"
    outcomes = []
    for step in range(steps + 1):
        store = BarStore(tmp_path / "seen" / str(step), "ib")
        decades = [(before.loc[span], after.loc[span]) for span in (slice(None, "2009"), slice("2010", None))]
        found = [store.read("AAPL", "1d").bars.loc[span] for span in (slice(None, "2009"), slice("2010", None))]
        assert all(any(part.equals(whole) for whole in both) for part, both in zip(found, decades, strict=True))
        outcomes.append([part.equals(new) for part, (_, new) in zip(found, decades, strict=True)])
        store.merge("AAPL", "1d", after, asked=ASKED)
        pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, after)
        assert len(files_below(tmp_path / "seen" / str(step))) == 3, "nothing is left over"
    assert outcomes == sorted(outcomes)
    assert outcomes[0] == [False, False]
    assert [True, False] in outcomes
    assert outcomes[-1] == [True, True]
    assert not caplog.records


_MERGE_WITHOUT_SPACE = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from symcache_core.errors import BackendUnavailableError
from symcache_core.loading.bars.store import BarStore
store = BarStore(Path(sys.argv[1]), "ib")
bars = BarStore(Path(sys.argv[1]), "source").read("AAPL", "1d").bars
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.merge("AAPL", "1d", bars, asked=datetime.now(UTC))
except BackendUnavailableError as error:
    print(error)
"""


def test_a_full_disk_is_an_error_and_leaves_the_bars_as_they_were(store, bars, tmp_path):
    root = tmp_path / "bars"
    BarStore(root, "source").merge("AAPL", "1d", bars, asked=ASKED)
    store.merge("AAPL", "1d", bars.head(5), asked=ASKED)
    before = files_below(root)
    with child(_MERGE_WITHOUT_SPACE, root) as writer:
        printed, _ = writer.communicate(timeout=PATIENCE)
    assert "cannot be written: File too large" in printed
    assert files_below(root) == before
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars.head(5))


def test_one_at_a_time_has_the_claim_and_any_thread_gives_it_back(store, tmp_path):
    claim = store.claim("brk.b", "1d")
    with ThreadPoolExecutor(1) as elsewhere:
        assert elsewhere.submit(store.claim, "BRK B", "1d").result() is None
        assert store.claim("BRK-B", "1d") is None
        assert BarStore(tmp_path / "bars", "ib").claim("BRK-B", "1d") is None
        for other in (("BRK-B", "1w"), ("BRKB", "1d")):
            store.claim(*other).release()
        BarStore(tmp_path / "bars", "replay").claim("BRK B", "1d").release()
        elsewhere.submit(claim.release).result()
        claim.release()
        again = store.claim("BRK B", "1d")
        claim.release()
        assert elsewhere.submit(store.claim, "BRK B", "1d").result() is None, "an old claim does not end a new one"
        again.release()


def test_who_has_a_claim_can_merge_and_so_can_others(store, bars):
    claim = store.claim("AAPL", "1d")
    store.merge("AAPL", "1d", bars, asked=ASKED)
    claim.release()
    pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)


_CLAIM = """
import sys
from pathlib import Path
from symcache_core.loading.bars.store import BarStore
claim = BarStore(Path(sys.argv[1]), "ib").claim("AAPL", "1d")
print(claim is not None, flush=True)
sys.stdin.read()
"""


def test_a_claim_ends_when_its_process_is_killed(store, tmp_path):
    with child(_CLAIM, tmp_path / "bars", stdin=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == "True\n"
        assert store.claim("AAPL", "1d") is None
        holder.kill()
    store.claim("AAPL", "1d").release()


def test_a_folder_that_may_not_be_written_can_still_be_read(store, bars):
    store.merge("AAPL", "1d", bars, asked=ASKED)
    folder = store.folder("AAPL", "1d")
    folder.chmod(0o500)
    try:
        if not os.access(folder, os.W_OK):  # root may write anywhere
            with pytest.raises(BackendUnavailableError, match="cannot be written"):
                store.merge("AAPL", "1d", bars.tail(1), asked=ASKED)
        pd.testing.assert_frame_equal(store.read("AAPL", "1d").bars, bars)
    finally:
        folder.chmod(0o700)
