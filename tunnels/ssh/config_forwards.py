"""The forwards of ssh_config as tables of profiles: LocalForward, RemoteForward and DynamicForward of a Host.

Which hosts have some is read from the file; what they are is asked from ``ssh -G``. Everything else of the
Host stays in ssh_config, where the profile finds it.
"""

from __future__ import annotations

import asyncio
import glob
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tunnels.core.address import EVERY_INTERFACE, TcpAddress
from tunnels.core.config_forward import KEYWORD_OF, is_listed_twice, read_config_forward
from tunnels.core.forward import ForwardKind, ForwardRule
from tunnels.core.ssh_config_hosts import Hosts, hosts_with_forwards
from tunnels.errors import BadSetting, TunnelsError, UsageError
from tunnels.ssh.ask_ssh import Answers
from tunnels.ssh.ssh_g import Keywords

#: Bytes that are read of one file, and files that are read in all; ssh itself has neither limit.
_MAX_BYTES = 4 * 1024 * 1024
_MAX_FILES = 1000


class Found(NamedTuple):
    """What a Host forwards."""

    table: dict[str, Any]  #: of a profile
    refused: tuple[UsageError, ...] = ()  #: its forwards that no profile can say, each with its host


def named_hosts(config_file: str | None) -> Hosts:
    """The hosts and patterns that have a forward in a block of their own, in the user's file or in this one.

    Raises:
        BadSetting: the file that was named cannot be read.

    """
    folder = Path("~/.ssh").expanduser()
    path = Path(config_file).expanduser() if config_file else folder / "config"
    left = iter(range(_MAX_FILES))

    def include(pattern: str) -> Iterator[str]:
        # As ssh: relative to ~/.ssh, in the order of the names; what cannot be read is left out (readconf.c oInclude).
        whole = str(Path(pattern).expanduser()) if pattern.startswith("~") else str(folder / pattern)
        for name in sorted(glob.glob(whole)):  # noqa: PTH207 - a pattern with folders in it
            if next(left, None) is not None:
                yield _text(Path(name)) or ""

    text = _text(path)
    if text is None and config_file:
        raise BadSetting(f"{path} cannot be read", hint="--ssh-config names a file as ssh -F does")
    return hosts_with_forwards(text or "", include)


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None


async def tables(
    hosts: Sequence[str], config_file: str | None, *, ssh_program: str = "ssh"
) -> list[Found | TunnelsError]:
    """For each host the table of a profile with its forwards; without any, only its host.

    Raises:
        BadSetting: there is no ssh to ask.

    """
    program = shutil.which(ssh_program)
    if program is None:
        raise BadSetting(
            "there is no program ssh that could say what ssh_config means", hint="install OpenSSH's client"
        )
    answers = Answers()
    flags = ["-F", config_file] if config_file else []

    async def one(host: str) -> Found | TunnelsError:
        try:
            answer = await answers.get(program, [*flags, "--", host], host)
            return table_of(host, answer.keywords, config_file)
        except TunnelsError as error:
            return error

    return await asyncio.gather(*map(one, hosts))


def table_of(host: str, keywords: Keywords, config_file: str | None = None) -> Found:
    """The table of a profile for this host, from what ``ssh -G`` says."""
    everywhere = _says(keywords, "gatewayports")
    rules: dict[ForwardKind, list[ForwardRule]] = {}
    refused = []
    for kind, keyword in KEYWORD_OF.items():
        found = rules[kind] = []
        for line in keywords.get(keyword.lower(), ()):
            if kind is ForwardKind.DYNAMIC and is_listed_twice(line, keywords.get("localforward", ())):
                continue
            try:
                found.append(read_config_forward(kind, line))
            except UsageError as error:
                refused.append(UsageError(f"{host}: {keyword} {line}: {error.message}", hint=error.hint))
    table: dict[str, Any] = {"host": host}
    for kind, found in rules.items():
        if found:
            open_to_all = everywhere and kind is not ForwardKind.REMOTE
            table[kind.value] = [str(_opened(rule) if open_to_all else rule) for rule in found]
    if _says(keywords, "exitonforwardfailure"):
        table["exit_on_forward_failure"] = True
    if _says(keywords, "streamlocalbindunlink") and rules[ForwardKind.REMOTE]:
        table["remote_unlink"] = True
    if config_file:
        table["ssh_config"] = config_file
    return Found(table, tuple(refused))


def _says(keywords: Keywords, keyword: str) -> bool:
    return keywords.get(keyword, ["no"])[-1].lower() in {"yes", "true"}


def _opened(rule: ForwardRule) -> ForwardRule:
    """GatewayPorts: what has no bind address of its own listens everywhere (ssh_config(5))."""
    if not isinstance(rule.listen, TcpAddress) or rule.listen.host is not None:
        return rule
    return replace(rule, listen=TcpAddress(EVERY_INTERFACE, rule.listen.port))
