"""``docs/reference/commands.md``, made from the help of the program."""

from __future__ import annotations

from collections.abc import Sequence

from tools.command_tree import Command, Option, commands

_HEAD = """\
# Commands

Made from the program; `tunnels COMMAND --help` says the same. Results go to stdout, everything else to stderr.
`--json` is one document on stdout, also on errors. Names of profiles can be globs: `tunnels up 'work-*'`.

## Exit codes

| code | meaning |
| --- | --- |
| 0 | as asked |
| 1 | a tunnel is not in the state that was asked for |
| 2 | the command line or the profile file is wrong |
| 3 | not running: the tunnel, or the daemon |
| 4 | no such profile |
| 5 | a person must answer something, and there is no terminal |
| 130 | interrupted |

`tunnels exec` ends with the code of its command; 127 is a command that does not exist, 126 one that cannot be run.

## Environment

| variable | meaning |
| --- | --- |
| `TUNNELS_CONFIG` | the profile file, where `--config` does not say it |
| `TUNNELS_RUNTIME_DIR` | the folder of the control socket |
| `TUNNELS_STATE_DIR` | the folder of the log, the history, and what should be up |
| `TUNNELS_DEBUG` | `1` shows tracebacks |
| `TUNNELS_FAST_PATH` | `off` leaves the data to asyncssh alone; for measuring and for finding faults |
| `NO_COLOR` | no colours |
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(_section(command) for command in commands())])


def _section(command: Command) -> str:
    parts = [f"## `{command.name}`", *(cell(each) for each in command.paragraphs)]
    parts.append(f"```text\n{command.usage}\n```")
    if command.example:
        parts.append(f"```console\n$ {command.example}\n```")
    rows = [*command.arguments, *(each for each in command.options if "--help" not in each.written)]
    if rows:
        parts.append(_table(rows))
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Option]) -> str:
    lines = [f"| `{cell(row.written)}` | {cell(row.text)} |" for row in rows]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def cell(text: str) -> str:
    """Return a text that Markdown shows as it is, also in a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
