"""Runs a function in a process of its own under strace, which tells its system calls and may let some of them fail."""

import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from patience import PATIENCE

_LINE = re.compile(rb"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(?: (E[A-Z0-9]+))?.*")
_ARGUMENT = re.compile(rb'(?:\{[^{}]*\}|\[[^\[\]]*\]|<[^<>]*>|"[^"]*"|[^,{\["<>])+')
_DESCRIPTOR = re.compile(r"(-?\d+|AT_FDCWD)(?:<(.*)>(?:\(deleted\))?)?", re.DOTALL)
_VECTOR = re.compile(rb'iov_base="([^"]*)"')
_HEX = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class Call:
    """A system call: its arguments as strace writes them, what it gave, and the error that it failed with."""

    name: str
    arguments: tuple[bytes, ...]
    gave: int | None
    error: str | None
    injected: bool

    def descriptor(self, place=0):
        """The number of an argument that is a descriptor; -1 stands for the working directory."""
        number = _DESCRIPTOR.match(os.fsdecode(self.arguments[place]))[1]
        return -1 if number == "AT_FDCWD" else int(number)

    def text(self, place):
        """The bytes of an argument that is a string."""
        shown = self.arguments[place]
        assert shown[:1] == shown[-1:] == b'"', shown
        return _HEX.sub(_unhex, shown[1:-1])

    def number(self, place):
        """The value of an argument that is a number."""
        return int(self.arguments[place], 0)

    def touches(self, folder):
        """Whether an argument is a path in a folder, or a descriptor of a file that is there."""
        return any(os.fsencode(folder) in _HEX.sub(_unhex, argument) for argument in self.arguments)


@dataclass(frozen=True)
class Traced:
    """What a process did: its system calls in turn, and how it ended (as ``Popen.returncode``; ``None`` if it hung)."""

    calls: tuple[Call, ...]
    status: int | None

    def notes(self):
        """What the traced function noted, each with the place of its call."""
        for place, call in enumerate(self.calls):
            if call.name == "writev" and call.arguments[0].endswith(_NOTES_SHOWN):
                yield place, json.loads(_HEX.sub(_unhex, _VECTOR.search(call.arguments[1])[1]))


class Notes:
    """Notes of a traced function, which stand in the trace between its other system calls.

    They are written by a call that is used for nothing else, so that those of the others can be made to fail.
    """

    def __init__(self):
        self._descriptor = os.open(os.devnull, os.O_WRONLY)

    def add(self, **note):
        os.writev(self._descriptor, [json.dumps(note).encode()])


def _unhex(match):
    return bytes.fromhex(match[1].decode())


_NOTES_SHOWN = b"<%b>" % b"".join(b"\\x%02x" % byte for byte in os.fsencode(os.devnull))


def traced(function, *arguments, calls="file,desc", inject=(), patience=PATIENCE):
    """Run a function of a module in a forked process under strace.

    Args:
        function: Called with :class:`Notes` and the arguments.
        arguments: What can be pickled.
        calls: Which system calls to tell, as ``strace -e trace=`` takes them.
        inject: Faults, as ``strace -e inject=`` takes them; counting begins with the function.
        patience: Seconds after which the process is taken for hung, and killed.
    """
    process = _context().Process(target=_stopped, args=(function, arguments), daemon=True)
    options = ["-f", "-xx", "-y", "-s", "16777216", f"-etrace={calls}", *(f"-einject={fault}" for fault in inject)]
    log = tempfile.NamedTemporaryFile()  # noqa: SIM115  # it is closed below, where the process has ended
    process.start()
    try:
        _wait_until_stopped(process.pid)
        command = ["strace", "-p", str(process.pid), "-o", log.name, *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            said = strace.stderr.readline()
            assert "attached" in said, said
            os.kill(process.pid, signal.SIGCONT)
            process.join(patience)
            status = process.exitcode
            if status is None:
                process.kill()
                process.join()
            strace.stderr.read()
        return Traced(tuple(_parse(log.read())), status)
    finally:
        process.kill()
        process.join()
        process.close()
        log.close()


@cache
def why_not():
    """Why nothing can be traced here, or nothing."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return "there is no strace"
    with subprocess.Popen(["strace", "-o", os.devnull, "true"], stderr=subprocess.PIPE) as strace:
        refused = strace.stderr.read().decode(errors="replace").strip()
    return f"strace may not trace here: {refused}" if strace.returncode else ""


def _stopped(function, arguments):
    # What is logged would be written to standard error, which may be made to fail, and would again at the end.
    logging.getLogger("symcache").addHandler(logging.NullHandler())
    _let_anyone_trace()
    os.kill(os.getpid(), signal.SIGSTOP)
    function(Notes(), *arguments)


def _let_anyone_trace():
    import ctypes

    ctypes.CDLL(None).prctl(0x59616D61, -1, 0, 0, 0)  # PR_SET_PTRACER: where only a child may be traced otherwise


def _wait_until_stopped(pid):
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline, "the process to trace does not come up"
        time.sleep(0.0005)


@cache
def _context():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tracing", "symcache_core", "symcache_backends.disk", "symcache_backends.json_file.backend"]
    )
    return context


def _parse(log):
    begun = {}
    for written in log.splitlines():
        pid, line = written.split(b" ", 1)[0], written
        if line.endswith(b" <unfinished ...>"):
            begun[pid] = line.removesuffix(b" <unfinished ...>")
            continue
        if b" resumed>" in line[:60]:
            line = begun.pop(pid) + line.split(b" resumed>", 1)[1]
        match = _LINE.fullmatch(line)
        if match is None:
            assert b" --- " in line or b" +++ " in line, line
            continue
        _pid, name, arguments, gave, error = match.groups()
        yield Call(
            name.decode(),
            tuple(found.strip() for found in _ARGUMENT.findall(arguments)),
            None if gave == b"?" else int(gave),
            error and error.decode(),
            b"(INJECTED)" in line,
        )
