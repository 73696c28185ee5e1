"""What a command line of ssh says, as the table of a profile; what no profile can say is refused by name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tunnels.core.address import EVERY_INTERFACE, TcpAddress, quoted
from tunnels.core.durations import LONGEST, format_duration
from tunnels.core.forward import ForwardKind, ForwardRule, parse_forward
from tunnels.core.profile import HostSpec, parse_host_spec
from tunnels.core.ssh_flags import CommandLine, Flag, take_apart
from tunnels.core.ssh_refused import not_in_a_profile, together
from tunnels.errors import UsageError

#: A profile as TOML has it: ``{"host": "bastion", "local": ["5432:db:5432"]}``.
Table = dict[str, Any]


class Read(NamedTuple):
    """What became of a command line."""

    table: Table
    notes: tuple[str, ...] = ()  #: what was left out, where a person may wonder


_SESSION = "a tunnel has no shell and no program on the server"

#: Flags without which a tunnel does the same: they are about a terminal, a shell, or what is printed.
_NOTHING = frozenset("2aefknNqtTvxy")

#: Flags that are left out, and why that is right.
_LEFT_OUT = {
    "4": "IPv4 and IPv6 are tried; `AddressFamily inet` in ~/.ssh/config allows one of them",
    "6": "IPv4 and IPv6 are tried; `AddressFamily inet6` in ~/.ssh/config allows one of them",
    "A": f"{_SESSION} that could use the agent",
    "E": "`tunnels logs` has what happened",
    "K": f"{_SESSION} that could use a Kerberos ticket",
    "M": "a tunnel keeps its own connection",
    "S": "a tunnel keeps its own connection",
    "X": f"{_SESSION} that could open windows",
    "Y": f"{_SESSION} that could open windows",
}

#: Flags that cannot be carried over: why, and what to do.
_REFUSED = {
    "1": ("that version of the protocol is gone", "leave it out"),
    "G": ("that asks ssh something and makes no tunnel", "`tunnels check NAME` shows how a profile resolves"),
    "O": ("that speaks with another ssh", "`tunnels status` and `tunnels down` do it for tunnels"),
    "P": ("a profile has no tag of ssh_config", "write what it stands for below a Host in ~/.ssh/config"),
    "Q": ("that asks ssh something and makes no tunnel", "leave it out"),
    "V": ("that asks ssh something and makes no tunnel", "leave it out"),
    "s": (_SESSION, "leave it out"),
    "w": ("network devices (tun) are not forwarded", 'dynamic = ["1080"] is a proxy for everything'),
    "W": (
        "standard input and output of a command are not forwarded",
        "-L makes a port; for a jump host write -J, or jump in the profile",
    ),
}

#: Flags that are a keyword of ssh_config under another name.
_KEYWORD_OF = {
    "B": "BindInterface",
    "C": "Compression",
    "D": "DynamicForward",
    "I": "PKCS11Provider",
    "J": "ProxyJump",
    "L": "LocalForward",
    "R": "RemoteForward",
    "b": "BindAddress",
    "c": "Ciphers",
    "g": "GatewayPorts",
    "i": "IdentityFile",
    "l": "User",
    "m": "MACs",
    "p": "Port",
}

_NO = frozenset({"no", "false", "none", "off"})
_YES = frozenset({"yes", "true"})

#: Keywords whose flags are refused for what they do, unless they say no.
_SESSION_KEYWORDS = frozenset({"permitlocalcommand", "tunnel"})

#: Keywords that are left out as their flags are, unless they say no.
_FLAG_OF = {"forwardagent": "A", "forwardx11": "X", "forwardx11trusted": "Y"}

#: Keywords without which a tunnel does the same, whatever they say.
_MEANINGLESS = frozenset(
    {
        *("connectionattempts", "enableescapecommandline", "escapechar", "fingerprinthash"),
        *("forkafterauthentication", "forwardx11timeout", "loglevel", "logverbose", "obscurekeystroketiming"),
        *(
            "requesttty",
            "sendenv",
            "setenv",
            "stdinnull",
            "syslogfacility",
            "visualhostkey",
            "warnweakcrypto",
        ),
        *("xauthlocation", "controlmaster", "controlpath", "controlpersist", "tcpkeepalive"),
    }
)

#: Commands that only keep a connection without -N open.
_KEEPERS = frozenset({"sleep", "cat", "true", ":"})

_OPTION = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*?)\s*", re.DOTALL)

#: ssh_config(5), TIME FORMATS.
_TIME = re.compile(r"(\d{1,9})([smhdw]?)", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read_command(
    arguments: Sequence[str], *, folder: str, keywords: Callable[[], Iterable[str]] = tuple
) -> Read:
    """Make the table of a profile from the arguments of ssh.

    ``folder`` is where ssh would have been started: a key that is named without a path is there. ``keywords``
    gives those of ssh_config(5), as far as they are known; without any, every word may be one.

    Raises:
        UsageError: something cannot be carried over; says everything that cannot, and what to do.

    """
    line = take_apart(arguments)
    reader = _Reader(folder, keywords)
    for flag in line.flags:
        try:
            reader.flag(flag)
        except UsageError as error:
            reader.refused.append(error)
    return reader.finish(line)


class _Reader:
    """Collects, with ssh's rule that the first value of a keyword wins."""

    def __init__(self, folder: str, keywords: Callable[[], Iterable[str]]) -> None:
        self.refused: list[UsageError] = []
        self._folder = folder
        self._known = keywords
        self._table: Table = {}
        self._rules: list[ForwardRule] = []
        self._files: dict[str, list[str]] = {}
        self._user: str | None = None
        self._port: int | None = None
        self._gateway: bool | None = None
        self._notes: dict[str, None] = {}
        self._elsewhere: list[tuple[str, str]] = []  # what stands for a keyword that no profile has, and that

    def flag(self, flag: Flag) -> None:
        letter, value = flag
        if letter in _REFUSED:
            why, instead = _REFUSED[letter]
            raise UsageError(f"-{letter} is not carried over: {why}", hint=instead)
        if letter in _LEFT_OUT:
            self._notes[f"-{letter} is left out: {_LEFT_OUT[letter]}"] = None
        elif letter == "o":
            self._option(value)
        elif letter == "F":
            self._table["ssh_config"] = "none" if value.lower() == "none" else self._path(value, "-F")
        elif letter in _KEYWORD_OF:
            self._flag_with_keyword(flag, _KEYWORD_OF[letter])
        else:
            assert letter in _NOTHING, letter

    def _flag_with_keyword(self, flag: Flag, keyword: str) -> None:
        letter, value = flag
        if letter == "J" and "jump" in self._table:
            raise UsageError(
                "-J stands twice", hint="several hops stand in one, with commas: -J gate,bastion"
            )
        if letter == "i":  # as it is: only the values of -o are split into words
            self._files.setdefault("identity_file", []).append(self._path(value, "-i"))
            return
        if letter in "LRD":
            kind = {"L": ForwardKind.LOCAL, "R": ForwardKind.REMOTE, "D": ForwardKind.DYNAMIC}[letter]
            self._rules.append(parse_forward(kind, value))
            return
        if letter in "Ccg":  # these replace what was said before
            self._table.pop({"C": "compression", "c": "ciphers"}.get(letter, ""), None)
            self._gateway = None if letter == "g" else self._gateway
        self._keyword(keyword, value or "yes", f"-{letter}")

    def _option(self, text: str) -> None:
        """Read one ``-o Keyword=value``."""
        found = _OPTION.fullmatch(text)
        if found is None or not found[2]:
            raise UsageError(
                f"-o {quoted(text)} is not a keyword and its value", hint="for example -o Port=22"
            )
        self._keyword(found[1], found[2], f"-o {found[1]}")

    def _keyword(self, keyword: str, value: str, said: str) -> None:
        word, low = keyword.lower(), value.lower()
        if word in _MEANINGLESS or (word in {*_SESSION_KEYWORDS, *_FLAG_OF} and low in _NO):
            return
        read = _KEYWORDS.get(word)
        if read is not None:
            read(self, value, said)
        elif word in _FLAG_OF:
            self._notes[f"{said} is left out: {_LEFT_OUT[_FLAG_OF[word]]}"] = None
        elif word in _SESSION_KEYWORDS or word in {"remotecommand", "localcommand", "sessiontype"}:
            if low not in {"none", "no"}:
                raise UsageError(f"{said} is not carried over: {_SESSION}", hint="leave it out")
        else:
            self._elsewhere.append((said, keyword))

    # --- keywords -----------------------------------------------------------------------------------

    def first(self, key: str, value: object) -> None:
        self._table.setdefault(key, value)

    def way(self, key: str, value: str, said: str) -> None:
        """A jump host or a proxy command: the first of both wins (readconf.c, oProxyCommand)."""
        if "jump" not in self._table and "proxy_command" not in self._table:
            self._table[key] = value

    def forward(self, kind: ForwardKind, value: str, said: str) -> None:
        words = _words(value, said)
        self._rules.append(parse_forward(kind, ":".join(words)))

    def user_is(self, value: str, said: str) -> None:
        self._user = self._user if self._user is not None else value

    def port_is(self, value: str, said: str) -> None:
        port = int(value) if value.isascii() and value.isdigit() and len(value) <= 5 else 0
        if not 1 <= port <= 65535:
            raise UsageError(f"{said}: {quoted(value)} is not a port", hint="a number from 1 to 65535")
        self._port = self._port if self._port is not None else port

    def file(self, key: str, value: str, said: str) -> None:
        self._files.setdefault(key, []).append(self._path(" ".join(_words(value, said)), said))

    def known_hosts(self, value: str, said: str) -> None:
        files = _words(value, said)
        if any(file in {"/dev/null", "none"} for file in files):
            raise UsageError(
                f"{said}: without known_hosts anybody could pass for the server",
                hint="leave it out: a new server is asked about once, and then known",
            )
        self.first("known_hosts", [self._path(file, said) for file in files])

    def host_keys(self, value: str, said: str) -> None:
        words = {"yes": "strict", "true": "strict", "ask": "ask", "accept-new": "accept-new"}
        if value.lower() in _NO - {"none"}:  # as in ssh_config
            words[value.lower()] = "accept-new"
            self._notes[
                f"{said} {value} is like accept-new: a host key that has changed is never accepted"
            ] = None
        policy = words.get(value.lower())
        if policy is None:
            raise UsageError(
                f"{said}: host keys are always checked",
                hint="-o StrictHostKeyChecking=accept-new takes those of new servers without asking",
            )
        self.first("host_key_policy", policy)

    def duration(self, key: str, value: str, said: str) -> None:
        if value.lower() == "none":
            return
        pieces = _TIME.findall(value)
        if not pieces or "".join(map("".join, pieces)) != value:
            raise UsageError(f"{said}: {quoted(value)} is not a time", hint="for example 15, 30s or 1m")
        seconds = sum(int(number) * _SECONDS[unit.lower()] for number, unit in pieces)
        if seconds > LONGEST:
            raise UsageError(f"{said}: {quoted(value)} is longer than ten years")
        if seconds or key == "keepalive":
            self.first(key, format_duration(seconds))

    def count(self, value: str, said: str) -> None:
        if not (value.isascii() and value.isdigit() and len(value) <= 9):
            raise UsageError(f"{said}: {quoted(value)} is not a number", hint="for example 3")
        self.first("keepalive_count", int(value))

    def switch(self, key: str, value: str, said: str) -> None:
        on = value.lower() in _YES
        if not on and value.lower() not in _NO:
            raise UsageError(f"{said}: {quoted(value)} is neither yes nor no")
        if key == "gateway":
            self._gateway = on if self._gateway is None else self._gateway
        elif on or key == "compression":
            self.first(key, on)

    def batch(self, value: str, said: str) -> None:
        if value.lower() in _YES:
            self._notes[
                f"{said} is left out: what must be asked is asked by `tunnels up` on its terminal"
            ] = None

    def _path(self, value: str, said: str) -> str:
        """A file, seen from the folder of the command: the daemon works in another one."""
        if "$" in value or "%" in value or "`" in value:
            raise UsageError(
                f"{said}: {quoted(value)} would be expanded by ssh or a shell", hint="write the whole path"
            )
        if value.lower() == "none" or value.startswith(("/", "~")):
            return value
        return f"{self._folder.rstrip('/')}/{value.removeprefix('./')}"

    # --- the end ------------------------------------------------------------------------------------

    def finish(self, line: CommandLine) -> Read:
        """Put the table together, in the order in which a person would write it."""
        host = parse_host_spec(line.destination) if line.destination is not None else None
        for said, keyword in self._elsewhere:
            self.refused.append(not_in_a_profile(said, keyword, host.host if host else None, self._known()))
        if host is None:
            self.refused.append(
                UsageError(
                    "where should it go? There is no destination", hint="ssh -N -L 5432:db:5432 bastion"
                )
            )
        if host is None or self.refused:
            raise together(self.refused)
        if line.command and line.command[0] not in _KEEPERS:
            self._notes[
                f"{quoted(shlex.join(line.command))} is left out: a tunnel runs no command on the server"
            ] = None
        table: Table = {"host": self._destination(host)}
        for kind in ForwardKind:
            rules = [str(self._opened(rule)) for rule in self._rules if rule.kind is kind]
            if rules:
                table[kind.value] = rules
        files = {key: found[0] if len(found) == 1 else found for key, found in self._files.items()}
        if len(self._table.get("known_hosts", ())) == 1:
            self._table["known_hosts"] = self._table["known_hosts"][0]
        return Read({**table, **files, **self._table}, tuple(self._notes))

    def _destination(self, spec: HostSpec) -> str:
        """Write user and port where a person would: in the host."""
        user = self._user if self._user is not None else spec.user
        port = self._port if self._port is not None else spec.port
        written = str(HostSpec(spec.host, user, port))
        parse_host_spec(written)
        return written

    def _opened(self, rule: ForwardRule) -> ForwardRule:
        """Apply ``-g``: what has no bind address of its own listens everywhere (ssh(1))."""
        if not self._gateway or rule.kind is ForwardKind.REMOTE:
            return rule
        if not isinstance(rule.listen, TcpAddress) or rule.listen.host is not None:
            return rule
        return replace(rule, listen=TcpAddress(EVERY_INTERFACE, rule.listen.port))


