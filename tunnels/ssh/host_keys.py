"""Judges the keys that servers show, by the known hosts files, and adds new ones to them.

`tunnels.ssh.host_key_guard` has asyncssh ask here about everything that a server shows. As in OpenSSH, a
certificate that is not good says nothing about the plain key in it, which is then judged like any other
(``check_host_key`` in its sshconnect.c: "No matching CA found. Retry with plain key").
"""

from __future__ import annotations

import logging
import os
import shlex
import time
from typing import Final

from tunnels.core.profile import HostKeyPolicy
from tunnels.errors import BadSetting, HostKeyRejected, HostKeyUnknown
from tunnels.ssh import algorithms, known_hosts, known_hosts_file
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_certificate import HostCertificate
from tunnels.ssh.host_key_verdict import (
    Standing,
    Verdict,
    certificate_authorities,
    host_key_algorithms,
    lookup,
    lookup_ca,
)
from tunnels.ssh.known_hosts import Entry, Marker, NewHostKey
from tunnels.ssh.public_key import shown
from tunnels.ssh.revoked_keys import RevokedKeys

_log = logging.getLogger("tunnels")

#: How many other names of a key are told.
MAX_OTHER_NAMES: Final = 8

#: Keys a person has said yes to that could not be written: the file, the name, the key.
_trusted_until_exit: set[tuple[str | None, str, bytes]] = set()

#: Keys that accept-new has taken and that could not be written: the first one of a server counts.
_pinned_until_exit: dict[tuple[str | None, str], bytes] = {}


