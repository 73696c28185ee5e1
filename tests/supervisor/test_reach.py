"""What a tunnel knows of the way to its host: which addresses count, and when a connection is certainly dead."""

from __future__ import annotations

import pytest

from tests.fakes import FakeConnection, FakeRoutes
from tunnels.core.path import NetworkChange, Path
from tunnels.supervisor.reach import Reach

HOSTS = ("198.51.100.1", "2001:db8::1")
WIFI = Path("192.0.2.10", 2, "192.0.2.1")
CABLE = Path("203.0.113.10", 3, "203.0.113.1")


class Rig:
    """A reach whose routes are the test's."""

    def __init__(self) -> None:
        self.routes = FakeRoutes()
        self.reach = Reach(self.routes)
        self.connection = FakeConnection(lambda _: None)

    def connect(self) -> None:
        self.reach.found(HOSTS)
        self.reach.connected(self.connection)

    def move(self, path: Path | None) -> bool | None:
        """Let the way be this one now."""
        self.routes.path = path
        return self.reach.changed(NetworkChange())

    @property
    def cut_off(self) -> str | None:
        return self.reach.cut_off(self.connection)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def connected(rig: Rig) -> Rig:
    rig.connect()
    return rig


# --- which addresses count ------------------------------------------------------------------------


def test_before_any_address_is_known_the_way_to_anywhere_counts(rig: Rig) -> None:
    assert rig.reach.look()
    assert rig.routes.asked == [()]


def test_where_only_a_proxy_command_knows_the_address_nobody_is_called_offline(rig: Rig) -> None:
    """It may go to this machine itself, or to a neighbour: no default route says nothing about it."""
    rig.routes.path = None
    assert not rig.reach.look()
    rig.reach.found(())
    assert rig.reach.look()
    assert rig.move(None) is False
    rig.connection.peer_address = rig.connection.local_address = None
    rig.reach.connected(rig.connection)
    assert rig.move(WIFI) is True, "then it is asked whether it works still"
    assert rig.move(WIFI) is False
    assert rig.cut_off is None


def test_a_host_that_is_dialled_directly_again_needs_a_route_again(rig: Rig) -> None:
    rig.reach.found(())
    rig.routes.path = None
    rig.reach.found(HOSTS)
    assert not rig.reach.look()


def test_then_every_address_of_the_host_counts(rig: Rig) -> None:
    rig.reach.found(HOSTS)
    assert rig.routes.asked == [HOSTS]


def test_while_connected_only_the_address_that_answered_counts(connected: Rig) -> None:
    connected.routes.asked.clear()
    assert connected.reach.look()
    assert connected.routes.asked == [("198.51.100.1",)]


def test_the_next_attempt_may_go_to_any_of_them_again(connected: Rig) -> None:
    connected.reach.disconnected()
    connected.routes.asked.clear()
    connected.reach.look()
    assert connected.routes.asked == [HOSTS]


def test_through_another_program_the_addresses_of_the_host_go_on_counting(rig: Rig) -> None:
    rig.connection.peer_address = rig.connection.local_address = None
    rig.connect()
    rig.reach.look()
    assert set(rig.routes.asked) == {HOSTS}
    rig.routes.addresses = set()
    assert rig.cut_off is None


# --- whether a change concerns it -----------------------------------------------------------------


def test_the_same_way_is_no_change(connected: Rig) -> None:
    assert connected.reach.changed(NetworkChange()) is False
    assert connected.reach.changed(NetworkChange(interfaces=frozenset({9}))) is False


@pytest.mark.parametrize(
    "change", [NetworkChange(slept=10), NetworkChange(missed=True), NetworkChange(interfaces=frozenset({2}))]
)
def test_the_same_way_may_lead_to_a_dead_connection_after_these(
    connected: Rig, change: NetworkChange
) -> None:
    assert connected.reach.changed(change) is True


def test_another_way_is_a_change_and_the_next_time_it_is_none(connected: Rig) -> None:
    assert connected.move(CABLE) is True
    assert connected.move(CABLE) is False


def test_no_way_is_neither(connected: Rig) -> None:
    assert connected.move(None) is None
    assert connected.reach.changed(NetworkChange(slept=10)) is None, "nobody could answer a probe"
    assert connected.move(WIFI) is True


# --- cut off --------------------------------------------------------------------------------------


def test_a_connection_whose_way_is_there_is_not_cut_off(connected: Rig) -> None:
    assert connected.cut_off is None


def test_without_its_address_a_connection_cannot_live(connected: Rig) -> None:
    connected.routes.addresses = {"203.0.113.10"}
    assert connected.cut_off == "the address 192.0.2.10 has left this machine"


def test_with_a_dead_link_and_another_way_it_would_wait_for_nothing(connected: Rig) -> None:
    connected.routes.dead_links = {2}
    connected.move(CABLE)
    assert connected.cut_off == "its link is down, and there is another way now"


def test_with_a_dead_link_and_no_other_way_it_may_come_back(connected: Rig) -> None:
    """A cable that is pulled and put in again."""
    connected.routes.dead_links = {2}
    connected.move(None)
    assert connected.cut_off is None


def test_another_way_is_no_end_while_the_link_works(connected: Rig) -> None:
    """A cable is put in, and the connection goes on over the Wi-Fi."""
    connected.move(CABLE)
    assert connected.cut_off is None


def test_a_new_router_on_the_same_link_is_no_end(connected: Rig) -> None:
    connected.routes.dead_links = {2}
    connected.move(WIFI._replace(gateway="192.0.2.254"))
    assert connected.cut_off is None


def test_the_link_it_was_made_over_counts_however_often_the_way_changes(connected: Rig) -> None:
    connected.move(None)
    connected.routes.dead_links = {2}
    connected.move(CABLE)
    connected.move(CABLE._replace(gateway="203.0.113.254"))
    assert connected.cut_off is not None


def test_the_next_connection_has_a_link_of_its_own(connected: Rig) -> None:
    connected.reach.disconnected()
    connected.routes.path = CABLE
    connected.routes.addresses = {"203.0.113.10"}
    connected.routes.dead_links = {2}
    connected.connection.local_address = "203.0.113.10"
    connected.connect()
    assert connected.cut_off is None


def test_a_connection_made_against_all_routes_has_no_link_that_could_be_dead(rig: Rig) -> None:
    """The machine may be wrong about its routes."""
    rig.routes.path = None
    rig.connect()
    rig.routes.dead_links = {2}
    rig.move(CABLE)
    assert rig.cut_off is None


def test_what_it_knows_can_be_seen(connected: Rig) -> None:
    assert "198.51.100.1" in repr(connected.reach)
