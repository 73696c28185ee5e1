"""Where the password for one server comes from, before a person is asked for it.

In this order: what has proved good before, what the profile's ``password_command`` prints, what the keyring
has. Each is asked once in a login, and no secret goes to a server that has just refused it: servers count.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from tunnels import password_command, system_keyring
from tunnels.core.question import Dialogue
from tunnels.errors import BadSetting
from tunnels.ssh import trials
from tunnels.ssh.destination import Destination

_log = logging.getLogger("tunnels")

#: Around what may take longer than a login usually does.
Slowly = Callable[[], AbstractContextManager[None]]


class Source(enum.Enum):
    """Who has told us a secret; the value says so in a message."""

    MEMORY = "the remembered password"
    COMMAND = "the password of password_command"
    KEYRING = "the password of the keyring"
    PERSON = "the password"


class Given(NamedTuple):
    """A secret that a server has been told."""

    subject: str
    secret: str
    source: Source
    save: bool = False  #: into the keyring, once the login has succeeded

    def __repr__(self) -> str:
        return f"Given({self.subject!r}, …, {self.source.name})"


def subject_of(kind: str, destination: Destination, before: Sequence[Destination] = ()) -> str:
    """What a secret is about, for whoever remembers it.

    The way belongs to it: the 10.0.0.5 behind one bastion is not the 10.0.0.5 behind another. So does
    HostKeyAlias, which is how ssh_config tells two servers apart that are reached by the same address.
    """

    def named(server: Destination) -> str:
        return str(server) if server.host_key_alias is None else f"{server} as {server.host_key_alias}"

    via = [f"via {named(hop)}" for hop in before]
    if destination.proxy_command is not None:
        via.append(f"via {destination.proxy_command}")
    return " ".join((kind, named(destination), *via))


class Sources:
    """The password for one server, during one login."""

    def __init__(
        self,
        subject: str,
        dialogue: Dialogue,
        *,
        command: str | None = None,
        slowly: Slowly = nullcontext,
    ) -> None:
        self.subject = subject
        self.exhausted = False  #: no person is asked either: what a command prints is all there is
        self.trouble = ""  #: why the command had nothing, for the person who is asked instead
        self._dialogue = dialogue
        self._command = command
        self._slowly = slowly
        self._left = [Source.MEMORY, Source.COMMAND, Source.KEYRING]
        self._refused: set[str] = set()
        self._proved: str | None = None
        self._outdated = False  # what the keyring has was refused
        self._trial = trials.Trial(subject)

    async def next(self) -> Given | None:
        """The next secret that nobody has to be asked for; None if there is no other."""
        while self._left:
            source = self._left.pop(0)
            secret = await self._ask(source)
            if secret is not None and source is not Source.COMMAND and secret != self._proved:
                with self._slowly():
                    await self._trial.begin()
                secret = await self._ask(source)  # it may have been refused to somebody else meanwhile
            if secret is None:
                self.release()
                continue
            if secret not in self._refused:
                return Given(self.subject, secret, source)
            self._note_refusal(source, secret)
            if self.exhausted:
                break
        return None

    def refuse(self, given: Given, *, alone: bool) -> None:
        """The server did not take it; ``alone``: and nothing else that it was told can be the reason."""
        self._refused.add(given.secret)
        trials.refuse(given.subject, given.secret)
        if given.source is Source.KEYRING:  # alone or not: it must not be told twice
            system_keyring.refuse(given.subject, given.secret)
        if self._proved == given.secret:
            self._proved = None
        self._dialogue.forget(given.subject)
        self.release()
        if alone:
            self._note_refusal(given.source, given.secret)

    def prove(self, given: Given) -> None:
        """The server has taken it; the same login may want it again."""
        self._proved = given.secret
        self._dialogue.remember(given.subject, given.secret)
        trials.trust(given.subject)
        system_keyring.trust(given.subject)
        self._trial.end(good=True)
        if Source.MEMORY not in self._left:
            self._left.insert(0, Source.MEMORY)

    async def keep(self, given: Given) -> None:
        """The login has succeeded with it: the keyring is told, if that was wished, or was wrong."""
        if given.save:
            await system_keyring.save(given.subject, given.secret)
        elif self._outdated:
            await system_keyring.remove(given.subject)

    def release(self) -> None:
        """Let nobody wait for what becomes of this login."""
        self._trial.end()

    def clear(self) -> None:
        """Forget everything; the login is over."""
        self.release()
        self._left = []
        self._refused.clear()
        self._proved = None

    def _note_refusal(self, source: Source, secret: str) -> None:
        self._refused.add(secret)
        if source is Source.COMMAND:
            self.exhausted = True
            self._left = []
        elif source is Source.KEYRING:
            self._outdated = True

    async def _ask(self, source: Source) -> str | None:
        match source:
            case Source.MEMORY:
                if self._proved is not None:
                    return self._proved
                known = self._dialogue.recall(self.subject)
                return None if known is None or trials.was_refused(self.subject, known) else known
            case Source.COMMAND if self._command is not None:
                try:
                    with self._slowly():
                        return await password_command.run(self._command)
                except (BadSetting, OSError) as exc:
                    self.trouble = (
                        exc.message if isinstance(exc, BadSetting) else f"password_command: {exc.strerror}"
                    )
                    _log.warning("no %s: %s", self.subject, self.trouble)
            case Source.KEYRING if system_keyring.installed():
                with self._slowly():
                    return await system_keyring.recall(self.subject)
        return None
