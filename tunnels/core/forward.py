"""One rule of a profile: OpenSSH's forward grammar, parsed and printed."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tunnels.core.address import (
    Address,
    Field,
    TcpAddress,
    UnixAddress,
    format_address,
    join_path,
    parse_bind,
    parse_host,
    parse_path,
    parse_ports,
    quoted,
    split_fields,
)
from tunnels.errors import UsageError


class ForwardKind(enum.Enum):
    """Which of ssh's three flags the forward stands for."""

    LOCAL = "local"  #: ``-L``: listens here, connects from the server
    REMOTE = "remote"  #: ``-R``: listens on the server, connects from here
    DYNAMIC = "dynamic"  #: ``-D``: a SOCKS and HTTP proxy here; every client says where it wants to go


#: A forward of each kind that is right, for messages.
EXAMPLES = {
    ForwardKind.LOCAL: "5432:db.internal:5432",
    ForwardKind.REMOTE: "2222:localhost:22",
    ForwardKind.DYNAMIC: "1080",
}


@dataclass(frozen=True, slots=True)
class ProxyAuth:
    """The name and the secret a client of a dynamic forward must give (RFC 1929)."""

    username: str
    password_command: str  #: run by ``sh -c``; the first line it prints is the password


@dataclass(frozen=True, slots=True)
class Forward:
    """One listening address and where its clients go.

    ``connect`` is ``None`` for a dynamic forward, and for a remote one that is a proxy on the
    server's side (``-R port``).
    """

    kind: ForwardKind
    listen: Address
    connect: Address | None = None
    name: str | None = None
    auth: ProxyAuth | None = None
    expose: bool = False  #: a dynamic forward that other machines may use without ``auth``
    probe: float | None = None  #: seconds between two looks at the destination; ``None``: nobody looks

    def __str__(self) -> str:
        return _written(self.listen, self.connect, 1)

    @property
    def reachable_by_others(self) -> bool:
        """Whether other machines may reach the listener: those around us, or for ``-R`` around the server."""
        return isinstance(self.listen, TcpAddress) and not self.listen.is_loopback

    @property
    def is_proxy(self) -> bool:
        """Whether its clients say where they want to go."""
        return self.connect is None

    @property
    def is_open_proxy(self) -> bool:
        """Whether strangers could send anything anywhere through it, and nobody has said that they may."""
        return self.is_proxy and self.reachable_by_others and self.auth is None and not self.expose

    def clashes(self, other: Forward) -> bool:
        """Whether both want one listening socket of one machine."""
        if (self.kind is ForwardKind.REMOTE) != (other.kind is ForwardKind.REMOTE):
            return False
        if isinstance(self.listen, TcpAddress) and isinstance(other.listen, TcpAddress):
            return self.listen.overlaps(other.listen)
        return self.listen == other.listen


@dataclass(frozen=True, slots=True)
class ForwardRule:
    """A forward as it was written, perhaps for a range of ports; `spread` gives what runs.

    ``listen`` and ``connect`` have the first port of ``ports`` many.
    """

    kind: ForwardKind
    listen: Address
    connect: Address | None = None
    ports: int = 1
    name: str | None = None
    auth: ProxyAuth | None = None
    expose: bool = False
    probe: float | None = None  #: 0: never, whatever the profile says

    def __str__(self) -> str:
        return _written(self.listen, self.connect, self.ports)

    def spread(self) -> tuple[Forward, ...]:
        """One forward for each port; all of them have the rule's name."""
        return tuple(
            Forward(
                self.kind,
                _shifted(self.listen, step),
                None if self.connect is None else _shifted(self.connect, step),
                self.name,
                self.auth,
                self.expose,
                self.probe,
            )
            for step in range(self.ports)
        )


def parse_forward(kind: ForwardKind, text: str) -> ForwardRule:
    r"""Read what ``ssh`` takes after ``-L``, ``-R`` or ``-D`` (ssh(1); readconf.c ``parse_forward``).

    ===================================  ==================
    ``[bind_address:]port:host:port``    local and remote
    ``[bind_address:]port:socket``       local and remote
    ``socket:host:port``                 local and remote
    ``socket:socket``                    local and remote
    ``[bind_address:]port``              remote and dynamic
    ===================================  ==================

    ``[…]`` holds an IPv6 address or anything else that has colons, ``\`` keeps the character after it.
    No bind address means loopback, an empty one or ``*`` every interface. Ports may be ranges of equal
    length on both sides (ours, not OpenSSH's). ``parse_forward(kind, str(rule))`` is ``rule`` again.

    Stricter than OpenSSH: ports are numbers, 0 only where a server listens; sockets are absolute or
    begin with ``~/``; a host is never empty or a bare number; proxies listen on TCP. The separator
    ``/``, which OpenSSH had for IPv6 before brackets, now means a path there and here.

    Raises:
        UsageError: what is wrong, and in the hint what would be right.

    """
    text = text.strip()
    if not text:
        raise UsageError(f"an empty text is not a {kind.value} forward", hint=_for_example(kind))
    fields = split_fields(text)
    if len(fields) > (2 if kind is ForwardKind.DYNAMIC else 4):
        raise _too_many(kind, text)
    if kind is ForwardKind.DYNAMIC or _is_listener_alone(fields):
        return _proxy(kind, fields, text)
    listen, ports, rest = _listener(kind, fields, text)
    connect, connect_ports = _destination(kind, rest, text)
    return make_rule(kind, listen, ports, connect, connect_ports)


