"""Killed, out of space or shared by many, the files of bars are whole; and any symbol has some of its own."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_bars import answer_of

from symcache_core.errors import BackendUnavailableError
from symcache_core.loading.bars.files import file_name
from symcache_core.loading.bars.store import BarStore

ASKED = datetime(2024, 6, 1, 12, tzinfo=UTC)
PATIENCE = 60.0
pytestmark = pytest.mark.once
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}  # where stored_bars is found


@pytest.fixture
def store(tmp_path):
    return BarStore(tmp_path / "bars", "ib")


@pytest.fixture
def series(store):
    return store.series("AAPL", "1d")


@pytest.fixture
def bars(source):
    return source["AAPL"].head(20)


def child(program, *arguments, **options):
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, **options)


def files_below(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_every_file_is_for_its_owner_only_and_bars_lie_in_a_folder_of_their_own(store, series, bars, tmp_path):
    series.save(answer_of(bars, ASKED, basis={"adjustment": "split"}))
    series.claim().release()
    store.names.saw("AAPL", "AAPL", ASKED)
    names = {str(path.relative_to(tmp_path / "bars")): path.stat().st_mode & 0o777 for path in files_below(tmp_path)}
    own = ["2000s.parquet", ".json", ".lock", ".claim"]
    files = ["ib/names.jsonl", "ib/names.lock"]
    files += [f"ib/AAPL/1d/usual{name if name.startswith('.') else '/' + name}" for name in own]
    assert names == dict.fromkeys(files, 0o600)


@pytest.mark.parametrize(
    "symbol",
    ["..", ".", "../X", "A/B", "CON", "NUL", "COM1", "ÄÖÜ", "漢字", "A B", "%41", "漢" * 128, "A" * 128, "AAPL.lock"],
)
def test_any_identity_has_a_folder_inside_that_of_its_provider(store, bars, symbol):
    series = store.series(symbol, "1d")
    series.save(answer_of(bars, ASKED))
    folder = series.folder.parent.parent
    assert folder.parent == store.folder
    assert folder.is_dir()
    assert folder.name.isascii()
    assert len(folder.name) <= 200
    assert folder.name.partition(".")[0] not in {"", "CON", "NUL", "COM1"}
    pd.testing.assert_frame_equal(series.read().bars, bars)


@given(st.lists(st.text(min_size=1, max_size=128).map(str.upper), min_size=2, max_size=2, unique=True))
def test_no_two_symbols_share_a_file_name_even_where_case_is_ignored(symbols):
    assert len({file_name(symbol).casefold() for symbol in symbols}) == 2


def test_threads_that_save_into_one_file_lose_nothing(series, bars):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: series.save(answer_of(bars.iloc[[at]], ASKED)), range(len(bars))))
    pd.testing.assert_frame_equal(series.read().bars, bars)


_SAVE_ONE_BY_ONE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from stored_bars import answer_of
from symcache_core.loading.bars.store import BarStore
root, first, step, size = sys.argv[1:]
bars = BarStore(Path(root), "source").series("AAPL", "1d").read().bars
for at in range(int(first), len(bars), int(step)):
    answer = answer_of(bars.iloc[at : at + int(size)], datetime.now(UTC))
    BarStore(Path(root), "ib").series("AAPL", "1d").save(answer)
    print(at, flush=True)
"""


def test_processes_that_save_into_one_file_lose_nothing(series, bars, tmp_path):
    root = tmp_path / "bars"
    BarStore(root, "source").series("AAPL", "1d").save(answer_of(bars, ASKED))
    writers = [child(_SAVE_ONE_BY_ONE, root, first, 2, 1) for first in (0, 1)]
    for writer in writers:
        with writer:
            writer.communicate(timeout=PATIENCE)
    assert [writer.returncode for writer in writers] == [0, 0]
    pd.testing.assert_frame_equal(series.read().bars, bars)


