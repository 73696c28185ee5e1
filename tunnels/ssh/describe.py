"""Tells a person how a profile resolves, and what of ssh_config is not done."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

from tunnels.ssh import algorithms, key_check
from tunnels.ssh.destination import Destination, Route
from tunnels.ssh.keywords import Note


def describe(route: Route) -> list[tuple[str, str]]:
    """Tell how a profile resolves: pairs of a word and a value, in the order to show them."""
    target = route.target
    rows = [("host", target.hostname), ("port", str(target.port)), ("user", target.user)]
    rows += [("through", _named(hop)) for hop in route.hops]
    first = route.hops[0] if route.hops else target
    if first.proxy_command is not None:
        rows.append(("proxy command", first.proxy_command))
    rows += [("identity file", file) for file in target.identity_files if _shown(file, target)]
    rows += [("certificate file", file) for file in target.certificate_files]
    if target.pkcs11_provider is not None:
        rows.append(("smart card", target.pkcs11_provider))
    rows.append(("agent", _agent(target)))
    known_hosts = (*target.user_known_hosts_files, *target.global_known_hosts_files)
    rows += [("known hosts", file) for file in known_hosts if Path(file).exists()]
    if target.host_key_alias is not None:
        rows.append(("host key alias", target.host_key_alias))
    if target.server_alive_interval:
        rows.append(("keepalive", f"{target.server_alive_interval:g} s"))
        rows.append(("keepalive count", str(target.server_alive_count_max)))
    if target.connect_timeout is not None:
        rows.append(("connect timeout", f"{target.connect_timeout:g} s"))
    if target.bind_address is not None:
        rows.append(("from address", target.bind_address))
    return rows + [("note", remark) for remark in key_check.remarks(route)]


def _named(hop: Destination) -> str:
    return str(hop) if hop.alias == hop.hostname else f"{hop.alias} ({hop})"


def _shown(file: str, target: Destination) -> bool:
    return target.identity_files_configured or Path(file).exists()


def _agent(target: Destination) -> str:
    if target.identity_agent is None:
        return "none"
    if target.identities_only:
        return f"{target.identity_agent} (only for the identity files)"
    return target.identity_agent


class Remark(NamedTuple):
    """Something that `tunnels check` says about one server on the way of a profile."""

    host: str  #: as the user calls it
    is_hop: bool
    note: Note


def remarks(route: Route) -> list[Remark]:
    """Name what is set and not done, hop by hop.

    Raises:
        BadSetting: a destination asks for something of which nothing is left, so that it cannot come up.

    """
    found = []
    for destination in (*route.hops, route.target):
        notes = [*destination.notes, *algorithms.notes(destination)]
        if destination is (*route.hops, route.target)[0]:
            notes += _proxy_command(destination)
        is_hop = destination is not route.target
        found += [
            Remark(destination.alias, is_hop, note)
            for note in dict.fromkeys(notes)
            if not note.keyword.startswith("GSSAPI") or _has_kerberos()
        ]
        algorithms.check(destination)
    return found


def _has_kerberos() -> bool:
    """Tell whether there may be a Kerberos ticket. Debian and others set GSSAPIAuthentication for everybody."""
    return "KRB5CCNAME" in os.environ or any(
        Path(file).exists()
        for file in ("/etc/krb5.conf", f"/tmp/krb5cc_{os.getuid()}")  # noqa: S108
    )


#: What a shell does itself; not programs to look for.
_SHELL_WORDS = frozenset(
    {"exec", "command", "eval", "if", "while", "for", "case", "test", "[", "{", "(", "!", "."}
)


def _proxy_command(destination: Destination) -> list[Note]:
    """Say that the program of a ProxyCommand is not there; of a line of shell only the first word is looked at."""
    command = destination.proxy_command
    try:
        words = shlex.split(command or "")
    except ValueError:
        return []  # the shell will say what is wrong with it
    while words and words[0] in {"exec", "command"}:
        del words[0]
    if not words or words[0] in _SHELL_WORDS or not re.fullmatch(r"[\w@%+.,:~/-]+", words[0]):
        return []
    program = Path(words[0]).expanduser()
    if shutil.which(program):
        return []
    return [Note("ProxyCommand", words[0], "there is no such program here")]
