"""The commands of ``tunnels``: one verb a file; here they are put together."""

from __future__ import annotations

from typing import Annotated

import typer

from tunnels import __version__
from tunnels.cli import check, daemon, demo, down, edit, init, listing, logs, reload, restart, status, up
from tunnels.cli.common import set_config

app = typer.Typer(
    name="tunnels",
    help="Keeps SSH tunnels up.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        print(f"tunnels {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _global_options(
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE", help="The profile file (default: TUNNELS_CONFIG, else the usual one)."
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keeps SSH tunnels up.

    Write down once which ports you need (`tunnels edit`), say `tunnels up NAME`, and they work.
    """
    set_config(config)


app.command("up")(up.up)
app.command("down")(down.down)
app.command("restart")(restart.restart)
app.command("reload")(reload.reload)
app.command("status")(status.status)
app.command("list")(listing.list_profiles)
app.command("logs")(logs.logs)
app.command("check")(check.check)
app.command("init")(init.init)
app.command("edit")(edit.edit)
app.command("demo")(demo.demo)
app.add_typer(daemon.app, name="daemon")


def main() -> None:
    """The ``tunnels`` command."""
    app(prog_name="tunnels")
