"""Stands between a server's host key and asyncssh: nothing is trusted that our own check has not judged.

How this goes together with asyncssh (verified with 2.24.1 and OpenSSH 9.2):

* Every key exchange, the first and each rekeying, calls ``validate_server_host_key`` of the connection with
  the very bytes that the server has shown, and verifies the server's signature with the key that it returns.
  The guard takes the place of that method. asyncssh's own one would show us no certificate, only its
  authority; would find a certificate that expires while the connection is up not good at the next rekeying;
  and would take another key at a rekeying if only it is on file.
* ``known_hosts=TRUST_NOTHING`` makes it a wall behind the guard: asyncssh itself then trusts no key, and asks
  the client object, whose answer is "no" unless it says otherwise. Should a later version not call the
  guard, nothing connects. ``known_hosts=None`` would accept every key, and ``b""`` or ``[]`` would read
  ``~/.ssh/known_hosts``: neither may ever be passed on.
* ``server_host_key_algs=checker.algorithms()`` must be given. With the default, RSA comes first, so a first
  connection would pin the wrong key. With too few, a server that has another key is not refused but lost:
  asyncssh raises ConnectionResetError.
* asyncssh does not compare the key with the algorithm that both sides have agreed on (``kex_verify_host_key``
  of OpenSSH does), and takes an RSA signature with SHA-1 also where none was asked for. The guard does not.
"""

from __future__ import annotations

import logging
from typing import Final

import asyncssh

from tunnels.errors import HostKeyRejected, TunnelsError
from tunnels.ssh import host_certificate, public_key
from tunnels.ssh.host_certificate import MalformedCertificate
from tunnels.ssh.host_keys import HostKeyChecker

_log = logging.getLogger("tunnels")

#: For asyncssh's ``known_hosts``: no trusted keys, no trusted authorities, no revoked keys.
TRUST_NOTHING: Final[tuple[list[asyncssh.SSHKey], ...]] = ([], [], [])


class HostKeyGuard:
    """Judges what one connection is shown: the first key by the files, and every later one by the first."""

    def __init__(self, checker: HostKeyChecker) -> None:
        self._checker = checker
        self.verdict: TunnelsError | None = None  #: why the host key was not accepted
        self.key: bytes | None = None  #: the plain key that was accepted, for as long as the connection lasts

    def install(self, conn: asyncssh.SSHClientConnection) -> None:
        """Have a connection ask here. It must not have begun yet."""
        conn.validate_server_host_key = self.validate  # type: ignore[method-assign]

    def validate(self, key_data: bytes) -> asyncssh.SSHKey:
        """Return the key that the server must have signed with. Raises HostKeyNotVerifiable.

        Whatever else goes wrong in here, the key is not accepted.
        """
        try:
            return self._judge(key_data)
        except TunnelsError as error:
            self.verdict = error
            raise asyncssh.HostKeyNotVerifiable(error.message) from error
        except Exception as exc:
            _log.error("checking a host key ended with a bug", exc_info=exc)
            raise asyncssh.HostKeyNotVerifiable("the host key could not be checked") from exc

    def _judge(self, data: bytes) -> asyncssh.SSHKey:
        checker = self._checker
        certificate = None
        blob = data
        if host_certificate.is_certificate(data):
            try:
                certificate = host_certificate.parse(data)
            except MalformedCertificate as error:
                raise HostKeyRejected(
                    f"the host certificate of {checker.host} makes no sense: {error}"
                ) from error
            blob = certificate.key
        key = understood(blob, checker)
        if self.key is not None:
            if blob != self.key:
                raise HostKeyRejected(
                    f"{checker.host} has shown another host key in the middle of the connection: "
                    f"{public_key.shown(blob)}, after {public_key.shown(self.key)}",
                    hint="somebody may be listening in; ask the server's administrator",
                )
            return key  # a certificate may have expired meanwhile; whom we speak with has not changed
        if certificate is None:
            checker.check(blob)
        else:
            authority = understood(certificate.authority, checker, asked_for=False)
            if not authority.verify(certificate.signed, certificate.signature):
                raise HostKeyRejected(
                    f"the host certificate of {checker.host} is forged: its signature is wrong"
                )
            checker.check_certificate(certificate, data)
        self.key = blob
        return key


def understood(blob: bytes, checker: HostKeyChecker, *, asked_for: bool = True) -> asyncssh.SSHKey:
    """Have asyncssh read a key, and allow it to sign only in the ways that we have asked for.

    Raises HostKeyRejected.
    """
    host, key_type = checker.host, public_key.key_type_of(blob)
    allowed = set(public_key.SIGNATURES.get(key_type, ()))
    if asked_for:
        allowed &= set(map(public_key.without_certificate, checker.algorithms()))
        if not allowed:
            raise HostKeyRejected(
                f"{host} shows a host key that was not asked for: {public_key.shown(blob)}",
                hint="HostKeyAlgorithms says what is asked for",
            )
    try:
        key = asyncssh.import_public_key(public_key.text(blob))
    except (asyncssh.KeyImportError, ValueError) as error:
        raise HostKeyRejected(f"the host key of {host} makes no sense: {error}") from error
    if key.public_data != blob:
        raise HostKeyRejected(f"the host key of {host} makes no sense")
    key.all_sig_algorithms = {name.encode() for name in allowed}
    return key
