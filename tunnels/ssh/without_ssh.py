"""Describes destinations where OpenSSH is not asked: plain defaults, or asyncssh's parser of ssh_config."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tunnels.core.profile import HostSpec
from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination, LocalMachine
from tunnels.ssh.ssh_g import destination_from

if TYPE_CHECKING:
    from asyncssh.config import SSHClientConfig

#: The files of ssh(1), tried in this order when nobody names any.
DEFAULT_IDENTITIES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
USER_KNOWN_HOSTS = ("known_hosts", "known_hosts2")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


class PlainDefaults:
    """Asks nobody: what ssh would do if there were no ssh_config at all."""

    def __init__(self, machine: LocalMachine) -> None:
        self._machine = machine

    async def ask(self, spec: HostSpec) -> Destination:
        """Describe a destination that nobody has said anything about."""
        plain = _plain(self._machine.home)
        return destination_from(plain, spec, self._machine, os.environ, defaults=plain)


def _plain(home: str) -> dict[str, list[str]]:
    """Put ssh's defaults in the shape of ``ssh -G``."""
    folder = f"{home}/.ssh".replace("%", "%%")
    return {
        "identityfile": [f"{folder}/{name}" for name in DEFAULT_IDENTITIES],
        "userknownhostsfile": [" ".join(f"{folder}/{name}" for name in USER_KNOWN_HOSTS)],
        "globalknownhostsfile": [" ".join(GLOBAL_KNOWN_HOSTS)],
    }


#: Keywords whose values asyncssh has expanded when it hands them out.
_EXPANDED_BY_ASYNCSSH = frozenset(
    {"CertificateFile", "ForwardAgent", "IdentityAgent", "IdentityFile", "ProxyCommand", "RemoteCommand"}
)


class AsyncsshParser:
    """Asks asyncssh's parser of ssh_config, which knows less: it takes no ``=`` in a Match exec, for example.

    What it says is put in the shape of ``ssh -G`` and read by the same code.
    """

    def __init__(self, config_file: str | None, machine: LocalMachine) -> None:
        self._machine = machine
        candidates = (f"{machine.ssh_home}/.ssh/config", "/etc/ssh/ssh_config")
        if config_file:
            self._files = [config_file]
        else:
            self._files = [file for file in candidates if Path(file).is_file()]

    async def ask(self, spec: HostSpec) -> Destination:
        """Describe one destination. Raises BadSetting where the parser does not understand a file."""
        try:
            config = _parser().load(
                None,
                self._files,
                False,
                False,
                False,
                self._machine.user,
                () if spec.user is None else spec.user,
                spec.host,
                () if spec.port is None else spec.port,
            )
        except (ValueError, OSError, RecursionError) as error:
            raise BadSetting(
                f"ssh_config cannot be read for {spec.host}: {error}",
                hint="there is no ssh program here that could be asked; installing OpenSSH's client helps",
            ) from error
        plain = _plain(self._machine.ssh_home)
        # What asyncssh calls its options is what ssh_config(5) calls its keywords.
        answer = plain | {
            keyword.lower(): values
            for keyword, value in config.get_options(reload=False).items()
            if (values := _values(keyword, value))
        }
        return destination_from(answer, spec, self._machine, os.environ, defaults=plain)


#: What asyncssh's parser skips and must not be skipped, or is to be named by `tunnels check`.
_SKIPPED_BY_ASYNCSSH = (
    *("BatchMode", "BindInterface", "CheckHostIP", "ControlPath", "DynamicForward", "GatewayPorts"),
    *("HashKnownHosts", "IPQoS", "KnownHostsCommand", "LocalCommand", "LocalForward"),
    *(
        "NoHostAuthenticationForLocalhost",
        "NumberOfPasswordPrompts",
        "PermitLocalCommand",
        "PermitRemoteOpen",
    ),
    *("ProxyUseFdpass", "PubkeyAcceptedAlgorithms", "RefuseConnection", "RemoteForward", "RequiredRSASize"),
    *("RevokedHostKeys", "SecurityKeyProvider", "StreamLocalBindMask", "StrictHostKeyChecking", "Tunnel"),
    *("UpdateHostKeys", "VerifyHostKeyDNS"),
)


