"""The SSH agent, as far as a login needs it: which keys it has, and signatures (draft-ietf-sshm-ssh-agent).

Our own and not asyncssh's, because an agent may be anybody's program: what it sends is bounded, and keys of a
kind that nobody here knows do not keep the others from being seen.
"""

from __future__ import annotations

import asyncio
import struct
from typing import NamedTuple

_REQUEST_IDENTITIES, _IDENTITIES_ANSWER = 11, 12
_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14
_FAILURE = {5, 30, 102}  # the newer one, and those of two old agents

#: Flags of a request for a signature (section 6.1).
_FLAGS = {b"rsa-sha2-256": 2, b"rsa-sha2-512": 4, b"x509v3-rsa2048-sha256": 2}

#: Bytes of an answer, and keys in one; the limits of OpenSSH (authfd.c).
MAX_ANSWER = 256 * 1024
MAX_KEYS = 2048


class AgentError(Exception):
    """The agent does not do what it should."""


class AgentKey(NamedTuple):
    """A key, or a certificate, that an agent has."""

    blob: bytes  #: its public half, as it is sent (RFC 4253 section 6.6)
    comment: str

    @property
    def algorithm(self) -> bytes:
        """The name that its public half begins with."""
        return _string(self.blob, 0)[0]


class Agent:
    """A connection to an agent. One request at a time."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, path: str) -> Agent:
        """Connect. Raises OSError, and ValueError for a path that no socket can have."""
        return cls(path, *await asyncio.open_unix_connection(path))

    async def keys(self) -> list[AgentKey]:
        """What it can sign with, in its order. A locked agent has none. Raises AgentError."""
        kind, answer = await self._request(bytes([_REQUEST_IDENTITIES]))
        if kind != _IDENTITIES_ANSWER:
            raise AgentError("it does not tell which keys it has")
        try:
            (count,) = struct.unpack_from(">I", answer)
            if count > MAX_KEYS:
                raise AgentError(f"it says that it has {count} keys")
            found, at = [], 4
            for _ in range(count):
                blob, at = _string(answer, at)
                comment, at = _string(answer, at)
                found.append(AgentKey(blob, comment.decode("utf-8", "replace")))
        except (struct.error, IndexError) as exc:
            raise AgentError("it answers nonsense") from exc
        return found

    async def sign(self, blob: bytes, data: bytes, algorithm: bytes) -> bytes:
        """Sign with the key whose public half this is. Raises AgentError."""
        request = bytes([_SIGN_REQUEST]) + _packed(blob) + _packed(data)
        kind, answer = await self._request(request + struct.pack(">I", _FLAGS.get(algorithm, 0)))
        if kind in _FAILURE:
            raise AgentError("the agent refused to sign: it is locked, somebody declined, or the key is gone")
        try:
            signature, _ = _string(answer, 0)
        except (struct.error, IndexError) as exc:
            raise AgentError("the agent answered nonsense") from exc
        if kind != _SIGN_RESPONSE:
            raise AgentError("the agent answered nonsense")
        return signature

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _request(self, request: bytes) -> tuple[int, bytes]:
        try:
            self._writer.write(_packed(request))
            length = int.from_bytes(await self._reader.readexactly(4), "big")
            if not 0 < length <= MAX_ANSWER:
                raise AgentError(f"the agent sent an answer of {length} bytes")
            answer = await self._reader.readexactly(length)
        except (OSError, EOFError) as exc:
            self.close()
            raise AgentError("the agent hung up") from exc
        except BaseException:  # cut off in the middle: what comes next would be taken for another answer
            self.close()
            raise
        return answer[0], answer[1:]


def _packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """A string and where the next one begins. Raises IndexError, struct.error."""
    (length,) = struct.unpack_from(">I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise IndexError
    return data[at + 4 : end], end
