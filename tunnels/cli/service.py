"""``tunnels service``: the daemon as a service, which starts at login or boot and comes back when it dies."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tunnels import ending, spawn
from tunnels.cli import output, render
from tunnels.cli.options import ConfigOption, JsonOption
from tunnels.cli.run import chosen_config, config_path, verb
from tunnels.core.logline import printable
from tunnels.core.status import JSON_VERSION, Json, format_time
from tunnels.errors import DaemonNotRunning, ServiceError, TunnelsError, UsageError
from tunnels.service import here
from tunnels.service.files import Account
from tunnels.service.manager import Manager, State

app = typer.Typer(
    add_completion=False,
    help="Start the daemon at login or boot: systemd or launchd.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

#: As `systemctl status` has it.
NOT_RUNNING = 3

SystemOption = Annotated[
    bool, typer.Option("--system", help="For the whole machine: starts at boot. Needs root, and systemd.")
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="NAME", help="With --system: who it runs as (default: who used sudo)."),
]


@app.command("install")
@verb
def install(
    system: SystemOption = False,
    user: UserOption = None,
    only_print: Annotated[bool, typer.Option("--print", help="Show the file and install nothing.")] = False,
    config: ConfigOption = None,
) -> int:
    """Install the service, or bring it up to date, and start it. The tunnels that are up come back with it.

    Example: tunnels service install
    """
    account, manager = _which(system, user)
    named = chosen_config(config)
    path = here.config_of(account) if account is not None and named is None else config_path(config)
    text = manager.render(here.service(path, os.environ, account))
    if only_print:
        print(text, end="")  # noqa: T201 - a file, as it is
        return 0
    _need_root(system)
    manager.check()
    was = manager.state(now=time.time(), monotonic=time.monotonic())
    before = manager.put(text)
    if before is None or before != text:
        output.out().print(f"wrote {manager.file}", markup=False, soft_wrap=True)
    _start(manager, was, before, text, path, own=account is None)
    state = manager.state(now=time.time(), monotonic=time.monotonic())
    pid = f", pid {state.pid}" if state.pid else ""
    output.out().print(f"the service runs{pid}", markup=False)
    _explain(manager, state, account)
    return 0


@app.command("uninstall")
@verb
def uninstall(system: SystemOption = False, user: UserOption = None) -> int:
    """End the service and remove what `install` wrote. Its tunnels go down.

    Example: tunnels service uninstall
    """
    _, manager = _which(system, user)
    _need_root(system)
    if manager.text() is None:
        output.note(f"there is no {manager.file}: nothing to do")
        return 0
    manager.check()
    manager.uninstall()
    output.out().print(f"removed {manager.file}", markup=False, soft_wrap=True)
    output.note("`tunnels up` starts the daemon without a service from now on")
    return 0


@app.command("status")
@verb
def status(system: SystemOption = False, user: UserOption = None, as_json: JsonOption = False) -> int:
    """Say whether the service is installed and runs. Exit code 3: it does not run.

    Example: tunnels service status
    """
    _, manager = _which(system, user)
    state = manager.state(now=time.time(), monotonic=time.monotonic())
    if as_json:
        output.print_json({"version": JSON_VERSION, "service": _to_json(state)})
    else:
        _show(state)
    return 0 if state.active else NOT_RUNNING


def _which(system: bool, user: str | None) -> tuple[Account | None, Manager]:
    """The service that is meant. Raises UsageError, or ServiceError where there can be none."""
    if not system:
        if user is not None:
            raise UsageError("--user needs --system", hint="without them the service is your own")
        return None, here.user_manager()
    account = here.account_of(user, os.environ)
    return account, here.system_manager(account)


def _need_root(system: bool) -> None:
    if system and os.geteuid() != 0:
        raise UsageError("--system needs root", hint=f"sudo {' '.join(['tunnels', *sys.argv[1:]])}")


def _start(manager: Manager, was: State, before: str | None, text: str, config: Path, *, own: bool) -> None:
    """Start what was installed, in the place of a daemon that was started from a terminal.

    What should be up is on disk, and whoever comes next takes it up. Raises ServiceError, and then the
    daemon that was there is there again and nothing is installed that was not.
    """
    ended = False
    try:
        if was.active and before == text:
            return
        if own and not was.active:  # another user's commands start no daemon of ours
            ended = _end_daemon()
        if before is None or before == text:
            manager.start()
        else:
            manager.restart()
    except TunnelsError as error:
        manager.put_back(before)
        if ended:
            spawn.start_detached(config).close()
        if not own and isinstance(error, ServiceError):
            hint = "does a daemon of that user run already? `tunnels daemon stop` as that user ends it"
            raise ServiceError(error.message, hint=hint) from error
        raise


def _end_daemon() -> bool:
    try:
        names = ending.end_daemon()
    except DaemonNotRunning:
        return False
    output.note("the daemon that was started from a terminal has ended; the service takes its place")
    if names:
        output.note(f"these come back with it: {', '.join(names)}")
    return True


def _explain(manager: Manager, state: State, account: Account | None) -> None:
    """What surprises people about services."""
    if state.lingering is False:
        output.note(
            "It starts when you log in and ends when you log out. To have it start at boot and stay:\n"
            "  loginctl enable-linger"
        )
    if manager.kind != "launchd":
        owner = "you" if account is None else account.name
        output.note(
            "It does not see the SSH agent of a terminal (SSH_AUTH_SOCK) before `tunnels up` is said there. For\n"
            "what must come up by itself, let a profile name a key without a\n"
            f"passphrase (identity_file) that only {owner} can read, or let the IdentityAgent of ~/.ssh/config\n"
            "name an agent that is always there."
        )


def _show(state: State) -> None:
    out = output.out()
    if not state.installed:
        out.print("not installed")
        output.note("`tunnels service install` installs it")
        return
    since = f" for {render.duration(max(0.0, time.time() - state.since))}" if state.since is not None else ""
    pid = f", pid {state.pid}" if state.pid else ""
    out.print(f"{printable(state.state)}{since}{pid}", markup=False)
    if state.status and state.active:  # of one that has ended it is the last thing that was said
        out.print(printable(state.status), markup=False)
    if state.restarts:
        out.print(f"started again {render.plural(state.restarts, 'time')} after it had failed", markup=False)
    starts = "at boot" if state.kind == "systemd-system" or state.lingering else "at login"
    out.print(f"starts by itself: {starts if state.enabled else 'no'}", markup=False)
    if state.lingering is False:
        out.print("ends at the logout: yes (`loginctl enable-linger` changes that)", markup=False)
    out.print(f"file: {state.file}", markup=False, soft_wrap=True)


def _to_json(state: State) -> Json:
    return {**state._asdict(), "since": None if state.since is None else format_time(state.since)}
