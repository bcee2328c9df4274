"""A lease has one holder among threads and processes, and none once that has died, by either kind of lock."""

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
