"""``tunnels up -f``: the engine without the daemon, for systemd, containers and debugging."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from pathlib import Path

from tunnels.core.profile import Profile
from tunnels.core.question import Answer, Question
from tunnels.core.standing import Asked, Standing, waits_in_vain
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import Json, TunnelStatus
from tunnels.daemon import asking, logs
from tunnels.daemon.app import on_signals, reload_or_say, run_loop
from tunnels.daemon.config import Config
from tunnels.daemon.engine import Engine
from tunnels.daemon.notify import AT_WORK, Notifier, status_line
from tunnels.daemon.ready_file import ReadyFile
from tunnels.errors import (
    AlreadyAnswered,
    DaemonNotRunning,
    NeedsPerson,
    NotAsAsked,
    QuestionExpired,
    TunnelsError,
    UsageError,
)
from tunnels.supervisor.bus import Watch
from tunnels.tasks import TaskScope

_log = logging.getLogger("tunnels")

#: Asks somebody a question of the tunnel with this name.
Ask = Callable[[str, Question], Coroutine[object, object, str | None]]

#: Asked while nothing waits for the answer: whether somebody is there for whom a server should ask again.
_AGAIN = Question(
    "",
    "again",
    "",
    "The server has stopped waiting for the answer. Press Return, and it asks again:",
    secret=True,
)


def run_foreground(
    config: Path, profiles: list[Profile], ready_file: Path | None = None, *, in_file: bool = True
) -> int:
    """Keep these tunnels up until a signal, or until none of them can come up. Returns the exit code.

    ``ready_file`` exists while all of them are up. Without ``in_file`` no change of the profile file concerns
    them. Raises UsageError where the ready file cannot be ours.
    """
    shown = ReadyFile(ready_file)
    handler = logs.to_stderr()
    person = asking.Person() if asking.interactive() else None
    try:
        with contextlib.nullcontext() if person is None else person.quiet():
            ask = None if person is None else person.ask
            return run_loop(Foreground(config, profiles, shown, ask=ask, in_file=in_file).run())
    finally:
        handler.close()


def is_ready(tunnels: Sequence[TunnelStatus]) -> bool:
    """Whether everything works that was asked for: every tunnel, with every forward."""
    return bool(tunnels) and all(
        tunnel.state in AT_WORK
        and all(forward.state is ForwardState.LISTENING for forward in tunnel.forwards)
        for tunnel in tunnels
    )


def hopeless(
    tunnels: Sequence[TunnelStatus],
    *,
    can_ask: Callable[[str], bool] = lambda _: False,
    refused: Collection[str] = (),
) -> int | None:
    """The exit code, if none of these can come up by itself; None as long as one can.

    ``can_ask`` says whether somebody is there who may answer what a tunnel waits for, and ``refused`` are
    those that were answered with a no.
    """
    stuck = {TunnelState.FAILED, TunnelState.NEEDS_INPUT}
    if not tunnels or not all(tunnel.state in stuck for tunnel in tunnels):
        return None
    waiting = {t.name for t in tunnels if t.state is TunnelState.NEEDS_INPUT}.difference(refused)
    if any(can_ask(name) for name in waiting):
        return None
    return NeedsPerson.exit_code if waiting else NotAsAsked.exit_code


class Foreground:
    """One run of ``up -f``."""

    def __init__(
        self,
        config: Path,
        profiles: list[Profile],
        ready_file: ReadyFile,
        *,
        ask: Ask | None = None,
        in_file: bool = True,
    ) -> None:
        self._in_file = in_file
        self._config = Config(config)
        self._profiles = profiles
        self._wanted = {profile.name: profile for profile in profiles}
        self._ready_file = ready_file
        self._ask = ask
        self._unanswered: set[str] = set()  # tunnels whose question the person has turned away
        self._refused: set[str] = set()  # those of them that were answered with a no
        self._code: int | None = None
        self._ended = asyncio.Event()
        self._scope = TaskScope("foreground")
        self._notifier = Notifier.from_environment()
        self._engine = Engine(on_desired=lambda _: None, history=False)
        self._supervisor = self._engine.supervisor

    async def run(self) -> int:
        """Start everything, and end everything. Returns the exit code."""
        supervisor, notifier, scope = self._supervisor, self._notifier, self._scope
        on_signals(self._ended, self._spawn_reload)
        try:
            self._engine.start()
            await asyncio.gather(*(supervisor.up(profile) for profile in self._profiles))
            # Not only when all are up: a start that waits for a network is a start that systemd gives up.
            notifier.ready(status_line(supervisor.statuses()))
            scope.spawn(
                notifier.follow(supervisor.bus, lambda: status_line(supervisor.statuses())), name="notify"
            )
            scope.spawn(self._watch(), name="watch")
            if self._ask is not None:
                scope.spawn(self._ask_what_is_open(self._ask), name="questions")
            await self._ended.wait()
        finally:
            notifier.stopping()
            self._ready_file.show(False)
            await scope.aclose()  # first: nobody is to look at tunnels that are ending
            self._ready_file.show(False)
            await self._engine.aclose()
            notifier.close()
        return self._code or 0

    def _spawn_reload(self) -> None:
        if not self._ended.is_set():
            self._scope.spawn(reload_or_say(self._reload, self._notifier), name="reload")

    async def _reload(self) -> Json:
        """Apply the changed file: to these tunnels, and to those of them that it lacked for a while."""
        if not self._in_file:
            _log.info("nothing to reload: this tunnel is in no profile file")
            return {}
        file = self._config.load()
        wanted = {name: file.profiles[name] for name in self._wanted if name in file.profiles}
        self._wanted |= wanted
        await self._supervisor.reload(wanted)
        running = self._supervisor.names
        await asyncio.gather(*(self._supervisor.up(wanted[name]) for name in wanted if name not in running))
        _log.info("reloaded: %s", status_line(self._supervisor.statuses()))
        return {}

    async def _watch(self) -> None:
        """Keep the ready file true, and end when nothing is left to wait for."""
        with self._supervisor.bus.watch() as watch:
            while True:
                tunnels = self._supervisor.statuses()
                self._ready_file.show(is_ready(tunnels))
                code = hopeless(tunnels, can_ask=self._can_ask, refused=self._refused)
                if code is not None and not self._ended.is_set():
                    self._give_up(tunnels, code)
                    return
                await watch.wait(None)

    def _can_ask(self, name: str) -> bool:
        return self._ask is not None and name not in self._unanswered

    def _give_up(self, tunnels: Sequence[TunnelStatus], code: int) -> None:
        for tunnel in tunnels:
            hint = tunnel.error.hint if tunnel.error is not None else None
            if tunnel.state is TunnelState.NEEDS_INPUT:  # the person who reads this is the one to answer
                hint = f"answer it once on a terminal: `tunnels up {tunnel.name}`"
            if hint:
                _log.error("what to do: %s", hint, extra={"tunnel": tunnel.name})
        _log.error("nothing is left that can come up by itself")
        self._code = code
        self._ended.set()

    # --- questions ----------------------------------------------------------------------------

    async def _ask_what_is_open(self, ask: Ask) -> None:
        """Ask one question after the other, for as long as there are any."""
        answered: set[str] = set()
        with self._supervisor.bus.watch() as watch:
            while True:
                waiting = [
                    tunnel
                    for tunnel in self._supervisor.statuses()
                    if tunnel.question is not None
                    and tunnel.question.id not in answered
                    and tunnel.name not in self._unanswered
                ]
                if not waiting:
                    await watch.wait(None)
                    continue
                done = await self._have_answered(ask, waiting[0], watch)
                if done is not None:
                    answered.add(done)

    async def _have_answered(self, ask: Ask, tunnel: TunnelStatus, watch: Watch) -> str | None:
        """Ask one question, unless it settles itself. Returns the question that is done with."""
        assert tunnel.question is not None
        name, asked, standing = tunnel.name, Asked(tunnel.question, tunnel.attempt), Standing.OPEN
        if tunnel.question.stale:
            return await self._have_asked_again(ask, tunnel, watch)

        def is_open() -> bool:
            nonlocal asked, standing
            standing, asked = asked.standing(self._now(name))
            return standing in {Standing.OPEN, Standing.UNSURE}

        over, answer = await self._ask_while(ask(name, tunnel.question), is_open, watch)
        question = asked.question
        if not over:
            return question.id if await self._take(name, question, answer) else None
        if standing is Standing.EXPIRED:
            return await self._have_asked_again(ask, tunnel, watch)
        return question.id

    async def _have_asked_again(self, ask: Ask, tunnel: TunnelStatus, watch: Watch) -> str | None:
        """Have the tunnel dial if somebody is there: logins that begin and end all day make servers suspicious."""

        def is_vain() -> bool:
            now = self._now(tunnel.name)
            return now is not None and waits_in_vain(now)

        over, answer = await self._ask_while(ask(tunnel.name, _AGAIN), is_vain, watch)
        if not over and answer is None:
            self._turn_away(tunnel.name)
        elif not over:
            await self._supervisor.up(self._wanted[tunnel.name])
        return None

    async def _ask_while(
        self, asking: Coroutine[object, object, str | None], is_open: Callable[[], bool], watch: Watch
    ) -> tuple[bool, str | None]:
        """Ask for as long as somebody needs to know. Returns whether that was over before, and the answer."""
        task = self._scope.spawn(asking, name="question")
        task.add_done_callback(lambda _: self._supervisor.bus.changed())
        while not task.done():
            if not is_open():
                task.cancel()
                await asyncio.wait([task])
                return True, None
            await watch.wait(None)
        return False, task.result()

    def _now(self, name: str) -> TunnelStatus | None:
        return next((tunnel for tunnel in self._supervisor.statuses() if tunnel.name == name), None)

    async def _take(self, name: str, question: Question, answer: str | None) -> bool:
        """Pass an answer on. Returns whether the question is done with."""
        if answer is None:
            self._turn_away(name)
            return True
        try:
            self._supervisor.answer(name, question.id, Answer(answer))
        except (AlreadyAnswered, DaemonNotRunning):  # it was overtaken while the person was thinking
            return True
        except QuestionExpired as error:
            _log.warning("%s; it asks again", error.message, extra={"tunnel": name})
            await self._supervisor.up(self._wanted[name])
            return True
        except UsageError as error:
            _log.error("%s", error.message, extra={"tunnel": name})
            return False
        except TunnelsError as error:  # the person said no
            _log.error("%s", error.message, extra={"tunnel": name})
            self._refused.add(name)
            self._turn_away(name)
        return True

    def _turn_away(self, name: str) -> None:
        self._unanswered.add(name)
        self._supervisor.bus.changed()  # `_watch` may find that nothing is left
