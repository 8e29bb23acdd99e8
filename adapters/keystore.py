"""The signer's seed in an encrypted file, and the keys of refund wallets below it.

Shapes  The file is JSON of the Web3 Secret Storage form, version 3 (scrypt, AES-128-CTR), around
        a seed of 32 bytes instead of one private key. Wallet number i is at m/44'/60'/0'/0/i.
        Its `address` is left out: nothing is ever paid to it.
Files   mode 0600, written whole or not at all, never over another.
Errors  KeystoreFailed says what is wrong and what to do, never what is inside.
Source  BIP-32, BIP-44, EIP-1559; scrypt with n 262,144 takes about 256 MB and a second.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

import coincurve
from bip32 import BIP32  # type: ignore[import-untyped] # ships no types
from eth_account import Account
from eth_keyfile import keyfile

from adapters.addresses import EXTERNAL_CHAIN, address_of
from application.paying_out import SignedTransfer, SigningFailed, TransferToSign

SEED_BYTES = 32
SCRYPT_N = 262_144
ACCOUNT_PATH = "m/44'/60'/0'"
FILE_BYTES_MAX = 64 * 1024
_TRANSFER = bytes.fromhex("a9059cbb")  # transfer(address,uint256)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeystoreFailed(Exception):  # noqa: N818 - named for what happened
    """The keystore cannot be made or opened."""


class LocalSigner:
    """Keys in this process's memory: for development, and for small floats."""

    def __init__(self, seed: bytes) -> None:
        account = BIP32.from_seed(seed)
        self._account = BIP32.from_xpriv(account.get_xpriv_from_path(ACCOUNT_PATH))

    def __repr__(self) -> str:
        return "LocalSigner()"

    def xpub(self) -> str:
        """The account's public key: the gateway finds the same addresses with it, and no more."""
        return str(self._account.get_xpub())

    async def address(self, index: int) -> str:
        return address_of(coincurve.PublicKey.from_secret(self._key(index)).format())

    async def sign_transfer(self, transfer: TransferToSign) -> SignedTransfer:
        """EIP-1559. Half a millisecond, so it may stay in the loop."""
        if await self.address(transfer.wallet_index) != transfer.wallet:
            raise SigningFailed(
                f"{transfer.wallet} is not wallet {transfer.wallet_index} of this keystore"
            )
        signed = Account.sign_transaction(_fields(transfer), self._key(transfer.wallet_index))
        return SignedTransfer(bytes(signed.raw_transaction), "0x" + bytes(signed.hash).hex())

    def _key(self, index: int) -> bytes:
        return bytes(self._account.get_privkey_from_path([EXTERNAL_CHAIN, index]))


def _fields(transfer: TransferToSign) -> dict[str, Any]:
    to = bytes.fromhex(transfer.destination[2:])
    return {
        "type": 2,
        "chainId": transfer.chain_id,
        "nonce": transfer.nonce,
        "to": bytes.fromhex(transfer.token[2:]),
        "value": 0,
        "gas": transfer.gas_limit,
        "maxFeePerGas": transfer.max_fee,
        "maxPriorityFeePerGas": transfer.tip,
        "data": _TRANSFER + to.rjust(32, b"\0") + transfer.units.to_bytes(32, "big"),
    }


def create_keystore(
    path: Path, passphrase: str, entropy: bytes, *, scrypt_n: int = SCRYPT_N
) -> LocalSigner:
    """Write a new keystore around 32 random bytes. Refuses to replace one."""
    if len(entropy) != SEED_BYTES:
        raise KeystoreFailed(f"a seed has {SEED_BYTES} bytes")
    if not passphrase:
        raise KeystoreFailed("an empty passphrase protects nothing: set KEYSTORE_PASSPHRASE")
    content: dict[str, Any] = keyfile.create_keyfile_json(
        entropy, passphrase.encode(), kdf="scrypt", iterations=scrypt_n
    )
    del content["address"]
    content["holds"] = "a BIP-32 seed; refund wallets are m/44'/60'/0'/0/i"
    _write(path, json.dumps(content, indent=1).encode() + b"\n")
    return LocalSigner(entropy)


def open_keystore(path: Path, passphrase: str) -> LocalSigner:
    """Decrypt the seed. Takes a second, on purpose."""
    content = _read(path)
    try:
        seed = keyfile.decode_keyfile_json(content, passphrase.encode())
    except (KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise KeystoreFailed(f"{path} is no keystore: restore it from its backup") from error
    except ValueError as error:
        # One class for a wrong passphrase and for damage: the file cannot tell them apart.
        raise KeystoreFailed(
            f"{path} does not open: the passphrase is wrong, or the file is damaged"
        ) from error
    if len(seed) != SEED_BYTES:
        raise KeystoreFailed(f"{path} holds something else than a seed")
    return LocalSigner(bytes(seed))


def _read(path: Path) -> Any:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise KeystoreFailed(f"{path} does not exist: make it with `gateway keystore`") from error
    except OSError as error:
        raise KeystoreFailed(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & _OTHERS:
            raise KeystoreFailed(f"others may read {path}: set its mode to 0600")
        raw = file.read(FILE_BYTES_MAX)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise KeystoreFailed(f"{path} is no keystore: restore it from its backup") from error


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link fails where a rename would replace a seed that holds money.
        os.link(fresh, path)
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise KeystoreFailed(f"{path} exists already and is kept as it is") from error
    except OSError as error:
        raise KeystoreFailed(f"{path} cannot be written: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
