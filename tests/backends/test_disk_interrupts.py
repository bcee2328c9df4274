"""An interrupt at any moment of a call leaves no lock and no transaction, and loses nothing acknowledged."""

import subprocess
import sys

import pytest

backend = "diskcache"

PROGRAM = """
import os, random, shutil, signal, sys, time
from pathlib import Path
from symcache_backends.disk import DiskBackend, DiskSettings
from symcache_core.errors import BackendUnavailableError

folder, wanted, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
FAR = 4102444800.0
chance = random.Random(seed)
precious = folder.parent / "precious"
precious.write_bytes(b"precious" * 100)

def opened():
    return DiskBackend(DiskSettings(path=folder, lock_timeout=5))

def interrupt(_number, _frame):
    if armed:  # it may come late
        raise KeyboardInterrupt

armed = False
signal.signal(signal.SIGALRM, interrupt)
store, neighbour = opened(), opened()
known = {}  # what is there, or may be there
interrupted = count = 0
long = b'{"long":"%b"}' % (b"x" * 40_000)

def move():
    # Both have to open it anew.
    other = folder.with_name("moved")
    folder.rename(other)
    shutil.copytree(other, folder)
    shutil.rmtree(other)

def act(kind, key, entry):
    if kind == "write":
        store.write(key, entry, FAR)
    elif kind == "update":
        store.update(key, lambda old: (entry, FAR))
    elif kind == "delete":
        store.delete(key)
    elif kind == "read":
        assert store.read(key) in known.get(key, {None}), key
    elif kind == "keys":
        list(store.keys())
    elif kind == "compact":
        store.compact()
    elif kind == "generation":
        neighbour.write("of the neighbour", b"{}", FAR)
        store.generation()

KINDS = ["write"] * 4 + ["update"] * 3 + ["delete", "read", "read", "keys", "compact", "generation"]
def files():
    there = [f"/dev/fd/{number}" for number in os.listdir("/dev/fd")]
    return [os.readlink(file) for file in there if os.path.islink(file)]

before = len(files())
while interrupted < wanted:
    count += 1
    kind, key = chance.choice(KINDS), f"key{chance.randrange(20)}"
    entry = long if chance.random() < 0.02 else b'{"n":%d}' % count
    after = {"write": entry, "update": entry, "delete": None}
    try:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 150e-6))
            act(kind, key, entry)
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
        if kind in after:
            known[key] = known.get(key, {None}) | {after[kind]}
        began = time.monotonic()
        neighbour.write("of the neighbour", b"{}", FAR)
        store.write("after", b"{}", FAR)
        assert time.monotonic() - began < 4, f"{kind} left a lock"
        assert neighbour.read("after") == b"{}"
    else:
        if kind in after:
            known[key] = {after[kind]}
    there = neighbour.read(key)
    assert there in known.get(key, {None}), (kind, key, there, known.get(key))
    known[key] = {there}
    if interrupted % 500 == 499:
        move()
assert len(files()) < before + 10, sorted(files())
for key, entries in known.items():
    assert store.read(key) in entries, key
store.close()
neighbour.close()
again = opened()
for key, entries in known.items():
    assert again.read(key) in entries, key
again.close()
assert precious.read_bytes() == b"precious" * 100
print(count, "calls")
"""


def interrupted(tmp_path, times, seed):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "symbols"), str(times), str(seed)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_an_interrupt_leaves_no_lock_and_loses_nothing(tmp_path):
    interrupted(tmp_path, 700, 1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_thousands_of_interrupts_leave_no_lock_and_lose_nothing(tmp_path, seed):
    interrupted(tmp_path, 5_000, seed)
