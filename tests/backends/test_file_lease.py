"""A lease has one holder among threads and processes, and none once that has died, by either kind of lock."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from symcache_backends import file_lease

HOLDER = """
import sys, time
from pathlib import Path
from symcache_backends import file_lease
file_lease.BYTES_CAN_BE_LOCKED = sys.argv[2] == "True"
lease = file_lease.try_lease(Path(sys.argv[1]), "AAPL")
print(lease is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[True, False], ids=["bytes", "files"])
def place(request, tmp_path, monkeypatch):
    """Where leases are, on a system that can lock bytes and on one that cannot."""
    if request.param and not file_lease.BYTES_CAN_BE_LOCKED:
        pytest.skip("this system cannot lock bytes for an open file")
    monkeypatch.setattr(file_lease, "BYTES_CAN_BE_LOCKED", request.param)
    return tmp_path / "store" / "leases"


def test_a_lease_has_one_holder_until_it_is_given_back(place):
    lease = file_lease.try_lease(place, "AAPL")
    assert lease is not None
    assert file_lease.try_lease(place, "AAPL") is None
    assert file_lease.try_lease(place, "MSFT") is not None
    lease.release()
    lease.release()
    assert file_lease.try_lease(place, "AAPL") is not None


def test_threads_that_want_the_same_lease_never_have_it_together(place):
    holders, most = [], []

    def work(number):
        for _ in range(200):
            lease = file_lease.try_lease(place, "AAPL")
            if lease is not None:
                holders.append(number)
                most.append(len(holders))
                holders.remove(number)
                lease.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert set(most) == {1}


