"""``tunnels up``: start tunnels, wait until each is up, and ask what only a person can answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from tunnels import profiles, spawn
from tunnels.cli import output, render
from tunnels.cli.options import AllOption, ConfigOption, JsonOption, ProfileNames, TagOption
from tunnels.cli.run import config_path, verb
from tunnels.client import Client
from tunnels.core.durations import parse_duration
from tunnels.core.logline import printable
from tunnels.core.profile import Profile
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import Snapshot, TunnelStatus
from tunnels.errors import AlreadyAnswered, NeedsPerson, NotAsAsked, TunnelsError, UsageError

#: Seconds that `up` waits for its tunnels; they go on trying afterwards.
DEFAULT_TIMEOUT = "30s"


@verb
def up(
    names: ProfileNames = None,
    tag: TagOption = None,
    everything: AllOption = False,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long to wait; the tunnels go on trying afterwards.")
    ] = DEFAULT_TIMEOUT,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Start them and return at once.")] = False,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", "-f", help="Without the daemon, until SIGTERM; log lines on stderr."),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Start tunnels and wait until each is up.

    Example: tunnels up work-db
    """
    path = config_path(config)
    seconds = seconds_of(timeout)
    file = profiles.load(path)
    wanted = profiles.select(file, names or [], tags=tag or [], everything=everything)
    if foreground:
        from tunnels.daemon.app import run_foreground  # noqa: PLC0415 - the engine, which only this needs

        return run_foreground(path, wanted)
    with spawn.ensure_daemon(path) as client:
        found = client.up([profile.name for profile in wanted], str(path))
        for name, what in found.items():
            if what == "changed":
                output.note(
                    f"{name} runs with an older version of its profile; `tunnels reload` applies the new one"
                )
        if no_wait:
            return _started(client.status(), wanted, as_json=as_json)
        return wait_until_up(client, wanted, seconds, as_json=as_json)


def wait_until_up(client: Client, wanted: list[Profile], timeout: float, *, as_json: bool) -> int:
    """Wait until each tunnel is up, or cannot be, or the time is over; says which. Returns the exit code."""
    return _Waiting(client, wanted, timeout, as_json=as_json).run()


def seconds_of(timeout: str) -> float:
    """The value of ``--timeout``. Raises UsageError."""
    try:
        return parse_duration(timeout)
    except (TunnelsError, ValueError) as exc:
        raise UsageError(f"--timeout: {exc}", hint="for example 30s or 2m") from exc


def _started(snapshot: Snapshot, wanted: list[Profile], *, as_json: bool) -> int:
    names = {profile.name for profile in wanted}
    tunnels = tuple(tunnel for tunnel in snapshot.tunnels if tunnel.name in names)
    if as_json:
        output.print_json(snapshot._replace(tunnels=tunnels).to_json())
    else:
        for tunnel in tunnels:
            output.out().print(f"{tunnel.name}: {tunnel.state.value}")
    return 0


