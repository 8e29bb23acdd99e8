"""Payers' wallets: what they sign, and whether somebody has signed.

Shapes  A twin of adapters/signatures.py without curves: a signature is a digest of the wallet, the
        scheme and the words, which only `signed` makes. Which scheme a wallet uses follows from
        its address. Contract wallets are asked on chain, so the node may be down.
"""

import json

from eth_hash.auto import keccak

from application.claims import ProofWords
from application.ports import Unavailable
from domain.events import SignatureScheme
from domain.networks import Network
from simulation.wires import Line

SCHEMES: tuple[SignatureScheme, ...] = ("eip191", "eip712", "eip1271")


def scheme_of_wallet(wallet: str) -> SignatureScheme:
    return SCHEMES[int(wallet, 16) % len(SCHEMES)]


def signed(wallet: str, words: ProofWords) -> str:
    """This wallet's signature under these words."""
    scheme = scheme_of_wallet(wallet)
    said = words.text if scheme == "eip191" else json.dumps(words.typed_data, sort_keys=True)
    return "0x" + bytes(keccak(f"{wallet} {scheme} {said}".encode())).hex()


class Wallets:
    """application.claims.Signatures."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def scheme_of(
        self, network: Network, payer: str, words: ProofWords, signature: bytes
    ) -> SignatureScheme | None:
        scheme = scheme_of_wallet(payer)
        if scheme == "eip1271":
            await self._line.cross("node")
            if self._line.faults.strikes(f"node.{network.name}.down"):
                raise Unavailable("rpc", f"the node of {network.name} is down")
        return scheme if signed(payer, words) == "0x" + signature.hex() else None
