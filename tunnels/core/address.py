"""Where something listens or connects: a TCP port or a unix socket, in OpenSSH's notation.

Text that is wrong raises `UsageError`, whose hint shows text that is right: on a command line that is
the answer, in a profile file the loader adds the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tunnels.errors import UsageError

#: What a bind address of ``*`` (or an empty one) stands for in OpenSSH: every interface.
EVERY_INTERFACE = "*"

#: Ports in one range. Each is a listening socket; a process has 1,024 descriptors on many systems.
LONGEST_RANGE = 1024

#: ``sun_path`` of unix(7), without its final zero. macOS has 104, and says so itself at bind.
_LONGEST_PATH = 107

#: A DNS name (RFC 1035 section 2.3.4), and what a SOCKS 5 request can carry (RFC 1928 section 5).
_LONGEST_HOST = 255


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and a port.

    ``host`` is ``None`` where the user gave no bind address, which means loopback, IPv4 and IPv6
    (ssh(1), ``-L``); it is ``"*"`` for every interface. It is never an empty string, because asyncio
    and asyncssh take that for every interface without anybody having asked for it.
    """

    host: str | None
    port: int

    def __str__(self) -> str:
        return _with_port(self.host, str(self.port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. Names other than ``localhost`` are not resolved: no."""
        if self.host is None or self.host.lower() == "localhost":
            return True
        if ":" in self.host:
            return _ipv6(self.host) == "::1"
        return is_ipv4(self.host) and self.host.startswith("127.")

    def overlaps(self, other: TcpAddress) -> bool:
        """Whether both cannot be listened on at once: one port, and an interface in common.

        Names are compared, not resolved. Port 0 is a different port every time.
        """
        if self.port != other.port or self.port == 0:
            return False
        return any(
            family == other_family and (host == other_host or EVERY_INTERFACE in {host, other_host})
            for family, host in _sockets(self.host)
            for other_family, other_host in _sockets(other.host)
        )


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket, by its path: absolute, or beginning with ``~/``, which nobody has expanded yet."""

    path: str

    def __str__(self) -> str:
        return self.path


Address = TcpAddress | UnixAddress


def sent_host(address: TcpAddress) -> str:
    """The host as we send it to the server, which compares it letter by letter with what it permits.

    An empty one is every interface (RFC 4254 section 7.1).
    """
    if address.host is None:
        return "localhost"
    return "" if address.host == EVERY_INTERFACE else address.host


def describe_listen(address: Address) -> str:
    """How a status shows what is listened on: ``localhost:5432`` where no bind address was given."""
    if isinstance(address, TcpAddress) and address.host is None:
        return f"localhost:{address.port}"
    return str(address)


def describe_connect(address: Address | None) -> str | None:
    """How a status shows where clients are taken; ``None`` for a proxy, whose clients say so themselves."""
    return None if address is None else describe_listen(address)


def format_address(address: Address, ports: int = 1) -> str:
    """Write ``address`` with the ``ports`` ports that begin at its own, as a profile's table has it."""
    if isinstance(address, TcpAddress) and ports > 1:
        return _with_port(address.host, f"{address.port}-{address.port + ports - 1}")
    return str(address)


def parse_listen(text: str, *, zero: bool = False) -> tuple[Address, int]:
    """Read ``[bind_address:]port`` or a socket's path; gives the address and how many ports it spans.

    A path is taken as it is, with any colons in it. ``zero`` allows port 0, the server's choice.

    Raises:
        UsageError: the text is neither.

    """
    text = text.strip()
    if text.startswith(("/", "~/")):
        return parse_path(text), 1
    fields = split_fields(text)
    if len(fields) == 1 and not fields[0].is_path:
        port, ports = parse_ports(fields[0].text, zero=zero)
        return TcpAddress(None, port), ports
    return _address(fields, text, "127.0.0.1:6379", bind=True, zero=zero)


def parse_connect(text: str) -> tuple[Address, int]:
    """Read ``host:port`` or a socket's path; gives the address and how many ports it spans.

    A port alone is refused: ``localhost`` would be another machine for a local and a remote forward.

    Raises:
        UsageError: the text is neither.

    """
    text = text.strip()
    if text.startswith(("/", "~/")):
        return parse_path(text), 1
    fields = split_fields(text)
    if len(fields) == 1 and set(text) <= set("0123456789-"):
        raise UsageError(f"{quoted(text)} is a port without a host", hint=f'for example "localhost:{text}"')
    return _address(fields, text, "cache.internal:6379", bind=False, zero=False)


def _address(fields: list[Field], text: str, example: str, *, bind: bool, zero: bool) -> tuple[Address, int]:
    if len(fields) == 1 and fields[0].is_path:
        return parse_path(fields[0].text), 1
    if len(fields) > 2:
        raise UsageError(
            f"{quoted(text)} has too many colons", hint='IPv6 addresses stand in brackets: "[::1]:6379"'
        )
    if len(fields) < 2:
        raise UsageError(f"{quoted(text)} is not a host and a port", hint=f'for example "{example}"')
    host = parse_bind(fields[0].text) if bind else parse_host(fields[0].text)
    port, ports = parse_ports(fields[1].text, zero=zero)
    return TcpAddress(host, port), ports


class Field(NamedTuple):
    """What stands between two colons of a forward."""

    text: str

    @property
    def is_path(self) -> bool:
        """Whether it names a unix socket: as in OpenSSH, a slash anywhere says so."""
        return "/" in self.text


def split_fields(text: str) -> list[Field]:
    r"""Split at colons as readconf.c ``parse_fwd_field``: ``[…]`` is literal, ``\`` keeps what follows.

    Raises:
        UsageError: a bracket without its partner, or a backslash at the end.

    """
    if len(text) > 1024:
        raise UsageError("a forward is at most 1024 characters long")
    fields = []
    position = 0
    while True:
        written = ""
        if text.startswith("[", position):
            end = text.find("]", position)
            if end == -1 or text[end + 1 : end + 2] not in {"", ":"}:
                raise UsageError(
                    f"{quoted(text)} has a bracket without its partner", hint='IPv6 is written "[::1]:80"'
                )
            written = text[position + 1 : end]
            position = end + 1
        while position < len(text) and text[position] != ":":
            if text[position] == "\\":
                position += 1
                if position == len(text):
                    raise UsageError(f"{quoted(text)} ends with a backslash", hint=r"write \\ to mean one")
            written += text[position]
            position += 1
        fields.append(Field(written))
        if position == len(text):
            return fields
        position += 1


def join_path(path: str) -> str:
    r"""Write a path as a field that `split_fields` reads back: ``\`` before colons and backslashes."""
    return path.replace("\\", "\\\\").replace(":", "\\:")


def parse_ports(text: str, *, zero: bool = False) -> tuple[int, int]:
    """Read a port or a range of them (``8000-8010``): the first one, and how many there are.

    Raises:
        UsageError: not numbers from 1 (``zero``: 0) to 65535, backwards, or too many.

    """
    first_text, dash, last_text = text.partition("-")
    first = _port(first_text, text, zero=zero and not dash)
    if not dash:
        return first, 1
    last = _port(last_text, text, zero=False)
    if last < first:
        raise UsageError(f"the range {text} runs backwards", hint=f'write "{last}-{first}"')
    if last - first >= LONGEST_RANGE:
        raise UsageError(f"the range {text} has {last - first + 1} ports; {LONGEST_RANGE} are the most")
    return first, last - first + 1


def _port(digits: str, text: str, *, zero: bool) -> int:
    if digits.isascii() and digits.isdigit():
        port = int(digits) if len(digits) <= 8 else 65536
        if port == 0 and not zero:
            raise UsageError(
                "port 0 lets the server choose, which only a remote forward can listen on",
                hint="use a number between 1 and 65535",
            )
        if port <= 65535:
            return port
        raise UsageError(f"{quoted(text)} is too large for a port", hint="use a number between 1 and 65535")
    if not text:
        raise UsageError("the port is missing", hint="use a number between 1 and 65535")
    raise UsageError(f"{quoted(text)} is not a port", hint="use a number between 1 and 65535")


def parse_bind(text: str) -> str:
    """Read a bind address that was written: empty and ``*`` both mean every interface (ssh(1), ``-L``)."""
    return EVERY_INTERFACE if text in {"", EVERY_INTERFACE} else parse_host(text)


def parse_host(text: str) -> str:
    """Check a name or an IP address, without brackets.

    Raises:
        UsageError: it cannot be either.

    """
    if not text:
        raise UsageError("the host is missing", hint='for example "5432:db.internal:5432"')
    if len(text) > _LONGEST_HOST:
        raise UsageError(f"a host name is at most {_LONGEST_HOST} characters long")
    if text == EVERY_INTERFACE:
        raise UsageError('"*" stands for every interface, and is no destination', hint="name one host")
    if ":" in text:
        if _ipv6(text) is None:
            raise UsageError(f"{quoted(text)} is not an IPv6 address", hint='for example "[::1]"')
        return text
    if "@" in text:
        raise UsageError(
            f"{quoted(text)} has a user name, and a forward needs none",
            hint=f"write {quoted(text.rpartition('@')[2])}; the login belongs into host",
        )
    if text.startswith("-") or not all(char.isalnum() or char in "-._" for char in text):
        raise UsageError(f"{quoted(text)} is not a host name", hint='for example "db.internal"')
    last = text.rstrip(".").rpartition(".")[2]
    if last.isascii() and last.isdigit() and not is_ipv4(text):
        raise UsageError(f"{quoted(text)} is neither a name nor an IPv4 address", hint='as in "192.0.2.7"')
    return text


def parse_path(text: str) -> UnixAddress:
    """Check the path of a unix socket.

    Relative paths are refused, because a daemon has no folder that its user thinks of; so are tokens
    and variables, which OpenSSH expands here and we do not.

    Raises:
        UsageError: it is not a path that can be used.

    """
    if not text.startswith(("/", "~/")):
        raise UsageError(
            f"{quoted(text)} looks like the path of a socket, and is not absolute",
            hint='for example "/run/postgresql/.s.PGSQL.5432" or "~/db.sock"',
        )
    if not text.isprintable() or text != text.strip() or text.endswith("/"):
        raise UsageError(f"{quoted(text)} is not the path of a socket", hint='for example "/run/db.sock"')
    if "%" in text or "$" in text:
        raise UsageError(
            f"{quoted(text)} has a token or variable, and they are not expanded here",
            hint="write the whole path",
        )
    if len(text.encode("utf-8", "surrogatepass")) > _LONGEST_PATH:
        raise UsageError(f"the path of a socket is at most {_LONGEST_PATH} bytes long (unix(7))")
    return UnixAddress(text)


def quoted(text: str) -> str:
    """Show what a person wrote inside a message: one line, not long, nothing a terminal would obey."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return f'"{shown[:60]}…"' if len(shown) > 60 else f'"{shown}"'


def is_ipv4(text: str) -> bool:
    """Whether it is four numbers with dots; not the shorter and octal forms of inet_aton(3)."""
    parts = text.split(".")
    return len(parts) == 4 and all(
        part.isascii() and part.isdigit() and len(part) <= 3 and int(part) <= 255 and str(int(part)) == part
        for part in parts
    )


def is_ip_address(host: str) -> bool:
    """Whether a host is an address and no name that somebody has still to resolve."""
    return ":" in host or is_ipv4(host)


def _ipv6(text: str) -> str | None:
    """Spell an IPv6 address in its one short form; ``None`` if it is none."""
    import ipaddress  # noqa: PLC0415 - 4 ms that most profiles do not need

    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        return None


def _with_port(host: str | None, port: str) -> str:
    if host is None:
        return port
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sockets(host: str | None) -> tuple[tuple[str, str], ...]:
    """List the sockets a bind address stands for, as family and address."""
    if host is None or host.lower() == "localhost":
        return (("inet", "127.0.0.1"), ("inet6", "::1"))
    if host == EVERY_INTERFACE:
        return (("inet", "*"), ("inet6", "*"), ("name", "*"))
    if ":" in host:
        short = _ipv6(host) or host
        return (("inet6", "*" if short == "::" else short),)
    if is_ipv4(host):
        return (("inet", "*" if host == "0.0.0.0" else host),)  # noqa: S104 - compared, not bound
    return (("name", host.lower()),)