def test_a_lease_of_another_process_is_respected_and_ends_with_it(place):
    command = [sys.executable, "-c", HOLDER, str(place), str(file_lease.BYTES_CAN_BE_LOCKED)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        assert file_lease.try_lease(place, "AAPL") is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert file_lease.try_lease(place, "AAPL") is not None


def test_a_lease_that_is_given_back_is_free_although_a_child_was_forked_meanwhile(place):
    lease = file_lease.try_lease(place, "AAPL")
    child = os.fork()
    if not child:
        lease.release()  # it but lets go of its share
        os._exit(0 if file_lease.try_lease(place, "AAPL") is None else 1)
    assert os.waitpid(child, 0)[1] == 0, "the parent still has it"
    stop, hold = os.pipe()
    sharing = os.fork()
    if not sharing:
        os.close(hold)
        os.read(stop, 1)
        os._exit(0)
    lease.release()
    assert file_lease.try_lease(place, "AAPL") is not None
    os.close(hold)
    os.waitpid(sharing, 0)
    os.close(stop)


def test_leases_leave_no_file_for_each_key_behind(place):
    leases = [file_lease.try_lease(place, f"S{number}") for number in range(50)]
    held = leases.pop()
    for lease in leases:
        lease.release()
    file_lease.drop_unused(place)
    assert len(list(place.parent.rglob("*"))) <= 2
    assert file_lease.try_lease(place, "S49") is None
    held.release()


def test_what_cannot_be_written_is_an_error(place):
    place.parent.write_text("no folder")
    with pytest.raises(OSError, match="leases"):
        file_lease.try_lease(place, "AAPL")


def test_a_holder_is_told_from_the_next_one_and_named(place):
    assert file_lease.holder_of(place, "AAPL") is None
    marks = []
    for _ in range(3):
        lease = file_lease.try_lease(place, "AAPL")
        marks += [file_lease.holder_of(place, "AAPL").mark for _ in range(2)]
        lease.release()
    assert marks[::2] == marks[1::2]
    assert len(set(marks)) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of another process whether it is stopped")
def test_a_stopped_holder_is_named_with_its_file(place):
    command = [sys.executable, "-c", HOLDER, str(place), str(file_lease.BYTES_CAN_BE_LOCKED)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        holder.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        who = file_lease.holder_of(place, "AAPL").who
        holder.kill()
        holder.wait()
        left = file_lease.holder_of(place, "AAPL").who
    assert who.startswith(f"process {holder.pid} (")
    assert "stopped" in who
    assert str(place) in who
    assert left.startswith(f"process {holder.pid}, which is not there any more")


def test_a_key_whose_place_another_has_taken_is_not_taken_for_that_one(place, monkeypatch):
    monkeypatch.setattr(file_lease, "_RECORDS", 1)
    leases = [file_lease.try_lease(place, key) for key in ("AAPL", "MSFT")]
    told = [file_lease.holder_of(place, key) for key in ("AAPL", "MSFT")]
    assert told[1] is not None
    assert (told[0] is None) == file_lease.BYTES_CAN_BE_LOCKED
    for lease in leases:
        lease.release()


def test_a_file_of_leases_does_not_grow_with_their_number(place):
    for number in range(5000):
        file_lease.try_lease(place, f"S{number}").release()
    if file_lease.BYTES_CAN_BE_LOCKED:
        assert place.stat().st_size <= 2048 * 24


def test_what_is_no_regular_file_is_refused_without_a_wait(place):
    place.parent.mkdir()
    os.mkfifo(place)
    with pytest.raises(OSError, match=r"regular file|directory"):
        file_lease.try_lease(place, "AAPL")


def test_the_lease_of_a_killed_process_ends_although_a_child_of_its_lives_on(place):
    program = HOLDER.replace(
        "print(lease",
        "import os\nbegun, begins = os.pipe()\nif not os.fork():\n    os.write(begins, b'x')\n    os.close(0)\n"
        "    os.close(1)\n    time.sleep(600)\nos.read(begun, 1)\nprint(lease",
    ).replace("print(lease", "print(os.getpid())\nprint(lease")
    command = [sys.executable, "-c", program, str(place), str(file_lease.BYTES_CAN_BE_LOCKED)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as holder:
        try:
            holder.stdout.readline()
            assert holder.stdout.readline() == "True\n"
            holder.kill()
            holder.wait()
            file_lease.try_lease(place, "AAPL").release()
        finally:
            os.killpg(holder.pid, signal.SIGKILL)


INTERRUPTED = """
import os, random, signal, sys, time
from pathlib import Path
from symcache_backends import file_lease
path, count = Path(sys.argv[1]), int(sys.argv[2])
file_lease.BYTES_CAN_BE_LOCKED = sys.argv[3] == "True"
signal.signal(signal.SIGALRM, signal.default_int_handler)
moments, kept, held = random.Random(1), [], 0
file_lease.try_lease(path, "AAPL").release()
descriptors = len(os.listdir("/dev/fd"))

def work():
    for _ in range(10):
        lease = None
        try:
            lease = file_lease.try_lease(path, "AAPL")
        finally:
            try:
                if lease is not None:
                    lease.release()
            finally:  # an interrupt may come as the first one is entered
                if lease is not None:
                    lease.release()

longest = 1.0
for _ in range(5):
    began = time.perf_counter()
    work()
    longest = min(longest, time.perf_counter() - began)
for _ in range(count):
    try:
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, longest))
        work()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt as error:
        kept.append(error)
    lease = file_lease.try_lease(path, "AAPL")
    held += lease is None
    if lease is not None:
        lease.release()
interrupted = len(kept)
kept.clear()
print(held, len(os.listdir("/dev/fd")) - descriptors, interrupted)
"""


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.soak)])
def test_an_interrupt_at_any_moment_leaves_no_lease_held(place, count):
    command = [sys.executable, "-c", INTERRUPTED, str(place), str(count), str(file_lease.BYTES_CAN_BE_LOCKED)]
    held, descriptors, interrupted = map(int, subprocess.check_output(command, text=True).split())
    assert (held, descriptors) == (0, 0)
    assert interrupted >= count / 5


def test_a_lease_that_cannot_be_given_back_is_no_error_and_ends_by_itself(place, monkeypatch):
    lease = file_lease.try_lease(place, "AAPL")

    def fails(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(file_lease, "_unlock", fails)
        lease.release()
    again = file_lease.try_lease(place, "AAPL")
    assert again is not None
    again.release()
