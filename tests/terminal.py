"""A terminal for tests: runs a command on a pseudo-terminal, and says what its screen shows in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

_PIECE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[^\[]|\r|\n|[^\x1b\r\n]+")


def run_on_terminal(
    command: Sequence[str], columns: int, environment: Mapping[str, str], stdout: int | None = None
) -> tuple[int, str]:
    """Run a command on a terminal of so many columns.

    Args:
        command: What to run.
        columns: How wide the terminal is; it is 200 lines high.
        environment: Of the command, beside the test's own.
        stdout: Where its standard output goes in place of the terminal.

    Returns:
        Its exit status, and all that it wrote to the terminal.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env={**inherited, "TERM": "xterm-256color", **environment},
    ) as process:
        os.close(theirs)
        written = bytearray()
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        finally:
            os.close(ours)
    return process.returncode, written.decode()


def screen(written: str, columns: int) -> list[str]:
    """The lines that a terminal shows after all that was written to it, long ones folded, as terminals do."""
    lines: list[list[str]] = [[]]
    row = column = 0
    for piece in _PIECE.finditer(written):
        text = piece[0]
        if text == "\r":
            column = 0
        elif text == "\n":
            row += 1
        elif piece[2]:
            row, column = _controlled(lines, row, column, piece[1], piece[2])
        elif not text.startswith("\x1b"):
            for char in text:
                if column == columns:
                    row, column = row + 1, 0
                _put(lines, row, column, char)
                column += 1
        lines.extend([] for _ in range(row + 1 - len(lines)))
    return ["".join(line).rstrip() for line in lines]


def _controlled(lines: list[list[str]], row: int, column: int, told: str, what: str) -> tuple[int, int]:
    count = int(told) if told.isdigit() else 0
    match what:
        case "A":
            row = max(row - max(count, 1), 0)
        case "B":
            row += max(count, 1)
        case "K":
            line = lines[row]
            match count:
                case 0:
                    del line[column:]
                case 1:
                    line[: column + 1] = [" "] * min(column + 1, len(line))
                case _:
                    line.clear()
        case "J":
            assert count == 0, "only what is below the cursor is erased here"
            del lines[row][column:], lines[row + 1 :]
        case "m" | "h" | "l":  # colours and the cursor's looks
            pass
        case _:
            raise AssertionError(f"this terminal does not know {what!r}")
    return row, column


def _put(lines: list[list[str]], row: int, column: int, char: str) -> None:
    lines.extend([] for _ in range(row + 1 - len(lines)))
    line = lines[row]
    line.extend(" " * (column + 1 - len(line)))
    line[column] = char
