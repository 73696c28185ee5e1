"""Linux: what the kernel says of links, addresses and routes, also when it is damaged or not all of it.

The messages are put together here by hand, after linux/netlink.h and linux/rtnetlink.h. What needs the
kernel itself asks it for the way to loopback only, and changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.bed.ports import LOOPBACK, has_ipv6
from tunnels.core.path import NetworkChange, Path
from tunnels.supervisor import rtnetlink
from tunnels.supervisor.rtnetlink import (
    LinkStates,
    Message,
    NetlinkEvents,
    NetlinkRoutes,
    attributes,
    messages,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")

ERROR, DONE = 2, 3
NEWLINK, DELLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE, NEWNEIGH = 16, 17, 20, 21, 24, 25, 28
UP, LOWER_UP, RUNNING = 0x1, 0x10000, 0x40
DST, OIF, GATEWAY, PREFSRC = 1, 4, 5, 7
UNICAST, LOCAL, BLACKHOLE = 1, 2, 6


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def message(kind: int, body: bytes = b"", *, sequence: int = 0) -> bytes:
    return padded(struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + body)


def attribute(kind: int, value: bytes) -> bytes:
    return padded(struct.pack("=HH", 4 + len(value), kind) + value)


def link(index: int, flags: int, *, kind: int = NEWLINK) -> bytes:
    return message(kind, struct.pack("=BxHiII", socket.AF_UNSPEC, 1, index, flags, 0))


def route(
    *, kind: int = UNICAST, oif: int = 2, gateway: str = "192.0.2.1", source: str = "192.0.2.10"
) -> bytes:
    """The body of an answer: an rtmsg and what is behind it."""
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 0, 0, kind, 0)
    body += attribute(DST, socket.inet_aton("198.51.100.1")) + attribute(OIF, struct.pack("=I", oif))
    for what, address in ((GATEWAY, gateway), (PREFSRC, source)):
        if address:
            body += attribute(what, socket.inet_aton(address))
    return body


# --- messages and attributes ----------------------------------------------------------------------


def test_what_one_read_gives_is_split_into_its_messages() -> None:
    data = message(NEWADDR, b"odd") + message(NEWROUTE) + message(DONE, b"four")
    assert list(messages(data)) == [(NEWADDR, b"odd"), (NEWROUTE, b""), (DONE, b"four")]


def test_attributes_are_found_by_their_kind() -> None:
    data = attribute(OIF, b"\2\0\0\0") + attribute(GATEWAY, b"odd") + attribute(PREFSRC, b"")
    assert attributes(data) == {OIF: b"\2\0\0\0", GATEWAY: b"odd", PREFSRC: b""}


@pytest.mark.parametrize("length", [0, 15, 21, 2**32 - 1])
def test_a_message_of_a_length_that_cannot_be_ends_the_reading(length: int) -> None:
    good = message(NEWADDR, b"good")
    assert list(messages(good + struct.pack("=IHHII", length, NEWLINK, 0, 0, 0) + b"rest")) == [
        (NEWADDR, b"good")
    ]


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_an_attribute_of_a_length_that_cannot_be_ends_the_reading(length: int) -> None:
    good = attribute(OIF, b"good")
    assert attributes(good + struct.pack("=HH", length, GATEWAY) + b"rest") == {OIF: b"good"}


@given(st.binary(max_size=200))
def test_no_bytes_whatever_make_the_reader_raise(data: bytes) -> None:
    states = LinkStates()
    for found in messages(data):
        states.learn(found)
        attributes(found.body)
    attributes(data)


@given(st.lists(st.tuples(st.sampled_from([NEWLINK, DELLINK, NEWADDR, NEWROUTE, 0]), st.binary(max_size=40))))
def test_messages_with_any_content_are_split_as_they_were_joined(sent: list[tuple[int, bytes]]) -> None:
    data = b"".join(message(kind, body) for kind, body in sent)
    states = LinkStates()
    assert list(messages(data)) == sent
    for found in messages(data):
        states.learn(found)
    for cut in range(0, len(data), 7):
        whole = list(messages(data[:cut]))
        assert whole == sent[: len(whole)], "what is cut off is left out, and nothing is made up"


# --- links ----------------------------------------------------------------------------------------


def learn(states: LinkStates, data: bytes) -> NetworkChange | None:
    [found] = messages(data)
    return states.learn(found)


def of(index: int) -> NetworkChange:
    return NetworkChange(interfaces=frozenset({index}))


@pytest.mark.parametrize("kind", [NEWADDR, DELADDR, NEWROUTE, DELROUTE])
def test_an_address_or_a_route_is_a_reason_to_look_at_the_routes(kind: int) -> None:
    assert LinkStates().learn(Message(kind, b"whatever")) == NetworkChange()


@pytest.mark.parametrize("kind", [ERROR, DONE, NEWNEIGH])
def test_anything_else_is_nothing_for_us(kind: int) -> None:
    assert LinkStates().learn(Message(kind, bytes(64))) is None


def test_a_link_is_a_change_when_it_goes_and_when_it_comes_back() -> None:
    states = LinkStates()
    learn(states, link(2, UP | LOWER_UP))
    assert learn(states, link(2, UP)) == of(2)  # the cable was pulled
    assert learn(states, link(2, UP | LOWER_UP)) == of(2)
    assert learn(states, link(2, LOWER_UP)) == of(2)  # somebody has switched it off


def test_a_link_that_is_what_it_was_is_no_change() -> None:
    """A Wi-Fi card reports itself again and again, with other flags and the same state."""
    states = LinkStates()
    learn(states, link(2, UP | LOWER_UP))
    learn(states, link(3, 0))
    assert learn(states, link(2, UP | LOWER_UP | RUNNING)) is None
    assert learn(states, link(3, UP)) is None, "without a carrier it still does not work"


def test_each_link_has_its_own_state() -> None:
    states = LinkStates()
    assert learn(states, link(2, UP | LOWER_UP)) == of(2)
    assert learn(states, link(3, UP | LOWER_UP)) == of(3)
    assert learn(states, link(2, UP | LOWER_UP)) is None


def test_a_link_that_is_taken_out_is_a_change_and_is_forgotten() -> None:
    """On a machine with containers they come and go, for years."""
    states = LinkStates()
    for index, flags in ((2, UP | LOWER_UP), (3, 0)):
        learn(states, link(index, flags))
        gone = learn(states, link(index, flags, kind=DELLINK))
        assert gone == (of(index) if flags else None), "one that did not work is not missed"
    assert states._up == {}


def test_a_link_that_nobody_knew_may_have_been_in_use() -> None:
    assert learn(LinkStates(), link(2, 0, kind=DELLINK)) == of(2)


@pytest.mark.parametrize("size", [0, 15])
def test_half_a_link_is_nothing(size: int) -> None:
    assert LinkStates().learn(Message(NEWLINK, bytes(size))) is None


# --- events ---------------------------------------------------------------------------------------


class FakeSocket:
    """A netlink socket that gives what the test has put into it."""

    def __init__(self, *reads: bytes | OSError) -> None:
        self.reads = list(reads)
        self.sent: list[bytes] = []
        self.closed = False
        self.answer: Callable[[bytes], list[bytes]] = lambda _: []
        self.bind_error: OSError | None = None

    def bind(self, address: tuple[int, int]) -> None:
        if self.bind_error is not None:
            raise self.bind_error

    def recv(self, size: int) -> bytes:
        if not self.reads:
            raise BlockingIOError
        found = self.reads.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        self.reads += self.answer(data)
        return len(data)

    def settimeout(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def netlink(monkeypatch: pytest.MonkeyPatch) -> FakeSocket:
    """What `rtnetlink` gets when it opens a netlink socket; other sockets are real ones."""
    fake = FakeSocket()
    names = {name: getattr(socket, name) for name in dir(socket) if not name.startswith("__")}
    names |= {"AF_NETLINK": 16, "NETLINK_ROUTE": 0, "SOCK_NONBLOCK": 0, "SOCK_CLOEXEC": 0}

    def make(family: int, *rest: int) -> Any:
        return fake if family == 16 else socket.socket(family, *rest)

    monkeypatch.setattr(rtnetlink, "socket", SimpleNamespace(**(names | {"socket": make})))
    return fake


def test_everything_that_has_come_is_one_change(netlink: FakeSocket) -> None:
    netlink.reads = [
        link(2, UP) + message(NEWADDR),
        message(DELROUTE),
        link(3, UP | LOWER_UP),
    ]
    assert NetlinkEvents().read() == NetworkChange(interfaces=frozenset({2, 3}))
    assert netlink.reads == []


def test_news_that_mean_nothing_are_none(netlink: FakeSocket) -> None:
    events = NetlinkEvents()
    assert events.read() is None
    netlink.reads = [message(NEWNEIGH), b"", b"rubbish"]
    assert events.read() is None


def test_what_was_too_much_for_the_kernel_may_have_been_anything(netlink: FakeSocket) -> None:
    netlink.reads = [message(NEWADDR), OSError(errno.ENOBUFS, "No buffer space available")]
    assert NetlinkEvents().read() == NetworkChange(missed=True)


def test_after_that_it_goes_on(netlink: FakeSocket) -> None:
    netlink.reads = [OSError(errno.ENOBUFS, "No buffer space available"), message(NEWADDR)]
    events = NetlinkEvents()
    events.read()
    assert events.read() == NetworkChange()


def test_a_system_that_does_not_let_us_listen_is_an_error_and_no_socket_is_left(netlink: FakeSocket) -> None:
    netlink.bind_error = PermissionError(errno.EPERM, "Operation not permitted")
    with pytest.raises(PermissionError):
        NetlinkEvents()
    assert netlink.closed


def test_closing_lets_go_of_the_socket(netlink: FakeSocket) -> None:
    NetlinkEvents().close()
    assert netlink.closed


# --- routes, from answers made by hand ------------------------------------------------------------


class Asked:
    """What a test wants the kernel to answer; links work unless it says otherwise."""

    def __init__(self, fake: FakeSocket, monkeypatch: pytest.MonkeyPatch) -> None:
        self.socket = fake
        self.dead: set[int] = set()
        self.routes = NetlinkRoutes()
        monkeypatch.setattr(self.routes, "link_works", lambda index: index not in self.dead)
        self.otherwise: list[str] = []  #: for which addresses the datagram socket was asked
        monkeypatch.setattr(self.routes, "_path", self._path)

    def _path(self, address: str) -> Path:
        self.otherwise.append(address)
        return Path("otherwise")

    def to(self, *answers: bytes | tuple[int, bytes], address: str = "198.51.100.1") -> tuple[Path, ...]:
        """The ways to an address, where the kernel answers so: bodies of routes, or kinds and bodies."""

        def answer(question: bytes) -> list[bytes]:
            (sequence,) = struct.unpack_from("=I", question, 8)
            pairs = [each if isinstance(each, tuple) else (NEWROUTE, each) for each in answers]
            return [message(kind, body, sequence=sequence) for kind, body in pairs]

        self.socket.answer = answer
        return self.routes.paths((address,))


@pytest.fixture
def asked(netlink: FakeSocket, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(netlink, monkeypatch)


def failed(number: int) -> tuple[int, bytes]:
    return ERROR, struct.pack("=i", -number) + bytes(16)


def test_the_way_has_the_source_the_interface_and_the_router(asked: Asked) -> None:
    assert asked.to(route()) == (Path("192.0.2.10", 2, "192.0.2.1"),)
    assert asked.to(route(gateway="")) == (Path("192.0.2.10", 2, ""),)
    assert asked.to(route(kind=LOCAL, oif=1, gateway="")) == (Path("192.0.2.10", 1, ""),)


def test_the_question_is_for_one_address(asked: Asked) -> None:
    asked.to(route(), address="198.51.100.7")
    [question] = messages(asked.socket.sent[0])
    assert question.type == 26
    assert question.body[:2] == bytes([socket.AF_INET, 32])
    assert attributes(question.body[12:]) == {DST: socket.inet_aton("198.51.100.7")}


def test_without_addresses_the_question_is_for_anywhere(asked: Asked) -> None:
    asked.to(route())
    asked.socket.sent.clear()
    assert len(asked.routes.paths(())) == 2
    families = [next(messages(sent)).body[0] for sent in asked.socket.sent]
    assert families == [socket.AF_INET, socket.AF_INET6]


def test_every_address_of_a_host_is_asked_for(asked: Asked) -> None:
    asked.to(route())
    assert len(asked.routes.paths(("198.51.100.1", "198.51.100.2"))) == 2


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL])
def test_an_address_without_a_route_has_no_way(asked: Asked, number: int) -> None:
    assert asked.to(failed(number)) == ()
    assert asked.otherwise == []


def test_a_route_into_a_black_hole_is_no_way(asked: Asked) -> None:
    assert asked.to(route(kind=BLACKHOLE)) == ()


def test_a_route_over_a_link_that_is_dead_is_no_way(asked: Asked) -> None:
    """Routes stay for a while when a cable is pulled."""
    asked.dead = {2}
    assert asked.to(route()) == ()
    assert asked.to(route(oif=3)) == (Path("192.0.2.10", 3, "192.0.2.1"),)


def test_the_late_answer_to_a_question_before_is_passed_over(asked: Asked) -> None:
    asked.socket.reads = [message(NEWROUTE, route(oif=9), sequence=999)]
    assert asked.to(route()) == (Path("192.0.2.10", 2, "192.0.2.1"),)


@pytest.mark.parametrize(
    "answer",
    [
        failed(errno.EOPNOTSUPP),  # a kernel without IPv6
        b"",
        b"half",
        struct.pack("=BBBBBBBBI", 99, 0, 0, 0, 0, 0, 0, UNICAST, 0) + attribute(PREFSRC, b"1234"),
        struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, UNICAST, 0) + attribute(OIF, b"1"),
        struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, UNICAST, 0) + attribute(PREFSRC, b"1"),
    ],
)
def test_where_the_answer_says_nothing_the_system_is_asked_in_the_other_way(
    asked: Asked, answer: bytes | tuple[int, bytes]
) -> None:
    assert asked.to(answer) == (Path("otherwise"),)
    assert asked.otherwise == ["198.51.100.1"]


@given(body=st.binary(max_size=80), kind=st.sampled_from([NEWROUTE, ERROR, DONE]), cut=st.integers(0, 40))
def test_a_damaged_answer_never_raises(body: bytes, kind: int, cut: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fake = FakeSocket()
        patch.setattr(rtnetlink.NetlinkRoutes, "__init__", lambda self: None)
        routes = NetlinkRoutes()
        routes._sock, routes._sequence = fake, 0  # type: ignore[assignment]
        patch.setattr(routes, "_path", lambda address: None)
        fake.answer = lambda question: [message(kind, body, sequence=1)[: len(body) + 16 - cut]]
        assert len(routes.paths(("198.51.100.1",))) <= 1


# --- the kernel itself ----------------------------------------------------------------------------


@contextlib.contextmanager
def kernel_routes() -> Iterator[NetlinkRoutes]:
    with contextlib.closing(NetlinkRoutes()) as routes:
        yield routes


@linux
def test_the_kernel_knows_the_way_to_this_machine_itself() -> None:
    with kernel_routes() as routes:
        loopback = socket.if_nametoindex("lo")
        assert routes.paths((LOOPBACK,)) == (Path(LOOPBACK, loopback),)
        assert routes.paths((LOOPBACK, LOOPBACK)) == 2 * (Path(LOOPBACK, loopback),)
        assert routes.link_works(loopback)


@linux
@needs_ipv6
def test_the_kernel_knows_the_way_to_this_machine_itself_over_ipv6() -> None:
    with kernel_routes() as routes:
        assert routes.paths(("::1",)) == (Path("::1", socket.if_nametoindex("lo")),)


@linux
def test_what_is_no_address_has_no_way() -> None:
    with kernel_routes() as routes:
        assert routes.paths(("not an address",)) == ()


@linux
def test_an_interface_that_does_not_exist_does_not_work_and_an_unknown_one_may() -> None:
    with kernel_routes() as routes:
        assert not routes.link_works(2**30)
        assert routes.link_works(0)


@linux
def test_a_link_local_address_of_an_interface_that_is_gone_has_no_way() -> None:
    with kernel_routes() as routes:
        assert routes.paths(("fe80::1%gone0",)) == ()


@linux
def test_who_asks_after_the_end_still_gets_an_answer() -> None:
    routes = NetlinkRoutes()
    routes.close()
    routes.close()
    assert routes.paths((LOOPBACK,)) == (Path(LOOPBACK),)


@linux
def test_listening_needs_no_privilege_and_reading_does_not_wait_for_news() -> None:
    with contextlib.closing(NetlinkEvents()) as events:
        assert events.fileno() >= 0
        assert events.read() in (None, NetworkChange())
