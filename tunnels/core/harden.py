"""Least privilege: what a profile needs of each server on its way, in the words that sshd compares.

sshd compares what is allowed letter by letter with what the client sends (sshd(8), AUTHORIZED_KEYS FILE FORMAT;
channels.c ``open_match``): a key that may connect to ``localhost`` may not connect to ``127.0.0.1``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tunnels.core.address import Address, TcpAddress, UnixAddress, sent_host
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.status import Json

#: What runs instead of whatever is asked for: ``restrict`` alone still runs commands. Every usual shell takes it.
FORCED_COMMAND = "echo 'this login is for forwarding only'; false"

#: Where nobody can connect or listen (RFC 2606): a key without any ``permitopen`` may connect to everything.
NOWHERE = "nothing.invalid:1"

#: sshd_config(5): how a server finds out that a client is gone, and lets go of its ports. Seconds, and how often.
ALIVE_INTERVAL, ALIVE_COUNT = 15, 3


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login needs on one server, and nothing else. Each ``host:port`` is written as it is sent."""

    opens: tuple[str, ...] | None = ()  #: where it connects; ``None``: wherever the clients of a proxy want
    listens: tuple[str, ...] = ()
    socket_opens: tuple[str, ...] = ()  #: paths of unix sockets on the server
    socket_listens: tuple[str, ...] = ()
    beyond_loopback: bool = False  #: other machines are to reach what it listens on

    @property
    def options(self) -> tuple[str, ...]:
        """The options of its line in authorized_keys."""
        opens = ("*:*",) if self.opens is None else self.opens or (NOWHERE,)
        return (
            "restrict",
            "port-forwarding",
            *(f"permitopen={_quoted(each)}" for each in opens),
            *(f"permitlisten={_quoted(each)}" for each in self.listens or (NOWHERE,)),
            f"command={_quoted(FORCED_COMMAND)}",
        )

    def sshd_config(self, user: str) -> tuple[str, ...]:
        """The block of sshd_config that says the same about all keys of an account."""
        opens = ("any",) if self.opens is None else self.opens or ("none",)
        return (
            f"Match User {user}",
            f"    AllowTcpForwarding {_ways(self.opens != (), bool(self.listens))}",
            f"    PermitOpen {' '.join(opens)}",
            f"    PermitListen {' '.join(self.listens or ('none',))}",
            f"    AllowStreamLocalForwarding {_ways(bool(self.socket_opens), bool(self.socket_listens))}",
            *(("    StreamLocalBindUnlink yes",) if self.socket_listens else ()),
            f"    GatewayPorts {'clientspecified' if self.beyond_loopback else 'no'}",
            "    PermitTTY no",
            "    PermitTunnel no",
            "    X11Forwarding no",
            "    AllowAgentForwarding no",
            f"    ForceCommand {FORCED_COMMAND}",
            f"    ClientAliveInterval {ALIVE_INTERVAL}",
            f"    ClientAliveCountMax {ALIVE_COUNT}",
        )

    def to_json(self) -> Json:
        """As it stands in ``harden --json``."""
        return {
            "permitopen": None if self.opens is None else list(self.opens),
            "permitlisten": list(self.listens),
            "socket_opens": list(self.socket_opens),
            "socket_listens": list(self.socket_listens),
            "beyond_loopback": self.beyond_loopback,
        }


#: Where the public key belongs when there is none to show.
_NO_KEY = "ssh-ed25519 AAAA...your-public-key..."


class Server(NamedTuple):
    """One server on the way, and what the login there needs."""

    host: str  #: as the user calls it
    login: str
    is_hop: bool
    grant: Grant
    key: str | None  #: the public half, as a line of its own
    identity: str | None  #: the file of the private half
    remarks: tuple[str, ...]

    @property
    def authorized_keys(self) -> str:
        """The whole line."""
        return f"{','.join(self.grant.options)} {self.key or _NO_KEY}"

    def to_json(self) -> Json:
        """As it stands in ``harden --json``."""
        return {
            "host": self.host,
            "user": self.login,
            "hop": self.is_hop,
            "identity_file": self.identity,
            "public_key": self.key,
            "authorized_keys": self.authorized_keys,
            "sshd_config": list(self.grant.sshd_config(self.login)),
            "allows": self.grant.to_json(),
            "remarks": list(self.remarks),
        }


