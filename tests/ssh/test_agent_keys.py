"""The agent of a login: which one it is, and what is said of one that does not do what it should."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

import asyncssh
import pytest

from tests.ssh.person import Person
from tests.ssh.test_agent import answering, listing
from tunnels.ssh import agent_keys
from tunnels.ssh.agent import Agent, AgentError, AgentKey
from tunnels.ssh.agent_keys import AgentKeys, look
from tunnels.ssh.agent_places import AgentPlaces
from tunnels.ssh.destination import Destination
from tunnels.ssh.offer import Unusable
from tunnels.ssh.security_keys import TOUCH_TIMEOUT

WORK = Destination("work", "work.example.com", 22, "me")
KEY = asyncssh.generate_private_key("ssh-ed25519")
CERTIFICATE = asyncssh.generate_private_key("ssh-ed25519").generate_user_certificate(KEY, "test")


class PaperAgent:
    """Signs with the name of the key, or does not."""

    path = "/agent"

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.asked: list[bytes] = []

    async def sign(self, blob: bytes, data: bytes, algorithm: bytes) -> bytes:
        self.asked.append(blob)
        if self._error is not None:
            raise self._error
        return b"signature"


def held(agent: PaperAgent, *blobs: bytes, person: Person | None = None) -> AgentKeys:
    keys = [AgentKey(blob, "") for blob in blobs]
    return AgentKeys(cast("Agent", agent), keys, person or Person())


async def test_keys_of_a_kind_that_nobody_knows_do_not_hide_the_others() -> None:
    agent = held(PaperAgent(), b"", b"\0\0\0\x03odd", b"\xff" * 9, KEY.public_data, CERTIFICATE.public_data)
    assert [(key.name, key.certificate is not None) for key in agent.held] == [
        ("agent ssh-ed25519", False),
        ("agent certificate", True),
    ]


async def test_a_key_that_is_there_only_with_its_certificate_is_asked_for_by_that() -> None:
    paper = PaperAgent()
    agent = held(paper, CERTIFICATE.public_data)
    assert agent.has(KEY.public_data)
    assert not agent.has_plain(KEY.public_data)
    assert await agent.signer(KEY.public_data, "key")(b"data", b"ssh-ed25519") == b"signature"
    assert paper.asked == [CERTIFICATE.public_data]


async def test_a_person_has_time_to_confirm() -> None:
    person = Person()
    await held(PaperAgent(), KEY.public_data, person=person).signer(KEY.public_data, "k")(b"", b"ssh-ed25519")
    assert person.patient == [TOUCH_TIMEOUT]


@pytest.mark.parametrize(
    ("error", "said"), [(AgentError("the agent hung up"), "hung up"), (TimeoutError(), "did not sign within")]
)
async def test_why_it_did_not_sign_is_said(error: Exception, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        await held(PaperAgent(error), KEY.public_data).signer(KEY.public_data, "k")(b"", b"ssh-ed25519")


async def test_an_agent_that_never_signs_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_keys, "TOUCH_TIMEOUT", 0.02)
    async with answering(home, None) as (agent, server):
        keys = AgentKeys(agent, [AgentKey(KEY.public_data, "")], Person())
        with pytest.raises(Unusable, match="did not sign within 0.02 s"):
            await keys.signer(KEY.public_data, "k")(b"", b"ssh-ed25519")
        await server.gone.wait()


async def test_an_empty_agent_is_named_and_one_that_talks_nonsense_too(home: Path) -> None:
    where = replace(WORK, identity_agent=str(home / "agent"))
    skipped: list[str] = []
    async with answering(home, listing()):
        found = await look(where, Person(), skipped)
        assert found is not None
        found.close()
        await asyncio.sleep(0)
    assert skipped == [f"the agent {home / 'agent'} (it has no key, or is locked)"]
    async with answering(home, b"\xff" * 8):
        assert await look(where, Person(), skipped) is None
    assert "an answer of 4294967295 bytes" in skipped[1]


async def test_of_several_places_the_first_that_has_a_key_is_taken(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("empty", "full"):
        (home / name).mkdir()
    places = AgentPlaces({})
    monkeypatch.setattr(agent_keys, "places", places)
    usual = replace(WORK, identity_agent=str(home / "dead"), identity_agent_usual=True)
    skipped: list[str] = []
    async with (
        answering(home / "empty", listing()),
        answering(home / "full", listing((KEY.public_data, b""))),
    ):
        for name in ("full", "empty"):
            places.hand_over(str(home / name / "agent"))
        found = await look(usual, Person(), skipped)
        assert found is not None
        assert found.path == str(home / "full" / "agent")
        found.close()
        assert await look(replace(usual, identity_agent_usual=False), Person(), skipped) is None
    assert skipped == []
