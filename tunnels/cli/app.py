"""The commands of ``tunnels``: one verb a file. Only the verb that is typed is imported."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from tunnels import __version__
from tunnels.cli.run import set_config

#: Every verb, in the order of the help, with its module and its name there.
VERBS: dict[str, tuple[str, str]] = {
    "up": ("up", "up"),
    "open": ("open", "open_tunnel"),
    "down": ("down", "down"),
    "restart": ("restart", "restart"),
    "reload": ("reload", "reload"),
    "status": ("status", "status"),
    "clients": ("clients", "clients"),
    "ui": ("ui", "ui"),
    "auth": ("auth", "auth"),
    "list": ("listing", "list_profiles"),
    "logs": ("logs", "logs"),
    "why": ("why", "why"),
    "check": ("check", "check"),
    "doctor": ("doctor", "doctor"),
    "harden": ("harden", "harden"),
    "init": ("init", "init"),
    "add": ("add", "add"),
    "import": ("import_", "import_hosts"),
    "edit": ("edit", "edit"),
    "schema": ("schema", "schema"),
    "browse": ("browse", "browse"),
    "exec": ("execute", "app"),
    "env": ("env", "env"),
    "leaktest": ("leaktest", "leaktest"),
    "demo": ("demo", "demo"),
    "service": ("service", "app"),
    "daemon": ("daemon", "app"),
}


#: Verbs that take the flags of ssh, which typer is not to know. Without a short option of ours: a flag and its
#: value may be one word, as in -L5432:host:5432, and typer would look for an -h in that.
WITH_SSH_FLAGS = {"open", "add"}


#: What typer raises for a command line that is no good. It is public there by its children alone.
_Wrong = cast("type[Exception]", typer.BadParameter.__base__)


@contextlib.contextmanager
def _in_our_words(context: Any = None) -> Iterator[None]:
    """A command line that is no good is an error like every other, and ends the program."""
    try:
        yield
    except _Wrong as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        from tunnels.cli import mistyped, output  # noqa: PLC0415 - only after a slip

        words = sys.argv[1:]
        verb = None if context is None else context.invoked_subcommand
        said = mistyped.explain(error, words, f"tunnels {verb}" if verb in VERBS else "tunnels")
        ours = words[: words.index("--")] if "--" in words else words
        output.show_error(said, as_json="--json" in ours)
        sys.exit(said.exit_code)


class Verbs(TyperGroup):
    """Finds a verb when it is needed: all of them together would cost every command 100 ms."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """What stands before the verb."""
        with _in_our_words():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """The verb, and what stands behind it."""
        with _in_our_words(ctx):
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, for the help and for completion."""
        return list(VERBS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb and its arguments; a lone -h is no flag of ssh, and asks for help there too."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, ["--help"] if name in WITH_SSH_FLAGS and rest == ["-h"] else rest

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One verb, ready to run; None if there is no such."""
        found = VERBS.get(cmd_name)
        if found is None:
            return None
        module, attribute = found
        target = getattr(importlib.import_module(f"tunnels.cli.{module}"), attribute)
        if not isinstance(target, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            settings = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
            single.command(cmd_name, context_settings=settings if cmd_name in WITH_SSH_FLAGS else None)(
                target
            )
            target = single
        command = get_command(target)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="tunnels",
    cls=Verbs,
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

    Write down once which ports you need (tunnels edit), say `tunnels up NAME`, and they work.
    """
    set_config(config)