def grant_of(forwards: Iterable[Forward]) -> Grant:
    """What these forwards need of the server that they end at."""
    opens: dict[str, None] = {}
    listens: dict[str, None] = {}
    socket_opens: dict[str, None] = {}
    socket_listens: dict[str, None] = {}
    anywhere = beyond = False
    for forward in forwards:
        far: Address | None = forward.listen if forward.kind is ForwardKind.REMOTE else forward.connect
        tcp, sockets = (
            (listens, socket_listens) if forward.kind is ForwardKind.REMOTE else (opens, socket_opens)
        )
        if far is None:
            anywhere = True
        elif isinstance(far, UnixAddress):
            sockets[far.path] = None
        else:
            tcp[as_compared(far)] = None
        beyond = beyond or (forward.kind is ForwardKind.REMOTE and forward.reachable_by_others)
    return Grant(
        None if anywhere else tuple(opens),
        tuple(listens),
        tuple(socket_opens),
        tuple(socket_listens),
        beyond,
    )


def grant_of_hop(host: str, port: int) -> Grant:
    """What a jump host must allow: to go on to the next server, as the one before is asked for it."""
    return Grant((as_compared(TcpAddress(host, port)),))


def as_compared(address: TcpAddress) -> str:
    """Write an address as ``permitopen``, ``permitlisten``, PermitOpen and PermitListen have it.

    Port 0, which lets the server choose, is no port there: only all of them stand for it.
    """
    host = sent_host(address)
    port = str(address.port) if address.port else "*"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def remarks(
    grant: Grant, forwards: Iterable[Forward], *, login: str, host: str, remote_unlink: bool = False
) -> tuple[str, ...]:
    """What the two texts cannot say, or what follows from them, in plain words; about the target."""
    said = []
    for forward in forwards:
        listen = forward.listen
        if forward.kind is ForwardKind.DYNAMIC:
            said.append(
                f"-D {forward} takes its clients anywhere, so the login may connect to whatever {host} reaches, "
                "the services on its own loopback among them"
            )
        elif forward.kind is ForwardKind.REMOTE and forward.is_proxy:
            said.append(
                f"-R {forward} is a proxy there: whoever may use it reaches all that this machine reaches, and no "
                f"setting of {host} limits that"
            )
        if forward.kind is ForwardKind.REMOTE and isinstance(listen, TcpAddress) and listen.port == 0:
            said.append(f"-R {forward}: the server chooses the port, so any port of that address is allowed")
    if grant.socket_opens or grant.socket_listens:
        paths = ", ".join((*grant.socket_opens, *grant.socket_listens))
        said.append(
            f"unix sockets ({paths}) cannot be told apart by sshd: the login may use every socket there that the "
            f"account {login} may use"
        )
    else:
        said.append(
            f"a line in authorized_keys says nothing about unix sockets: only AllowStreamLocalForwarding no in "
            f"sshd_config keeps the key from every socket that the account {login} may use"
        )
    if remote_unlink and grant.socket_listens:
        said.append(
            "remote_unlink does not work for this login, because it looks at files there; StreamLocalBindUnlink "
            "yes in sshd_config does the same"
        )
    return tuple(said)


def _ways(out: bool, back: bool) -> str:
    """AllowTcpForwarding and AllowStreamLocalForwarding of sshd_config(5)."""
    return {(True, True): "yes", (True, False): "local", (False, True): "remote", (False, False): "no"}[
        out, back
    ]


def _quoted(text: str) -> str:
    r"""Quote the value of an option in authorized_keys: ``\"`` is the one escape (sshd(8))."""
    escaped = text.replace('"', r"\"")
    return f'"{escaped}"'
