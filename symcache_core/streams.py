"""Standard streams that are closed, as cron and daemons leave them, full, or read by nobody."""

from __future__ import annotations

import io
import os
import select
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""In the order of their descriptors: what is opened takes the lowest one that is free."""


def open_closed_streams() -> None:
    """Put the null device in place of each standard stream that is closed.

    Python has ``None`` there, and the descriptor would become that of the next file that is opened, into which every
    message would then go.
    """
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for the process's life


class _BestEffort(io.TextIOWrapper):
    """Text that is not worth an error if nobody can have it.

    Args:
        stream: Where it goes; kept, as it would close what lies below it if it went.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer, encoding=stream.encoding, errors=stream.errors, line_buffering=True, write_through=True
        )
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            _write_nowhere(self.fileno())
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _write_nowhere(self.fileno())


def let_messages_get_lost() -> None:
    """Let a command do its work though standard error is a full disk, or a pipe that nobody reads."""
    stream = sys.stderr
    if isinstance(stream, io.TextIOWrapper):
        sys.stderr = _BestEffort(stream)


def has_no_reader() -> bool:
    """Whether standard output is a pipe that nobody reads any more, as ``| head`` leaves it; then it leads nowhere."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _descriptor, event in poll.poll(0)):
        return False
    _write_nowhere(sys.stdout.fileno())
    return True


def send_output() -> None:
    """Write what standard output has gathered: what fails only at the end of the process nobody can put into words.

    Raises:
        OSError: It cannot be written, and nobody who has had enough is the reason; it leads nowhere from then on.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _write_nowhere(sys.stdout.fileno())
    except OSError:
        _write_nowhere(sys.stdout.fileno())
        raise


def _write_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.dup2(nowhere, descriptor)
    finally:
        os.close(nowhere)