def check_killed_saves(root, source_bars, seed):
    """Kill a process that saves, at some moment; what it had acknowledged is there, and nothing is damaged."""
    chance = random.Random(seed)
    with child(_SAVE_ONE_BY_ONE, root, 0, 10, 10) as writer:
        acknowledged = [int(writer.stdout.readline()) for _ in range(chance.randint(1, 5))]
        for _ in range(chance.randint(0, 100_000)):  # until it is somewhere within the next save
            pass
        writer.kill()
        acknowledged += map(int, writer.stdout.read().split())
    found = BarStore(root, "ib").series("AAPL", "1d").read().bars
    pd.testing.assert_frame_equal(found, source_bars.loc[found.index])
    assert len(found) >= acknowledged[-1] + 10
    assert len(found) % 10 == 0
    assert not list(root.rglob("*.corrupt"))
    return found


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_some_moment_nothing_acknowledged_is_lost(tmp_path, bars, seed):
    bars = pd.concat([bars.set_axis(bars.index + pd.Timedelta(days=40 * number)) for number in range(200)])
    BarStore(tmp_path, "source").series("AAPL", "1d").save(answer_of(bars, ASKED))
    check_killed_saves(tmp_path, bars, seed)


@pytest.mark.soak
def test_killed_fifty_times_nothing_acknowledged_is_lost(tmp_path, bars):
    bars = pd.concat([bars.set_axis(bars.index + pd.Timedelta(days=40 * number)) for number in range(200)])
    BarStore(tmp_path, "source").series("AAPL", "1d").save(answer_of(bars, ASKED))
    for seed in range(50):
        check_killed_saves(tmp_path, bars, seed)


# Forks a process for each step that Python reports, which kills itself there; the last one lives to see the end.
_KILLED_AT_EACH_STEP = """
import os, shutil, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from stored_bars import answer_of
from symcache_core.loading.bars.store import BarStore
root, seen = Path(sys.argv[1]), Path(sys.argv[2])
steps = {"open", "os.listdir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.unlink", "fcntl.flock"}

def do(series):
    if sys.argv[3] == "save":
        series.save(answer_of(bars, datetime.now(UTC)))
    else:
        series.end_renewal(datetime.now(UTC))

def killed(step):
    left = step
    def count(event, arguments):
        nonlocal left
        if event not in steps:  # to kill is an event, too
            return
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    series = BarStore(seen / str(step), "ib").series("AAPL", "1d")
    sys.addaudithook(count)
    do(series)

bars = BarStore(root, "source").series("AAPL", "1d").read().bars
shutil.copytree(root / "ib", seen / "rehearsal" / "ib")
do(BarStore(seen / "rehearsal", "ib").series("AAPL", "1d"))
for step in range(1000):
    shutil.copytree(root / "ib", seen / str(step) / "ib")
    pid = os.fork()
    if not pid:
        killed(step)
        os._exit(0)
    if os.waitpid(pid, 0)[1] == 0:
        print(step)
        break
"""


def killed_at_each_step(folder, what):
    """Give the series that each killed process has left behind, and at the end that of the one that lived."""
    with child(_KILLED_AT_EACH_STEP, folder / "bars", folder / "seen", what) as forker:
        printed, _ = forker.communicate(timeout=PATIENCE)
    for step in range(int(printed) + 1):
        yield BarStore(folder / "seen" / str(step), "ib").series("AAPL", "1d")


def test_killed_at_any_step_of_a_save_each_file_is_the_old_or_the_new_one(tmp_path, source, caplog):
    after = source["AAPL"]
    before = after.iloc[::2].assign(volume=1.0)
    for provider, bars in (("source", after), ("ib", before)):
        BarStore(tmp_path / "bars", provider).series("AAPL", "1d").save(answer_of(bars, ASKED))
    outcomes = []
    for series in killed_at_each_step(tmp_path, "save"):
        decades = [(before.loc[span], after.loc[span]) for span in (slice(None, "2009"), slice("2010", None))]
        found = [series.read().bars.loc[span] for span in (slice(None, "2009"), slice("2010", None))]
        assert all(any(part.equals(whole) for whole in both) for part, both in zip(found, decades, strict=True))
        outcomes.append([part.equals(new) for part, (_, new) in zip(found, decades, strict=True)])
        assert series.save(answer_of(after, ASKED)).agreement.holds
        pd.testing.assert_frame_equal(series.read().bars, after)
        left = [path.name for path in files_below(series.folder.parent)]
        assert left == ["2000s.parquet", "2010s.parquet", "usual.json", "usual.lock"], "nothing is left over"
    assert len(outcomes) >= 9, "two files are each read, written beside and renamed, under a lock"
    assert outcomes == sorted(outcomes)
    assert outcomes[0] == [False, False]
    assert [True, False] in outcomes
    assert outcomes[-1] == [True, True]
    assert not caplog.records


