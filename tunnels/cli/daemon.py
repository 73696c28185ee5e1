"""``tunnels daemon``: the background process itself."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Annotated

import typer

from tunnels import control_socket, desired_state, paths
from tunnels.cli import output, render
from tunnels.cli.options import ConfigOption, JsonOption
from tunnels.cli.run import config_path, verb
from tunnels.client import Client
from tunnels.core.status import JSON_VERSION
from tunnels.errors import ControlError, DaemonNotRunning, VersionMismatch

app = typer.Typer(
    help="The background process that keeps the tunnels.", no_args_is_help=True, rich_markup_mode=None
)

#: Seconds for a daemon to end; it allows its tunnels 10.
STOP_TIMEOUT = 15.0


@app.command("run")
@verb
def run(
    config: ConfigOption = None,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> int:
    """Be the daemon, in the foreground. `tunnels up` starts one in the background by itself.

    Example: tunnels daemon run
    """
    from tunnels.daemon.app import ready_on, run_daemon  # noqa: PLC0415 - the engine, which only this needs

    return run_daemon(config_path(config), ready=ready_on(ready_fd))


@app.command("stop")
@verb
def stop(as_json: JsonOption = False) -> int:
    """End the daemon. Its tunnels go down, and come back when the next one starts.

    Example: tunnels daemon stop
    """
    names = end()
    if as_json:
        output.print_json({"version": JSON_VERSION, "tunnels": list(names)})
        return 0
    output.out().print("the daemon has ended")
    if names:
        output.note(f"with the next daemon these come back: {', '.join(names)}")
    return 0


@app.command("status")
@verb
def status(as_json: JsonOption = False) -> int:
    """Say whether the daemon runs. Exit code 3: it does not.

    Example: tunnels daemon status
    """
    with Client.connect() as client:
        snapshot = client.status()
    assert snapshot.daemon is not None
    daemon = snapshot.daemon
    if as_json:
        output.print_json({"version": JSON_VERSION, "daemon": daemon.to_json()})
        return 0
    out = output.out()
    since = render.duration(time.time() - daemon.started_at)
    out.print(f"running for {since}, pid {daemon.pid}, version {daemon.version}", markup=False)
    out.print(f"profile file: {daemon.config}", markup=False, soft_wrap=True)
    out.print(f"log: {paths.log_file()}", markup=False, soft_wrap=True)
    out.print(render.plural(len(snapshot.tunnels), "tunnel"), markup=False)
    if daemon.config_error is not None:
        output.note(f"the profile file has a problem:\n{daemon.config_error}")
    return 0


def end() -> list[str]:
    """End the daemon and wait until it has. Returns the tunnels that come back with the next one.

    Raises DaemonNotRunning.
    """
    names = _ask_to_end()
    _wait_until_gone()
    return names


def _ask_to_end() -> list[str]:
    """Ask over the control socket; a daemon that does not understand or answer is sent a SIGTERM, which says the same.

    Returns the tunnels that come back, as far as they are known.
    """
    try:
        with Client.connect() as client:
            return client.shutdown()
    except DaemonNotRunning:
        raise
    except ControlError as error:
        pid = error.pid if isinstance(error, VersionMismatch) else _holder_of_the_lock()
        if pid is None:
            raise ControlError(
                error.message, hint="end its process by hand; its tunnels come back"
            ) from error
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    return list(desired_state.load(paths.state_file()).tunnels)


def _holder_of_the_lock() -> int | None:
    """The pid of the daemon, from the lock that it holds; None if nobody does."""
    lock = control_socket.Lock(paths.lock_file())
    try:
        return None if lock.acquire() else lock.holder
    finally:
        lock.release()


def _wait_until_gone() -> None:
    """Its lock is free when it has ended, and not before."""
    deadline = time.monotonic() + STOP_TIMEOUT
    while True:
        lock = control_socket.Lock(paths.lock_file())
        try:
            if lock.acquire():
                return
        finally:
            lock.release()
        if time.monotonic() > deadline:
            raise ControlError(
                f"the daemon did not end within {STOP_TIMEOUT:g} s", hint="`tunnels logs` may say why"
            )
        time.sleep(0.02)
