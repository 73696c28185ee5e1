"""Keys that live in a FIDO token (sk-ssh-ed25519@openssh.com and its like; openssh-portable, PROTOCOL.u2f).

The agent speaks with the token best. Directly it takes ``pip install tunnels[fido2]``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import logging
import threading
from collections.abc import Iterator
from typing import Any

import asyncssh
import asyncssh.sk
import asyncssh.sk_ecdsa
import asyncssh.sk_eddsa

_log = logging.getLogger("tunnels")

#: Seconds that a person has to touch the token, or to confirm what the agent asks about.
TOUCH_TIMEOUT = 60.0

#: Seconds without a signature until it is said that the token waits for a touch; many keys need none.
_SAID_AFTER = 1.0

#: Where asyncssh uses what it imports from its module `asyncssh.sk`.
_USERS: tuple[Any, ...] = (asyncssh.sk_ecdsa, asyncssh.sk_eddsa)
_waking = threading.Lock()

_VERIFY = 0x04  # SSH_SK_USER_VERIFICATION_REQD


def lives_in_a_token(algorithm: bytes) -> bool:
    """Whether a key or a certificate of this kind needs a token."""
    return algorithm.startswith((b"sk-", b"webauthn-sk-"))


def installed() -> bool:
    """Whether tokens can be spoken with directly."""
    return importlib.util.find_spec("fido2") is not None


def wake() -> None:
    """Have asyncssh load what speaks with tokens, which `lean_import` has kept it from. Takes 100 ms the first time.

    Where it cannot be loaded, signing goes on to say so.
    """
    tokens: Any = asyncssh.sk
    with _waking:
        if getattr(tokens, "sk_available", True) or not installed():
            return
        importlib.reload(tokens)
        for user in _USERS:
            for name in ("sk_enroll", "sk_sign", "sk_use_webauthn", "sk_webauthn_prefix"):
                if hasattr(user, name):
                    setattr(user, name, getattr(tokens, name))


def why_not_directly(path: object, private: asyncssh.SSHKey | None = None) -> str:
    """Why the key in this file cannot be used without the agent, and what to do; empty if it can be."""
    if not installed():
        return f"it lives in a security key: `ssh-add {path}`, or install tunnels[fido2]"
    if getattr(private, "_flags", 0) & _VERIFY:
        return f"its security key wants a PIN, which only the agent can ask for: `ssh-add {path}`"
    return ""


@contextlib.contextmanager
def touching(name: str, *, only: bool = True) -> Iterator[None]:
    """Say that a touch is needed, once it takes long enough to be one; ``only`` if it can be one at all."""
    if not only:
        yield
        return
    said = asyncio.get_running_loop().call_later(
        _SAID_AFTER, _log.info, "the security key waits for a touch, to log in with %s", name
    )
    try:
        yield
    finally:
        said.cancel()
