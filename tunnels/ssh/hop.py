"""One server on the way: dial it, look at its key, log in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import asyncssh

from tunnels.core.profile import Profile
from tunnels.core.question import Answer, Dialogue, Question
from tunnels.errors import HandshakeFailed, HostUnreachable, LoginRefused, TunnelsError
from tunnels.ssh import first_words, keys, prompts, slow_files
from tunnels.ssh.client import Client
from tunnels.ssh.cpu import has_aes
from tunnels.ssh.destination import Destination
from tunnels.ssh.dial import dial
from tunnels.ssh.faults import connect_error, onward_error
from tunnels.ssh.host_key_guard import TRUST_NOTHING
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.login import Login
from tunnels.ssh.onward import Onward
from tunnels.ssh.options import LOGIN_TIMEOUT, connect_options, connect_timeout
from tunnels.ssh.proxy_command import ProxyCommand
from tunnels.ssh.slim import slim
from tunnels.ssh.steps import QUIET, Steps
from tunnels.ssh.symptoms import said_instead
from tunnels.tasks import TaskScope

#: Seconds that a person may take for an answer where the server waits longer than that: sshd hangs up after
#: LoginGraceTime, 120 s by default, and may be told never to.
ANSWER_TIMEOUT = 600.0


class Hop:
    """The attempt to log in to one server, directly or through the one before it."""

    def __init__(
        self,
        profile: Profile,
        destination: Destination,
        dialogue: Dialogue,
        through: Onward | None,
        steps: Steps = QUIET,
        *,
        scope: TaskScope | None = None,
        is_jump: bool = False,
        before: Sequence[Destination] = (),
        password_command: str | None = None,
    ) -> None:
        """``scope`` has the task of a proxy command; ``is_jump``: others are reached through this server."""
        self._tunnel = profile.name
        self._destination = destination
        self._where = destination.jump_name if is_jump else str(destination)
        self._through = through
        self._dialogue = dialogue
        self._scope = scope or TaskScope("proxy command")
        self.command: ProxyCommand | None = None  #: what carries the connection; to be closed after it
        self._checker = HostKeyChecker(destination, profile.host_key_policy)
        self._login = Login(
            destination,
            self,
            before=before,
            password_command=password_command,
            slowly=lambda: self.patience(ANSWER_TIMEOUT),
        )
        self._limit: asyncio.Timeout | None = None
        self._steps = steps
        self._heard: Callable[[], bytes] = bytes  # what was said instead of a version
        self.client = Client(self._checker, self._login, on_made=self._made)

    async def connect(self, on_found: Callable[[tuple[str, ...]], None]) -> asyncssh.SSHClientConnection:
        """Connect and log in. Raises ConnectError, or PersonNeeded."""
        offered = keys.Keys()
        self._steps.begins(self._destination, through=self._through is not None)
        try:
            await slow_files.read(self._checker.load, "the known hosts", self._where)  # which may be many
            self.client.keys = offered = await keys.gather(self._destination, self)
            self._steps.offers(offered)
            conn = await self._connect(on_found)
        except asyncio.CancelledError:
            self._login.over()
            await self._end_command()
            raise
        except Exception as exc:
            self._login.over()
            error = self._error(exc, offered)
            if self.command is not None:
                error = await self.command.explain(error)
                await self._end_command()
            raise error from exc
        finally:
            offered.close()
        offered.succeeded()
        try:
            await self._login.succeeded()  # which may have to wait for the keyring
        except BaseException:
            conn.abort()
            await self._end_command()
            raise
        self._steps.entered()
        self.client.entered()
        slim(conn)
        return conn

    def _made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._heard = first_words.note(conn)
        self._steps.made(conn)

    async def _connect(self, on_found: Callable[[tuple[str, ...]], None]) -> asyncssh.SSHClientConnection:
        options: dict[str, Any] = connect_options(
            self._destination, host_key_algorithms=self._checker.algorithms(), aes=has_aes()
        )
        sock = None
        # Behind another hop it is that one which makes the TCP connection, and that takes its time too.
        dialling = connect_timeout(self._destination)
        if self._through is not None:
            options["tunnel"] = self._through
        elif self._destination.proxy_command is not None:
            on_found(())  # only the command knows
            self.command = ProxyCommand(self._destination.proxy_command, self._scope, self._said)
            options["sock"] = sock = self.command.sock
        else:
            options["sock"] = sock = await dial(self._destination, on_found)
            dialling = 0.0
        try:
            async with asyncio.timeout(dialling + LOGIN_TIMEOUT) as self._limit:
                return await asyncssh.connect(
                    known_hosts=TRUST_NOTHING,
                    **options,
                    client_keys=None,  # it asks `client` for one after the other
                    client_factory=lambda: self.client,
                )
        except BaseException as exc:
            if sock is not None:
                sock.close()
            if isinstance(exc, TimeoutError) and self._limit is not None and self._limit.expired():
                raise HostUnreachable(
                    f"{self._where} did not finish the login within {dialling + LOGIN_TIMEOUT:g} s",
                    hint="the server may be overloaded; it is tried again",
                ) from exc
            raise

    def _error(self, exc: Exception, offered: keys.Keys) -> TunnelsError:
        """Say why nothing came of it."""
        if self.client.guard.verdict is not None:  # what asyncssh says then is only a consequence
            return prompts.question_for(self.client.guard.verdict, self._checker)
        if isinstance(exc, asyncssh.ChannelOpenError) and self._through is not None:
            return onward_error(exc, self._where, self._through.name)
        error = connect_error(exc, self._where)
        if (
            self._login.refused
            and isinstance(exc, asyncssh.ProtocolError)
            and isinstance(error, LoginRefused)
        ):
            error = LoginRefused(f"{self._where} ended the login after too many tries")
        elif self._login.refused and isinstance(error, HostUnreachable):  # as some do after a wrong password
            error = LoginRefused(f"{self._where} ended the login")
        elif (heard := self._heard()) and isinstance(error, HostUnreachable | HandshakeFailed):
            error = said_instead(error, self._where, heard)
        return self._refused(error, offered) if isinstance(error, LoginRefused) else error

    def _refused(self, error: LoginRefused, offered: keys.Keys) -> LoginRefused:
        """Say what was tried, in its order, and what the server takes."""
        clauses = [offered.describe(), self._login.describe()]
        return LoginRefused(
            f"{error.message}: {'; '.join(filter(None, clauses))}",
            hint=error.hint
            or f"`tunnels doctor {self._tunnel}` goes through it step by step; `tunnels check --ssh {self._tunnel}` "
            "prints the same as an ssh command",
        )

    # --- a proxy command --------------------------------------------------------------------------

    def _said(self, line: str) -> None:
        log = logging.getLogger("tunnels.tunnel")
        log.warning("proxy command of %s: %s", self._where, line, extra={"tunnel": self._tunnel})

    async def _end_command(self) -> None:
        if self.command is not None:
            await self.command.aclose()

    # --- a Dialogue, in which the time that a person takes does not count ---------------------------

    async def ask(self, question: Question) -> Answer:
        """Ask; meanwhile the login may take longer."""
        with self.patience(ANSWER_TIMEOUT):
            return await self._dialogue.ask(question)

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Let the login take so many seconds more, while a person does something; then it has its time again."""
        now = asyncio.get_running_loop().time
        if self._limit is not None:
            self._limit.reschedule(now() + seconds)
        try:
            yield
        finally:
            with contextlib.suppress(RuntimeError):  # the attempt is over
                if self._limit is not None:
                    self._limit.reschedule(now() + LOGIN_TIMEOUT)

    def recall(self, subject: str) -> str | None:
        """See `Dialogue.recall`."""
        return self._dialogue.recall(subject)

    def remember(self, subject: str, secret: str) -> None:
        """See `Dialogue.remember`."""
        self._dialogue.remember(subject, secret)

    def forget(self, subject: str) -> None:
        """See `Dialogue.forget`."""
        self._dialogue.forget(subject)
