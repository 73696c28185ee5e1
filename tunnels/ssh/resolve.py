"""Finds out where a profile goes, by asking OpenSSH itself: ``ssh -G`` for the destination and every hop.

No parser of ours reads ssh_config: Match, Include, canonical names and their order are OpenSSH's to say. Of
``ssh`` there are three kinds of absence: ``ssh_config = "none"`` (nobody is asked, plain defaults), no
``ssh`` program (asyncssh's parser serves, as well as it can), and neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Protocol

from tunnels.core.profile import HostSpec, Profile, parse_host_spec
from tunnels.errors import BadSetting, HostUnreachable, UsageError
from tunnels.ssh.destination import (
    DEFAULT_PORT,
    Destination,
    LocalMachine,
    Route,
    in_home,
    with_known_hosts,
    with_profile,
    with_timing,
)
from tunnels.ssh.key_check import remarks
from tunnels.ssh.ssh_g import Keywords, destination_from, parse_ssh_g

SSH_G_TIMEOUT = 10.0
"""Seconds that ``ssh -G`` may take. Itself it needs a few milliseconds, but ``Match exec`` and
CanonicalizeHostname may wait for something that does not answer."""

MAX_HOPS = 16
"""More are taken for a circle that tokens hide. OpenSSH has no such limit; each hop is a process there."""

#: The files of ssh(1), tried in this order when nobody names any.
DEFAULT_IDENTITIES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
USER_KNOWN_HOSTS = ("known_hosts", "known_hosts2")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


class _Oracle(Protocol):
    """Somebody who knows ssh_config."""

    async def ask(self, spec: HostSpec) -> Destination:
        """Describe one destination, without what the profile says about it."""


async def resolve(profile: Profile, *, ssh_program: str | None = "ssh") -> Route:
    """Find out where a profile goes: its target, and the hops to it in the order they are dialled.

    The keys of the profile are about its target, as command line flags of ssh are: a hop has its own Host
    in ssh_config. Only the waiting times go for the whole way. With ``ssh_config = "none"``, where a hop
    has no other place to say it, the profile's identities, certificates and known_hosts serve for hops too.

    Args:
        profile: what the user wrote.
        ssh_program: the ``ssh`` to ask; ``None`` or one that is not installed: asyncssh's parser is asked.

    Raises:
        BadSetting: ssh_config or the profile is wrong.
        HostUnreachable: ``ssh -G`` could not be started now, or did not end within 10 s, as a Match exec
            does that looks for the network. Worth another try.

    """
    machine = local_machine()
    without_ssh_config = (profile.ssh_config or "").strip().lower() == "none"
    config_file = None
    if profile.ssh_config and not without_ssh_config:
        config_file = in_home(profile.ssh_config, machine)

    oracle: _Oracle
    if without_ssh_config:
        oracle = _PlainDefaults(machine)
    elif ssh_program is not None and (found := shutil.which(ssh_program)):
        oracle = _OpenSSH(found, config_file, machine)
    else:
        oracle = _AsyncsshParser(config_file, machine)

    spec = _spec(profile.host)
    spec = HostSpec(
        spec.host,
        spec.user if profile.user is None else profile.user,
        spec.port if profile.port is None else profile.port,
    )
    target = with_profile(await oracle.ask(spec), profile, machine)
    hops = []
    for found_hop in await _hops(oracle, target, ()):
        hop = with_timing(found_hop, profile)
        if without_ssh_config:
            hop = _as_the_target(hop, target, profile, machine)
        hops.append(hop)
    return Route(tuple(hops), target)


async def _hops(
    oracle: _Oracle, destination: Destination, behind: tuple[Destination, ...]
) -> tuple[Destination, ...]:
    """Resolve the way to a destination.

    ``ssh`` starts a second ssh for the last hop and hands it the others as its -J. So the first hop
    alone is reached the way its own Host says; for the others the list has said it already.
    """
    if not destination.proxy_jump:
        return ()
    behind = (*behind, destination)
    hops = []
    for number, text in enumerate(destination.proxy_jump):
        hop = await oracle.ask(_spec(text))
        if number > 0:
            hop = replace(hop, proxy_jump=(), proxy_command=None)
        hops.append(hop)
    first = hops[0]
    if any(_same(first, other) for other in behind):
        raise BadSetting(
            f"the way to {behind[0].alias} goes in a circle: {first.alias} is reached through itself",
            hint=f'in ssh_config, give "Host {first.alias}" a "ProxyJump none"',
        )
    if len(behind) + len(hops) > MAX_HOPS:
        raise BadSetting(
            f"the way to {behind[0].alias} has more than {MAX_HOPS} hops",
            hint=f"look at the proxyjump that this says: ssh -G {shlex.quote(behind[0].alias)}",
        )
    return (*await _hops(oracle, first, behind), *hops)


def _same(one: Destination, other: Destination) -> bool:
    # By the name that was asked for, as ssh does: two networks may have a 192.168.1.1 each.
    return (one.alias.lower(), one.user, one.port) == (other.alias.lower(), other.user, other.port)


def _as_the_target(
    hop: Destination, target: Destination, profile: Profile, machine: LocalMachine
) -> Destination:
    if profile.identity_file:
        hop = replace(hop, identity_files=target.identity_files, identity_files_configured=True)
    if profile.certificate_file:
        hop = replace(hop, certificate_files=target.certificate_files)
    return with_known_hosts(hop, profile, machine) if profile.known_hosts else hop


def _spec(text: str) -> HostSpec:
    try:
        return parse_host_spec(text)
    except UsageError as error:
        raise BadSetting(error.message, hint=error.hint) from error


def local_machine() -> LocalMachine:
    """Describe this machine and its user."""
    home = str(Path("~").expanduser())
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:  # a container with a made-up uid; ssh itself gives up there
        user = os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())
        return LocalMachine(home, home, user, os.getuid(), socket.gethostname())
    return LocalMachine(home, entry.pw_dir, entry.pw_name, entry.pw_uid, socket.gethostname())


# --- OpenSSH --------------------------------------------------------------------------------------

#: What ``ssh -F none -G`` says, by program and its time of change: an upgrade changes it.
_ssh_defaults: dict[tuple[str, int], Keywords] = {}


class _OpenSSH:
    """Asks the program ``ssh``."""

    def __init__(self, program: str, config_file: str | None, machine: LocalMachine) -> None:
        self._program = program
        self._config = ["-F", config_file] if config_file else []
        self._machine = machine

    async def ask(self, spec: HostSpec) -> Destination:
        flags = list(self._config)
        if spec.user is not None:
            flags += ["-l", spec.user]
        if spec.port is not None:
            flags += ["-p", str(spec.port)]
        # "--", so that no host is ever taken for an option.
        answer = await self._run([*flags, "--", spec.host], spec.host)
        if "hostname" not in answer:
            raise BadSetting(
                f"ssh says nothing about {spec.host}",
                hint=f"run: {shlex.join(['ssh', '-G', *flags, '--', spec.host])}",
            )
        return destination_from(
            answer, spec, self._machine, os.environ, defaults=await self._defaults(answer)
        )

    async def _defaults(self, answer: Keywords) -> Keywords:
        """Ask what ssh does of itself: ``-G`` does not tell that from what somebody has configured."""
        try:
            key = (self._program, os.stat(self._program).st_mtime_ns)  # noqa: PTH116 - a path as text
        except OSError:
            return answer
        if key not in _ssh_defaults:
            _ssh_defaults[key] = await self._run(["-F", "none", "--", "localhost"], "localhost")
        return _ssh_defaults[key]

    async def _run(self, arguments: Sequence[str], host: str) -> Keywords:
        # -T, because -G else complains that there is no terminal.
        command = [self._program, "-T", "-G", *arguments]
        code, output, errors = await _run(command, host)
        if code != 0:
            said = [line.strip() for line in errors.splitlines() if line.strip()]
            raise BadSetting(
                f"ssh refuses its configuration for {host}: {'; '.join(said[:3]) or f'exit code {code}'}",
                hint=f"run: {shlex.join(['ssh', '-G', *arguments])}",
            )
        return parse_ssh_g(output)


async def _run(command: Sequence[str], host: str) -> tuple[int, str, str]:
    """Run ``ssh -G`` to its end, but no longer than `SSH_G_TIMEOUT`."""
    # Files, not pipes: a grandchild of Match exec that lives on would hold a pipe open, and the wait
    # would last as long as it does.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,  # so that what Match exec has started can be ended with it
            )
        except OSError as error:
            raise HostUnreachable(f"{command[0]} cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(SSH_G_TIMEOUT):
                code = await process.wait()
        except TimeoutError:
            raise HostUnreachable(
                f"ssh has not made sense of its configuration for {host} within {SSH_G_TIMEOUT:g} s",
                hint="look for a Match exec in ssh_config whose command does not end",
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return code, _content(output), _content(errors)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="surrogateescape")


# --- without OpenSSH ------------------------------------------------------------------------------


class _PlainDefaults:
    """Asks nobody: what ssh would do if there were no ssh_config at all."""

    def __init__(self, machine: LocalMachine) -> None:
        self._machine = machine

    async def ask(self, spec: HostSpec) -> Destination:
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


class _AsyncsshParser:
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


# --- for people -----------------------------------------------------------------------------------


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
    return rows + [("note", remark) for remark in remarks(route)]


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


__all__ = ["DEFAULT_PORT", "Destination", "Route", "describe", "local_machine", "resolve"]
