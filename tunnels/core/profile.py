"""What the user wrote: one SSH destination and its forwards, frozen."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field, replace

from tunnels.core.address import parse_ports, quoted
from tunnels.core.forward import Forward
from tunnels.errors import UsageError

#: Names stand on command lines, in file names and beside globs: nothing a shell or fnmatch would touch.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

#: What ssh refuses in a host name or user, because ProxyCommand and Match exec hand them to a shell
#: (ssh.c ``valid_hostname`` and ``valid_ruser``; CVE-2023-51385).
_SHELL_CHARACTERS = frozenset("'`\"$\\;&<>|(){}")


class HostKeyPolicy(enum.Enum):
    """What to do with a host key that is in no known_hosts file. A changed one is always refused."""

    ASK = "ask"
    STRICT = "strict"
    ACCEPT_NEW = "accept-new"


@dataclass(frozen=True, slots=True)
class Retry:
    """How a lost connection is dialled again. Seconds."""

    initial: float = 1.0  #: ceiling of the first delay
    max: float = 60.0  #: ceiling of every later delay
    give_up_after: float | None = None  #: never, unless the user says so


@dataclass(frozen=True, slots=True)
class Profile:
    """One SSH destination and its forwards. ``None`` means: not said, ssh_config or our default decides.

    Durations are in seconds. Paths are as written: ``~`` is expanded where a file is opened.
    """

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    identity_file: tuple[str, ...] = ()
    certificate_file: tuple[str, ...] = ()
    jump: tuple[str, ...] | None = None  #: in the order they are passed; ``()``: none, despite ssh_config
    proxy_command: str | None = None  #: ``none``: none, despite ssh_config
    share_jump: bool = True  #: use a connection to a jump host together with other tunnels
    known_hosts: tuple[str, ...] = ()
    host_key_policy: HostKeyPolicy | None = None
    password_command: str | None = None
    ssh_config: str | None = None  #: a file, or ``none``
    keepalive: float | None = None  #: 0 sends none
    keepalive_count: int | None = None
    connect_timeout: float | None = None
    hold: float = 20.0  #: 0 lets a client fail at once while the link is down
    probe: float | None = None  #: of the forwards that say nothing of their own; ``None``: nobody looks
    on_demand: bool = False
    idle_timeout: float | None = None  #: ``None``: an idle connection is kept
    autostart: bool = False
    exit_on_forward_failure: bool = False
    remote_unlink: bool = False  #: remove a dead unix socket that is in the way of a remote forward
    tags: tuple[str, ...] = ()
    description: str = ""
    ciphers: tuple[str, ...] = ()
    compression: bool | None = None
    retry: Retry = field(default_factory=Retry)
    on_up: tuple[str, ...] = ()  #: a command and its arguments; no shell
    on_down: tuple[str, ...] = ()
    on_failed: tuple[str, ...] = ()
    captive_portal: bool = True  #: look for a login page where nothing gets through
    notify: bool = True  #: say on the desktop that it needs a person
    forwards: tuple[Forward, ...] = ()  #: port ranges already spread out

    def same_tunnel(self, other: Profile) -> bool:
        """Whether a running tunnel may go on when one is replaced by the other.

        What only people and the next start look at makes no difference: description, tags, autostart;
        nor does what is looked at when something happens: hooks and notify.
        """
        return _running_part(self) == _running_part(other)


def _running_part(profile: Profile) -> Profile:
    return replace(
        profile,
        description="",
        tags=(),
        autostart=False,
        on_up=(),
        on_down=(),
        on_failed=(),
        notify=True,
    )


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A destination as ssh takes it: ``[user@]host[:port]``. The host may be a Host of ssh_config."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user is not None else ""
        if self.port is None:
            return f"{user}{self.host}"
        return f"{user}[{self.host}]:{self.port}" if ":" in self.host else f"{user}{self.host}:{self.port}"


def parse_host_spec(text: str) -> HostSpec:
    """Read ``[user@]host[:port]`` or ``ssh://[user@]host[:port]`` (ssh(1), ssh_config(5) ProxyJump).

    An IPv6 address stands in brackets if a port follows; without one it may stand alone.

    Raises:
        UsageError: it is not a destination, or one that ssh would refuse.

    """
    text = text.strip()
    is_uri = text[:6].lower() == "ssh://"
    rest = text[6:].removesuffix("/") if is_uri else text
    before, at, rest = rest.rpartition("@")
    user = check_user(_percent_decoded(before) if is_uri else before) if at else None
    if rest.startswith("["):
        host, bracket, port_text = rest[1:].partition("]")
        if not bracket or port_text[:1] not in {"", ":"}:
            raise UsageError(f"{quoted(text)} has a bracket without its partner", hint='as in "[::1]:22"')
        colon, port_text = port_text[:1], port_text[1:]
    elif rest.count(":") > 1:  # a bare IPv6 address, as in `ssh ::1`
        host, colon, port_text = rest, "", ""
    else:
        host, colon, port_text = rest.partition(":")
    if is_uri and "/" in host:
        raise UsageError(f"{quoted(text)} has a path, and a destination has none", hint="ssh://me@host:22")
    return HostSpec(check_host(host), user, _one_port(port_text) if colon else None)


def parse_jump(text: str) -> tuple[str, ...]:
    """Read a ProxyJump: destinations with commas between them, in the order they are passed; or ``none``.

    Raises:
        UsageError: one of them is not a destination.

    """
    if text.strip().lower() == "none":
        return ()
    hops = tuple(hop.strip() for hop in text.split(","))
    for hop in hops:
        if hop.lower() == "none":
            raise UsageError('"none" stands alone', hint='jump = "none"')
        parse_host_spec(hop)
    return hops


def check_host(text: str) -> str:
    """Check a host of a destination: a name, an address, or a Host of ssh_config.

    Raises:
        UsageError: it is empty, or ssh could take it for an option or a piece of shell.

    """
    if not text:
        raise UsageError("the host is missing", hint='for example "me@vps.example.com" or "bastion"')
    _check_word(text, "a host")
    if ":" in text:
        import ipaddress  # noqa: PLC0415 - 4 ms that most profiles do not need

        try:
            ipaddress.IPv6Address(text)
        except ValueError:
            raise UsageError(
                f"{quoted(text)} is neither a name nor an IPv6 address",
                hint='for example "vps.example.com:22" or "[2001:db8::1]:22"',
            ) from None
    return text


def check_user(text: str) -> str:
    """Check a login name.

    Raises:
        UsageError: it is empty, has a password behind it, or ssh would refuse it.

    """
    if not text:
        raise UsageError("the user before @ is missing", hint='for example "me@vps.example.com"')
    if ":" in text:
        raise UsageError(
            "a password does not belong into a profile", hint="password_command prints it when it is needed"
        )
    _check_word(text, "a user")
    return text


def check_name(text: str) -> str:
    """Check the name of a profile, a tag or a forward: up to 64 of ``A-Z a-z 0-9 . _ -``, no mark first.

    Raises:
        UsageError: it is not such a name.

    """
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{quoted(text)} is not a name",
            hint="up to 64 letters, digits, dots, dashes and underscores, and a letter or digit first",
        )
    return text


def _check_word(text: str, what: str) -> None:
    if text.startswith("-"):
        raise UsageError(
            f"{what} does not begin with a dash, as {quoted(text)} does: ssh would see an option"
        )
    if len(text) > 255:
        raise UsageError(f"{what} is at most 255 characters long")
    for char in text:
        if char.isspace() or not char.isprintable() or char in _SHELL_CHARACTERS or char in "[],":
            raise UsageError(f"{what} has no {quoted(char)} in it, as {quoted(text)} does")


def _one_port(text: str) -> int:
    port, ports = parse_ports(text)
    if ports != 1:
        raise UsageError("an SSH server has one port, not a range", hint='for example "bastion:22"')
    return port


def _percent_decoded(text: str) -> str:
    """Decode the user of a URI (RFC 3986 section 2.1); what is no valid escape stays as it is."""
    if "%" not in text:
        return text
    from urllib.parse import unquote  # noqa: PLC0415 - rare, and not free to import

    return unquote(text, errors="replace")