#: The keywords of ssh_config(5) that a profile can say, in lower case.
_KEYWORDS: dict[str, Callable[[_Reader, str, str], None]] = {
    "batchmode": _Reader.batch,
    "certificatefile": lambda it, value, said: it.file("certificate_file", value, said),
    "ciphers": lambda it, value, _: it.first("ciphers", value),
    "compression": lambda it, value, said: it.switch("compression", value, said),
    "connecttimeout": lambda it, value, said: it.duration("connect_timeout", value, said),
    "dynamicforward": lambda it, value, said: it.forward(ForwardKind.DYNAMIC, value, said),
    "exitonforwardfailure": lambda it, value, said: it.switch("exit_on_forward_failure", value, said),
    "gatewayports": lambda it, value, said: it.switch("gateway", value, said),
    "identityfile": lambda it, value, said: it.file("identity_file", value, said),
    "localforward": lambda it, value, said: it.forward(ForwardKind.LOCAL, value, said),
    "port": _Reader.port_is,
    "proxycommand": lambda it, value, said: it.way("proxy_command", value, said),
    "proxyjump": lambda it, value, said: it.way("jump", value, said),
    "remoteforward": lambda it, value, said: it.forward(ForwardKind.REMOTE, value, said),
    "serveralivecountmax": _Reader.count,
    "serveraliveinterval": lambda it, value, said: it.duration("keepalive", value, said),
    "streamlocalbindunlink": lambda it, value, said: it.switch("remote_unlink", value, said),
    "stricthostkeychecking": _Reader.host_keys,
    "user": _Reader.user_is,
    "userknownhostsfile": _Reader.known_hosts,
}


def _words(value: str, said: str) -> list[str]:
    """Split a value as ssh_config does: blanks between words, quotes around those that have some."""
    try:
        return shlex.split(value)
    except ValueError:
        raise UsageError(f"{said}: a quote has no partner") from None
