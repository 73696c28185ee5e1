"""Waits until tunnels are up, or cannot be, and has the questions answered that they have on their way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from tunnels.cli import output, render
from tunnels.cli.asking import Answerer, Look, Vain
from tunnels.client import Client
from tunnels.core.logline import printable
from tunnels.core.standing import Standing, waits_in_vain
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import Snapshot, TunnelStatus
from tunnels.errors import (
    AlreadyAnswered,
    ControlError,
    DaemonNotRunning,
    NeedsPerson,
    NotAsAsked,
    QuestionExpired,
    TunnelsError,
    UsageError,
)
from tunnels.terminal import End


class Waiting:
    """Watches tunnels until each is up, or cannot be, or the time is over; says which.

    ``who`` answers their questions; without anybody a question is an error. ``starts`` is whether the command
    has started them, and a person who says no to one does not want it any more. ``shows`` is whether what
    came of it is printed; a command that something else comes after looks at ``errors`` itself.
    """

    def __init__(
        self,
        client: Client,
        names: Sequence[str],
        timeout: float,
        *,
        who: Answerer | None,
        config: str,
        as_json: bool,
        save: bool = False,
        starts: bool = True,
        shows: bool = True,
    ) -> None:
        self._client = client
        self._names = list(names)
        self._timeout = timeout
        self._who = who
        self._config = config
        self._as_json = as_json
        self._save = save
        self._starts = starts
        self._shows = shows
        self._seen: set[str] = set()
        self._reported: set[str] = set()
        self._done: set[str] = set()  # questions that are shown in snapshots from before they were answered
        self._deadline = time.monotonic() + timeout
        self._errors: list[TunnelsError] = []
        self._snapshots: Iterator[Snapshot] = iter(())

    def run(self) -> int:
        """Wait. Returns the exit code."""
        quiet = self._who.quiet() if self._who is not None else contextlib.nullcontext()
        try:
            with quiet, self._spinner() as say:
                last = self._watch(say)
        except KeyboardInterrupt:
            if self._starts:
                self._say_what_goes_on()
            raise
        return self._finish(last)

    def _watch(self, say: _Say) -> Snapshot:
        """Look until there is nothing left to wait for. Returns the last snapshot."""
        last = Snapshot(None)
        self._snapshots = self._client.watch(0.25)
        for snapshot in self._snapshots:
            last = snapshot
            self._look_at_all(snapshot, say)
            if not self._open:
                break
            if time.monotonic() >= self._deadline:
                self._time_is_over(snapshot)
                break
        return last

    @property
    def errors(self) -> list[TunnelsError]:
        """What is not as it was asked for."""
        return list(self._errors)

    @property
    def _open(self) -> list[str]:
        return [name for name in self._names if name not in self._reported]

    def _look_at_all(self, snapshot: Snapshot, say: _Say) -> None:
        by_name = {tunnel.name: tunnel for tunnel in snapshot.tunnels}
        asked = False
        for name in self._open:
            tunnel = by_name.get(name)
            if tunnel is not None:
                self._seen.add(name)
                asked = self._look_at(tunnel, say) or asked
            elif name in self._seen:
                self._report_down(name, say)
            if asked:  # what else this snapshot says is old now
                return

    @contextlib.contextmanager
    def _spinner(self) -> Iterator[_Say]:
        if self._as_json or not output.err().is_terminal:
            yield _Say(None)
            return
        with output.err().status("starting") as shown:
            yield _Say(shown)

    def _look_at(self, tunnel: TunnelStatus, say: _Say) -> bool:
        """Say what there is to say about a tunnel. Returns whether somebody was asked."""
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
                return self._ask(tunnel, say)
            case TunnelState.BACKOFF if self._who is not None and waits_in_vain(tunnel):
                return self._dial_for_person(tunnel)
            case _:
                say.step(f"{tunnel.name}: {_step(tunnel)}")
        return False

    # --- what came of it --------------------------------------------------------------------------

    def _report_up(self, tunnel: TunnelStatus, say: _Say) -> None:
        self._reported.add(tunnel.name)
        failed = [forward for forward in tunnel.forwards if forward.state is ForwardState.FAILED]
        for forward in failed:
            why = forward.error.message if forward.error is not None else "it does not listen"
            hint = forward.error.hint if forward.error is not None else None
            self._errors.append(NotAsAsked(f"{tunnel.name}: {render.route(forward)}: {why}", hint=hint))
        if self._as_json or not self._shows:
            return
        with say.paused():
            # What failed is an error, and comes after all results.
            working = tuple(forward for forward in tunnel.forwards if forward not in failed)
            shown = tunnel._replace(error=None, forwards=working)
            output.print_lines(render.tunnel_lines(shown, time.time()))

    def _report_failed(self, tunnel: TunnelStatus, say: _Say) -> None:
        error = tunnel.error
        if error is None:
            self._report_down(tunnel.name, say)
        else:
            self._report(tunnel.name, NotAsAsked(f"{tunnel.name}: {error.message}", hint=error.hint))
            say.step(f"{tunnel.name}: {error.message}")

    def _report_down(self, name: str, say: _Say) -> None:
        self._report(name, NotAsAsked(f"{name}: it was taken down", hint=f"tunnels up {name}"))
        say.step(f"{name}: it was taken down")

    def _report(self, name: str, error: TunnelsError) -> None:
        self._reported.add(name)
        self._errors.append(error)

    # --- questions --------------------------------------------------------------------------------

    def _ask(self, tunnel: TunnelStatus, say: _Say) -> bool:
        """Have a question answered, once. Returns whether there was anything to do."""
        question = tunnel.question
        if question is None or question.id in self._done:
            return False
        if self._who is None:
            self._report(
                tunnel.name,
                NeedsPerson(
                    f"{tunnel.name} needs an answer: {question.headline}",
                    hint=f"run `tunnels auth {tunnel.name}` on a terminal",
                ),
            )
            return False
        asked = time.monotonic()
        with say.paused():
            if question.stale:  # who has typed this command is there
                self._ask_anew(tunnel.name, question.id)
            else:
                self._have_answered(self._who, tunnel)
        self._deadline += time.monotonic() - asked  # a person who compares fingerprints has all the time
        return True

    def _dial_for_person(self, tunnel: TunnelStatus) -> bool:
        """It would be tried again slowly, because nobody was there."""
        moment = f"{tunnel.name} {tunnel.since}"
        if moment in self._done:
            return False
        self._ask_anew(tunnel.name, moment)
        return True

    def _have_answered(self, who: Answerer, tunnel: TunnelStatus) -> None:
        assert tunnel.question is not None
        name, look = tunnel.name, Look(self._client, self._snapshots, tunnel)
        answer = who.answer(name, tunnel.question, look)
        question = look.asked.question
        if isinstance(answer, str):
            self._pass_on(who, name, look, answer)
        elif answer is End.LEFT:
            self._report(name, NeedsPerson(who.silence.format(name), hint=f"tunnels auth {name}"))
        elif look.standing is Standing.EXPIRED:
            here = who.again(Vain(self._client, self._snapshots, tunnel))
            if here is End.LEFT:
                self._report(name, NeedsPerson(who.silence.format(name), hint=f"tunnels auth {name}"))
            elif isinstance(here, str):
                self._ask_anew(name, question.id)
        elif look.standing is Standing.ANSWERED:
            self._done.add(question.id)
            output.note(f"{name}: answered on another terminal")

    def _pass_on(self, who: Answerer, name: str, look: Look, answer: str) -> None:
        question = look.asked.question
        save = self._save and question.lasting
        if self._save and not save and question.kind != "host-key":
            output.note(f"{name}: this answer is good for once, and is not saved")
        with Client.connect() as client:  # this client's connection is busy with the watch
            try:
                client.answer(name, question.id, answer, save=save)
                self._done.add(question.id)
            except (
                AlreadyAnswered
            ):  # while this person was thinking; or it is another terminal that has just come
                self._done.add(question.id)
                if look.renewed():
                    self._pass_on(who, name, look, answer)
                else:
                    who.keep(answer)
                    output.note(f"{name}: answered on another terminal")
            except QuestionExpired:
                who.keep(answer)
                output.note(f"{name}: the server had stopped waiting for the answer; it asks again")
                self._ask_anew(name, question.id)
            except UsageError as error:
                output.show_error(error)  # asked again with the next snapshot
            except DaemonNotRunning:  # the tunnel was taken down: the next snapshot says so
                self._done.add(question.id)
            except ControlError:
                raise
            except TunnelsError as error:  # the person said no: there is nothing left to wait for
                self._said_no(client, name, error)

    def _said_no(self, client: Client, name: str, error: TunnelsError) -> None:
        if self._starts:
            client.down([name])
            said = NotAsAsked(f"{name} was not started: {error.message}", hint=error.hint)
        else:
            said = NotAsAsked(
                f"{name}: {error.message}", hint=f"it goes on waiting; `tunnels down {name}` ends it"
            )
        self._report(name, said)

    def _ask_anew(self, name: str, question_id: str) -> None:
        """Let the tunnel dial, so that its server asks again."""
        self._done.add(question_id)
        try:
            with Client.connect() as client:
                client.up([name], self._config)
        except ControlError:
            raise
        except TunnelsError as error:  # the profile file has changed, and not for the better
            self._report(name, NotAsAsked(f"{name}: {error.message}", hint=error.hint))

    # --- the end ----------------------------------------------------------------------------------

    def _time_is_over(self, snapshot: Snapshot) -> None:
        by_name = {tunnel.name: tunnel for tunnel in snapshot.tunnels}
        for name in self._open:
            tunnel = by_name.get(name)
            error = tunnel.error if tunnel is not None else None
            why = f": {error.message}" if error is not None else ""
            self._errors.append(
                NotAsAsked(
                    f"{name} is not up after {self._timeout:g} s{why}",
                    hint=(error.hint if error is not None and error.hint else None)
                    or f"`tunnels status {name}` shows how it goes on",
                )
            )

    def _say_what_goes_on(self) -> None:
        """Leaving this command ends no tunnel: say so, and what does."""
        names = self._open
        if names and not self._as_json:
            goes, them = ("goes", "it") if len(names) == 1 else ("go", "them")
            output.note(f"{', '.join(names)} {goes} on trying; `tunnels down {' '.join(names)}` ends {them}")

    def _finish(self, snapshot: Snapshot) -> int:
        if not self._shows:
            pass
        elif self._as_json:
            tunnels = tuple(tunnel for tunnel in snapshot.tunnels if tunnel.name in self._names)
            output.print_json(snapshot._replace(tunnels=tunnels).to_json())
        else:
            for error in self._errors:
                output.show_error(error)
            self._say_what_goes_on()
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
