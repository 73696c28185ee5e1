"""A profile as the command line of ssh that does the same, once; `core.ssh_profile` reads it back."""

from __future__ import annotations

import math
import shlex

from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.profile import HostKeyPolicy, Profile

_FLAGS = {ForwardKind.LOCAL: "-L", ForwardKind.REMOTE: "-R", ForwardKind.DYNAMIC: "-D"}

_POLICIES = {HostKeyPolicy.STRICT: "yes", HostKeyPolicy.ASK: "ask", HostKeyPolicy.ACCEPT_NEW: "accept-new"}


def flag(forward: Forward) -> str:
    """A forward as ssh's flag: ``-L 5432:db.internal:5432``."""
    return f"{_FLAGS[forward.kind]} {forward}"


def ssh_command(profile: Profile) -> str:
    """The ssh command line that does the same, once."""
    words = ["ssh", "-N", "-T"]
    if profile.ssh_config is not None:
        words += ["-F", profile.ssh_config]
    for forward in profile.forwards:
        words += flag(forward).split(" ", 1)
    for file in profile.identity_file:
        words += ["-i", file]
    if profile.jump:
        words += ["-J", ",".join(profile.jump)]
    if profile.port is not None:
        words += ["-p", str(profile.port)]
    if profile.ciphers and profile.ciphers[0][0] not in "+-^":  # -c does not take all of these
        words += ["-c", ",".join(profile.ciphers)]
    if profile.compression:
        words.append("-C")
    for option in _options(profile):
        words += ["-o", option]
    words.append(f"{profile.user}@{profile.host}" if profile.user is not None else profile.host)
    return shlex.join(words)


def _options(profile: Profile) -> list[str]:
    options = []
    if profile.ciphers and profile.ciphers[0][0] in "+-^":
        options.append(f"Ciphers={','.join(profile.ciphers)}")
    if profile.keepalive is not None:
        options.append(f"ServerAliveInterval={_seconds(profile.keepalive)}")
    if profile.keepalive_count is not None:
        options.append(f"ServerAliveCountMax={profile.keepalive_count}")
    if profile.connect_timeout is not None:
        options.append(f"ConnectTimeout={_seconds(profile.connect_timeout)}")
    if profile.known_hosts:
        options.append("UserKnownHostsFile=" + " ".join(map(_quoted, profile.known_hosts)))
    if profile.host_key_policy is not None:
        options.append(f"StrictHostKeyChecking={_POLICIES[profile.host_key_policy]}")
    options += [f"CertificateFile={_quoted(file)}" for file in profile.certificate_file]
    if profile.compression is False:
        options.append("Compression=no")
    if profile.proxy_command is not None:
        options.append(f"ProxyCommand={profile.proxy_command}")
    elif profile.jump == ():  # beside a ProxyCommand ssh takes the first of both, and the other means nothing
        options.append("ProxyJump=none")
    if profile.exit_on_forward_failure:
        options.append("ExitOnForwardFailure=yes")
    if profile.remote_unlink:
        options.append("StreamLocalBindUnlink=yes")
    return options


def _seconds(seconds: float) -> int:
    """Whole ones, which is all that ssh knows; never 0, which would turn off what is on."""
    return math.ceil(seconds)


def _quoted(file: str) -> str:
    """A file as ssh's own options want it: several stand in one line, with blanks between them (misc.c argv_split)."""
    if not set(file) & set(" \t'\"\\#"):
        return file
    return '"' + file.replace("\\", "\\\\").replace('"', '\\"') + '"'