class _Waiting:
    """Watches the tunnels until each is up, or cannot be, or the time is over."""

    def __init__(self, client: Client, wanted: list[Profile], timeout: float, *, as_json: bool) -> None:
        self._client = client
        self._names = [profile.name for profile in wanted]
        self._timeout = timeout
        self._as_json = as_json
        self._reported: set[str] = set()
        self._answered: set[str] = set()
        self._deadline = time.monotonic() + timeout
        self._errors: list[TunnelsError] = []

    def run(self) -> int:
        last = Snapshot(None)
        with self._spinner() as say:
            for snapshot in self._client.watch(0.25):
                last = snapshot
                open_names = [n for n in self._names if n not in self._reported]
                for tunnel in snapshot.tunnels:
                    if tunnel.name in open_names:
                        self._look_at(tunnel, say)
                open_names = [n for n in self._names if n not in self._reported]
                if not open_names:
                    break
                if time.monotonic() >= self._deadline:
                    self._time_is_over(snapshot, open_names)
                    break
        return self._finish(last)

    @contextlib.contextmanager
    def _spinner(self) -> Iterator[_Say]:
        if self._as_json or not output.err().is_terminal:
            yield _Say(None)
            return
        with output.err().status("starting") as shown:
            yield _Say(shown)

    def _look_at(self, tunnel: TunnelStatus, say: _Say) -> None:
        match tunnel.state:
            case TunnelState.IDLE if any(
                f.state is ForwardState.PENDING and f.kind != "remote" for f in tunnel.forwards
            ):
                pass  # its ports are being bound
            case TunnelState.UP | TunnelState.IDLE:
                self._report_up(tunnel, say)
            case TunnelState.FAILED | TunnelState.STOPPED | TunnelState.STOPPING:
                self._report_failed(tunnel, say)
            case TunnelState.NEEDS_INPUT:
                self._ask(tunnel, say)
            case _:
                say.step(f"{tunnel.name}: {_step(tunnel)}")

    def _report_up(self, tunnel: TunnelStatus, say: _Say) -> None:
        self._reported.add(tunnel.name)
        failed = [forward for forward in tunnel.forwards if forward.state is ForwardState.FAILED]
        for forward in failed:
            why = forward.error.message if forward.error is not None else "it does not listen"
            hint = forward.error.hint if forward.error is not None else None
            self._errors.append(NotAsAsked(f"{tunnel.name}: {render.route(forward)}: {why}", hint=hint))
        if self._as_json:
            return
        with say.paused():
            # What failed is an error, and comes after all results.
            working = tuple(forward for forward in tunnel.forwards if forward not in failed)
            shown = tunnel._replace(error=None, forwards=working)
            output.print_lines(render.tunnel_lines(shown, time.time()))

    def _report_failed(self, tunnel: TunnelStatus, say: _Say) -> None:
        self._reported.add(tunnel.name)
        error = tunnel.error
        message = error.message if error is not None else "it was taken down"
        self._errors.append(
            NotAsAsked(f"{tunnel.name}: {message}", hint=error.hint if error is not None else None)
        )
        say.step(f"{tunnel.name}: {message}")

    def _ask(self, tunnel: TunnelStatus, say: _Say) -> None:
        question = tunnel.question
        if question is None or question.id in self._answered:  # snapshots that were sent while we asked
            return
        if not output.interactive() or self._as_json:
            self._reported.add(tunnel.name)
            error = NeedsPerson(
                f"{tunnel.name} needs an answer: {question.text.splitlines()[0]}",
                hint=f"run `tunnels up {tunnel.name}` on a terminal",
            )
            self._errors.append(error)
            return
        with say.paused(), Client.connect() as client:  # this client's connection is busy with the watch
            asked = time.monotonic()
            output.note(f"\n{question.text}")
            answer = output.ask(question.prompt, secret=question.secret)
            self._deadline += time.monotonic() - asked  # a person who compares fingerprints has all the time
            if answer is None:
                self._reported.add(tunnel.name)
                self._errors.append(
                    NeedsPerson(f"{tunnel.name} waits for an answer", hint=f"tunnels up {tunnel.name}")
                )
                return
            try:
                client.answer(tunnel.name, question.id, answer)
                self._answered.add(question.id)
            except AlreadyAnswered:  # on another terminal, while this person was thinking
                self._answered.add(question.id)
            except UsageError as error:
                output.show_error(error)  # asked again with the next snapshot
            except TunnelsError as error:  # the person said no: there is nothing left to wait for
                client.down([tunnel.name])
                self._reported.add(tunnel.name)
                self._errors.append(
                    NotAsAsked(f"{tunnel.name} was not started: {error.message}", hint=error.hint)
                )

    def _time_is_over(self, snapshot: Snapshot, names: list[str]) -> None:
        by_name = {tunnel.name: tunnel for tunnel in snapshot.tunnels}
        for name in names:
            tunnel = by_name.get(name)
            error = tunnel.error if tunnel is not None else None
            why = f": {error.message}" if error is not None else ""
            self._errors.append(
                NotAsAsked(
                    f"{name} is not up after {self._timeout:g} s{why}",
                    hint=(error.hint if error is not None and error.hint else None)
                    or f"it goes on trying; `tunnels status {name}` shows how, `tunnels down {name}` ends it",
                )
            )

    def _finish(self, snapshot: Snapshot) -> int:
        if self._as_json:
            tunnels = tuple(tunnel for tunnel in snapshot.tunnels if tunnel.name in self._names)
            document = snapshot._replace(tunnels=tunnels).to_json()
            output.print_json(document)
        else:
            for error in self._errors:
                output.show_error(error)
        codes = {error.exit_code for error in self._errors}
        if codes == {NeedsPerson.exit_code}:
            return NeedsPerson.exit_code
        return NotAsAsked.exit_code if codes else 0


def _step(tunnel: TunnelStatus) -> str:
    if tunnel.offline:
        return "offline, waits for the network"
    return f"connecting to {tunnel.host}" if tunnel.error is None else tunnel.error.message


class _Say:
    """The step that is shown beside the spinner, where there is one."""

    def __init__(self, shown: object) -> None:
        from rich.status import Status  # noqa: PLC0415

        self._shown = shown if isinstance(shown, Status) else None

    def step(self, text: str) -> None:
        """Show what is being done."""
        if self._shown is not None:
            from rich.text import Text  # noqa: PLC0415

            self._shown.update(Text(printable(text)))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the spinner away while something else is printed or typed."""
        if self._shown is None:
            yield
            return
        self._shown.stop()
        try:
            yield
        finally:
            self._shown.start()
