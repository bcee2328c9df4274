"""The commands of ``symcache``, and the options before them."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from .bars import bars
from .bars import export as export_bars
from .demo import demo
from .doctor import doctor
from .host import host
from .load import load
from .new import backend as new_backend
from .new import new
from .options import command, group
from .series import series
from .storage import backends, clear, compact, stats
from .symbols import forget, get, list_, validate
from .transfer import export, import_, migrate
from .warm import warm
from .why import why


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"symcache {version_of('symcache')}")
        raise typer.Exit


def symcache(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Ask a data provider once about a trading symbol, and keep the answer.

    Data goes to standard output: a table on a terminal, else tab-separated
    rows, or with --json one JSON object a line. Everything else goes to
    standard error.

    Exit status, the worst one of several symbols:
      0  done
      1  the answer is no: an invalid symbol, or one that is not cached
      2  wrong usage or configuration; a symbol that has to say more
      3  provider or storage unavailable
    130  interrupted
    """


app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.callback()(group(symcache))

bars_app = typer.Typer(no_args_is_help=True)
bars_app.callback()(group(bars))
bars_app.command("export")(command(export_bars))

new_app = typer.Typer(no_args_is_help=True)
new_app.callback()(group(new))
new_app.command("backend")(command(new_backend))

SYMBOLS, STORAGE, SERVICE = "Symbols", "Storage", "Service"
app.command(rich_help_panel=SYMBOLS)(command(load))
app.command(rich_help_panel=SYMBOLS)(command(validate))
app.command(rich_help_panel=SYMBOLS)(command(warm))
app.command(rich_help_panel=SYMBOLS)(command(get))
app.command(rich_help_panel=SYMBOLS)(command(why))
app.command("list", rich_help_panel=SYMBOLS)(command(list_))
app.command(rich_help_panel=SYMBOLS)(command(forget))
app.command(rich_help_panel=STORAGE)(command(stats))
app.command(rich_help_panel=STORAGE)(command(clear))
app.command(rich_help_panel=STORAGE)(command(compact))
app.command(rich_help_panel=STORAGE)(command(backends))
app.command(rich_help_panel=STORAGE)(command(series))
app.add_typer(bars_app, name="bars", rich_help_panel=STORAGE)
app.add_typer(new_app, name="new", rich_help_panel=STORAGE)
app.command("import", rich_help_panel=STORAGE)(command(import_))
app.command(rich_help_panel=STORAGE)(command(export))
app.command(rich_help_panel=STORAGE)(command(migrate))
app.command(rich_help_panel=SERVICE)(command(doctor))
app.command(
    rich_help_panel=SERVICE,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)(command(host))
app.command(rich_help_panel=SERVICE)(command(demo))
