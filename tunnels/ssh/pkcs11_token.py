"""A smart card, or whatever else has a PKCS#11 library: what is on it, and signatures. Blocking; runs in threads.

The state of a card belongs to the process: who has given the PIN is logged in for all. So one thing at a time is
done, each with a session of its own, at whose end the card is logged out again (PKCS #11 v2.40, section 5.6).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncssh
from asyncssh.packet import MPInt, String

from tunnels.ssh.offer import Unusable

if TYPE_CHECKING:
    from pkcs11 import Token

#: Seconds to wait for others who use the card.
_BUSY_TIMEOUT = 60.0

_LOGIN_REQUIRED, _PIN_PAD, _INITIALIZED = 0x4, 0x100, 0x400  # CKF_…, section 3.2
_COUNT_LOW, _FINAL_TRY, _LOCKED = 0x10000, 0x20000, 0x40000

#: The hash of each algorithm. It is made here, as ssh does: every card can sign a hash, and few can make one.
_HASHES = {
    b"rsa-sha2-256": "sha256",
    b"rsa-sha2-512": "sha512",
    b"ecdsa-sha2-nistp256": "sha256",
    b"ecdsa-sha2-nistp384": "sha384",
    b"ecdsa-sha2-nistp521": "sha512",
}

#: What stands before the hash in a signature of RSA (RFC 8017 section 9.2, note 1).
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}

_lock = threading.Lock()


class WrongPin(Exception):
    """The card has counted one try more."""


class CardKey(NamedTuple):
    """A key on a card, by what finds it again."""

    token: str  #: the label of the card
    serial: bytes
    id: bytes  #: CKA_ID, which both halves have
    label: str
    key: asyncssh.SSHKey


class CardState(NamedTuple):
    """How a card stands with its PIN."""

    wants_pin: bool
    pin_pad: bool  #: the PIN is typed on the reader
    locked: bool
    warning: str


def keys_of(provider: str) -> list[CardKey]:
    """Every key on every card, as far as that can be seen without a PIN. Raises Unusable."""
    from pkcs11 import Attribute, ObjectClass  # noqa: PLC0415 - an extra

    found = []
    with _library(provider) as library:
        tokens = list(library.get_tokens())
        if not tokens:  # some libraries see a card that was put in meanwhile only from a new beginning
            library.reinitialize()
            tokens = list(library.get_tokens())
        for token in tokens:
            if not int(token.flags) & _INITIALIZED:  # the empty slot that SoftHSM always has
                continue
            with token.open() as session:
                for public in session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY}):
                    key = _as_ssh(public)
                    if key is not None:
                        name = (token.label.strip(), token.serial)
                        found.append(CardKey(*name, public.id, public.label or "", key))
    return found


def state_of(provider: str, key: CardKey) -> CardState:
    """Look before a PIN is asked for. Raises Unusable."""
    with _library(provider) as library:
        flags = int(_token(library, key).flags)
    warning = ""
    if flags & _FINAL_TRY:
        warning = "one more wrong PIN locks the card"
    elif flags & _COUNT_LOW:
        warning = "a wrong PIN was given before; a few of them lock the card"
    return CardState(bool(flags & _LOGIN_REQUIRED), bool(flags & _PIN_PAD), bool(flags & _LOCKED), warning)


def sign(provider: str, key: CardKey, pin: str | None, data: bytes, algorithm: bytes) -> bytes:
    """Sign; with a PIN that is tried once, with None on the reader's own pad. Raises Unusable, WrongPin."""
    from pkcs11 import Mechanism, ObjectClass, PinIncorrect, PinInvalid, PinLenRange  # noqa: PLC0415
    from pkcs11.types import PROTECTED_AUTH  # noqa: PLC0415

    name = _HASHES.get(algorithm)
    if name is None:
        raise Unusable(f"a card cannot sign with {algorithm.decode('ascii', 'replace')}")
    is_rsa = algorithm.startswith(b"rsa")
    digest = hashlib.new(name, data).digest()
    with _library(provider) as library:
        token = _token(library, key)
        flags = int(token.flags)
        login: Any = None
        if flags & _LOGIN_REQUIRED:
            login = PROTECTED_AUTH if flags & _PIN_PAD else pin
        try:
            session = token.open(user_pin=login)
        except (PinIncorrect, PinInvalid, PinLenRange):
            raise WrongPin from None
        with session:
            private: Any = session.get_key(object_class=ObjectClass.PRIVATE_KEY, id=key.id)
            if is_rsa:
                signature = private.sign(_DIGEST_INFO[name] + digest, mechanism=Mechanism.RSA_PKCS)
            else:
                signature = private.sign(digest, mechanism=Mechanism.ECDSA)
    if not is_rsa:  # r and s, each of half the length (RFC 5656 section 3.1.2)
        half = len(signature) // 2
        numbers = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        signature = b"".join(MPInt(number) for number in numbers)
    return String(algorithm) + String(signature)


@contextmanager
def _library(provider: str) -> Iterator[Any]:
    """The library, for this thread alone. Raises Unusable, also for what goes wrong meanwhile."""
    import pkcs11  # noqa: PLC0415 - an extra

    if not _lock.acquire(timeout=_BUSY_TIMEOUT):
        raise Unusable("the card reader does not answer")
    try:
        yield pkcs11.lib(provider)
    except pkcs11.PinLocked:
        raise Unusable("the card is locked; its administrator can unlock it") from None
    except (pkcs11.NoSuchToken, pkcs11.TokenNotPresent, pkcs11.DeviceRemoved):
        raise Unusable("the card is not there any more") from None
    except pkcs11.PKCS11Error as exc:
        raise Unusable(
            f"it does not work: {exc}" if exc.args else f"the card says {type(exc).__name__}"
        ) from exc
    except (OSError, RuntimeError) as exc:
        raise Unusable(f"the library cannot be used: {exc}") from exc
    finally:
        _lock.release()


def _token(library: Any, key: CardKey) -> Token:
    for token in library.get_tokens(token_serial=key.serial):
        if token.label.strip() == key.token:
            found: Token = token
            return found
    raise Unusable("the card is not there any more")


def _as_ssh(public: Any) -> asyncssh.SSHKey | None:
    """None for a key of a kind that SSH has no use for."""
    from pkcs11 import KeyType  # noqa: PLC0415
    from pkcs11.util.ec import encode_ec_public_key  # noqa: PLC0415
    from pkcs11.util.rsa import encode_rsa_public_key  # noqa: PLC0415

    try:
        if public.key_type == KeyType.RSA:
            return asyncssh.import_public_key(encode_rsa_public_key(public))
        if public.key_type == KeyType.EC:
            return asyncssh.import_public_key(encode_ec_public_key(public))
    except Exception:  # noqa: BLE001 - whatever is on a card, the other keys are good
        return None
    return None
