"""The word that processes share as memory: it tells of writes, and whatever happens to its file, nobody dies of it."""

import os
import signal
import subprocess
import sys

import pytest

from symcache_backends.shared_word import SharedWord


def opened(path):
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def run(program, path, *options):
    return subprocess.run(
        [sys.executable, *options, "-c", program, str(path)], capture_output=True, text=True, timeout=60, check=False
    )


def test_who_has_the_same_file_sees_a_renewal(tmp_path):
    one, other = (SharedWord(opened(tmp_path / "word")) for _ in range(2))
    before = other.cells[0]
    assert one.renew() == other.cells[0] != before
    assert other.renew() == one.cells[0]


def test_a_file_that_was_cut_and_grown_again_does_not_pass_for_the_one_before(tmp_path):
    path = tmp_path / "word"
    numbers = set()
    for _ in range(5):
        word = SharedWord(opened(path))
        numbers |= {word.cells[0], word.renew()}
        os.truncate(path, 0)
    assert len(numbers) == 10


@pytest.mark.parametrize("options", [(), ("-X", "faulthandler")], ids=["plain", "with faulthandler"])
@pytest.mark.parametrize("size", [0, 3])
def test_a_file_that_is_cut_short_is_a_lost_word_and_no_signal(tmp_path, size, options):
    program = """
import os, sys
from symcache_backends.shared_word import SharedWord
words = [SharedWord(os.open(name, os.O_RDWR | os.O_CREAT)) for name in (sys.argv[1], sys.argv[1] + "2")]
seen = [word.cells[0] for word in words]
for name, size in ((sys.argv[1], int(sys.argv[2])), (sys.argv[1] + "2", 0)):
    os.truncate(name, size)
assert [word.cells[0] for word in words] != seen
assert all(word.is_lost for word in words)
again = SharedWord(os.open(sys.argv[1], os.O_RDWR))
assert not again.is_lost and again.renew() == again.cells[0]
print("alive")
"""
    ended = run(program.replace("int(sys.argv[2])", str(size)), tmp_path / "word", *options)
    if size == 0:
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "alive\n", "")
    else:
        assert ended.returncode != -signal.SIGBUS


def test_a_write_after_the_file_was_cut_short_is_seen_by_who_opens_it_then(tmp_path):
    program = """
import os, sys
from symcache_backends.shared_word import SharedWord
word = SharedWord(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT))
os.truncate(sys.argv[1], 0)
renewed = word.renew()
assert SharedWord(os.open(sys.argv[1], os.O_RDWR)).cells[0] == renewed
print("alive")
"""
    ended = run(program, tmp_path / "word")
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr


@pytest.mark.parametrize("options", [(), ("-X", "faulthandler")], ids=["plain", "with faulthandler"])
def test_a_signal_that_comes_from_other_memory_ends_the_process_as_before(tmp_path, options):
    program = """
import mmap, os, sys
from symcache_backends.shared_word import SharedWord
word = SharedWord(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT))
other = os.open(sys.argv[1] + "2", os.O_RDWR | os.O_CREAT)
os.ftruncate(other, 8)
memory = mmap.mmap(other, 8)
os.ftruncate(other, 0)
print(memory[0])
"""
    ended = run(program, tmp_path / "word", *options)
    assert ended.returncode == -signal.SIGBUS
    assert ("Bus error" in ended.stderr) == bool(options)