class UnconfirmedHostKey(HostKeyUnknown):
    """The host key is not on file, and a person may say that it is right. The code stays the same."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        new_key: NewHostKey | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.new_key = new_key  #: ``None`` only where the error was rebuilt from its code
        self.notes = notes  #: what the files say that may help to decide, one sentence each


def policy_for(destination: Destination, chosen: HostKeyPolicy | None) -> HostKeyPolicy:
    """Decide what happens to a key that is not on file: what the profile says, else ssh_config, else ask.

    StrictHostKeyChecking ``no`` becomes accept-new. What is weaker than that, connecting to a server whose
    key has changed, is not to be had here.
    """
    if chosen is not None:
        return chosen
    match destination.strict_host_key_checking:
        case "yes":
            return HostKeyPolicy.STRICT
        case "no" | "accept-new":
            return HostKeyPolicy.ACCEPT_NEW
        case "ask":
            return HostKeyPolicy.ASK


class HostKeyChecker:
    """Judges the keys that one server shows during one attempt."""

    def __init__(self, destination: Destination, policy: HostKeyPolicy | None = None) -> None:
        self.policy = policy_for(destination, policy)
        self.destination = destination
        self.names = known_hosts.host_names(
            destination.hostname, destination.port, destination.host_key_alias
        )
        self._loaded: tuple[list[Entry], RevokedKeys] | None = None
        self._accepted: set[bytes] = set()
        first = next(iter(destination.user_known_hosts_files), None)
        self._file = None if first == os.devnull else first
        #: The line of the user's own files that knows the key of this server by this name, and not by a
        #: certificate or by the name without the port. Only then may the server change what is on file.
        self.source: Entry | None = None

    def load(self) -> None:
        """Read the files, once; a long one takes a while, and may be read in another thread.

        A missing file is an empty one. One that is there but cannot be read is an error, because it may say
        which keys are revoked. Raises BadSetting.
        """
        if self._loaded is None:
            entries: list[Entry] = []
            for file in self._files:
                entries += known_hosts.parse(known_hosts_file.read(file), file, names=self.names)
            self._loaded = entries, RevokedKeys(self.destination.revoked_host_keys)

    @property
    def _files(self) -> list[str]:
        where = self.destination
        return list(dict.fromkeys((*where.user_known_hosts_files, *where.global_known_hosts_files)))

    @property
    def _entries(self) -> list[Entry]:
        self.load()
        assert self._loaded is not None
        return self._loaded[0]

    @property
    def revoked(self) -> RevokedKeys:
        """The keys of RevokedHostKeys."""
        self.load()
        assert self._loaded is not None
        return self._loaded[1]

    @property
    def host(self) -> str:
        """The server as the user knows it, for messages."""
        alias, name = self.destination.alias, self.names[0]
        return name if alias.lower() in {name, self.destination.hostname.lower()} else f"{alias} ({name})"

    def algorithms(self) -> list[str]:
        """List what the server may sign with, best first: asyncssh's ``server_host_key_algs``.

        Raises:
            BadSetting: nothing is left of HostKeyAlgorithms, or a file cannot be read.

        """
        found = host_key_algorithms(self._entries, self.names, self.destination.host_key_algorithms)
        if not found:
            raise BadSetting(
                f"none of the HostKeyAlgorithms of {self.destination.alias} is supported: "
                f"{', '.join(self.destination.host_key_algorithms)}",
                hint="ssh-ed25519, ecdsa-sha2-nistp256 and rsa-sha2-512 are",
            )
        return found

    def check(self, blob: bytes, *, refused_certificate: str | None = None) -> None:
        """Judge the plain key that the server shows; returns if it is good.

        Under the policy accept-new, an unknown key is written to the first of the user's files.

        Args:
            blob: the public key as on the wire.
            refused_certificate: why the certificate that the key came in says nothing.

        Raises:
            HostKeyRejected: it is revoked, or not the one on file.
            HostKeyUnknown: nothing is on file; `UnconfirmedHostKey` if a person may be asked.
            BadSetting: the list of revoked keys cannot be used.

        """
        if self.revoked.has(blob):
            raise self._is_revoked(blob, str(self.destination.revoked_host_keys))
        algorithms.check_host_key(blob, self.destination)
        verdict = lookup(self._entries, self.names, blob)
        match verdict.standing:
            case Standing.REVOKED:
                raise self._is_revoked(blob, verdict.entries[0].where)
            case Standing.KNOWN:
                if refused_certificate is not None:
                    _log.warning("%s: %s; its plain key is on file", self._certificate, refused_certificate)
                self.source = next(filter(self._is_own, verdict.entries), None)
            case Standing.CHANGED:
                raise self._has_changed(blob, verdict)
            case Standing.UNKNOWN:
                self._new(self.new_key(blob), refused_certificate)

    def check_certificate(self, certificate: HostCertificate, blob: bytes) -> None:
        """Judge the certificate that the server shows, else the key in it; returns if one of them is good.

        Args:
            certificate: what it says; that its authority has signed it is known.
            blob: the certificate as on the wire.

        Raises:
            HostKeyRejected, HostKeyUnknown, BadSetting: see `check`.

        """
        verdict = lookup_ca(self._entries, self.names, certificate.authority)
        own = lookup(self._entries, self.names, certificate.key)
        if (
            self.revoked.has(blob)
            or self.revoked.has(certificate.key)
            or self.revoked.has(certificate.authority)
        ):
            raise self._certificate_revoked(certificate, str(self.destination.revoked_host_keys))
        for each in (verdict, own):
            if each.standing is Standing.REVOKED:
                raise self._certificate_revoked(certificate, each.entries[0].where)
        if verdict.standing is Standing.KNOWN:
            name = self.destination.host_key_alias or self.destination.hostname
            refusal = certificate.refusal(name.lower(), time.time())
            if refusal is None:
                try:
                    algorithms.check_ca_key(certificate.authority, self.destination)
                    algorithms.check_host_key(certificate.key, self.destination)
                except HostKeyRejected as error:
                    refusal = error.message
                else:
                    return
        elif certificate_authorities(self._entries, self.names):
            refusal = f"its authority is not on file: {shown(certificate.authority)}"
        else:  # nobody has ever spoken of certificates for this host
            refusal = None
        self.check(certificate.key, refused_certificate=refusal)

    def trust(self, new_key: NewHostKey) -> None:
        """Accept a key that a person has said yes to, and write it down for the next time.

        Where it cannot be written (no file, or a read-only one) it is remembered while this process lives.
        """
        self._accepted.add(new_key.blob)
        if not _write(new_key):
            _trusted_until_exit.add((new_key.file, new_key.name, new_key.blob))

    def new_key(self, blob: bytes) -> NewHostKey:
        """A key of this server, and where it would be written."""
        return NewHostKey(self.host, self.names[0], blob, self._file, self.destination.hash_known_hosts)

    @property
    def _certificate(self) -> str:
        return f"the host certificate of {self.host} is not good"

    def _is_own(self, entry: Entry) -> bool:
        return entry.file in self.destination.user_known_hosts_files and known_hosts.matches(
            entry.hosts, self.names[0]
        )

    def _new(self, key: NewHostKey, refused_certificate: str | None) -> None:
        if key.blob in self._accepted:
            return
        message = f"the host key of {self.host} is not known: {shown(key.blob)}"
        hint = "compare it with what the server's administrator says, or `ssh-keygen -lf` there"
        if refused_certificate is not None:
            message = (
                f"{self._certificate}: {refused_certificate}; and its key is not known: {shown(key.blob)}"
            )
        match self.policy:
            case HostKeyPolicy.ACCEPT_NEW:
                pinned = _pinned_until_exit.setdefault((key.file, key.name), key.blob)
                if pinned != key.blob:  # the first one could not be written down, but it is not forgotten
                    raise HostKeyRejected(
                        f"the host key of {self.host} has changed: the server shows {shown(key.blob)}, "
                        f"and showed {shown(pinned)} before",
                        hint="it could not be written to a known_hosts file; name one that can: known_hosts",
                    )
                self._accepted.add(key.blob)
                if _write(key):
                    del _pinned_until_exit[key.file, key.name]
                _log.info("%s; accepted, as host_key_policy says", message)
            case HostKeyPolicy.STRICT if refused_certificate is not None:
                raise HostKeyRejected(
                    message,
                    hint="the server's administrator has to renew the certificate; "
                    "`ssh-keygen -Lf` on it shows its names and dates",
                )
            case HostKeyPolicy.STRICT:
                raise HostKeyUnknown(
                    message,
                    hint=f"host_key_policy is strict: put the key into {self._file or 'a known_hosts file'}",
                )
            case HostKeyPolicy.ASK:
                if (key.file, key.name, key.blob) in _trusted_until_exit:
                    return
                raise UnconfirmedHostKey(message, hint=hint, new_key=key, notes=self._notes(key.blob))

    def _notes(self, blob: bytes) -> tuple[str, ...]:
        """What the files say about a key that is new for this server."""
        notes = [
            f"the name {name} without the port has another key on file: {entry.shown} ({entry.where})"
            for name in self.names[1:]
            for entry in self._entries
            if entry.marker is Marker.HOST and known_hosts.matches(entry.hosts, name)
        ]
        others = []
        for file in self._files:
            try:
                found = known_hosts.parse(known_hosts_file.read(file), file, key=blob)
                others += [entry for entry in found if entry.marker is Marker.HOST]
            except BadSetting:  # it could be read a moment ago
                continue
        for entry in others[:MAX_OTHER_NAMES]:
            name = "a hashed name" if entry.hosts.startswith("|") else entry.hosts[:200]
            notes.append(f"this key is already known as {name} ({entry.where})")
        if len(others) > MAX_OTHER_NAMES:
            notes.append(f"and by {len(others) - MAX_OTHER_NAMES} more names")
        return tuple(notes)

    def _is_revoked(self, blob: bytes, where: str) -> HostKeyRejected:
        return HostKeyRejected(
            f"the host key of {self.host} is revoked by {where}: {shown(blob)}",
            hint="do not connect; ask the server's administrator for its new key",
        )

    def _certificate_revoked(self, certificate: HostCertificate, where: str) -> HostKeyRejected:
        return HostKeyRejected(
            f"the host certificate of {self.host} is revoked by {where}: its key is {shown(certificate.key)}, "
            f"its authority {shown(certificate.authority)}",
            hint="do not connect; ask the server's administrator for a new one",
        )

    def _has_changed(self, blob: bytes, verdict: Verdict) -> HostKeyRejected:
        old = verdict.entries[0]
        what = "has changed to another type" if verdict.changed_type else "has changed"
        # ssh-keygen -R removes every line of a host, but none with a pattern or a marker.
        if any(wildcard in entry.hosts for entry in verdict.entries for wildcard in "*?!"):
            remedy = f"remove {', '.join(f'line {entry.line} of {entry.file}' for entry in verdict.entries)}"
        else:
            files = dict.fromkeys(entry.file for entry in verdict.entries)
            name = shlex.quote(self.names[0])
            remedy = "run: " + "; ".join(f"ssh-keygen -R {name} -f {shlex.quote(file)}" for file in files)
        return HostKeyRejected(
            f"the host key of {self.host} {what}: the server shows {shown(blob)}, "
            f"and {old.where} has {old.shown}",
            hint=f"somebody may be listening in. If the server really has a new key, {remedy}",
        )


def _write(new_key: NewHostKey) -> bool:
    """Add a key to its file; ``False``, and a line in the log, if that cannot be."""
    if new_key.file is None:
        return False
    try:
        known_hosts_file.append(new_key)
    except OSError as error:
        _log.warning("the host key of %s could not be written: %s", new_key.host, error)
        return False
    return True
