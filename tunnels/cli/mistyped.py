"""A command line that is no good: what typer says about it becomes an error like every other."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

from tunnels.core.address import quoted
from tunnels.errors import UsageError

#: How others call what is called otherwise here: what to type instead, behind ``tunnels``.
NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "ls": ("list", "status"),
    "show": ("status", "list"),
    "ps": ("status",),
    "start": ("up",),
    "connect": ("up",),
    "run": ("up",),
    "stop": ("down",),
    "disconnect": ("down",),
    "close": ("down",),
    "kill": ("down",),
    "rm": ("edit", "down"),
    "remove": ("edit", "down"),
    "delete": ("edit", "down"),
    "new": ("add",),
    "create": ("add",),
    "config": ("edit",),
    "test": ("check", "doctor"),
    "debug": ("doctor",),
    "ssh": ("open",),
    "version": ("--version",),
    "-V": ("--version",),
    "-v": ("--version",),
    "help": ("--help",),
}


def explain(error: Any, words: Sequence[str], path: str) -> UsageError:
    """Say what is wrong with a command line.

    ``error`` is typer's; ``words`` is what was typed behind ``tunnels``, and ``path`` the command that was
    found in it: ``tunnels up``.
    """
    context = error.ctx
    if context is not None:
        path = context.command_path
    said = str(error.format_message())
    command = re.match(r"No such command '(.+?)'", said)
    if command is not None and context is not None:
        return no_command(command[1], context.command.list_commands(context), words, path)
    option = re.match(r"No such option: (\S+)", said)
    if option is not None:
        known = [] if context is None else [one for each in context.command.params for one in each.opts]
        return no_option(option[1], known, path)
    return UsageError(f"{said[:1].lower()}{said[1:].rstrip('.')}", hint=_help(path))


def no_command(name: str, known: Collection[str], words: Sequence[str], path: str) -> UsageError:
    """There is no such command; which one may have been meant."""
    message = f"there is no command {quoted(name)}"
    if path != "tunnels":
        close = [f"{path} {each}" for each in get_close_matches(name, known)]
        return UsageError(f"{message} of `{path}`", hint=_did_you_mean(close) or _help(path))
    following = words[words.index(name) + 1 :] if name in words else ()
    if name == "help" and following and following[0] in known:
        return UsageError(message, hint=_did_you_mean([f"tunnels {following[0]} --help"]))
    meant = NEIGHBOURS.get(name) or get_close_matches(name, known)
    return UsageError(message, hint=_did_you_mean([f"tunnels {each}" for each in meant]) or _help(path))


def no_option(name: str, known: Collection[str], path: str) -> UsageError:
    """There is no such option; which one may have been meant."""
    close: Sequence[str] = get_close_matches(name, known)
    if path == "tunnels":
        close = NEIGHBOURS.get(name) or close
    return UsageError(
        f"`{path}` has no option {name}",
        hint=_did_you_mean([f"{path} {each}" for each in close]) or _help(path),
    )


def _did_you_mean(lines: Sequence[str]) -> str | None:
    return f"did you mean {' or '.join(f'`{line}`' for line in lines)}?" if lines else None


def _help(path: str) -> str:
    return f"`{path} --help` shows what there is"
