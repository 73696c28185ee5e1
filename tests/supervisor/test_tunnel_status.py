"""A tunnel as others see it."""

from __future__ import annotations

import pytest

from tunnels.core import events as ev
from tunnels.core.lifecycle import Lifecycle
from tunnels.core.profile import Profile, Retry
from tunnels.core.status import TunnelStatus
from tunnels.errors import CaptivePortal, HostUnreachable, TunnelsError
from tunnels.supervisor.tunnel_status import status_of


def status(*events: ev.Event) -> TunnelStatus:
    machine = Lifecycle(Retry(), random=lambda: 0.5)
    for event in events:
        machine.handle(event, 10.0)
    return status_of(
        Profile("work-db", "bastion"), machine, None, since=5.0, offset=1000.0, forwards=(), question=None
    )


def test_times_are_those_of_the_wall_clock() -> None:
    shown = status(ev.Start(), ev.ConnectFailed(HostUnreachable("no")))
    assert (shown.since, shown.retry_at, shown.attempt) == (5.0, 1010.5, 1)


@pytest.mark.parametrize(
    ("error", "offline"), [(HostUnreachable("no way"), True), (CaptivePortal("Wi-Fi login page at …"), False)]
)
def test_behind_a_login_page_there_is_a_network(error: TunnelsError, offline: bool) -> None:
    assert status(ev.Start(), ev.Offline(), ev.ConnectFailed(error)).offline is offline


def test_the_attempts_of_a_tunnel_that_is_up_are_of_no_interest() -> None:
    assert status(ev.Start(), ev.Connected(), ev.Ready()).attempt == 0
