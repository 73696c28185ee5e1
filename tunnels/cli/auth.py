"""``tunnels auth``: answer the questions that tunnels wait with, from any terminal or from a script."""

from __future__ import annotations

import fnmatch
import sys
from typing import Annotated

import typer

from tunnels import profiles, spawn
from tunnels.cli import asking, known, output
from tunnels.cli.options import ConfigOption, JsonOption, WaitingNames
from tunnels.cli.run import config_path, verb
from tunnels.cli.up import DEFAULT_TIMEOUT, seconds_of
from tunnels.cli.waiting import Waiting
from tunnels.core.standing import needs_answer
from tunnels.core.state import WORKING, TunnelState
from tunnels.core.status import Snapshot, TunnelStatus
from tunnels.errors import DaemonNotRunning, NotAsAsked, UsageError

#: A tunnel in one of these may have a question at any moment.
_ON_ITS_WAY = frozenset({TunnelState.CONNECTING})


@verb
def auth(
    names: WaitingNames = None,
    from_stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the answers from standard input, one a line.")
    ] = False,
    save: Annotated[
        bool, typer.Option("--save", help="Put what proves good into the keyring; never a one-time password.")
    ] = False,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long to wait for the tunnels after the answers.")
    ] = DEFAULT_TIMEOUT,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Answer the questions that tunnels wait with, and wait until each is up.

    Without a name: of every tunnel that waits.

    Example: tunnels auth work-db
    """
    seconds = seconds_of(timeout)
    if from_stdin and sys.stdin.isatty():
        raise UsageError(
            "--stdin is for scripts: a terminal would show what you type",
            hint="leave it out to be asked here",
        )
    try:
        client = spawn.find_daemon()
    except DaemonNotRunning:
        for name in names or []:
            _check_name(name, config)
        raise
    with client:
        snapshot = client.status()
        wanted = _meant(snapshot, names or [], config)
        followed = [t for t in wanted if needs_answer(t) or t.state in _ON_ITS_WAY]
        code = _say_of_others([t for t in wanted if t not in followed], as_json=as_json)
        if not followed:
            if as_json:
                output.print_json(snapshot._replace(tunnels=tuple(wanted)).to_json())
            elif not wanted:
                output.note("no tunnel waits for an answer")
            return code
        path = str(config_path(config)) if snapshot.daemon is None else snapshot.daemon.config
        who = asking.Script(sys.stdin.buffer) if from_stdin else asking.person()
        waiting = Waiting(
            client,
            [tunnel.name for tunnel in followed],
            seconds,
            who=who,
            config=path,
            as_json=as_json,
            save=save,
            starts=False,
        )
        return waiting.run() or code


def _meant(snapshot: Snapshot, names: list[str], config: str | None) -> list[TunnelStatus]:
    """The tunnels that are meant. Raises NoSuchProfile; DaemonNotRunning for one that is in the file only."""
    if not names:
        return [tunnel for tunnel in snapshot.tunnels if needs_answer(tunnel)]
    for name in names:
        if not any(fnmatch.fnmatchcase(tunnel.name, name) for tunnel in snapshot.tunnels):
            _check_name(name, config)
            raise DaemonNotRunning(f"{name} is not running", hint=f"`tunnels up {name}` starts it, and asks")
    # Of those that a glob matches, the ones that wait are meant.
    return [
        tunnel
        for tunnel in snapshot.tunnels
        if tunnel.name in names
        or (needs_answer(tunnel) and any(fnmatch.fnmatchcase(tunnel.name, name) for name in names))
    ]


def _check_name(name: str, config: str | None) -> None:
    """A name that is not in the file either is a mistake. Raises NoSuchProfile."""
    profiles.select(known.load(config_path(config)), [name])


def _say_of_others(tunnels: list[TunnelStatus], *, as_json: bool) -> int:
    """Say of each that there is nothing to answer. One that does not work is not as it should be after this."""
    code = 0
    for tunnel in tunnels:
        works = tunnel.state in WORKING
        code = code if works else NotAsAsked.exit_code
        if as_json:
            continue
        why = f": {tunnel.error.message}" if not works and tunnel.error is not None else ""
        output.note(f"{tunnel.name} waits for no answer; it is {tunnel.state.value}{why}")
        if not works and tunnel.error is not None and tunnel.error.hint:
            output.note(f"→ {tunnel.error.hint}")
    return code
