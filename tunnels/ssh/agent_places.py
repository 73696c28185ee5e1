"""Where the SSH agent of this user may be found, now and after it has been restarted.

A daemon outlives the terminal that started it, and the agent that this terminal spoke with. So each command
hands over where its agent is, and where none of those is left, the places are tried that agents have by
themselves.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

#: How many sockets that were handed over are remembered, the newest first.
_REMEMBERED = 8

#: Below the runtime folder: OpenSSH's systemd units, gcr, gnome-keyring, gpg-agent.
_IN_RUNTIME = (
    "openssh_agent",
    "ssh-agent.socket",
    "ssh-agent",
    "gcr/ssh",
    "keyring/ssh",
    "gnupg/S.gpg-agent.ssh",
)

#: Below the home: gpg-agent, 1Password, Bitwarden, Secretive, OpenSSH 10.1 and later.
_IN_HOME = (
    ".gnupg/S.gpg-agent.ssh",
    ".1password/agent.sock",
    "Library/Group Containers/2BUA8C4S2C.com.1password/t/agent.sock",
    ".bitwarden-ssh-agent.sock",
    "Library/Containers/com.bitwarden.desktop/Data/.bitwarden-ssh-agent.sock",
    "Library/Containers/com.maxgoedjen.Secretive.SecretAgent/Data/socket.ssh",
)
_OPENSSH_10 = ".ssh/agent"
_LAUNCHD = "/private/tmp"


class AgentPlaces:
    """The sockets that were handed over, and those that are well known."""

    def __init__(self, environ: Mapping[str, str] = os.environ, uid: int | None = None) -> None:
        self._environ = environ
        self._uid = os.getuid() if uid is None else uid
        self._handed: list[str] = []

    def hand_over(self, path: str) -> None:
        """Remember where the agent of a command is; only if it is a socket of this user."""
        if path and Path(path).is_absolute() and self._is_ours(path):
            self._handed = [path, *(known for known in self._handed if known != path)][:_REMEMBERED]

    def candidates(self, configured: str | None) -> list[str]:
        """Where to look for the agent that SSH_AUTH_SOCK stands for, the likely ones first.

        ``configured`` is the SSH_AUTH_SOCK of this process, which is taken as it is, as ssh takes it.
        """
        first = [path for path in self._handed if self._is_ours(path)]
        own = [configured] if configured else []
        return list(dict.fromkeys((*first, *own, *filter(self._is_ours, self._well_known()))))

    def _well_known(self) -> Iterator[str]:
        runtime = self._environ.get("XDG_RUNTIME_DIR") or f"/run/user/{self._uid}"
        yield from (f"{runtime}/{name}" for name in _IN_RUNTIME)
        home = self._environ.get("HOME", "")
        if not home:
            return
        yield from (f"{home}/{name}" for name in _IN_HOME)
        yield from _newest(Path(home, _OPENSSH_10), "s.*")
        if sys.platform == "darwin":
            yield from _newest(Path(_LAUNCHD), "com.apple.launchd.*/Listeners")

    def _is_ours(self, path: str) -> bool:
        try:
            found = os.stat(path)  # noqa: PTH116 - a path as text
        except (OSError, ValueError):
            return False
        return stat.S_ISSOCK(found.st_mode) and found.st_uid == self._uid


def _newest(folder: Path, pattern: str) -> list[str]:
    """At most a few, so that what old agents have left behind does not cost time."""
    try:
        found = sorted(folder.glob(pattern), key=lambda path: path.lstat().st_mtime, reverse=True)
    except OSError:
        return []
    return [str(path) for path in found[:_REMEMBERED]]


#: Of this process.
places = AgentPlaces()
