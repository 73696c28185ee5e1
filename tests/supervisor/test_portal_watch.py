"""A tunnel that cannot get through: when it is looked for a login page, and what follows."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from tests.fakes import local, turns
from tests.supervisor.rig import UNREACHABLE, WORK_DB, Rig, rigged, work_db
from tests.supervisor.test_tunnel_network import CABLE, change
from tunnels.core.backoff import CHANGE_INTERVAL
from tunnels.core.captive import NO_DOUBT, Doubt, Manner, Verdict
from tunnels.core.state import TunnelState
from tunnels.errors import ErrorInfo, HostUnreachable, LoginRefused, NotSsh
from tunnels.supervisor.portal_watch import LOOK_AGAIN, POLL, POLL_MANAGER, SLOW

LOGIN = Verdict(True, "http://login.hotel/")
NOTHING = Verdict(None)
WEB = NotSsh("bastion is no SSH server but a web server: it said “HTTP/1.1 400”", heard=b"HTTP/1.1 400")


class Probe:
    """Looks when it is asked to, and finds what the test says."""

    def __init__(self, verdict: Verdict = NOTHING) -> None:
        self.verdict = verdict
        self.looks: list[tuple[tuple[str, ...], Doubt, bool]] = []

    async def look(
        self, addresses: tuple[str, ...], doubt: Doubt = NO_DOUBT, *, again: bool = False
    ) -> Verdict:
        self.looks.append((addresses, doubt, again))
        await asyncio.sleep(0)
        return self.verdict


def error(rig: Rig) -> ErrorInfo:
    found = rig.tunnel.status().error
    assert found is not None
    return found


async def fails(rig: Rig, why: HostUnreachable = UNREACHABLE) -> None:
    """Let the attempt fail, and what there is to see be seen."""
    await rig.fail(why)
    await turns()


async def behind_a_login_page(rig: Rig, probe: Probe) -> None:
    probe.verdict = LOGIN
    rig.tunnel.start()
    await fails(rig)
    assert error(rig).code == "captive-portal"


async def test_the_tunnel_says_where_the_login_page_is_and_dials_when_it_has_gone() -> None:
    probe = Probe()
    async with rigged(portals=probe) as rig:
        await behind_a_login_page(rig, probe)
        status = rig.tunnel.status()
        assert (status.state, status.attempt, status.offline) == (TunnelState.BACKOFF, 0, False)
        assert error(rig).message.startswith("Wi-Fi login page at http://login.hotel/")
        for _ in range(5):
            rig.clock.advance(POLL)
            await turns()
        assert [again for _, _, again in probe.looks] == [False, *[True] * 5]

        probe.verdict = NOTHING
        rig.clock.advance(POLL)
        await turns()
        rig.clock.advance(0)  # at once
        await rig.connected()
        assert rig.clock.alarms == [10.0]  # nothing is looked for while it is up


@pytest.mark.parametrize("by", ["looking", "the network"])
async def test_the_log_says_once_that_it_has_gone_whatever_was_the_reason_to_dial(
    by: str, caplog: pytest.LogCaptureFixture
) -> None:
    probe = Probe()
    with caplog.at_level(logging.INFO, "tunnels"):
        async with rigged(portals=probe) as rig:
            await behind_a_login_page(rig, probe)
            if by == "looking":
                probe.verdict = NOTHING
                rig.clock.advance(POLL)
                await turns()
            else:
                change(rig, CABLE)
            rig.clock.advance(CHANGE_INTERVAL)
            await rig.connected()
    said = [record.getMessage() for record in caplog.records]
    assert said.count("the login page has gone") == 1


async def test_observers_are_told_once_although_the_state_is_the_same() -> None:
    probe = Probe()
    async with rigged(portals=probe) as rig:
        await behind_a_login_page(rig, probe)
        for _ in range(3):
            rig.clock.advance(POLL)
            await turns()
        codes = [each.error.code for each in rig.transitions if each.error is not None]
        assert codes == ["host-unreachable", "captive-portal"]


async def test_an_attempt_that_gets_nowhere_is_a_reason_to_look() -> None:
    probe = Probe(LOGIN)
    async with rigged(portals=probe) as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        rig.clock.advance(SLOW / 2)
        await turns()
        assert probe.looks == []
        rig.clock.advance(SLOW / 2)
        await turns()
        assert (rig.state(), error(rig).code) == (TunnelState.CONNECTING, "captive-portal")
        probe.verdict = NOTHING
        rig.clock.advance(POLL)
        await turns()
        await rig.connected()  # by a new attempt: the old one would still wait for an answer
        assert attempt.cancelled


async def test_an_attempt_that_gets_through_is_none() -> None:
    probe = Probe(LOGIN)
    async with rigged(portals=probe) as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        attempt.succeed()
        await rig.reach(TunnelState.UP)
        rig.clock.advance(60)
        await turns()
        assert probe.looks == []


async def test_where_nothing_was_found_it_is_not_looked_all_the_time() -> None:
    probe = Probe()
    async with rigged(portals=probe) as rig:
        rig.tunnel.start()
        for _ in range(4):  # 0.5, 1, 2 and 4 s apart
            await fails(rig)
            rig.retry_now()
        assert len(probe.looks) == 1
        await fails(rig)
        rig.clock.advance(LOOK_AGAIN)
        await fails(rig)
        assert len(probe.looks) == 2


async def test_a_web_server_on_the_port_fails_when_no_login_page_is_in_the_way() -> None:
    probe = Probe(Verdict(False))
    async with rigged(portals=probe) as rig:
        rig.connector.addresses = ("9.9.9.9",)
        rig.tunnel.start()
        await fails(rig, WEB)
        assert probe.looks == [(("9.9.9.9",), Doubt(Manner.HTTP), False)]
        assert rig.state() is TunnelState.FAILED
        assert (error(rig).code, error(rig).message) == ("handshake-failed", WEB.message)


@pytest.mark.parametrize("verdict", [NOTHING, Verdict(False)], ids=["not-told", "no-login-page"])
async def test_after_having_been_up_or_where_it_is_not_certain_it_is_tried_again(verdict: Verdict) -> None:
    probe = Probe(verdict)
    async with rigged(portals=probe) as rig:
        if verdict.captive is False:
            (await rig.up()).lose(UNREACHABLE)
            await rig.reach(TunnelState.BACKOFF)
            rig.retry_now()
        else:
            rig.tunnel.start()
        await fails(rig, WEB)
        assert (rig.state(), error(rig).message) == (TunnelState.BACKOFF, WEB.message)


async def test_a_name_that_led_to_the_internet_and_leads_inside_is_said() -> None:
    probe = Probe()
    async with rigged(portals=probe) as rig:
        rig.connector.addresses = ("9.9.9.9",)
        (await rig.up()).lose(UNREACHABLE)
        await rig.reach(TunnelState.BACKOFF)
        rig.connector.addresses = ("10.0.0.1",)
        rig.retry_now()
        await fails(rig)
        assert probe.looks == [(("10.0.0.1",), Doubt(moved=True), False)]


async def test_nothing_is_asked_about_the_way_to_this_machine() -> None:
    probe = Probe(LOGIN)
    async with rigged(portals=probe) as rig:
        rig.connector.addresses = ("127.0.0.1", "::1")
        rig.tunnel.start()
        await fails(rig)
        assert rig.clock.alarms == [0.5]
        rig.retry_now()
        await fails(rig, WEB)
        assert (rig.state(), probe.looks) == (TunnelState.FAILED, [])


async def test_a_refused_login_got_through() -> None:
    probe = Probe(LOGIN)
    async with rigged(portals=probe) as rig:
        rig.tunnel.start()
        await rig.fail(LoginRefused("bastion refused the login"))
        await rig.reach(TunnelState.FAILED)
        assert probe.looks == []


async def test_a_tunnel_that_is_taken_down_looks_no_more() -> None:
    probe = Probe()
    async with rigged(portals=probe) as rig:
        await behind_a_login_page(rig, probe)
        await rig.stop()
        assert rig.clock.alarms == []


async def test_what_only_networkmanager_knows_is_asked_rarely() -> None:
    probe = Probe(LOGIN._replace(manager=True))
    async with rigged(portals=probe) as rig:
        rig.tunnel.start()
        await fails(rig)
        assert rig.clock.alarms == [POLL_MANAGER, 30.0]


async def test_a_client_who_waits_changes_nothing_about_that() -> None:
    probe = Probe()
    async with rigged(work_db(local(5432)), portals=probe) as rig:
        await behind_a_login_page(rig, probe)
        rig.tunnel._client_waits()
        assert rig.clock.alarms == [POLL, 30.0]


async def test_whoever_does_not_want_it_is_left_alone() -> None:
    probe = Probe(LOGIN)
    async with rigged(replace(WORK_DB, captive_portal=False), portals=probe) as rig:
        rig.tunnel.start()
        await fails(rig)
        assert (probe.looks, error(rig).code) == ([], "host-unreachable")


async def test_a_watch_says_what_it_knows() -> None:
    probe = Probe()
    async with rigged(portals=probe) as rig:
        assert repr(rig.tunnel._portals) == "<PortalWatch: nothing in the way>"
        await behind_a_login_page(rig, probe)
        assert "http://login.hotel/" in repr(rig.tunnel._portals)
