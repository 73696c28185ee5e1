"""Reads what ``ssh -G`` prints. Pure: the output, the environment and this machine are arguments.

Facts of OpenSSH 9.2 that shape this file: UserKnownHostsFile and IdentityAgent come expanded,
IdentityFile, CertificateFile, RevokedHostKeys, ProxyJump and ProxyCommand do not; quotes are dropped; times
are in seconds; ``none`` stays ``none``; ``StrictHostKeyChecking off`` is ``false``; HostKeyAlias is lowered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunnels.core.profile import HostSpec
from tunnels.errors import BadSetting
from tunnels.ssh.destination import (
    DEFAULT_KEEPALIVE_COUNT,
    DEFAULT_PASSWORD_PROMPTS,
    DEFAULT_PORT,
    DEFAULT_RSA_BITS,
    AddressFamily,
    Destination,
    LocalMachine,
    StrictHostKeyChecking,
    UpdateHostKeys,
    expand_proxy_command,
    tokens_of,
)
from tunnels.ssh.keywords import notes_on
from tunnels.ssh.tokens import TokenError, Tokens

#: Every keyword of ``ssh -G`` in lower case, and its values, one for each line.
Keywords = Mapping[str, Sequence[str]]


def parse_ssh_g(text: str) -> dict[str, list[str]]:
    """Read the output of ``ssh -G``: one keyword and its value on a line; some keywords come often."""
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        keyword, _, value = line.rstrip("\r").partition(" ")
        if keyword:
            found.setdefault(keyword.lower(), []).append(value)
    return found


def split_files(value: str) -> tuple[str, ...]:
    """Take apart the files of UserKnownHostsFile or GlobalKnownHostsFile; ``none`` is no file.

    ``ssh -G`` drops the quotes, so that ``"/my files/a" /b`` and ``"/my" files/a /b`` look alike. A piece
    that does not begin like a path is therefore taken for the rest of the file name before it. What
    cannot be told is a file name with a space and a slash after it (``"/my /file"``).
    """
    files: list[str] = []
    for piece in value.split(" "):
        if files and not piece.startswith(("/", "~", "%", "$")):
            files[-1] += f" {piece}"
        else:
            files.append(piece)
    return tuple(file for file in files if file and file.lower() != "none")


def destination_from(
    keywords: Keywords,
    spec: HostSpec,
    machine: LocalMachine,
    environ: Mapping[str, str],
    *,
    defaults: Keywords | None = None,
) -> Destination:
    """Make a destination out of the answer of ``ssh -G``.

    Args:
        keywords: the answer.
        spec: what was asked.
        machine: whose tokens are put in.
        environ: for ``${NAME}``, and for SSH_AUTH_SOCK.
        defaults: the answer of ``ssh -F none -G``, to tell what is configured from what is ssh's default.

    Raises:
        BadSetting: a value makes no sense, or has a token that does not exist.

    """
    read = _Reader(keywords, defaults or {}, spec.host)
    if refusal := read.text("refuseconnection"):
        raise BadSetting(
            f"ssh_config refuses connections to {spec.host}: {refusal}", hint="see RefuseConnection"
        )
    hostname = read.text("hostname") or spec.host
    port = read.number("port") or spec.port or DEFAULT_PORT
    user = read.text("user") or spec.user or machine.user
    host_key_alias = read.text("hostkeyalias")
    jump = read.text("proxyjump") or ""
    tokens = tokens_of(
        Destination(spec.host, hostname, port, user, host_key_alias=host_key_alias), machine, jump=jump
    )
    expand = _Expander(tokens, environ, spec.host)
    rekey = [*(read.text("rekeylimit") or "").split(), "0", "0"]
    return Destination(
        alias=spec.host,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=expand.files(read.all("identityfile")),
        identity_files_configured=read.configured("identityfile"),
        certificate_files=expand.files(read.all("certificatefile")),
        identities_only=read.flag("identitiesonly"),
        identity_agent=expand.agent(read.first("identityagent")),
        identity_agent_usual=read.first("identityagent") in {"", "SSH_AUTH_SOCK"},
        user_known_hosts_files=expand.known_hosts(read.first("userknownhostsfile")),
        global_known_hosts_files=expand.known_hosts(read.first("globalknownhostsfile")),
        revoked_host_keys=expand.optional_file(read.text("revokedhostkeys")),
        host_key_alias=host_key_alias,
        host_key_algorithms=read.algorithms("hostkeyalgorithms"),
        strict_host_key_checking=_strictness(read.first("stricthostkeychecking")),
        hash_known_hosts=read.flag("hashknownhosts"),
        update_host_keys=_updating(
            read.first("updatehostkeys") or ("no" if read.configured("userknownhostsfile") else "yes")
        ),
        proxy_jump=tuple(hop for hop in expand.hop(jump).split(",") if hop),
        proxy_command=expand.command(read.text("proxycommand")),
        proxy_use_fdpass=read.flag("proxyusefdpass"),
        # ssh prints 0 both for "off" and for "not said"; off is ssh's default, and not ours.
        server_alive_interval=read.number("serveraliveinterval") or None,
        server_alive_count_max=read.number("serveralivecountmax", DEFAULT_KEEPALIVE_COUNT),
        connect_timeout=read.number("connecttimeout") or None,
        address_family=_family(read.first("addressfamily")),
        bind_address=read.text("bindaddress"),
        bind_interface=read.text("bindinterface"),
        tcp_keepalive=read.flag("tcpkeepalive", default=True),
        compression=read.flag("compression"),
        ciphers=read.algorithms("ciphers"),
        kex_algorithms=read.algorithms("kexalgorithms"),
        macs=read.algorithms("macs"),
        rekey_bytes=read.int_of("rekeylimit", rekey[0]) or None,
        rekey_seconds=read.int_of("rekeylimit", rekey[1]) or None,
        preferred_authentications=_commas(read.text("preferredauthentications")),
        pubkey_authentication=read.flag("pubkeyauthentication", default=True),
        password_authentication=read.flag("passwordauthentication", default=True),
        kbd_interactive_authentication=read.flag("kbdinteractiveauthentication", default=True),
        number_of_password_prompts=read.number("numberofpasswordprompts", DEFAULT_PASSWORD_PROMPTS),
        batch_mode=read.flag("batchmode"),
        pubkey_accepted_algorithms=read.algorithms("pubkeyacceptedalgorithms"),
        ca_signature_algorithms=read.algorithms("casignaturealgorithms"),
        required_rsa_size=read.number("requiredrsasize", read.number("rsaminsize", DEFAULT_RSA_BITS)),
        pkcs11_provider=expand.library(read.text("pkcs11provider")),
        security_key_provider=expand.library(read.text("securitykeyprovider")),
        ip_qos=quality(read.first("ipqos")) if read.configured("ipqos") else None,
        notes=notes_on(keywords, defaults or {}),
    )


class _Reader:
    """The values of ``ssh -G``, by type."""

    def __init__(self, keywords: Keywords, defaults: Keywords, host: str) -> None:
        self._keywords = keywords
        self._defaults = defaults
        self._host = host

    def all(self, keyword: str) -> tuple[str, ...]:
        return tuple(value for value in self._keywords.get(keyword, ()) if value.lower() != "none")

    def first(self, keyword: str) -> str:
        values = self._keywords.get(keyword, ())
        return values[0].strip() if values else ""

    def text(self, keyword: str) -> str | None:
        value = self.first(keyword)
        return value if value and value.lower() != "none" else None

    def flag(self, keyword: str, *, default: bool = False) -> bool:
        value = self.first(keyword).lower()
        # pubkeyauthentication is also "unbound" or "host-bound": both are yes.
        return value not in {"no", "false"} if value else default

    def number(self, keyword: str, default: int = 0) -> int:
        value = self.text(keyword)
        return default if value is None else self.int_of(keyword, value)

    def int_of(self, keyword: str, value: str) -> int:
        try:
            return int(value)
        except ValueError:
            raise BadSetting(
                f"ssh says {keyword} {value!r} for {self._host}, and a number was expected",
                hint=f"run: ssh -G {self._host}",
            ) from None

    def configured(self, keyword: str) -> bool:
        values = self._keywords.get(keyword)
        return values is not None and list(values) != list(self._defaults.get(keyword, ()))

    def algorithms(self, keyword: str) -> tuple[str, ...]:
        """Read a list of algorithms, in their order; empty if they are ssh's own."""
        return _commas(self.text(keyword)) if self.configured(keyword) else ()


