"""What can be said about the keys of a profile before anything is dialled. Imports no asyncssh: `check` uses it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination, Route


def check_explicit(files: Iterable[str]) -> None:
    """A key that the profile names must be there. Raises BadSetting.

    Its public half alone is enough, as for ssh: the private one may be the agent's.
    """
    for name in files:
        path = Path(name).expanduser()
        if not path.is_file() and not Path(f"{path}.pub").is_file():
            raise BadSetting(
                f"identity_file {name} does not exist",
                hint="is its path right? `ls ~/.ssh` shows the keys there are; `ssh-keygen -t ed25519` makes one",
            )


def remarks(route: Route) -> list[str]:
    """What will not work about the keys that are configured, or only with something that is not installed."""
    return list(dict.fromkeys(each for hop in (*route.hops, route.target) for each in _remarks(hop)))


def _others_may_read(file: str) -> bool:
    """As ssh sees it: only for a key of one's own (sshkey_perm_ok)."""
    try:
        found = Path(file).stat()
    except OSError:
        return False
    return bool(found.st_mode & 0o077) and found.st_uid == os.getuid() and not file.endswith(".pub")


def _remarks(destination: Destination) -> Iterable[str]:
    if destination.identity_files_configured:
        for file in destination.identity_files:
            if not Path(file).is_file() and not Path(f"{file}.pub").is_file():
                yield f"the identity file {file} does not exist and is left out"
            elif _others_may_read(file):
                yield f"the identity file {file} is left out, because others may read it: chmod 600 {file}"
    for file in destination.certificate_files:
        if not Path(file).is_file():
            yield f"the certificate file {file} does not exist and is left out"
    if destination.pkcs11_provider is not None:
        if not Path(destination.pkcs11_provider).is_file():
            yield f"PKCS11Provider {destination.pkcs11_provider} does not exist"
        elif importlib.util.find_spec("pkcs11") is None:
            yield (
                f"PKCS11Provider needs tunnels[pkcs11], or the agent: ssh-add -s {destination.pkcs11_provider}"
            )
