"""``tunnels doctor``: goes the way of a tunnel step by step, in the command's own process, and says what it finds.

It uses what a tunnel uses and changes nothing: no daemon is asked to do anything, no file is written. The one
exception is a host key that a person says yes to, which is written down as in `tunnels up`: the question is the
same, and so is what a yes means.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import warnings
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from tunnels.core.checkup import Checkup, Step
from tunnels.core.profile import Profile
from tunnels.core.question import Answer, PersonNeeded, Question
from tunnels.core.status import Snapshot
from tunnels.daemon import asking
from tunnels.daemon.doctor_forwards import ForwardChecks
from tunnels.daemon.impatient import ImpatientExecutor
from tunnels.daemon.refusals import Refusals
from tunnels.errors import InternalError, NeedsPerson, Problem, TunnelsError, UsageError
from tunnels.ssh.connect import connect
from tunnels.ssh.connection import SshConnection
from tunnels.ssh.watch import Watch
from tunnels.supervisor import portal_probe

Ask = Callable[[str, Question], Awaitable[str | None]]  # the name of the tunnel comes first


class Reader(Protocol):
    """Who is told, as it happens."""

    def examining(self, profile: Profile) -> None:
        """The steps of this profile follow."""

    def began(self, what: str) -> None:
        """What goes on now."""

    def found(self, step: Step) -> None:
        """A step is done, in whatever way."""

    def done(self, checkup: Checkup) -> None:
        """That was all about this profile."""

    def asking(self) -> AbstractContextManager[None]:
        """Around a question to the person, who needs the terminal."""


def run_doctor(
    file: Path,
    profiles: Sequence[Profile],
    reader: Reader,
    *,
    running: Snapshot,
    cautions: Sequence[Problem] = (),
    may_ask: bool,
    refusals: bool = False,
) -> list[Checkup]:
    """Examine these profiles, one after the other. ``running`` is what the daemon says, if there is one.

    With ``refusals``, look also at what the server should refuse (`tunnels harden --test`).
    """
    person = asking.Person() if may_ask and asking.interactive() else None

    async def examine() -> list[Checkup]:
        asyncio.get_running_loop().set_default_executor(ImpatientExecutor())
        ask = None if person is None else person.ask
        doctor = Doctor(file, reader, running=running, cautions=cautions, ask=ask, refusals=refusals)
        return [await doctor.examine(profile) for profile in profiles]

    quiet = contextlib.nullcontext() if person is None else person.quiet()
    with quiet, warnings.catch_warnings():  # of libraries, about weak algorithms: a step says that better
        warnings.simplefilter("ignore")
        return asyncio.run(examine())


class Doctor:
    """One run of ``tunnels doctor``. What a person has answered is good for all of its profiles."""

    def __init__(
        self,
        file: Path,
        reader: Reader,
        *,
        running: Snapshot,
        cautions: Sequence[Problem] = (),
        ask: Ask | None = None,
        refusals: bool = False,
    ) -> None:
        self._file = file
        self._reader = reader
        self._running = running
        self._cautions = cautions
        self._ask = ask
        self._refusals = refusals
        self._name = ""  # of the profile that is looked at
        self._secrets: dict[str, str] = {}
        self._unreadable: Exception | None = None  #: why the reader cannot be told any more

    async def examine(self, profile: Profile) -> Checkup:
        """Go through one profile."""
        checkup = Checkup(profile.name)
        self._name = profile.name

        def tell(step: Step) -> None:
            checkup.steps.append(step)
            self._show(step)

        self._reader.examining(profile)
        tell(Step("profile", True, str(self._file), warning=self._warning_about(profile)))
        conn, watch = await self._connect(profile, tell)
        try:
            self._check_reader()
            checks = ForwardChecks(
                profile, conn, self._running, target=watch.route.target if watch.route is not None else None
            )
            try:
                async for step in checks.run(self._reader.began):
                    tell(step)
                    self._check_reader()
            finally:
                await checks.aclose()
            if self._refusals and conn is not None and watch.route is not None:
                await self._look_for_refusals(Refusals(profile, conn, watch.route.target), tell)
        finally:
            if conn is not None:
                await conn.aclose()
        self._reader.done(checkup)
        return checkup

    async def _look_for_refusals(self, refusals: Refusals, tell: Callable[[Step], None]) -> None:
        async for step in refusals.run(self._reader.began):
            tell(step)
            self._check_reader()

    def _show(self, step: Step) -> None:
        """Tell the reader. It may be a pipe that was closed, and asyncssh, who has called us, would swallow that."""
        if self._unreadable is None:
            try:
                self._reader.found(step)
            except Exception as exc:  # noqa: BLE001 - raised again as soon as there is nobody in between
                self._unreadable = exc

    def _check_reader(self) -> None:
        if self._unreadable is not None:
            raise self._unreadable

    def _warning_about(self, profile: Profile) -> str | None:
        mine = [each for each in self._cautions if each.field.startswith(f"profiles.{profile.name}.")]
        return "; ".join(map(str, mine)) or None

    async def _connect(
        self, profile: Profile, tell: Callable[[Step], None]
    ) -> tuple[SshConnection | None, Watch]:
        watch = Watch(profile, began=self._reader.began, tell=tell)
        # What a tunnel may do to the server's files is not for us.
        careful = dataclasses.replace(profile, remote_unlink=False)
        dialogue = _Dialogue(self._secrets, self._put)
        while True:
            try:
                self._reader.began(f"{profile.host}: finding the way")
                return await connect(careful, _ignore, watch.found, dialogue, watch), watch
            except PersonNeeded as needed:
                if await self._answered(needed, watch, profile):
                    watch.again()
                    continue
            except NeedsPerson as needed:
                watch.failed(_without_a_terminal(needed, profile))
            except TunnelsError as error:
                await watch.look_closer()
                watch.failed(await self._explained(error, profile, watch))
            except Exception as exc:  # noqa: BLE001 - a bug is one more thing that keeps the tunnel from coming up
                watch.failed(InternalError(f"{type(exc).__name__}: {exc}", hint="this is a bug"))
            return None, watch

    async def _explained(self, error: TunnelsError, profile: Profile, watch: Watch) -> TunnelsError:
        """Whatever it failed of: behind a login page that is the reason."""
        if not profile.captive_portal:
            return error
        self._reader.began(f"{profile.host}: looking for a login page")
        return await portal_probe.explain(error, watch.addresses)

    async def _answered(self, needed: PersonNeeded, watch: Watch, profile: Profile) -> bool:
        """Ask what must be answered before the next attempt; whether there is to be one."""
        if self._ask is None:
            watch.failed(_without_a_terminal(needed, profile))
            return False
        while True:
            answer = await self._put(needed.question)
            if answer is None:
                watch.failed(needed.error)
                return False
            try:
                needed.take(answer)
            except UsageError:
                continue
            except TunnelsError as error:
                watch.failed(error)
                return False
            return True

    async def _put(self, question: Question) -> str | None:
        """Ask the person; None where there is none."""
        if self._ask is None:
            return None
        with self._reader.asking():
            return await self._ask(self._name, question)


class _Dialogue:
    """How an attempt speaks with the person at this terminal. Secrets are remembered for this run."""

    def __init__(self, secrets: dict[str, str], put: Callable[[Question], Awaitable[str | None]]) -> None:
        self._secrets = secrets
        self._put = put

    async def ask(self, question: Question) -> Answer:
        answer = await self._put(question)
        if answer is None:
            raise NeedsPerson(question.headline)
        return Answer(answer)

    def recall(self, subject: str) -> str | None:
        return self._secrets.get(subject)

    def remember(self, subject: str, secret: str) -> None:
        self._secrets[subject] = secret

    def forget(self, subject: str) -> None:
        self._secrets.pop(subject, None)


def _ignore(_error: TunnelsError) -> None:
    """The connection has ended: the step that needed it says so."""


def _without_a_terminal(needed: NeedsPerson, profile: Profile) -> TunnelsError:
    return NeedsPerson(
        f"needs an answer: {needed.message}", hint=f"`tunnels up {profile.name}` on a terminal asks it"
    )
