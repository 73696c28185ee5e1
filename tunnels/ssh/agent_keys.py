"""What the agent of this user has, and what becomes of asking it for a signature."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

import asyncssh
from asyncssh.public_key import decode_ssh_certificate, decode_ssh_public_key

from tunnels.ssh.agent import Agent, AgentError, AgentKey
from tunnels.ssh.agent_places import places
from tunnels.ssh.destination import Destination
from tunnels.ssh.offer import Attempt, Sign, Unusable
from tunnels.ssh.security_keys import TOUCH_TIMEOUT, lives_in_a_token, touching

_log = logging.getLogger("tunnels")

#: Seconds for an agent to list its keys; a forwarded agent whose other end has gone never answers.
AGENT_TIMEOUT = 5.0

#: Seconds for all the places where an agent may be.
LOOK_TIMEOUT = 10.0


class HeldKey(NamedTuple):
    """A key, or a certificate with its key, that the agent can sign with."""

    blob: bytes  #: what the agent knows it by
    name: str  #: for messages
    key: asyncssh.SSHKey
    certificate: asyncssh.SSHCertificate | None


class AgentKeys:
    """The keys of one agent, for the time of one login."""

    def __init__(self, agent: Agent, held: list[AgentKey], attempt: Attempt) -> None:
        self._agent = agent
        self._attempt = attempt
        self.held = [key for key in map(_understood, held) if key is not None]  #: what it has, in its order

    @property
    def path(self) -> str:
        """Its socket."""
        return self._agent.path

    def has(self, public: bytes) -> bool:
        """Whether it can sign with a key, plain or certified."""
        return any(held.key.public_data == public for held in self.held)

    def has_plain(self, public: bytes) -> bool:
        """Whether it has a key itself, and not only a certificate for it."""
        return any(held.blob == public for held in self.held)

    def signer(self, blob: bytes, name: str) -> Sign:
        """How to sign with one of its keys. A key that it has only as a certificate is known by that alone."""
        if not any(held.blob == blob for held in self.held):
            blob = next((held.blob for held in self.held if held.key.public_data == blob), blob)

        async def sign(data: bytes, algorithm: bytes) -> bytes:
            return await self._sign(blob, name, data, algorithm)

        return sign

    def close(self) -> None:
        """Hang up."""
        self._agent.close()

    async def _sign(self, blob: bytes, name: str, data: bytes, algorithm: bytes) -> bytes:
        """Sign; a person may have to touch something, or to confirm it (ssh-add(1), ``-c``)."""
        try:
            with touching(name, only=lives_in_a_token(algorithm)), self._attempt.patience(TOUCH_TIMEOUT):
                async with asyncio.timeout(TOUCH_TIMEOUT):
                    return await self._agent.sign(blob, data, algorithm)
        except TimeoutError:
            raise Unusable(f"the agent did not sign within {TOUCH_TIMEOUT:g} s") from None
        except AgentError as exc:
            raise Unusable(str(exc)) from exc


async def look(destination: Destination, attempt: Attempt, skipped: list[str]) -> AgentKeys | None:
    """Find the agent: the first that has a key, or else the first that answers. None: there is none.

    ``skipped`` is told of agents that are there and do not do what they should.
    """
    if destination.identity_agent_usual:
        paths = places.candidates(destination.identity_agent)
    else:
        paths = [destination.identity_agent] if destination.identity_agent else []
    empty: AgentKeys | None = None
    try:
        async with asyncio.timeout(LOOK_TIMEOUT):
            for path in paths:
                found = await _ask(path, attempt, skipped)
                if found is None:
                    continue
                if found.held:
                    if empty is not None:
                        empty.close()
                    return found
                if empty is None:
                    empty = found
                else:
                    found.close()
    except TimeoutError:
        pass
    except BaseException:
        if empty is not None:
            empty.close()
        raise
    if empty is not None:
        skipped.append(f"the agent {empty.path} (it has no key, or is locked)")
    return empty


async def _ask(path: str, attempt: Attempt, skipped: list[str]) -> AgentKeys | None:
    agent: Agent | None = None
    try:
        async with asyncio.timeout(AGENT_TIMEOUT):
            agent = await Agent.open(path)
            return AgentKeys(agent, await agent.keys(), attempt)
    except TimeoutError:
        skipped.append(f"the agent {path} (it did not answer within {AGENT_TIMEOUT:g} s)")
    except AgentError as exc:
        skipped.append(f"the agent {path} ({exc})")
    except (OSError, ValueError):  # nobody is there
        pass
    except BaseException:
        if agent is not None:
            agent.close()
        raise
    if agent is not None:
        agent.close()
    return None


def _understood(key: AgentKey) -> HeldKey | None:
    """None for a key of a kind that asyncssh does not know, or that is damaged."""
    try:
        if key.algorithm.endswith(b"-cert-v01@openssh.com"):
            certificate = decode_ssh_certificate(key.blob)
            return HeldKey(key.blob, f"agent {key.comment or 'certificate'}", certificate.key, certificate)
        public = decode_ssh_public_key(key.blob)
    except Exception:  # noqa: BLE001 - whatever an agent sends, the other keys are good
        return None
    return HeldKey(key.blob, f"agent {key.comment or public.get_algorithm()}", public, None)
