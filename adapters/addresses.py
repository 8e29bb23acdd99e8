"""Ethereum addresses: from extended public keys, from people, and for people.

Shapes  Inside, an address is 0x and 40 lower-case hex digits; `checksum_address` writes it as
        EIP-55 does. An ExtendedKey is an account's public key, at m/44'/60'/n'; its address number
        i is at m/44'/60'/n'/0/i: the external chain, where any wallet that was given the same
        seed looks for money by itself.
Errors  ExtendedKeyMalformed (private keys too: their text is repeated nowhere), AddressMalformed.
Source  BIP-32 (keys, their versions and lengths), BIP-44 (the path), EIP-55 (mixed case).
"""

import hashlib
import re
from typing import Self

import coincurve
from bip32 import BIP32  # type: ignore[import-untyped] # ships no types
from bip32.base58 import b58decode_check  # type: ignore[import-untyped] # ships no types
from eth_hash.auto import keccak

from domain.errors import AddressMalformed, ExtendedKeyMalformed

EXTERNAL_CHAIN = 0
ACCOUNT_DEPTH = 3
INDEX_MAX = 2**31 - 1  # above it children are hardened, and need the private key
_KEY_CHARACTERS_MAX = 120
_KEY_BYTES = 78
_PUBLIC = bytes.fromhex("0488b21e")
_PRIVATE = (bytes.fromhex("0488ade4"), bytes.fromhex("04358394"))
_PRIVATE_PREFIXES = ("xprv", "yprv", "zprv", "tprv", "uprv", "vprv")
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")


class ExtendedKey:
    """An account's public key, below which addresses are counted."""

    def __init__(self, chain_code: bytes, public_key: bytes) -> None:
        account = BIP32(chain_code, pubkey=public_key, depth=ACCOUNT_DEPTH)
        chain_code_0, public_key_0 = account.get_extended_pubkey_from_path([EXTERNAL_CHAIN])
        self._external = BIP32(chain_code_0, pubkey=public_key_0, depth=ACCOUNT_DEPTH + 1)
        # Two texts can mean one key (parent and number are only remarks), and then share a count.
        self.identity = hashlib.sha256(chain_code + public_key).digest()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "xpub..." of depth 3. Raises ExtendedKeyMalformed."""
        raw = _decoded(text)
        version, depth = raw[:4], raw[4]
        if version in _PRIVATE:
            raise _private()
        if version != _PUBLIC:
            raise ExtendedKeyMalformed('an Ethereum account\'s public key begins with "xpub"')
        if depth != ACCOUNT_DEPTH:
            raise ExtendedKeyMalformed(
                f"this key is of depth {depth}; give the account's own, of depth {ACCOUNT_DEPTH} "
                "(path m/44'/60'/0'), so that your wallet finds the money by itself"
            )
        try:
            return cls(raw[13:45], raw[45:])
        except ValueError as error:
            raise ExtendedKeyMalformed("the key is no point of the curve secp256k1") from error

    def address(self, index: int) -> str:
        """The address number `index`, in lower case."""
        assert 0 <= index <= INDEX_MAX, f"{index} is no index of a public child"
        return address_of(self._external.get_pubkey_from_path([index]))


def _decoded(text: str) -> bytes:
    if text.startswith(_PRIVATE_PREFIXES):
        raise _private()
    if len(text) > _KEY_CHARACTERS_MAX:
        raise ExtendedKeyMalformed("this is too long for an extended public key")
    try:
        raw = bytes(b58decode_check(text))
    except ValueError as error:  # a wrong letter, or a checksum that does not add up
        raise ExtendedKeyMalformed(
            "this is no extended public key: a letter is wrong or missing"
        ) from error
    if len(raw) != _KEY_BYTES:
        raise ExtendedKeyMalformed(f"an extended public key has {_KEY_BYTES} bytes")
    return raw


def _private() -> ExtendedKeyMalformed:
    return ExtendedKeyMalformed(
        "this is a private key: whoever has seen it can take the money. Move the money to a new "
        "wallet, and give the extended public key (xpub) of that one"
    )


def address_of(public_key: bytes) -> str:
    """The address of a secp256k1 public key in either of its encodings."""
    point = coincurve.PublicKey(public_key).format(compressed=False)
    return "0x" + keccak(point[1:])[-20:].hex()


def checksum_address(address: str) -> str:
    """The same address in EIP-55's mixed case, for people."""
    digits = address[2:].lower()
    marks = keccak(digits.encode()).hex()
    mixed = (d.upper() if mark >= "8" else d for d, mark in zip(digits, marks, strict=False))
    return "0x" + "".join(mixed)


def parse_address(text: str) -> str:
    """What a person wrote, in lower case; mixed case must add up to its checksum."""
    if _ADDRESS.fullmatch(text) is None:
        raise AddressMalformed("an address is 0x and 40 hex digits")
    digits = text[2:]
    one_case = digits in {digits.lower(), digits.upper()}
    if not one_case and checksum_address(text) != "0x" + digits:
        raise AddressMalformed(
            "the mixed case of this address does not fit it: a digit is probably wrong"
        )
    return "0x" + digits.lower()
