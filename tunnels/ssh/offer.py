"""One key as it is offered to a server: its public half first, and a signature only when the server wants one.

asyncssh sends the public half of a pair and awaits its ``sign_async`` once the server has said that it would
take that key (RFC 4252 section 7, SSH_MSG_USERAUTH_PK_OK). Until then nobody is asked for a passphrase, a PIN or
a touch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol

import asyncssh

from tunnels.core.question import Dialogue


class Unusable(ValueError):
    """A key cannot be used after all. A ValueError lets asyncssh go on with the next key."""


class Attempt(Dialogue, Protocol):
    """The attempt to log in that the keys are for."""

    def patience(self, seconds: float) -> AbstractContextManager[None]:
        """Give the login so many seconds more, while a person has to do something."""


#: Signs data with an algorithm. Raises Unusable.
Sign = Callable[[bytes, bytes], Awaitable[bytes]]


class Offer(asyncssh.SSHKeyPair):
    """A key, with or without a certificate, from wherever it is."""

    def __init__(
        self,
        name: str,
        key: asyncssh.SSHKey,
        sign: Sign,
        *,
        certificate: asyncssh.SSHCertificate | None = None,
        asks: bool = False,
    ) -> None:
        super().__init__(
            key.algorithm,
            key.algorithm,
            key.sig_algorithms,
            key.sig_algorithms,
            key.public_data,
            name,
            certificate,
        )
        self.name = name  #: for messages
        self.asks = asks  #: a person will be asked for something before it can be used
        self.remark = ""  #: what there is to say about it, if the login is refused
        self.signed = False  #: the server wanted it, and has got what it wanted
        self._sign = sign

    def __str__(self) -> str:
        return f"{self.name} ({self.remark})" if self.remark else self.name

    async def sign_async(self, data: bytes) -> bytes:
        """Sign, for a server that would take this key. Raises Unusable."""
        try:
            signature = await self._sign(data, self.sig_algorithm)
        except Unusable as why:
            self.remark = str(why)
            raise
        except ValueError as exc:
            self.remark = f"it cannot sign: {exc}"
            raise
        self.signed = True
        return signature


def usable(offer: Offer) -> bool:
    """Whether this side knows how to log in with a key of this kind."""
    known = asyncssh.public_key.get_public_key_algs()
    return any(algorithm in known for algorithm in offer.sig_algorithms)
