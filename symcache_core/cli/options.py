"""The options that every command takes, typed before the command's name or after it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from ..errors import ConfigurationError
from ..streams import has_no_reader
from .exits import Status
from .session import Session
from .watchlist import expand

P = ParamSpec("P")


def _expanded(symbols: list[str] | None) -> list[str]:
    try:
        return expand(symbols or ())
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from None


_SYMBOLS = typer.Argument(
    metavar="SYMBOL",
    help="Such as AAPL, BRK.B or EURUSD; @FILE for a file with one a line, - for standard input.",
    callback=_expanded,
)
Symbols = Annotated[list[str], _SYMBOLS]
OptionalSymbols = Annotated[list[str] | None, _SYMBOLS]

Timeframes = Annotated[
    list[str] | None,
    typer.Option(
        "--timeframe", "-t", metavar="TF", help="Also ask since when there are bars of this length; repeatable."
    ),
]


def _installed_backends() -> Iterable[str]:
    from ..registry import Registry

    return Registry().names()


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """What was given of the options that every command takes."""

    backend: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Storage backend.", autocompletion=_installed_backends),
    ] = None
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Configuration file (TOML).")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one JSON object for each result.")] = False
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, help="Log to standard error; -vv for more.", show_default=False),
    ] = 0

    def then(self, later: CommonOptions) -> CommonOptions:
        """These options, overridden by those that were typed later."""
        return CommonOptions(
            backend=self.backend if later.backend is None else later.backend,
            config=self.config if later.config is None else later.config,
            as_json=later.as_json or self.as_json,
            verbose=later.verbose + self.verbose,
        )


_COMMON = tuple(inspect.signature(CommonOptions, eval_str=True).parameters.values())


def group(function: Callable[Concatenate[typer.Context, P], None]) -> Callable[..., None]:
    """Make of a function what typer calls before a command: it also keeps the common options for that command."""

    @functools.wraps(function)
    def run(context: typer.Context, **values: Any) -> None:
        context.obj = (context.obj or CommonOptions()).then(_take_common(values))
        function(context, **values)  # type: ignore[call-arg]  # typer gives what the signature asks for

    return _with_common(run, function)


def command(function: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Make a command of a function that takes a session and parameters of its own.

    The command also takes the common options, reports every error, and ends with the session's exit status.
    """

    @functools.wraps(function)
    def run(context: typer.Context, **values: Any) -> None:
        options: CommonOptions = context.obj.then(_take_common(values))
        given = {"backend": options.backend, "config": options.config}
        session = Session(
            {name: value for name, value in given.items() if value is not None},
            as_json=options.as_json,
            verbosity=options.verbose,
        )
        with session.logging(), session.reporting():
            try:
                function(session, **values)  # type: ignore[call-arg]  # typer gives what the signature asks for
                sys.stdout.flush()  # what cannot be written shows here
            except KeyboardInterrupt:
                session.output.note("interrupted: what is stored stays, and the same command goes on from there")
                raise
            except OSError as error:
                if isinstance(error, BrokenPipeError) and has_no_reader():
                    raise typer.Exit(session.status) from None
                session.output.error(f"{error.filename or _without_a_name(error)}: {error.strerror or error}")
                session.end_with(Status.UNAVAILABLE)
        raise typer.Exit(session.status)

    return _with_common(run, function)


def _without_a_name(error: OSError) -> str:
    return "the working directory" if isinstance(error, FileNotFoundError) else "standard output"


def _take_common(values: dict[str, Any]) -> CommonOptions:
    return CommonOptions(**{parameter.name: values.pop(parameter.name) for parameter in _COMMON})


def _with_common(run: Callable[..., None], function: Callable[..., None]) -> Callable[..., None]:
    """Give ``run`` the signature that typer reads: a context, what ``function`` takes, the common options."""
    _first, *own = inspect.signature(function, eval_str=True).parameters.values()
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *_COMMON)]
    run.__signature__ = inspect.Signature([context, *keywords])  # type: ignore[attr-defined]  # inspect looks for it
    return run
