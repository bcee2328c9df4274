"""A host service of one's own: a process that starts when it is first needed and ends with its program."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from datetime import date
from pathlib import Path

from pydantic import SecretStr

from ..errors import ProviderUnavailableError

START_LIMIT = 30.0
END_LIMIT = 5.0
LAST_LINES = 5

log = logging.getLogger("symcache")


class EmbeddedHost:
    """Starts ``python -m symcache_host`` on loopback at any free port, at most one at a time.

    The process reads the standard input it is given, and ends when that closes: with ``close()``, with this object,
    and with this program, however it ends.

    Args:
        gateway: Which gateway it shall have.
        data_dir: The folder of its own cache.
        as_of: The last day that a replay gateway shall know.
        token: The bearer token it shall ask for, if any.
    """

    def __init__(self, *, gateway: str, data_dir: Path, as_of: date, token: SecretStr | None = None) -> None:
        self._options = {
            "--bind": "127.0.0.1",
            "--port": "0",
            "--gateway": gateway,
            "--data-dir": str(data_dir),
            "--as-of": as_of.isoformat(),
        }
        self._token = token
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._end: weakref.finalize[[], EmbeddedHost] | None = None

    @property
    def url(self) -> str | None:
        """The base URL, while the host runs."""
        running = self._running
        return running.url if running is not None and running.is_alive() else None

    def start(self) -> str:
        """Start the host unless it runs; blocks until it accepts requests.

        Returns:
            Its base URL.

        Raises:
            ProviderUnavailableError: It did not start; the message has its last words.
        """
        with self._lock:
            if url := self.url:
                return url
            self._let_go()
            running = _Running(self._command(), self._environment())
            self._end = weakref.finalize(self, running.end)
            running.wait_until_ready()
            self._running = running
        log.info("started a host service at %s, gateway %s", running.url, self._options["--gateway"])
        return running.url

    def close(self) -> None:
        """End the host and wait for it; does nothing when none runs."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self._running = None
        if self._end is not None:
            self._end()
            self._end = None

    def _command(self) -> list[str]:
        # -P, so that a file in the working directory cannot pass for a module of the host.
        options = [text for option in self._options.items() for text in option]
        return [sys.executable, "-P", "-m", "symcache_host", "--until-stdin-closes", *options]

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name != "SYMCACHE_HOST_TOKEN"}
        if self._token is not None:
            environment["SYMCACHE_HOST_TOKEN"] = self._token.get_secret_value()
        return environment


class _Running:
    """One host process, and the files it is held by."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.url = ""
        self._owner = os.getpid()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process
        try:
            self._process = subprocess.Popen(  # noqa: S603  # this program's own interpreter and options
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                process_group=0,  # Ctrl-C is for the program, which may go on
            )
        except OSError as error:
            self._log.close()
            raise ProviderUnavailableError(f"the embedded host service cannot be started: {error}") from None

    def is_alive(self) -> bool:
        return bool(self.url) and self._process.poll() is None

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        limit = threading.Timer(START_LIMIT, self._process.kill)
        limit.start()
        try:
            self.url = json.loads(self._process.stdout.readline())["url"]
        except ValueError:
            status = self._process.wait()
            raise ProviderUnavailableError(
                f"the embedded host service ended with status {status} at its start: {self._last_words()}"
            ) from None
        finally:
            limit.cancel()

    def end(self) -> None:
        if os.getpid() != self._owner:
            return  # a forked child holds a copy, and the process is not its own
        with self._process as process, self._log:  # closes the pipes, standard input among them, and waits
            process.terminate()
            try:
                process.wait(END_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LAST_LINES:]) or "it said nothing"
