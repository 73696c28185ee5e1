"""Takes the host keys that a server announces into known_hosts, as OpenSSH's UpdateHostKeys does.

After the login sshd lists all its host keys (``hostkeys-00@openssh.com``, section 2.5 of OpenSSH's PROTOCOL),
so that a key can be replaced without anybody being asked. New ones count only once the server has signed this
session's identifier with them (``hostkeys-prove-00@openssh.com``); those that it no longer has are removed.

The conditions are those of ``client_input_hostkeys`` in OpenSSH's clientloop.c. Nothing is done where the key
of this connection was not found by its plain name in a file of the user's own, where a line about the server
has a marker, a pattern or more than two names, and where one of the keys is also on file for another name.

asyncssh has this too (``server_host_keys_handler``), but has the server prove every key at every connection,
knows no bound, and ends the connection if anything goes wrong. So its method is replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncssh

from tunnels.errors import TunnelsError
from tunnels.ssh import algorithms, known_hosts, known_hosts_file, public_key
from tunnels.ssh.host_key_guard import understood
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.known_hosts import Entry, Marker
from tunnels.ssh.public_key import shown, string

_log = logging.getLogger("tunnels")

#: How many host keys a server may have. sshd has three.
MAX_KEYS: Final = 32

#: Seconds for the proof; it takes one round trip and some signatures.
PROOF_TIMEOUT: Final = 30.0

_PROVE: Final = b"hostkeys-prove-00@openssh.com"
_ANNOUNCED: Final = "_process_hostkeys_00_at_openssh_dot_com_global_request"


@dataclass(frozen=True, slots=True)
class Change:
    """What to do to the files: the keys to add, and the lines to take out."""

    new: tuple[bytes, ...]
    old: tuple[Entry, ...]


def plan(texts: Mapping[str, str], name: str, announced: Sequence[bytes]) -> Change | str | None:
    """Decide what an announcement changes. Pure.

    Args:
        texts: the content of the user's files.
        name: the server, as known_hosts calls it.
        announced: its keys.

    Returns:
        The change; ``None`` if there is nothing to change; in words why it must not be done.

    """
    mine = [entry for file, text in texts.items() for entry in known_hosts.parse(text, file, names=(name,))]
    on_file = {entry.blob for entry in mine if entry.marker is Marker.HOST}
    new = tuple(blob for blob in announced if blob not in on_file)
    old = tuple(entry for entry in mine if entry.blob not in announced)
    if not new and not old:
        return None
    for entry in mine:
        if entry.marker is not Marker.HOST:
            return f"{entry.where} has a marker"
        if entry.complex:
            return f"{entry.where} speaks of more than this server"
    for blob in (*announced, *(entry.blob for entry in old)):
        for file, text in texts.items():
            for entry in known_hosts.parse(text, file, key=blob):
                if entry not in mine:
                    return f"{shown(blob)} is also on file for another name ({entry.where})"
    return Change(new, old)


class HostKeyUpdate:
    """Listens to what one server announces over one connection."""

    def __init__(self, checker: HostKeyChecker) -> None:
        self._checker = checker
        self._mode = checker.destination.update_host_keys
        self._heard = False
        self._conn: Any = None

    def install(self, conn: asyncssh.SSHClientConnection) -> None:
        """Have a connection tell us. Where asyncssh has no such names any more, nothing is ever updated."""
        self._conn = conn
        if all(
            hasattr(conn, name) for name in (_ANNOUNCED, "_make_global_request", "_report_global_response")
        ):
            setattr(conn, _ANNOUNCED, self._announced)

    def _announced(self, packet: Any) -> None:
        """The server lists its keys. What goes wrong in here must not end the connection."""
        try:
            blobs = public_key.strings(packet.get_remaining_payload())
            if self._mode != "no" and not self._heard and self._checker.source is not None and blobs:
                self._heard = True
                self._conn.create_task(self._update(blobs))  # it ends with the connection
        finally:
            self._conn._report_global_response(True)  # noqa: SLF001

    async def _update(self, blobs: Sequence[bytes]) -> None:
        host = self._checker.host
        try:
            await self._take(blobs)
        except (TunnelsError, OSError, asyncssh.Error) as error:  # TimeoutError is an OSError
            _log.warning(
                "the host keys that %s has announced were not taken: %s", host, str(error) or "no answer"
            )
        except Exception as exc:  # noqa: BLE001 - asyncssh would end the connection
            _log.error("updating the host keys of %s ended with a bug", host, exc_info=exc)

    async def _take(self, blobs: Sequence[bytes]) -> None:
        checker = self._checker
        if len(blobs) > MAX_KEYS or len(set(blobs)) < len(blobs):
            raise OSError(f"{len(blobs)} keys, or one of them twice")
        texts = await asyncio.to_thread(
            lambda: {file: known_hosts_file.read(file) for file in checker.destination.user_known_hosts_files}
        )
        change = await asyncio.to_thread(plan, texts, checker.names[0], blobs)
        if isinstance(change, str):
            _log.info("%s has announced other host keys, which are not taken: %s", checker.host, change)
        if not isinstance(change, Change):
            return
        change = await asyncio.to_thread(self._usable, change)
        if not change.new and not change.old:
            return
        if self._mode == "ask":
            _log.info(
                "%s has announced other host keys, which are not taken because UpdateHostKeys is ask: %s",
                checker.host,
                ", ".join(map(shown, change.new)) or "none is new",
            )
            return
        if change.new:
            await self._prove(change.new)
        await asyncio.to_thread(self._write, texts, change)

    def _usable(self, change: Change) -> Change:
        return Change(tuple(filter(self._is_usable, change.new)), change.old)

    def _is_usable(self, blob: bytes) -> bool:
        """Whether a key would be accepted at the next connection."""
        bits = algorithms.rsa_bits(blob)
        too_short = bits is not None and bits < self._checker.destination.required_rsa_size
        if too_short or self._checker.revoked.has(blob):
            return False
        try:
            understood(blob, self._checker)
        except TunnelsError:  # a type that was not asked for, a certificate, or junk
            return False
        return True

    async def _prove(self, blobs: Sequence[bytes]) -> None:
        """Have the server sign with each key. Raises OSError."""
        async with asyncio.timeout(PROOF_TIMEOUT):
            code, packet = await self._conn._make_global_request(  # noqa: SLF001
                _PROVE, *map(string, blobs)
            )
        signatures = public_key.strings(packet.get_remaining_payload())
        if code != asyncssh.constants.MSG_REQUEST_SUCCESS or len(signatures) != len(blobs):
            raise OSError("it has not proved that it has them")
        for blob, signature in zip(blobs, signatures, strict=True):
            signed = string(_PROVE) + string(self._conn._session_id) + string(blob)  # noqa: SLF001
            if not understood(blob, self._checker).verify(signed, signature):
                raise OSError(f"it has not proved that it has {shown(blob)}")

    def _write(self, texts: Mapping[str, str], change: Change) -> None:
        """Change the files. Raises OSError."""
        checker = self._checker
        for blob in change.new:
            if (key := checker.new_key(blob)).file is not None:
                known_hosts_file.append(key)
                _log.info(
                    "%s has announced a new host key, now in %s: %s", checker.host, key.file, shown(blob)
                )
        for file in texts:
            gone = [entry for entry in change.old if entry.file == file]
            if not gone:
                continue
            before = known_hosts_file.read(file)
            if not before.startswith(texts[file]):
                raise OSError(f"{file} has been changed by somebody else meanwhile")
            known_hosts_file.rewrite(file, {entry.line for entry in gone}, (), before=before)
            for entry in gone:
                _log.info(
                    "%s no longer has a host key, which was in %s: %s", checker.host, entry.where, entry.shown
                )