class _Expander:
    """Tokens put in, keyword by keyword, with the leniency that ssh has for each."""

    def __init__(self, tokens: Tokens, environ: Mapping[str, str], host: str) -> None:
        self._tokens = tokens
        self._environ = environ
        self._host = host

    def files(self, values: Sequence[str]) -> tuple[str, ...]:
        """Identities and certificates. One that cannot be expanded is left out (ENVIRONMENT VARIABLES)."""
        found = []
        for value in values:
            try:
                found.append(self._tokens.expand_path(value, self._environ))
            except TokenError:
                continue
        return tuple(dict.fromkeys(found))

    def known_hosts(self, value: str) -> tuple[str, ...]:
        """Known hosts files; `ssh -G` of 9.2 has expanded them already, older ones have not."""
        files = []
        for file in split_files(value):
            try:
                files.append(self._tokens.expand_path(file, self._environ))
            except TokenError:
                files.append(file)  # a per cent sign that was meant
        return tuple(files)

    def optional_file(self, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return self._tokens.expand_path(value, self._environ)
        except TokenError as error:  # a list of revoked keys is never left out
            raise BadSetting(f"RevokedHostKeys of {self._host}: {error}") from error

    def agent(self, value: str) -> str | None:
        """Find the agent's socket (ssh_config(5), IdentityAgent)."""
        if value.lower() == "none":
            return None
        if value in {"", "SSH_AUTH_SOCK"}:
            return self._environ.get("SSH_AUTH_SOCK") or None
        if value.startswith("$") and not value.startswith("${"):
            return self._environ.get(value[1:]) or None
        try:
            return self._tokens.expand_path(value, self._environ)
        except TokenError as error:
            raise BadSetting(f"IdentityAgent of {self._host}: {error}") from error

    def library(self, value: str | None) -> str | None:
        """PKCS11Provider and SecurityKeyProvider: a path, or the variable that has it."""
        if value is None or value == "internal":
            return None
        if value.startswith("$") and not value.startswith("${"):
            return self._environ.get(value[1:]) or None
        try:
            return self._tokens.expand_path(value.replace("%", "%%"), self._environ)
        except TokenError:  # a variable that is not set
            return None

    def command(self, value: str | None) -> str | None:
        if value is None:
            return None
        return expand_proxy_command(value, self._tokens)

    def hop(self, value: str) -> str:
        try:
            return self._tokens.expand(value)
        except TokenError:
            return value  # the zone of an address, as in fe80::1%eth0


def _commas(value: str | None) -> tuple[str, ...]:
    return tuple(piece.strip() for piece in value.split(",") if piece.strip()) if value else ()


def _strictness(value: str) -> StrictHostKeyChecking:
    match value.lower():
        case "yes" | "true":
            return "yes"
        case "no" | "false" | "off":
            return "no"
        case "accept-new":
            return "accept-new"
        case _:
            return "ask"


def _updating(value: str) -> UpdateHostKeys:
    match value.lower():
        case "yes" | "true":
            return "yes"
        case "ask":
            return "ask"
        case _:
            return "no"


def _family(value: str) -> AddressFamily:
    match value.lower():
        case "inet":
            return "inet"
        case "inet6":
            return "inet6"
        case _:
            return "any"


#: The names of IPQoS (ssh_config(5)) as the byte of IP_TOS: RFC 2474, 2597, 3246 and 8622, and RFC 1349.
_QUALITIES = {
    **{f"af{row}{column}": (row * 8 + column * 2) << 2 for row in range(1, 5) for column in range(1, 4)},
    **{f"cs{number}": number << 5 for number in range(8)},
    "ef": 0xB8,
    "le": 0x04,
    "lowdelay": 0x10,
    "throughput": 0x08,
    "reliability": 0x04,
}


def quality(value: str) -> int | None:
    """Read the first value of IPQoS, the one that ``ssh -N`` takes; None: the system's default.

    A number is a decimal, hexadecimal or octal one of a byte.
    """
    word = (value.split() or [""])[0].lower()
    if word in _QUALITIES:
        return _QUALITIES[word]
    try:
        number = int(word, 8 if word.isdigit() and word.startswith("0") else 0)
    except ValueError:
        return None
    return number if 0 <= number <= 0xFF else None
