"""Wallets that are a key, and providers that say of contract wallets what a test tells them."""

import asyncio
from typing import Any
from uuid import UUID

from adapters.addresses import checksum_address
from adapters.evm import RpcRefused
from adapters.memory.clock import FakeClock
from adapters.signatures import EvmSignatures
from application.claims import ProofWords, words_of
from application.ports import Unavailable
from domain import payment
from tests.api.signing import Wallet
from tests.examples import AT, BOOK, CREATED

ALICE, BOB = Wallet(0x21), Wallet(0x22)
CONTRACT = "0x" + "c0" * 20
VALID = "0x1626ba7e" + "0" * 56


def words(number: int = 1) -> ProofWords:
    created = CREATED.model_copy(
        update={"session_id": UUID(int=number), "pay_by": "merchant_wallet"}
    )
    return words_of(payment.evolve(None, created), BOOK, checksum_address)


class Scripted:
    """A provider that has code where it is told to, and answers what it is told."""

    def __init__(self, *, code: Any = "0x", answer: Any = "0x") -> None:
        self.name = "scripted"
        self.code = code
        self.answer = answer
        self.asked: list[str] = []

    async def call(self, method: str, *params: object) -> Any:
        self.asked.append(method)
        said = self.code if method == "eth_getCode" else self.answer
        if isinstance(said, Exception):
            raise said
        if isinstance(said, asyncio.Event):
            await said.wait()
            return "0x"
        return said


def signatures(*providers: Scripted) -> EvmSignatures:
    return EvmSignatures({"local": providers, "polygon": providers}, FakeClock(AT))


AWAY = Unavailable("rpc", "scripted: away")
REVERTED = RpcRefused("scripted: eth_call", 3, "execution reverted")
CONFUSED = RpcRefused("scripted: eth_call", -32603, "internal error")