def make_rule(
    kind: ForwardKind,
    listen: Address,
    listen_ports: int,
    connect: Address | None = None,
    connect_ports: int = 1,
    *,
    name: str | None = None,
    auth: ProxyAuth | None = None,
    expose: bool = False,
    probe: float | None = None,
) -> ForwardRule:
    """Put the two ends together.

    Raises:
        UsageError: their ranges differ in length, a socket is named that only the server could expand,
            or the ends are not ones that ``kind`` can have.

    """
    if connect is None:
        if kind is ForwardKind.LOCAL:
            raise _no_destination(kind, str(listen))
        if isinstance(listen, UnixAddress):
            raise UsageError("a proxy listens on a port, not on a socket", hint='for example "1080"')
    elif listen_ports != connect_ports:
        raise _unequal(listen, listen_ports, connect, connect_ports)
    far = listen if kind is ForwardKind.REMOTE else connect
    if isinstance(far, UnixAddress) and far.path.startswith("~"):
        raise UsageError(
            f"{quoted(far.path)} is on the server, which does not expand ~", hint="write the whole path"
        )
    return ForwardRule(kind, listen, connect, listen_ports, name, auth, expose, probe)


def _is_listener_alone(fields: list[Field]) -> bool:
    """Whether there is nothing behind the port: ``8080`` or ``localhost:8080``."""
    return len(fields) == 1 or (len(fields) == 2 and not any(field.is_path for field in fields))


def _proxy(kind: ForwardKind, fields: list[Field], text: str) -> ForwardRule:
    """Read ``[bind_address:]port``, for a local forward the beginning of a message."""
    if kind is ForwardKind.LOCAL:
        raise _no_destination(kind, text)
    if any(field.is_path for field in fields):
        raise UsageError("a proxy listens on a port, not on a socket", hint=_for_example(kind))
    if kind is ForwardKind.REMOTE and len(fields) == 2 and fields[0].text.isdigit():
        raise _no_destination(kind, text)  # OpenSSH would listen on an address that it calls "8080"
    host = parse_bind(fields[0].text) if len(fields) == 2 else None
    port, ports = parse_ports(fields[-1].text, zero=kind is ForwardKind.REMOTE)
    return make_rule(kind, TcpAddress(host, port), ports)


def _listener(kind: ForwardKind, fields: list[Field], text: str) -> tuple[Address, int, list[Field]]:
    """Read the first half: the address, how many ports, and the fields that are left."""
    if fields[0].is_path:
        return parse_path(fields[0].text), 1, fields[1:]
    has_bind = len(fields) == 4 or (len(fields) == 3 and fields[2].is_path)
    if has_bind and fields[1].text == "":  # as in ::1:80
        raise _too_many(kind, text)
    if has_bind and fields[1].is_path:
        raise UsageError(
            f"{quoted(text)} has a path with a colon", hint=r'write "\:" for a colon inside a path'
        )
    if has_bind and len(fields) == 3 and fields[0].text.isdigit():
        raise _host_and_socket(kind, text)
    host = parse_bind(fields[0].text) if has_bind else None
    port, ports = parse_ports(fields[has_bind].text, zero=kind is ForwardKind.REMOTE)
    return TcpAddress(host, port), ports, fields[has_bind + 1 :]


def _destination(kind: ForwardKind, fields: list[Field], text: str) -> tuple[Address, int]:
    """Read the second half."""
    if len(fields) == 1 and fields[0].is_path:
        return parse_path(fields[0].text), 1
    if len(fields) != 2:
        raise _too_many(kind, text) if len(fields) > 2 else _no_destination(kind, text)
    if fields[1].is_path:
        raise _host_and_socket(kind, text)
    host = parse_host(fields[0].text)
    port, ports = parse_ports(fields[1].text)
    return TcpAddress(host, port), ports


def _no_destination(kind: ForwardKind, text: str) -> UsageError:
    """Say that something is missing, with the port that the person had in mind in the example."""
    *before, last = text.split(":")
    example = EXAMPLES[kind]
    if len(before) <= 1 and last.isascii() and last.isdigit() and len(text) <= 40 and text.isprintable():
        is_port = before and before[0].isascii() and before[0].isdigit()
        example = f"{before[0]}:localhost:{last}" if is_port else f"{text}:db.internal:{last}"
    return UsageError(f"a {kind.value} forward needs a destination: {example}")


def _too_many(kind: ForwardKind, text: str) -> UsageError:
    if kind is ForwardKind.DYNAMIC and ("[" in text or "::" not in text):
        return UsageError("a dynamic forward is only a port: 1080 or localhost:1080")
    return UsageError(
        f"{quoted(text)} has too many colons",
        hint=f'IPv6 addresses stand in brackets: "[::1]:{EXAMPLES[kind]}"',
    )


def _unequal(listen: Address, listen_ports: int, connect: Address, connect_ports: int) -> UsageError:
    count = f"{listen_ports} port{'s' * (listen_ports != 1)} to listen on and {connect_ports} to connect to"
    if isinstance(listen, UnixAddress) or isinstance(connect, UnixAddress):
        return UsageError(f"{count}: a socket goes with one port, not with a range")
    return UsageError(
        f"{count}: the ranges must be equally long", hint='for example "8000-8010:web:8000-8010"'
    )


def _host_and_socket(kind: ForwardKind, text: str) -> UsageError:
    return UsageError(
        f"{quoted(text)} names a host and a socket to connect to; it is one of them", hint=_for_example(kind)
    )


def _for_example(kind: ForwardKind) -> str:
    return f'for example "{EXAMPLES[kind]}"'


def _written(listen: Address, connect: Address | None, ports: int) -> str:
    ends = [listen] if connect is None else [listen, connect]
    return ":".join(
        join_path(end.path) if isinstance(end, UnixAddress) else format_address(end, ports) for end in ends
    )


def _shifted(address: Address, step: int) -> Address:
    if isinstance(address, UnixAddress) or step == 0:
        return address
    return TcpAddress(address.host, address.port + step)
