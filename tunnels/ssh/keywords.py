"""Every keyword of ssh_config(5), and what becomes of it here. Pure; `docs/ssh_config.md` shows this table.

Whatever happens to a keyword, OpenSSH itself reads the files (``ssh -G``), so that a mistake in one that
means nothing here is still a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from tunnels.core.config_forward import is_listed_twice


class Fate(Enum):
    """What happens to a keyword."""

    HONOURED = "honoured"
    OURS = "ours instead"  #: the thing exists here, and is decided here
    MEANINGLESS = "means nothing here"  #: a tunnel has no session, no terminal and no screen
    NOT_HONOURED = "not honoured"  #: `tunnels check` says so where it is set
    GONE = "gone from OpenSSH"  #: ssh itself says so, and `tunnels check` passes that on


class Keyword(NamedTuple):
    """One keyword: its name as ssh_config(5) writes it, what happens, and how or why."""

    name: str
    fate: Fate
    text: str
    harmless: tuple[str, ...] = ()  #: values of a keyword that is not honoured which ask for nothing


_BY_SSH = "by `ssh -G`, which answers what comes of it"
_SESSION = "a tunnel opens no session on the server"
_FORWARD = "the forwards of a Host are not taken: `tunnels import` makes profiles of them"
_GSSAPI = "it belongs to GSSAPIAuthentication"
_HOSTBASED = "it belongs to HostbasedAuthentication"
_NO = ("no", "false", "none")

_H, _O, _M, _N, _G = Fate.HONOURED, Fate.OURS, Fate.MEANINGLESS, Fate.NOT_HONOURED, Fate.GONE

_TABLE: tuple[Keyword, ...] = (
    Keyword("Host", _H, _BY_SSH),
    Keyword("Match", _H, f"{_BY_SSH}; an `exec` is run at every attempt to connect"),
    Keyword(
        "AddKeysToAgent",
        _O,
        "what is typed is kept in the daemon's memory until `down`; the agent gets nothing",
    ),
    Keyword("AddressFamily", _H, "only addresses of this family are dialled"),
    Keyword("BatchMode", _H, "nobody is asked for a password or passphrase"),
    Keyword("BindAddress", _H, "connections come from this address"),
    Keyword(
        "BindInterface", _H, "the socket is bound to the interface, with its routes, not only to its address"
    ),
    Keyword("CanonicalDomains", _H, _BY_SSH),
    Keyword("CanonicalizeFallbackLocal", _H, _BY_SSH),
    Keyword("CanonicalizeHostname", _H, f"{_BY_SSH} (the answer has the canonical HostName)"),
    Keyword("CanonicalizeMaxDots", _H, _BY_SSH),
    Keyword("CanonicalizePermittedCNAMEs", _H, _BY_SSH),
    Keyword(
        "CASignatureAlgorithms",
        _H,
        "by the kind of the authority's key; SHA-1 in an RSA one cannot be told apart",
    ),
    Keyword("CertificateFile", _H, "shown with the key that it belongs to"),
    Keyword(
        "ChannelTimeout",
        _N,
        "a client may be idle for as long as it likes; idle_timeout of the profile ends an idle tunnel",
    ),
    Keyword("CheckHostIP", _N, "known_hosts is asked for the name, and not for the address as well", _NO),
    Keyword("Ciphers", _H, "in this order; those that asyncssh does not have are left out"),
    Keyword("ClearAllForwardings", _M, "the forwards of a Host are not taken anyway"),
    Keyword("Compression", _H, "compression of the profile wins"),
    Keyword("ConnectionAttempts", _O, "a tunnel dials again for ever; see retry of the profile"),
    Keyword(
        "ConnectTimeout",
        _H,
        "for the answer of TCP; 15 s where nobody says; connect_timeout of the profile wins",
    ),
    Keyword("ControlMaster", _O, "a tunnel is its own master"),
    Keyword(
        "ControlPath", _N, "a tunnel makes a connection of its own, and uses no master that runs already", _NO
    ),
    Keyword("ControlPersist", _O, "a tunnel stays until `down`"),
    Keyword("DynamicForward", _N, _FORWARD),
    Keyword("EnableEscapeCommandline", _M, _SESSION),
    Keyword("EnableSSHKeysign", _M, _HOSTBASED),
    Keyword("EscapeChar", _M, _SESSION),
    Keyword("ExitOnForwardFailure", _O, "exit_on_forward_failure of the profile"),
    Keyword("FingerprintHash", _O, "fingerprints are SHA256"),
    Keyword("ForkAfterAuthentication", _M, "the daemon is in the background"),
    Keyword("ForwardAgent", _M, _SESSION),
    Keyword("ForwardX11", _M, _SESSION),
    Keyword("ForwardX11Timeout", _M, _SESSION),
    Keyword("ForwardX11Trusted", _M, _SESSION),
    Keyword(
        "GatewayPorts",
        _N,
        "a forward without an address listens on loopback: write *:PORT in the profile",
        _NO,
    ),
    Keyword("GlobalKnownHostsFile", _H, "read, never written; none is no file, never no check"),
    Keyword("GSSAPIAuthentication", _N, "there is no login with Kerberos here: use a key or a password", _NO),
    Keyword("GSSAPIClientIdentity", _M, _GSSAPI),
    Keyword("GSSAPIDelegateCredentials", _M, _GSSAPI),
    Keyword("GSSAPIKexAlgorithms", _M, _GSSAPI),
    Keyword("GSSAPIKeyExchange", _N, "there is no login with Kerberos here: use a key or a password", _NO),
    Keyword("GSSAPIRenewalForcesRekey", _M, _GSSAPI),
    Keyword("GSSAPIServerIdentity", _M, _GSSAPI),
    Keyword("GSSAPITrustDns", _M, _GSSAPI),
    Keyword("HashKnownHosts", _H, "names are hashed when a key is written"),
    Keyword("HostbasedAcceptedAlgorithms", _M, _HOSTBASED),
    Keyword(
        "HostbasedAuthentication",
        _N,
        "this machine does not log in with its own host key: use a key of the user",
        _NO,
    ),
    Keyword("HostKeyAlgorithms", _H, "only these; those that asyncssh does not have are left out"),
    Keyword("HostKeyAlias", _H, "the name under which known_hosts is asked"),
    Keyword("Hostname", _H, "what is dialled"),
    Keyword("IdentitiesOnly", _H, "of the agent's keys only those that are configured are offered"),
    Keyword("IdentityAgent", _H, "none, SSH_AUTH_SOCK, $NAME or a path"),
    Keyword(
        "IdentityFile",
        _H,
        "in this order, before the other keys of the agent; identity_file of the profile wins",
    ),
    Keyword("IgnoreUnknown", _H, _BY_SSH),
    Keyword("Include", _H, _BY_SSH),
    Keyword(
        "IPQoS", _H, "the first value, which is what `ssh -N` takes; where nobody says, the system's default"
    ),
    Keyword("KbdInteractiveAuthentication", _H, "no: the method is not tried"),
    Keyword("KbdInteractiveDevices", _N, "the server chooses how it asks"),
    Keyword("KexAlgorithms", _H, "in this order; those that asyncssh does not have are left out"),
    Keyword(
        "KnownHostsCommand",
        _N,
        "host keys are looked up in files only: put the keys into a known_hosts file",
        _NO,
    ),
    Keyword("LocalCommand", _N, "no command is run: see on_up of the profile", _NO),
    Keyword("LocalForward", _N, _FORWARD),
    Keyword("LogLevel", _O, "`tunnels logs` has what happened; TUNNELS_DEBUG=1 shows more"),
    Keyword("LogVerbose", _O, "`tunnels logs` has what happened; TUNNELS_DEBUG=1 shows more"),
    Keyword("MACs", _H, "in this order; those that asyncssh does not have are left out"),
    Keyword(
        "NoHostAuthenticationForLocalhost", _N, "host keys are always checked, also those of localhost", _NO
    ),
    Keyword("NumberOfPasswordPrompts", _H, "how often a password is asked for in one login"),
    Keyword("ObscureKeystrokeTiming", _M, "nobody types into a tunnel"),
    Keyword("PasswordAuthentication", _H, "no: the method is not tried"),
    Keyword("PermitLocalCommand", _O, "see LocalCommand"),
    Keyword("PermitRemoteOpen", _N, "where a remote SOCKS forward may lead is not limited here", ("any",)),
    Keyword("PKCS11Provider", _H, "the keys of the token are offered, where the extra for it is installed"),
    Keyword("Port", _H, "port of the profile wins"),
    Keyword("PreferredAuthentications", _H, "only these, in this order; GSSAPI and hostbased are left out"),
    Keyword("ProxyCommand", _H, "run by the user's shell; proxy_command of the profile wins"),
    Keyword("ProxyJump", _H, "each hop with its own Host, login and host key; jump of the profile wins"),
    Keyword("ProxyUseFdpass", _N, "the ProxyCommand has to carry the bytes itself", _NO),
    Keyword("PubkeyAcceptedAlgorithms", _H, "keys and signatures of other kinds are not offered"),
    Keyword("PubkeyAuthentication", _H, "no: the method is not tried"),
    Keyword("RefuseConnection", _H, "nothing is dialled, and its words are the error"),
    Keyword("RekeyLimit", _H, "for what is sent; where nobody says, asyncssh's 1 GiB or one hour"),
    Keyword("RemoteCommand", _M, _SESSION),
    Keyword("RemoteForward", _N, _FORWARD),
    Keyword("RequestTTY", _M, _SESSION),
    Keyword("RequiredRSASize", _H, "for the server's key and for ours"),
    Keyword("RevokedHostKeys", _H, "a list that cannot be read means that no key is good, as in ssh"),
    Keyword("SecurityKeyProvider", _H, "a provider other than internal is told to what talks to the key"),
    Keyword("SendEnv", _M, _SESSION),
    Keyword("ServerAliveCountMax", _H, "keepalive_count of the profile wins"),
    Keyword(
        "ServerAliveInterval",
        _H,
        '15 s where nobody says, or says 0: keepalive = "0" of the profile turns it off',
    ),
    Keyword("SessionType", _M, _SESSION),
    Keyword("SetEnv", _M, _SESSION),
    Keyword("StdinNull", _M, _SESSION),
    Keyword("StreamLocalBindMask", _N, "sockets of the tunnel are for their owner alone", ("0177",)),
    Keyword(
        "StreamLocalBindUnlink",
        _O,
        "a socket that nobody listens on is replaced; on the server, see remote_unlink",
    ),
    Keyword(
        "StrictHostKeyChecking", _H, "no is like accept-new: a host key that has changed is never accepted"
    ),
    Keyword("SyslogFacility", _O, "`tunnels logs`"),
    Keyword("Tag", _H, _BY_SSH),
    Keyword("TCPKeepAlive", _H, "the keepalives of SSH find a dead link sooner"),
    Keyword("Tunnel", _N, "network devices (tun) are not forwarded", _NO),
    Keyword("TunnelDevice", _M, "it belongs to Tunnel"),
    Keyword("UpdateHostKeys", _H, "as ssh does: with another UserKnownHostsFile it is off"),
    Keyword("User", _H, "user of the profile wins"),
    Keyword(
        "UserKnownHostsFile",
        _H,
        "the first is written; none is no file, never no check; known_hosts of the profile wins",
    ),
    Keyword(
        "VerifyHostKeyDNS", _N, "DNS is not asked for host keys: they are compared with known_hosts", _NO
    ),
    Keyword("VersionAddendum", _N, "the server is told the name of asyncssh and its version", _NO),
    Keyword("VisualHostKey", _M, "a fingerprint is shown as text"),
    Keyword("WarnWeakCrypto", _M, "`status` shows the cipher"),
    Keyword("XAuthLocation", _M, _SESSION),
    # Of vendors: Apple, Debian, Red Hat.
    Keyword(
        "UseKeychain",
        _N,
        "the keychain is not asked: `ssh-add --apple-use-keychain` puts the key into the agent",
        _NO,
    ),
    Keyword("ProtocolKeepAlives", _H, "Debian's old name of ServerAliveInterval"),
    Keyword("SetupTimeOut", _H, "Debian's old name of ServerAliveInterval"),
    Keyword("RSAMinSize", _H, "Red Hat's name of RequiredRSASize"),
    # Old names that ssh still takes, and answers with the new one.
    Keyword("ChallengeResponseAuthentication", _H, "the old name of KbdInteractiveAuthentication"),
    Keyword("DSAAuthentication", _H, "an old name of PubkeyAuthentication"),
    Keyword("HostbasedKeyTypes", _M, _HOSTBASED),
    Keyword("IdentityFile2", _H, "the old name of IdentityFile"),
    Keyword("KeepAlive", _H, "the old name of TCPKeepAlive"),
    Keyword("PubkeyAcceptedKeyTypes", _H, "the old name of PubkeyAcceptedAlgorithms"),
    Keyword("SkeyAuthentication", _H, "an old name of KbdInteractiveAuthentication"),
    Keyword("SmartcardDevice", _H, "the old name of PKCS11Provider"),
    Keyword("TISAuthentication", _H, "an old name of KbdInteractiveAuthentication"),
    *(
        Keyword(name, _G, "ssh ignores it")
        for name in (
            *("AFSTokenPassing", "Cipher", "CompressionLevel", "FallBackToRsh", "GlobalKnownHostsFile2"),
            *("KerberosAuthentication", "KerberosTGTPassing", "Protocol", "RhostsAuthentication"),
            *("RhostsRSAAuthentication", "RSAAuthentication", "UseBlacklistedKeys", "UsePrivilegedPort"),
            *("UseRoaming", "UserKnownHostsFile2", "UseRsh"),
        )
    ),
)

#: By name in lower case, as ``ssh -G`` prints it.
KEYWORDS: dict[str, Keyword] = {keyword.name.lower(): keyword for keyword in _TABLE}


class Note(NamedTuple):
    """Something that ssh_config says and that is not done; for `tunnels check`."""

    keyword: str  #: as ssh_config(5) writes it; "" where it is about none
    value: str
    text: str

    def __str__(self) -> str:
        said = f"{self.keyword} {self.value}".strip()
        return f"{said}: {self.text}" if said else self.text


def notes_on(answer: Mapping[str, Sequence[str]], defaults: Mapping[str, Sequence[str]]) -> tuple[Note, ...]:
    """Name what somebody has set and what cannot be honoured.

    Args:
        answer: every keyword of ``ssh -G``, in lower case, with its values.
        defaults: what ``ssh -F none -G`` says; a value that stands there too was set by nobody.

    """
    notes = []
    for name, values in answer.items():
        if list(values) == list(defaults.get(name, ())):
            continue
        keyword = KEYWORDS.get(name)
        if keyword is None:
            if name in defaults:  # newer than this table; what is in no table and no default may be anything
                notes.append(Note(name, shown(values), "this version of tunnels does not know it"))
        elif keyword.fate is Fate.NOT_HONOURED:
            asked = [value for value in values if value.strip().lower() not in keyword.harmless]
            if keyword.text is _FORWARD:  # each by itself: a profile may have some of them
                local = answer.get("localforward", ())
                once = [one for one in asked if name != "dynamicforward" or not is_listed_twice(one, local)]
                notes += [Note(keyword.name, one, _FORWARD) for one in once]
            elif asked and not _is_idle(name, answer):
                notes.append(Note(keyword.name, shown(asked), keyword.text))
    if _first(answer, "stricthostkeychecking") in {"no", "off", "false"}:
        strict = KEYWORDS["stricthostkeychecking"]
        notes.append(Note(strict.name, "no", strict.text.removeprefix("no is ")))
    return tuple(notes)


def shown(values: Sequence[str]) -> str:
    """Write several values of one keyword in a line: the first, and that there are more."""
    more = f" (and {len(values) - 1} more)" if len(values) > 1 else ""
    return f"{values[0]}{more}" if values else ""


def _is_idle(name: str, answer: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether a keyword does nothing in ssh either, because another one is not set."""
    match name:
        case "localcommand":
            return _first(answer, "permitlocalcommand") not in {"yes", "true"}
        case "proxyusefdpass":
            return _first(answer, "proxycommand") in {"", "none"}
        case _:
            return False


def _first(answer: Mapping[str, Sequence[str]], name: str) -> str:
    values = answer.get(name, ())
    return values[0].strip().lower() if values else ""
