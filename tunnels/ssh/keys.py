"""Which keys are offered to a server, and in which order.

A server's MaxAuthTries (sshd_config(5), 6 by default) must not be used up by whatever else the agent holds. So
the key that was good the last time comes first, then what is configured, then the other keys of the agent; and
among ssh's own defaults, which nobody has asked for, those that would need a person come last. Each is offered
once, whatever it is called.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from tunnels.ssh import agent_keys, algorithms, certificates, key_file, pkcs11, slow_files
from tunnels.ssh.agent_keys import AgentKeys
from tunnels.ssh.certificates import Certificate
from tunnels.ssh.destination import Destination
from tunnels.ssh.encrypted_key import EncryptedKey
from tunnels.ssh.in_thread import in_thread
from tunnels.ssh.offer import Attempt, Offer, Sign, Unusable, usable
from tunnels.ssh.security_keys import TOUCH_TIMEOUT, lives_in_a_token, touching, wake, why_not_directly

#: Keys offered to one server at most: each costs a try of MaxAuthTries, and a stranger's agent may hold many.
MAX_KEYS = 20

#: For how many servers the key that was good the last time is remembered.
_REMEMBERED = 1000

#: The public halves that a server took the last time, by user, host and port. Memory only.
_good: dict[tuple[str, str, int], tuple[bytes, ...]] = {}


@dataclass(slots=True)
class Later:
    """Keys that are not known before somebody is asked: they are looked for when it is their turn."""

    name: str
    find: Callable[[], Awaitable[list[Offer]]]  #: raises Unusable


@dataclass(slots=True)
class Keys:
    """What can be offered, and what could not; `close` when the login is over, however it ended."""

    destination: Destination | None = None
    waiting: list[Offer | Later] = field(default_factory=list)
    tried: list[Offer] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  #: for messages: which file, and why not
    agent: AgentKeys | None = None
    _seen: set[bytes] = field(default_factory=set)

    async def next(self) -> Offer | None:
        """The next key to offer; None when there is none left."""
        while self.waiting and len(self.tried) < MAX_KEYS:
            offer = self.waiting.pop(0)
            if isinstance(offer, Later):
                try:
                    self.waiting[:0] = await offer.find()
                except Unusable as why:
                    self.skipped.append(f"{offer.name} ({why})")
            elif self.destination is not None and not algorithms.allowed([offer], self.destination):
                self.skipped.append(
                    f"{offer.name} (PubkeyAcceptedAlgorithms or RequiredRSASize does not allow it)"
                )
            elif offer.public_data not in self._seen:
                self._seen.add(offer.public_data)
                self.tried.append(offer)
                return offer
        return None

    def succeeded(self) -> None:
        """The server has let us in: what it took is the first that it is offered the next time."""
        good = tuple(offer.public_data for offer in self.tried if offer.signed)
        if self.destination is None or not good:
            return
        place = _place(self.destination)
        _good.pop(place, None)
        _good[place] = good
        if len(_good) > _REMEMBERED:
            del _good[next(iter(_good))]

    def close(self) -> None:
        """Hang up on the agent."""
        if self.agent is not None:
            self.agent.close()
            self.agent = None

    def describe(self) -> str:
        """What was tried, in one clause."""
        tried = f"tried {', '.join(map(str, self.tried))}" if self.tried else "there was no key to try"
        return "; ".join((tried, *(f"skipped {reason}" for reason in self.skipped)))


async def gather(destination: Destination, attempt: Attempt) -> Keys:
    """Collect the keys for one server: from files as they are configured, and from the agent.

    A file that is missing, unreadable, or open to others is skipped and named, as ssh does. The caller
    closes the result.
    """
    keys = Keys(destination)
    if not destination.pubkey_authentication:
        return keys
    keys.agent = await agent_keys.look(destination, attempt, keys.skipped)
    try:
        keys.waiting = await slow_files.read(
            lambda: _gathered(destination, attempt, keys), "the key files", str(destination)
        )
    except BaseException:
        keys.close()
        raise
    return keys


def _gathered(destination: Destination, attempt: Attempt, keys: Keys) -> list[Offer | Later]:
    gathering = _Gathering(destination, attempt, keys)
    first: list[Offer | Later] = []
    last: list[Offer | Later] = []
    for path in destination.identity_files:
        for offer in gathering.identity(Path(path)):
            asks = isinstance(offer, Later) or offer.asks
            (last if asks and not destination.identity_files_configured else first).append(offer)
    if destination.pkcs11_provider is not None:
        card = Later(
            f"PKCS11Provider {destination.pkcs11_provider}", lambda: pkcs11.offers(destination, attempt)
        )
        first.insert(len(first) if destination.identity_files_configured else 0, card)
    first += gathering.certificates_of_the_agent()
    if not destination.identities_only:
        first += gathering.others_of_the_agent()
    good = _good.get(_place(destination), ())
    known: dict[bytes, Offer] = {}
    rest: list[Offer | Later] = []
    for offer in (*first, *last):
        if isinstance(offer, Later):
            rest.append(offer)
        elif not usable(offer):
            keys.skipped.append(f"{offer.name} (keys of the kind {offer.get_algorithm()} cannot be used)")
        elif offer.public_data not in known:
            known[offer.public_data] = offer
            if offer.public_data not in good:
                rest.append(offer)
    return [*(known[blob] for blob in good if blob in known), *rest]


class _Gathering:
    """Makes offers of what there is."""

    def __init__(self, destination: Destination, attempt: Attempt, keys: Keys) -> None:
        self._destination = destination
        self._attempt = attempt
        self._keys = keys
        self._configured = certificates.read_all(destination.certificate_files)
        self._used: set[str] = set()  # certificates of CertificateFile whose key has been found

    def identity(self, path: Path) -> Iterable[Offer | Later]:
        """A key file; through the agent if it is there, because then no passphrase is needed."""
        public = key_file.public_half(path)
        beside = certificates.beside(path)
        if public is None and beside:
            public = beside[0].certificate.key
        agent = self._keys.agent
        if public is not None and agent is not None and agent.has(public.public_data):
            return self._of_the_agent(f"{path} (agent)", public, beside, agent)
        try:
            found = key_file.read(path, public)
        except key_file.Skipped as why:
            if self._destination.identity_files_configured or path.exists():
                self._keys.skipped.append(f"{path} ({why})")
            return ()
        key = found.public
        if key is not None and lives_in_a_token(key.algorithm):
            reason = why_not_directly(path, found.private)
            if reason:
                self._keys.skipped.append(f"{path} ({reason})")
                return ()
        if found.private is not None:
            return self._offers(str(path), found.private, beside, self._signer(path, found.private))
        encrypted = EncryptedKey(
            path,
            found.data,
            self._attempt,
            where=str(self._destination),
            batch_mode=self._destination.batch_mode,
        )
        if key is not None:
            return self._offers(str(path), key, beside, self._opener(path, key, encrypted), asks=True)

        async def find() -> list[Offer]:
            private = await encrypted.open()
            return self._offers(str(path), private, beside, self._signer(path, private))

        return (Later(str(path), find),)

    def certificates_of_the_agent(self) -> Iterable[Offer]:
        """What CertificateFile names of keys that only the agent has (ssh_config(5), CertificateFile)."""
        agent = self._keys.agent
        if agent is None:
            return
        for each in self._configured:
            if each.name not in self._used and agent.has(each.key):
                yield self._certified(each, each.certificate.key, agent.signer(each.key, each.name))

    def others_of_the_agent(self) -> Iterable[Offer]:
        """Whatever else the agent has, in its order."""
        agent = self._keys.agent
        if agent is not None:
            for held in agent.held:
                if held.certificate is not None:
                    yield self._certified(
                        Certificate(held.name, held.certificate),
                        held.key,
                        agent.signer(held.blob, held.name),
                    )
                else:
                    yield Offer(held.name, held.key, agent.signer(held.blob, held.name))

    def _of_the_agent(
        self, name: str, key: asyncssh.SSHKey, beside: list[Certificate], agent: AgentKeys
    ) -> list[Offer]:
        blob = key.public_data
        offers = [
            self._certified(Certificate(held.name, held.certificate), held.key, agent.signer(held.blob, name))
            for held in agent.held
            if held.certificate is not None and held.key.public_data == blob
        ]
        if agent.has_plain(blob):
            offers += self._offers(name, key, beside, agent.signer(blob, name))
        return offers

    def _offers(
        self,
        name: str,
        key: asyncssh.SSHKey,
        beside: list[Certificate],
        sign: Sign,
        *,
        asks: bool = False,
    ) -> list[Offer]:
        """A key with each of its certificates, and then without."""
        wanted = [*(each for each in self._configured if each.key == key.public_data), *beside]
        mine = {
            each.certificate.public_data: each for each in reversed(wanted) if each.key == key.public_data
        }
        self._used.update(each.name for each in mine.values())
        certified = [self._certified(each, key, sign, asks=asks) for each in reversed(mine.values())]
        return [*certified, Offer(name, key, sign, asks=asks)]

    def _certified(
        self, certificate: Certificate, key: asyncssh.SSHKey, sign: Sign, *, asks: bool = False
    ) -> Offer:
        offer = Offer(certificate.name, key, sign, certificate=certificate.certificate, asks=asks)
        offer.remark = certificate.doubts(self._destination.user, time.time())
        return offer

    def _signer(self, path: Path, private: asyncssh.SSHKey) -> Sign:
        async def sign(data: bytes, algorithm: bytes) -> bytes:
            return await self._signed(path, private, data, algorithm)

        return sign

    def _opener(self, path: Path, public: asyncssh.SSHKey, encrypted: EncryptedKey) -> Sign:
        async def sign(data: bytes, algorithm: bytes) -> bytes:
            private = await encrypted.open()
            if private.public_data != public.public_data:
                raise Unusable("its public half is that of another key")
            if lives_in_a_token(private.algorithm) and (reason := why_not_directly(path, private)):
                raise Unusable(reason)
            return await self._signed(path, private, data, algorithm)

        return sign

    async def _signed(self, path: Path, private: asyncssh.SSHKey, data: bytes, algorithm: bytes) -> bytes:
        if not lives_in_a_token(private.algorithm):
            return private.sign(data, algorithm)

        def sign() -> bytes:
            wake()
            return private.sign(data, algorithm)

        try:
            with touching(str(path)), self._attempt.patience(TOUCH_TIMEOUT):
                async with asyncio.timeout(TOUCH_TIMEOUT):
                    return await in_thread(sign, name="security key")
        except TimeoutError:
            raise Unusable(f"nobody touched the security key within {TOUCH_TIMEOUT:g} s") from None
        except Exception as exc:
            raise Unusable(f"the security key does not sign: {exc}") from exc


def _place(destination: Destination) -> tuple[str, str, int]:
    return destination.user, destination.hostname, destination.port
