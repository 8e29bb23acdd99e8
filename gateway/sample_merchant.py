"""The merchant that a local gateway comes with: a wallet, an API key, a funded refund wallet.

The wallet is the second account of anvil's public test mnemonic (m/44'/60'/1'), so whoever plays
the merchant can spend what customers pay. Nobody must send real money there.
"""

import hashlib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from bip32 import BIP32  # type: ignore[import-untyped]  # ships no types

from adapters.addresses import checksum_address
from gateway import bootstrap
from gateway.bootstrap import Core
from gateway.embedded_anvil import MNEMONIC
from gateway.local_chain import USDC, LocalChain
from gateway.local_files import read_merchant, write_merchant

ACTOR = "local-setup"
SCOPES = ("read", "write", "refund")
NAME = "Corner Coffee"
FLOAT_UNITS = 50 * 10**6
GAS_WEI = 10**18
_ACCOUNT = "m/44'/60'/1'"
_BIP39_ROUNDS = 2_048


@dataclass(frozen=True)
class SampleMerchant:
    merchant_id: str
    api_key: str
    refund_wallet: str
    first_address: str


def wallet_key() -> str:
    """The extended public key of the test merchant's own wallet."""
    phrase = unicodedata.normalize("NFKD", MNEMONIC).encode()
    seed = hashlib.pbkdf2_hmac("sha512", phrase, b"mnemonic", _BIP39_ROUNDS)
    return str(BIP32.from_seed(seed).get_xpub_from_path(_ACCOUNT))


async def ensure(core: Core, folder: Path) -> SampleMerchant:
    """The merchant of this folder, registered the first time."""
    known = read_merchant(folder)
    if known:
        return SampleMerchant(**known)
    merchants = bootstrap.merchants(core)
    merchant_id = await merchants.register(NAME, "test", actor=ACTOR)
    first = await merchants.configure_wallet(merchant_id, "test", wallet_key(), actor=ACTOR)
    key = await merchants.create_api_key(merchant_id, "test", SCOPES, "local", actor=ACTOR)
    merchant = await merchants.find(merchant_id)
    assert merchant is not None
    made = SampleMerchant(
        merchant_id=merchant_id.hex,
        api_key=key,
        refund_wallet=merchant.refund_wallets["test"].address,
        first_address=checksum_address(first),
    )
    write_merchant(folder, vars(made))
    return made


async def fund_refund_wallet(chain: LocalChain, merchant: SampleMerchant) -> None:
    """A real top-up of the refund float, and gas; nothing when the wallet has both."""
    if await chain.balance(USDC, merchant.refund_wallet) == 0:
        treasurer = (await chain.accounts())[1]
        await chain.mint(USDC, treasurer, FLOAT_UNITS)
        await chain.transfer(USDC, treasurer, merchant.refund_wallet, FLOAT_UNITS)
    if int(await chain.rpc("eth_getBalance", merchant.refund_wallet, "latest"), 16) == 0:
        await chain.give_gas(merchant.refund_wallet, GAS_WEI)
