"""Which algorithms of OpenSSH's lists asyncssh has, and which keys they allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING

from tunnels.errors import BadSetting, HostKeyRejected
from tunnels.ssh.destination import Destination
from tunnels.ssh.keywords import Note
from tunnels.ssh.public_key import key_type_of

if TYPE_CHECKING:
    import asyncssh

#: Ways to log in that there are here, as PreferredAuthentications names them (ssh_config(5)).
METHODS = ("publickey", "keyboard-interactive", "password")

_CERTIFICATE = "-cert-v01@openssh.com"


@cache
def supported(keyword: str) -> tuple[str, ...]:
    """List what asyncssh has for a keyword of ssh_config; some of it depends on installed libraries."""
    if keyword == "PreferredAuthentications":
        return METHODS
    from asyncssh.encryption import get_encryption_algs  # noqa: PLC0415 - 160 ms that few destinations need
    from asyncssh.kex import get_kex_algs  # noqa: PLC0415
    from asyncssh.mac import get_mac_algs  # noqa: PLC0415
    from asyncssh.public_key import get_certificate_algs, get_public_key_algs  # noqa: PLC0415

    def public() -> list[bytes]:
        return [*get_certificate_algs(), *get_public_key_algs()]

    lists: dict[str, Callable[[], list[bytes]]] = {
        "Ciphers": get_encryption_algs,
        "KexAlgorithms": get_kex_algs,
        "MACs": get_mac_algs,
        "HostKeyAlgorithms": public,
        "PubkeyAcceptedAlgorithms": public,
        "CASignatureAlgorithms": get_public_key_algs,
    }
    return tuple(name.decode("ascii") for name in lists[keyword]())


@cache
def defaults(keyword: str) -> tuple[str, ...]:
    """List what asyncssh takes of itself for a keyword of ssh_config, for ``+``, ``-`` and ``^``."""
    from asyncssh.encryption import get_default_encryption_algs  # noqa: PLC0415
    from asyncssh.kex import get_default_kex_algs  # noqa: PLC0415
    from asyncssh.mac import get_default_mac_algs  # noqa: PLC0415

    lists: dict[str, Callable[[], list[bytes]]] = {
        "Ciphers": get_default_encryption_algs,
        "KexAlgorithms": get_default_kex_algs,
        "MACs": get_default_mac_algs,
    }
    return (
        tuple(name.decode("ascii") for name in lists[keyword]()) if keyword in lists else supported(keyword)
    )


def of(destination: Destination) -> dict[str, tuple[str, ...]]:
    """The lists that somebody has chosen for a destination, by keyword."""
    lists = {
        "Ciphers": destination.ciphers,
        "KexAlgorithms": destination.kex_algorithms,
        "MACs": destination.macs,
        "HostKeyAlgorithms": destination.host_key_algorithms,
        "PubkeyAcceptedAlgorithms": destination.pubkey_accepted_algorithms,
        "CASignatureAlgorithms": destination.ca_signature_algorithms,
        "PreferredAuthentications": destination.preferred_authentications,
    }
    return {keyword: said for keyword, said in lists.items() if said}


def chosen(keyword: str, said: Sequence[str], default: Sequence[str], destination: object) -> list[str]:
    """Make a list for asyncssh: what was said, in that order, without what asyncssh does not have.

    ``+``, ``-`` and ``^`` before the first name add to the default, take from it, and put in front of it
    (ssh_config(5), Ciphers). ``ssh -G`` has done that already; the ciphers of a profile come with it.

    Raises:
        BadSetting: nothing is left.

    """
    known = supported(keyword)
    found = [name for name in apply(said, default, known) if name in known]
    if not found:
        raise BadSetting(
            f"none of the {keyword} of {destination} is supported: {','.join(said)}",
            hint=f"for example {', '.join([*default, *known][:3])}",
        )
    return found


def apply(said: Sequence[str], default: Sequence[str], known: Sequence[str]) -> list[str]:
    """Apply a list that may begin with ``+``, ``-`` or ``^`` to a default; wildcards match what is known."""
    prefix = said[0][0] if said and said[0][:1] in {"+", "-", "^"} else ""
    names = [said[0][len(prefix) :], *said[1:]] if said else []
    matched: list[str] = []
    for name in names:
        if "*" in name or "?" in name:
            matched += [one for one in (*default, *known) if fnmatchcase(one, name)]
        else:
            matched.append(name)
    match prefix:
        case "+":
            result = [*default, *matched]
        case "^":
            result = [*matched, *default]
        case "-":
            result = [name for name in default if name not in matched]
        case _:
            result = matched
    return list(dict.fromkeys(result))


def notes(destination: Destination) -> list[Note]:
    """Name what a destination asks for and asyncssh does not have; what is left serves.

    A list of which nothing is left is an error, and `chosen` says it.
    """
    found = []
    for keyword, said in of(destination).items():
        names = [name.lstrip("+-^") if number == 0 else name for number, name in enumerate(said)]
        if said[0].startswith("-"):
            continue  # what is not to be used need not be there
        missing = [name for name in names if name not in supported(keyword) and not {"*", "?"} & set(name)]
        if missing:
            found.append(Note(keyword, ",".join(missing), "left out, because it is not supported here"))
    return found


def check(destination: Destination) -> None:
    """Find the list of which nothing is left, without connecting. Raises BadSetting."""
    for keyword, said in of(destination).items():
        chosen(keyword, said, defaults(keyword), destination.alias)


# --- keys -----------------------------------------------------------------------------------------


def signatures(accepted: Sequence[str], destination: object) -> list[str]:
    """Make asyncssh's ``signature_algs`` of PubkeyAcceptedAlgorithms: what may sign, also for a certificate.

    Raises:
        BadSetting: nothing is left.

    """
    keyword = "PubkeyAcceptedAlgorithms"
    names = chosen(keyword, accepted, supported(keyword), destination)
    plain = set(supported("CASignatureAlgorithms"))
    return [name for name in dict.fromkeys(map(_without_certificate, names)) if name in plain]


def _without_certificate(name: str) -> str:
    base = name.removesuffix(_CERTIFICATE)
    return f"{base}@openssh.com" if base != name and base.startswith("sk-") else base


def allowed(pairs: Iterable[asyncssh.SSHKeyPair], destination: Destination) -> list[asyncssh.SSHKeyPair]:
    """Leave out the keys that PubkeyAcceptedAlgorithms or RequiredRSASize does not allow, as ssh does."""
    accepted = destination.pubkey_accepted_algorithms
    names = set(apply(accepted, supported("PubkeyAcceptedAlgorithms"), ())) if accepted else None
    found = []
    for pair in pairs:
        bits = rsa_bits(pair.public_data)
        if bits is not None and bits < destination.required_rsa_size:
            continue
        if names is None or names & _algorithms_of(pair):
            found.append(pair)
    return found


def _algorithms_of(pair: asyncssh.SSHKeyPair) -> set[str]:
    """The names under which ssh_config may allow a key: an RSA one has several, one for each hash."""
    algorithm = pair.algorithm.decode("ascii")
    suffix = _CERTIFICATE if algorithm.endswith(_CERTIFICATE) else ""
    if not algorithm.startswith(("ssh-rsa", "rsa-")):
        return {algorithm}
    return {f"{name}{suffix}" for name in ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}


def rsa_bits(blob: bytes) -> int | None:
    """Count the bits of an RSA public key as on the wire (RFC 4253 section 6.6); None: another kind, or no key."""
    fields: list[bytes] = []
    rest = blob
    while len(rest) >= 4 and len(fields) < 4:
        size = int.from_bytes(rest[:4], "big")
        fields.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    if len(fields) == 4 and fields[0] == b"ssh-rsa" + _CERTIFICATE.encode():
        modulus = fields[3]  # after the nonce and the exponent (openssh-portable, PROTOCOL.certkeys)
    elif len(fields) >= 3 and fields[0] == b"ssh-rsa":
        modulus = fields[2]
    else:
        return None
    return int.from_bytes(modulus, "big").bit_length()


def check_host_key(blob: bytes, destination: Destination) -> None:
    """Refuse a server's RSA key that is shorter than RequiredRSASize. Raises HostKeyRejected."""
    bits = rsa_bits(blob)
    if bits is not None and bits < destination.required_rsa_size:
        raise HostKeyRejected(
            f"the host key of {destination.alias} is RSA with {bits} bits, and RequiredRSASize is "
            f"{destination.required_rsa_size}",
            hint="the server's administrator can make another: `ssh-keygen -A`",
        )


def check_ca_key(blob: bytes, destination: Destination) -> None:
    """Refuse an authority whose kind of key CASignatureAlgorithms does not have. Raises HostKeyRejected.

    asyncssh does not say with which hash an RSA authority has signed: any RSA algorithm in the list allows it.
    """
    check_host_key(blob, destination)
    said = destination.ca_signature_algorithms
    key_type = key_type_of(blob)
    names = {"rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"} if key_type == "ssh-rsa" else {key_type}
    if said and not names & set(apply(said, supported("CASignatureAlgorithms"), ())):
        raise HostKeyRejected(
            f"the certificate of {destination.alias} is signed with {key_type}, which is none of its "
            "CASignatureAlgorithms",
            hint=f"run: ssh -G {destination.alias}",
        )