def test_killed_at_any_step_of_a_switch_one_generation_is_there_and_whole(tmp_path, source, caplog):
    old, new = source["AAPL"], source["AAPL"].iloc[1000:] * 0.5
    series = BarStore(tmp_path / "bars", "ib").series("AAPL", "1d")
    BarStore(tmp_path / "bars", "source").series("AAPL", "1d").save(answer_of(old, ASKED))
    series.save(answer_of(old, ASKED))
    assert series.begin_renewal("adjusted", ASKED)
    series.save(answer_of(new, ASKED))
    outcomes = []
    for killed in killed_at_each_step(tmp_path, "end a renewal"):
        local = killed.read()
        is_over = local.state.generation == 2
        pd.testing.assert_frame_equal(local.bars, new if is_over else old)
        assert killed.read_generation(1).bars.equals(old)
        if not is_over:
            assert local.state.renewing is not None
            killed.end_renewal(ASKED)
        pd.testing.assert_frame_equal(killed.read().bars, new)
        assert (killed.state().generation, killed.generations()) == (2, [1])
        pd.testing.assert_frame_equal(killed.read_generation(1).bars, old)
        assert len(killed.state().renewals) == 1
        outcomes.append(is_over)
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}
    assert not caplog.records


_SAVE_WITHOUT_SPACE = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from stored_bars import answer_of
from symcache_core.errors import BackendUnavailableError
from symcache_core.loading.bars.store import BarStore
series = BarStore(Path(sys.argv[1]), "ib").series("AAPL", "1d")
bars = BarStore(Path(sys.argv[1]), "source").series("AAPL", "1d").read().bars
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    series.save(answer_of(bars, datetime.now(UTC)))
except BackendUnavailableError as error:
    print(error)
"""


def test_a_full_disk_is_an_error_and_leaves_the_bars_as_they_were(series, bars, tmp_path):
    root = tmp_path / "bars"
    BarStore(root, "source").series("AAPL", "1d").save(answer_of(bars, ASKED))
    series.save(answer_of(bars.head(5), ASKED))
    before = files_below(root)
    with child(_SAVE_WITHOUT_SPACE, root) as writer:
        printed, _ = writer.communicate(timeout=PATIENCE)
    assert "cannot be written: File too large" in printed
    assert files_below(root) == before
    pd.testing.assert_frame_equal(series.read().bars, bars.head(5))


def test_one_at_a_time_has_the_claim_and_any_thread_gives_it_back(store, tmp_path):
    series = store.series("BRK B", "1d")
    claim = series.claim()
    with ThreadPoolExecutor(1) as elsewhere:
        assert elsewhere.submit(series.claim).result() is None
        assert store.series("BRK B", "1d").claim() is None
        assert BarStore(tmp_path / "bars", "ib").series("BRK B", "1d").claim() is None
        for other in (("BRK B", "1w"), ("BRKB", "1d"), ("BRK B", "1d", "extended")):
            store.series(*other).claim().release()
        BarStore(tmp_path / "bars", "replay").series("BRK B", "1d").claim().release()
        elsewhere.submit(claim.release).result()
        claim.release()
        again = series.claim()
        claim.release()
        assert elsewhere.submit(series.claim).result() is None, "an old claim does not end a new one"
        again.release()


def test_who_has_a_claim_can_save_and_so_can_others(series, bars):
    claim = series.claim()
    series.save(answer_of(bars, ASKED))
    claim.release()
    pd.testing.assert_frame_equal(series.read().bars, bars)


_CLAIM = """
import sys
from pathlib import Path
from symcache_core.loading.bars.store import BarStore
claim = BarStore(Path(sys.argv[1]), "ib").series("AAPL", "1d").claim()
print(claim is not None, flush=True)
sys.stdin.read()
"""


def test_a_claim_ends_when_its_process_is_killed(series, tmp_path):
    with child(_CLAIM, tmp_path / "bars", stdin=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == "True\n"
        assert series.claim() is None
        holder.kill()
    series.claim().release()


def test_a_folder_that_may_not_be_written_can_still_be_read(series, bars):
    series.save(answer_of(bars, ASKED))
    folder = series.folder
    folder.chmod(0o500)
    try:
        if not os.access(folder, os.W_OK):  # root may write anywhere
            with pytest.raises(BackendUnavailableError, match="cannot be written"):
                series.save(answer_of(bars.tail(1), ASKED))
        pd.testing.assert_frame_equal(series.read().bars, bars)
    finally:
        folder.chmod(0o700)
