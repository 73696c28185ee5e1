"""The file of RevokedHostKeys: a list of public keys, or OpenSSH's binary list (PROTOCOL.krl)."""

from __future__ import annotations

import subprocess
import tempfile
from typing import Final

from tunnels.errors import BadSetting
from tunnels.ssh import known_hosts, known_hosts_file, public_key

_KRL_MAGIC: Final = b"SSHKRL\n\0"  # PROTOCOL.krl of OpenSSH
_KRL_TIMEOUT: Final = 5.0  # seconds; ssh-keygen needs a few milliseconds


class RevokedKeys:
    """Reads the file once. ssh_config(5): if it cannot be read, no host key is good.

    Raises BadSetting.
    """

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._blobs: frozenset[bytes] = frozenset()
        self._is_binary = False
        if file is None:
            return
        try:
            text = known_hosts_file.read_existing(file)
        except OSError as error:
            raise BadSetting(f"RevokedHostKeys {file} is missing, so no host key can be trusted") from error
        self._is_binary = text.encode(errors="surrogateescape").startswith(_KRL_MAGIC)
        if not self._is_binary:
            self._blobs = frozenset(known_hosts.parse_keys(text))

    def has(self, blob: bytes) -> bool:
        """Tell whether a key is revoked, or a certificate by its serial number or name.

        A binary list is read by ssh-keygen, in some milliseconds. Raises BadSetting.
        """
        if self._file is None:
            return False
        if not self._is_binary:
            return blob in self._blobs
        with tempfile.NamedTemporaryFile("w", suffix=".pub") as key:
            key.write(f"{public_key.text(blob)}\n")
            key.flush()
            try:
                done = subprocess.run(
                    ["ssh-keygen", "-Q", "-f", self._file, key.name],
                    capture_output=True,
                    check=False,
                    timeout=_KRL_TIMEOUT,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise BadSetting(
                    f"RevokedHostKeys {self._file} cannot be read without ssh-keygen: {error}"
                ) from error
        if done.returncode not in {0, 1}:
            said = done.stderr.decode(errors="replace").strip()
            raise BadSetting(f"RevokedHostKeys {self._file} cannot be read: {said}")
        return done.returncode == 1
