"""Envelope encryption: a key per subject, wrapped by the master key; secrets under it directly.

Shapes  sealed bytes are 0x01, a nonce of 12 bytes, AES-256-GCM ciphertext with its tag. What a
        ciphertext belongs to is authenticated with it, so that a row copied onto another one
        does not open.
Units   keys are 32 bytes.
Errors  SealBroken: another master key, another owner, or altered bytes.
"""

import base64
import binascii
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from application.ports import Ids

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12


class SealBroken(Exception):  # noqa: N818 - named for what was found
    """These bytes were not sealed by this key for this owner, or were altered since."""


class Envelope:
    def __init__(self, master_key: bytes, ids: Ids) -> None:
        if len(master_key) != KEY_BYTES:
            raise ValueError(f"the vault's master key has {KEY_BYTES} bytes")
        self._master = AESGCM(master_key)
        self._ids = ids

    def seal_secret(self, secret_id: UUID, secret: bytes) -> bytes:
        return self._sealed(self._master, secret, b"secret\x00" + secret_id.bytes)

    def open_secret(self, secret_id: UUID, sealed: bytes) -> bytes:
        return _opened(self._master, sealed, b"secret\x00" + secret_id.bytes)

    def new_subject_key(self, subject: str) -> bytes:
        """A fresh key, wrapped: the only form in which it is kept."""
        key = self._ids.secret(KEY_BYTES)
        return self._sealed(self._master, key, b"subject\x00" + subject.encode())

    def seal_text(self, subject: str, wrapped_key: bytes, text: str) -> str:
        key = AESGCM(self._unwrapped(subject, wrapped_key))
        sealed = self._sealed(key, text.encode(), b"text\x00" + subject.encode())
        return base64.b64encode(sealed).decode()

    def open_text(self, subject: str, wrapped_key: bytes, ciphertext: str) -> str:
        key = AESGCM(self._unwrapped(subject, wrapped_key))
        try:
            sealed = base64.b64decode(ciphertext, validate=True)
        except (binascii.Error, ValueError) as error:
            raise SealBroken("the ciphertext is not base64") from error
        return _opened(key, sealed, b"text\x00" + subject.encode()).decode()

    def _unwrapped(self, subject: str, wrapped_key: bytes) -> bytes:
        return _opened(self._master, wrapped_key, b"subject\x00" + subject.encode())

    def _sealed(self, key: AESGCM, data: bytes, owner: bytes) -> bytes:
        nonce = self._ids.secret(_NONCE_BYTES)
        return _VERSION + nonce + key.encrypt(nonce, data, owner)


def _opened(key: AESGCM, sealed: bytes, owner: bytes) -> bytes:
    if not sealed.startswith(_VERSION):
        raise SealBroken("sealed by a version this code does not know")
    nonce, data = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        return key.decrypt(nonce, data, owner)
    except (InvalidTag, ValueError) as error:
        raise SealBroken("another key, another owner, or altered bytes") from error
