"""Reads the command line and turns every way to fail at the start into one line and an exit status."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from symcache_core.errors import ConfigurationError, SymcacheError
from symcache_core.streams import let_messages_get_lost, open_closed_streams

from .settings import HostSettings

WRONG_USAGE = 2
UNAVAILABLE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the host service until it is told to stop.

    Args:
        arguments: The command line; the process's own when left out.

    Returns:
        The exit status: 0 stopped, 2 wrong usage or configuration, 3 the host's storage is out of reach.
    """
    open_closed_streams()
    let_messages_get_lost()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read_settings(arguments)
        from .server import serve  # here, so that a missing extra is told from a fault of our own

        serve(settings)
    except KeyboardInterrupt:
        return 0
    except ModuleNotFoundError as error:
        return _fail(f"{error}; the host service needs: pip install 'symcache[host]'", WRONG_USAGE)
    except ConfigurationError as error:
        return _fail(str(error), WRONG_USAGE)
    except SymcacheError as error:
        return _fail(str(error), UNAVAILABLE)
    return 0


def read_settings(arguments: Sequence[str] | None) -> HostSettings:
    """The settings, with what the command line says over the environment.

    Raises:
        ConfigurationError: An option or a setting is unknown or wrong.
    """
    parser = _Parser(
        prog="python -m symcache_host",
        description="Answer for a data provider over HTTP.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, field in HostSettings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            parser.add_argument(flag, action="store_true", help=field.description)
        else:
            shown = "" if field.default is None else f" (default: {field.default})"
            parser.add_argument(flag, help=f"{field.description}{shown}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        names = [argument.partition("=")[0] for argument in unknown if argument.startswith("--")]
        parser.error(f"unknown arguments: {', '.join(names) or 'no option has a name without two dashes'}")
    return HostSettings(**vars(options))


class _Parser(argparse.ArgumentParser):
    """Names options and never shows their values: the token may be among them, behind a mistyped name."""

    def error(self, message: str) -> NoReturn:
        quoted = re.search(r":? *['\"]", message)
        shown = message[: quoted.start()] if quoted else message
        raise ConfigurationError(f"{shown}; see {self.prog} --help")


def _fail(message: str, status: int) -> int:
    print(f"symcache_host: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201  # a command's answer
    return status
