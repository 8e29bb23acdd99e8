"""Wallets that are a key: they sign as a browser's wallet does."""

import coincurve

from adapters.addresses import address_of
from adapters.signatures import text_hash, typed_data_hash
from application.claims import ProofWords


class Wallet:
    def __init__(self, seed: int) -> None:
        self._key = coincurve.PrivateKey(bytes([seed]) * 32)
        self.address = address_of(self._key.public_key.format(compressed=False))

    def sign_hash(self, hash_: bytes) -> bytes:
        """r, s and v of 27 or 28."""
        signature = self._key.sign_recoverable(hash_, hasher=None)
        return signature[:64] + bytes([27 + signature[64]])

    def sign_text(self, words: ProofWords) -> str:
        return "0x" + self.sign_hash(text_hash(words.text)).hex()

    def sign_typed(self, words: ProofWords) -> str:
        return "0x" + self.sign_hash(typed_data_hash(words.typed_data)).hex()
