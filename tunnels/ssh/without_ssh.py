"""Describes destinations where OpenSSH is not asked: plain defaults, or asyncssh's parser of ssh_config."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tunnels.core.profile import HostSpec
from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination, LocalMachine
from tunnels.ssh.ssh_g import destination_from

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
    """Asks asyncssh's parser of ssh_config, which knows less: no StrictHostKeyChecking, for example.

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
        from asyncssh.config import SSHClientConfig  # noqa: PLC0415 - 160 ms, and a last resort

        try:
            config = SSHClientConfig.load(
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


def _values(keyword: str, value: object) -> list[str]:
    """Write a value of asyncssh's parser as ``ssh -G`` would."""
    if value is None or value == []:
        return ["none"]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, socket.AddressFamily):
        return [{socket.AF_INET: "inet", socket.AF_INET6: "inet6"}.get(value, "any")]
    if isinstance(value, tuple):
        return []  # RekeyLimit, in its own notation
    many = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    if keyword in _EXPANDED_BY_ASYNCSSH:
        many = [item.replace("%", "%%") for item in many]
    return many if keyword in {"IdentityFile", "CertificateFile"} else [" ".join(many)]