@cache
def _parser() -> type[SSHClientConfig]:
    """Make asyncssh's parser with what it lacks: comments behind a value, units, and keywords that it skips."""
    from asyncssh.config import SSHClientConfig  # noqa: PLC0415 - 160 ms, and a last resort

    class Parser(SSHClientConfig):
        def _put(self, option: str, value: object) -> None:
            self._options.setdefault(option, value)

        def _set_text(self, option: str, args: list[str]) -> None:
            self._put(option, " ".join(args))
            args.clear()

        def _set_seconds(self, option: str, args: list[str]) -> None:
            try:
                self._put(option, str(seconds(args.pop(0))))
            except ValueError as exc:
                self._error(f"Invalid {option} time: {exc}")

        def _set_limits(self, option: str, args: list[str]) -> None:
            size, time, *_ = [*args, "none", "none"]
            args.clear()
            try:
                self._put(option, f"{number_of_bytes(size)} {seconds(time)}")
            except ValueError as exc:
                self._error(f"Invalid {option}: {exc}")

    def without_comment(handler: Callable[..., None]) -> Callable[..., None]:
        def call(config: SSHClientConfig, option: str, args: list[str]) -> None:
            if option.lower() in SSHClientConfig._no_split:  # noqa: SLF001 - the rest of a line, for a shell
                args[0] = args[0].removeprefix("=").strip()
            else:
                comment = next(
                    (number for number, word in enumerate(args) if word.startswith("#")), len(args)
                )
                del args[comment:]
            if not args:
                config._error(f"Missing {option} value")  # noqa: SLF001
            handler(config, option, args)

        return call

    handlers: dict[str, tuple[str, Callable[..., None]]] = dict(SSHClientConfig._handlers)  # noqa: SLF001
    handlers |= {name.lower(): (name, Parser._set_text) for name in _SKIPPED_BY_ASYNCSSH}  # noqa: SLF001
    for name in ("ServerAliveInterval", "ConnectTimeout"):
        handlers[name.lower()] = (name, Parser._set_seconds)  # noqa: SLF001
    handlers["rekeylimit"] = ("RekeyLimit", Parser._set_limits)  # noqa: SLF001
    guarded = {key: (name, without_comment(handler)) for key, (name, handler) in handlers.items()}
    Parser._handlers = guarded  # noqa: SLF001
    return Parser


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def seconds(text: str) -> int:
    """Read a time of ssh_config (sshd_config(5), TIME FORMATS): ``90``, ``1m30``, ``1h``; none is 0.

    Raises:
        ValueError: it is not one.

    """
    if text.lower() == "none":
        return 0
    if not re.fullmatch(r"(\d+[smhdw]?)+", text, re.IGNORECASE | re.ASCII):
        raise ValueError(text)
    pieces = re.findall(r"(\d+)([smhdw]?)", text.lower())
    return sum(int(number) * _UNITS[unit] for number, unit in pieces)


def number_of_bytes(text: str) -> int:
    """Read a size of RekeyLimit: ``1G``; default and none are 0. Raises ValueError where it is not one."""
    if text.lower() in {"default", "none"}:
        return 0
    if not (found := re.fullmatch(r"(\d+)([kmg]?)", text.lower(), re.ASCII)):
        raise ValueError(text)
    return int(found[1]) * _SIZES[found[2]]


def _values(keyword: str, value: object) -> list[str]:
    """Write a value of asyncssh's parser as ``ssh -G`` would."""
    if value is None or value == []:
        return ["none"]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, socket.AddressFamily):
        return [{socket.AF_INET: "inet", socket.AF_INET6: "inet6"}.get(value, "any")]
    many = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    if keyword in _EXPANDED_BY_ASYNCSSH:
        many = [item.replace("%", "%%") for item in many]
    return many if keyword in {"IdentityFile", "CertificateFile"} else [" ".join(many)]
