"""What is wrong with a server, as far as its symptoms tell. Pure: from what was seen to what to do.

An attempt of `tunnels up` has the error alone. Who watches it has seen more: what the server said before it
hung up, what it would have taken, and what it has refused. So an error can be said better here, never otherwise.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from tunnels.core.captive import Manner, is_private, manner
from tunnels.core.logline import printable
from tunnels.errors import (
    HandshakeFailed,
    HostUnreachable,
    LoginRefused,
    NameNotResolved,
    NotSsh,
    TunnelsError,
)
from tunnels.ssh.destination import Destination

#: Characters of a list of algorithms that are shown.
_MANY = 200

_WRONG_PORT = (
    "check the host and the port; or the network catches everything until you log in to it with a browser "
    "(hotel, café, train)"
)

#: What the names of algorithms have in them that should not be used any more.
_WEAK = ("-sha1", "hmac-md5", "-cbc", "arcfour", "group1-")


@dataclass(slots=True)
class Seen:
    """What an attempt has shown of one server."""

    addresses: tuple[str, ...] = ()
    outcomes: dict[str, str] = field(
        default_factory=dict
    )  #: what became of each address, where none was reached
    peer: str = ""
    heard: bytes = b""  #: the beginning of what it said instead of its version
    version: str = ""
    chosen: dict[str, str] = field(default_factory=dict)  #: algorithms, by what they are for
    nothing_in_common: tuple[str, tuple[str, ...]] | None = None  #: for what, and what the server has
    methods: tuple[str, ...] = ()  #: ways to log in that it offers
    tries: dict[str, str] = field(default_factory=dict)  #: a key or a method, and what became of it
    last: str = ""
    skipped: list[str] = field(default_factory=list)  #: keys that were not offered, and why

    @property
    def how_it_went(self) -> str:
        """The login in one line: what the server offered, what was tried, and what became of it."""
        parts = [f"takes {', '.join(self.methods)}"] if self.methods else []
        for name, outcome in self.tries.items():
            parts.append(f"{name} {outcome}" if outcome else f"{name}, without an answer")
        return "; ".join(parts)


def weak(algorithms: Iterable[str]) -> list[str]:
    """Those that OpenSSH has taken out of its defaults (openssh.com/legacy.html)."""
    return [name for name in algorithms if any(word in name for word in _WEAK)]


def explain(step: str, error: TunnelsError, destination: Destination, seen: Seen) -> TunnelsError:
    """Say an error with what was seen; the error itself where that tells nothing more."""
    where = str(destination)
    match step:
        case "name" if isinstance(error, NameNotResolved):
            return _name(error, destination)
        case "tcp" if isinstance(error, HostUnreachable):
            return _tcp(error, seen)
        case "banner" if isinstance(error, HostUnreachable | HandshakeFailed):
            return said_instead(error, where, seen.heard)
        case "kex" if seen.nothing_in_common is not None:
            return _kex(where, *seen.nothing_in_common)
        case "login" if isinstance(error, LoginRefused):
            return _login(error, destination, seen)
        case "login" if isinstance(error, HostUnreachable):
            return HostUnreachable(
                f"{where} hung up in the middle of the login",
                hint="it waits LoginGraceTime (sshd_config) for answers and not longer; otherwise its log says why",
            )
    return error


def _name(error: NameNotResolved, destination: Destination) -> TunnelsError:
    if destination.alias == destination.hostname and "." not in destination.hostname:
        return NameNotResolved(
            error.message,
            hint=f"is it a Host of ssh_config? `ssh -G {shlex.quote(destination.alias)}` says what ssh makes of it; "
            "a VPN may be needed",
        )
    return error


def _tcp(error: HostUnreachable, seen: Seen) -> TunnelsError:
    private = [each for each in seen.addresses if is_private(each)]
    hint = error.hint or "is this machine online, and is there a way from it to that address?"
    if private and "refused" not in error.message:
        hint = f"{private[0]} is an address of a private network: are you in that network, or its VPN?"
    if len(seen.outcomes) > 1:
        each = ", ".join(f"{address} {outcome}" for address, outcome in seen.outcomes.items())
        return HostUnreachable(f"none of its addresses could be reached: {each}", hint=hint)
    return HostUnreachable(error.message, hint=hint)


def said_instead(error: TunnelsError, where: str, heard: bytes) -> TunnelsError:
    """It accepts connections, and does not say that it speaks SSH; ``heard`` is what it said instead."""
    first = printable(heard.split(b"\n")[0].decode("utf-8", "replace")).strip()
    if "maxstartups" in first.lower():
        return HostUnreachable(
            f"{where} has too many logins going on: it said “{first}”",
            hint="it is tried again; MaxStartups in its sshd_config allows more",
        )
    if "not allowed at this time" in first.lower():
        return HostUnreachable(
            f"{where} does not let this address in for a while: it said “{first}”",
            hint="too many logins from here have failed; PerSourcePenalties in its sshd_config says for how long",
        )
    if heard.strip():
        who = manner(heard)
        if who is Manner.TLS:
            message = f"{where} is no SSH server but a TLS server"
        else:
            other = " but a web server" if who is Manner.HTTP else ""
            message = f"{where} is no SSH server{other}: it said “{first}”"
        return NotSsh(message, hint=_WRONG_PORT, heard=heard)
    if "did not finish the login" in error.message:
        return HostUnreachable(
            f"{where} accepts connections, and says nothing",
            hint="is it an SSH server? It may hang, or a firewall or a captive portal answers in its place",
        )
    return HostUnreachable(
        f"{where} accepts connections, and hangs up before it says anything",
        hint="it may block this address (fail2ban, hosts.deny), have too many logins going on (MaxStartups), "
        "be starting, or be no SSH server: its log says which (`journalctl -u ssh` there)",
    )


#: What asyncssh calls it, and where more can be allowed: in ssh_config, or the profile.
_ALLOW = {
    "key exchange": ("key exchange algorithm", "`KexAlgorithms +{}` in ssh_config"),
    "encryption": ("cipher", '`ciphers = "{}"` in the profile'),
    "MAC": ("MAC", "`MACs +{}` in ssh_config"),
    "compression": ("compression", ""),
}


def _kex(where: str, what: str, theirs: tuple[str, ...]) -> TunnelsError:
    word, allow = _ALLOW.get(what, (what, ""))
    shown = ", ".join(theirs)
    shown = shown if len(shown) <= _MANY else f"{shown[:_MANY]}…"
    known = _known(what)
    possible = next((name for name in theirs if name in known), None)
    if possible and allow:
        hint = f"{allow.format(possible)} allows it, though it is weak; better update the server"
    else:
        hint = "the server is too old, or its sshd_config allows too little; this program has none of these"
    return HandshakeFailed(f"{where} and this side have no {word} in common; it has {shown}", hint=hint)


def _known(what: str) -> set[str]:
    """What asyncssh can do at all, also where it does not by default."""
    from asyncssh.encryption import get_encryption_algs  # noqa: PLC0415 - only where something is wrong
    from asyncssh.kex import get_kex_algs  # noqa: PLC0415
    from asyncssh.mac import get_mac_algs  # noqa: PLC0415

    lists = {"key exchange": get_kex_algs, "encryption": get_encryption_algs, "MAC": get_mac_algs}
    return {name.decode("ascii") for name in lists[what]()} if what in lists else set()


def _login(error: LoginRefused, destination: Destination, seen: Seen) -> TunnelsError:
    where = str(destination)
    if "too many" in error.message:
        return LoginRefused(
            f"{where} ended the login after {len(seen.tries)} keys that it does not know",
            hint='identity_file = "~/.ssh/…" names the right one, which is then offered first; MaxAuthTries in its '
            "sshd_config is how many it looks at",
        )
    if seen.skipped:
        return LoginRefused(
            f"{where} refused the login; skipped {'; '.join(seen.skipped)}",
            hint="mend what is said about the key that was skipped, or name another: identity_file",
        )
    if seen.methods and "publickey" not in seen.methods:
        return LoginRefused(
            f"{where} takes no keys, only {', '.join(seen.methods)}",
            hint="PubkeyAuthentication in its sshd_config is off; or log in with what it takes",
        )
    expired = next((name for name in seen.tries if "expired on" in name), None)
    if expired is not None:
        return LoginRefused(f"{where} refused the login: {expired}", hint="have the certificate renewed")
    if not seen.tries:
        return LoginRefused(
            f"{where} refused the login: there was nothing to try",
            hint="`ssh-keygen -t ed25519` makes a key; identity_file names one; `ssh-add` gives one to the agent",
        )
    key = next(iter(destination.identity_files), None) if destination.identity_files_configured else None
    words = ["ssh-copy-id", *(["-i", key] if key else [])]
    words += ["-p", str(destination.port)] if destination.port != 22 else []
    copy = shlex.join([*words, f"{destination.user}@{destination.hostname}"])
    return LoginRefused(
        f"{where} refused the login",
        hint=f"is {destination.user} the right user? `{copy}` puts the key there; the server's log says more",
    )
