"""Which address packets leave from, on every system, asked for without sending anything."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace
from typing import Any, Self

import psutil
import pytest

from tests.e2e.bed.ports import LOOPBACK, has_ipv6
from tunnels.core.path import Path
from tunnels.supervisor import routes as module
from tunnels.supervisor.routes import ALWAYS_ONLINE, ANYWHERE, SocketRoutes

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")

ROUTES = SocketRoutes()


class FakeSocket:
    """A datagram socket, on a machine that the test has made up."""

    def __init__(self, family: int, errors: dict[str, OSError], bound: list[Any]) -> None:
        self._family = family
        self._errors = errors
        self._bound = bound
        if error := errors.get("ipv6") if family == socket.AF_INET6 else None:
            raise error

    def connect(self, address: tuple[str, int]) -> None:
        if error := self._errors.get(address[0]):
            raise error

    def bind(self, address: Any) -> None:
        self._bound.append(address)
        if error := self._errors.get(address[0]):
            raise error

    def getsockname(self) -> tuple[str, int]:
        return ("2001:db8::10" if self._family == socket.AF_INET6 else "192.0.2.10", 4711)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> dict[str, OSError]:
    """What the system says to each address; filled by the test. Without an error it has a way there."""
    found: dict[str, OSError] = {}
    names = {name: getattr(socket, name) for name in ("AF_INET", "AF_INET6", "SOCK_DGRAM")}

    def if_nametoindex(name: str) -> int:
        if name == "gone0":
            raise OSError(errno.ENODEV, "No such device")
        return 7

    def make(family: int, _: int) -> FakeSocket:
        return FakeSocket(family, found, BOUND)

    BOUND.clear()
    fake = SimpleNamespace(**names, socket=make, if_nametoindex=if_nametoindex)
    monkeypatch.setattr(module, "socket", fake)
    return found


BOUND: list[Any] = []


def no_route() -> OSError:
    return OSError(errno.ENETUNREACH, "Network is unreachable")


def test_the_way_to_this_machine_itself_leaves_from_it() -> None:
    assert ROUTES.paths((LOOPBACK,)) == (Path(LOOPBACK),)


@needs_ipv6
def test_the_way_over_ipv6_is_found_too() -> None:
    assert ROUTES.paths((LOOPBACK, "::1")) == (Path(LOOPBACK), Path("::1"))


def test_asking_leaves_no_socket_open() -> None:
    process = psutil.Process()
    before = process.num_fds()
    ROUTES.paths((LOOPBACK, "::1", *ANYWHERE))
    ROUTES.has_address(LOOPBACK)
    ROUTES.close()
    assert process.num_fds() == before


def test_an_address_without_a_route_has_no_way_and_the_others_have(errors: dict[str, OSError]) -> None:
    errors["198.51.100.1"] = no_route()
    assert ROUTES.paths(("198.51.100.1",)) == ()
    assert ROUTES.paths(("198.51.100.1", "198.51.100.2")) == (Path("192.0.2.10"),)


def test_without_addresses_anywhere_is_asked_for(errors: dict[str, OSError]) -> None:
    assert ROUTES.paths(()) == (Path("192.0.2.10"), Path("2001:db8::10"))
    errors[ANYWHERE[0]] = no_route()
    assert ROUTES.paths(()) == (Path("2001:db8::10"),)


def test_a_machine_without_ipv6_has_no_way_over_it_and_that_is_all(errors: dict[str, OSError]) -> None:
    """Such a kernel does not even give a socket."""
    errors["ipv6"] = OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
    assert ROUTES.paths(()) == (Path("192.0.2.10"),)
    assert ROUTES.has_address("2001:db8::10"), "it says nothing about the address"


def test_an_address_of_this_machine_is_known_as_such() -> None:
    assert ROUTES.has_address(LOOPBACK)


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO])
def test_an_address_that_cannot_be_bound_is_not_ours(errors: dict[str, OSError], number: int) -> None:
    errors["192.0.2.10"] = OSError(number, "no")
    assert not ROUTES.has_address("192.0.2.10")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOBUFS, errno.EACCES])
def test_another_error_says_nothing_about_the_address(errors: dict[str, OSError], number: int) -> None:
    """A connection is not dropped because this process has too many files open."""
    errors["192.0.2.10"] = OSError(number, "no")
    assert ROUTES.has_address("192.0.2.10")


def test_the_address_of_a_link_is_looked_for_on_that_link(errors: dict[str, OSError]) -> None:
    assert ROUTES.has_address("fe80::1%wlan0")
    assert BOUND == [("fe80::1", 0, 0, 7)]
    assert not ROUTES.has_address("fe80::1%gone0")


def test_a_link_is_taken_to_work_where_nobody_can_say() -> None:
    assert ROUTES.link_works(3)


def test_who_has_no_network_to_watch_is_always_online() -> None:
    assert ALWAYS_ONLINE.paths(()) == ALWAYS_ONLINE.paths(("198.51.100.1",))
    assert len(ALWAYS_ONLINE.paths(())) == 1
    assert ALWAYS_ONLINE.has_address("192.0.2.10")
    assert ALWAYS_ONLINE.link_works(2)
    ALWAYS_ONLINE.close()
    assert ALWAYS_ONLINE.paths(())
