"""A process that renews a history is killed at random moments, while another one reads: nobody sees a mixture."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from bars.renewing_child import CON_ID, NOW, THEN, TRUTH, manager_of, note_requests, provider_at
from bars.truth import at, same

from symcache_core.loading import LoadReport

TESTS = Path(__file__).parents[1]
AT_ONCE = 4
"""How many requests are under way when a process dies, at most."""


class Children:
    """Processes of :mod:`renewing_child`, quick to begin as they are forked from one that has imported everything."""

    def __init__(self):
        self._parent = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "bars.renewing_child"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == {"ready": True}

    def start(self, **order):
        """Have one begin, and give its process id."""
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return self.answer()["began"]

    def answer(self):
        return json.loads(self._parent.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        with self._parent:
            self._parent.stdin.close()


@pytest.fixture(scope="module")
def renewers():
    with Children() as children:
        yield children


@pytest.fixture(scope="module")
def readers():
    with Children() as children:
        yield children


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder with the truth of then, and in how many requests it came."""
    folder = tmp_path_factory.mktemp("stored")
    provider = provider_at(THEN, latency=0)
    with manager_of(provider, folder) as manager:
        same(manager.load("NVDA", "1d", mode="full"), TRUTH(at(THEN), "1d"))
    return folder, len(provider.asked)


@pytest.fixture(scope="module")
def undisturbed(stored, renewers, tmp_path_factory):
    """How long a renewal takes that nobody disturbs (seconds)."""
    folder = shutil.copytree(stored[0], tmp_path_factory.mktemp("undisturbed") / "copy")
    renewers.start(what="renew", folder=str(folder), told=True)
    began = time.monotonic()
    renewers.answer()
    return time.monotonic() - began


@pytest.fixture
def story(stored, renewers, readers):
    """Let a renewal be killed at each of some moments, with a reader all the while; then load once more."""

    def tell(folder, moments, modes):
        shutil.copytree(stored[0], folder)
        readers.start(what="read", folder=str(folder), modes=modes)
        for moment in moments:
            process = renewers.start(what="renew", folder=str(folder), told=False)
            time.sleep(moment)
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        (folder / "stop").touch()
        check(folder, readers.answer(), len(moments), stored[1])

    return tell


def check(folder, seen, kills, segments):
    for truths in seen.values():
        assert truths.keys() <= {"then", "now"}, seen
    provider = provider_at(NOW, latency=0, trouble=note_requests(folder))
    with manager_of(provider, folder) as manager:
        frame = manager.load("NVDA", "1d", mode="full")
        same(frame, TRUTH(at(NOW), "1d"))
        assert not LoadReport.of(frame).renewing
        same(manager.load(series=f"ib:{CON_ID}#1", timeframe="1d"), TRUTH(at(THEN), "1d"))
    requests = len((folder / "requests").read_text().splitlines())
    # What was under way when a process died is asked for again, and whoever goes on compares once more.
    assert requests <= segments + 1 + kills * (AT_ONCE + 1)


def kill_each(story, undisturbed, kills, folder, seed):
    chance = random.Random(seed)
    for number in range(kills):
        # A reader that may ask goes on with what the killed one began; another one shows what is left of it.
        modes = ["local", "full"] if number % 2 else ["local"]
        story(folder / str(number), [chance.uniform(0, undisturbed)], modes)


def test_a_renewal_that_nobody_disturbs_is_made_of_the_old_spans_segments_and_one_request(stored, renewers, folder):
    copy = shutil.copytree(stored[0], folder / "copy")
    renewers.start(what="renew", folder=str(copy), told=True)
    assert renewers.answer() == {"truth": "now", "bars": len(TRUTH(at(NOW), "1d"))}
    assert len((copy / "requests").read_text().splitlines()) <= stored[1] + 1


def test_after_a_kill_at_any_moment_every_frame_is_of_then_or_of_now(story, undisturbed, folder):
    kill_each(story, undisturbed, 4, folder, seed=1)


def test_a_renewal_that_is_killed_again_and_again_is_done_at_last(story, undisturbed, folder):
    story(folder / "copy", [undisturbed * part for part in (0.2, 0.5, 0.8)], ["local"])


@pytest.mark.soak
def test_after_fifty_kills_at_random_moments_every_frame_is_of_then_or_of_now(story, undisturbed, folder):
    kill_each(story, undisturbed, 50, folder, seed=None)
