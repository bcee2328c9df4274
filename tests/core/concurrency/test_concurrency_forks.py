"""What begins anew in a forked child does so whatever its parent's threads were at."""

import subprocess
import sys

FORKED_WHILE_ANOTHER_THREAD_BEGINS_ANEW = """
import os, signal, sys, threading
from symcache_core.concurrency.forks import ForkGuard

def wait_for(child):
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

def begin():
    begun.append(os.getpid())
    if os.getpid() == blocked:
        inside.set()
        threading.Event().wait()

begun, blocked, inside = [], None, threading.Event()
guard = ForkGuard(begin)
if child := os.fork():
    wait_for(child)
signal.alarm(30)
blocked = os.getpid()
threading.Thread(target=guard.check, daemon=True).start()
inside.wait()
if grandchild := os.fork():
    signal.alarm(0)
    status = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
    os._exit(0 if status == 0 else 1)
signal.alarm(10)
guard.check()
guard.check()
assert begun.count(os.getpid()) == 1, begun
os._exit(0)
"""


def test_a_child_that_is_forked_while_another_thread_begins_anew_begins_for_itself():
    command = [sys.executable, "-W", "ignore", "-c", FORKED_WHILE_ANOTHER_THREAD_BEGINS_ANEW]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


INTERRUPTED_WHILE_IT_BEGINS_ANEW = """
import os, signal, sys, threading
from symcache_core.concurrency.forks import ForkGuard

def begin():
    begun.append(os.getpid())
    if begun.count(os.getpid()) == 1 and os.getpid() != parent:
        signal.raise_signal(signal.SIGINT)

begun, parent = [], os.getpid()
guard = ForkGuard(begin)
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
signal.alarm(30)
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    guard.check()
    os._exit(2)
except KeyboardInterrupt:
    pass
other = threading.Thread(target=guard.check, daemon=True)
other.start()
other.join()
guard.check()
os._exit(0 if begun.count(os.getpid()) == 2 and not guard.is_inherited else 1)
"""


def test_an_interrupt_while_it_begins_anew_keeps_nobody_from_beginning():
    command = [sys.executable, "-W", "ignore", "-c", INTERRUPTED_WHILE_IT_BEGINS_ANEW]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
