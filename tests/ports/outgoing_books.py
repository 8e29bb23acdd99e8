"""Both sides of the outgoing transactions, on the twin or on PostgreSQL, and what to ask of them."""

from dataclasses import dataclass
from uuid import UUID

import psycopg

from adapters.memory.outgoing import MemoryOutgoing
from adapters.outgoing import PostgresOutgoing
from adapters.postgres import Postgres
from adapters.signing_book import PostgresSigningBook
from application.outside import OutgoingBook, Payout
from application.paying_out import Approved, Caps, SignedTransfer, SigningBook, Terms
from tests.conftest import Migrated
from tests.examples import AT, LOCAL, MERCHANT_ID, PAYER, TOKEN, WALLET

PLENTY = 10**12
OTHER_WALLET = "0x" + "e1" * 20
OTHER_MERCHANT = UUID(int=0xA2)
TERMS = Terms(
    micros=1_000_000,
    caps=Caps(PLENTY, PLENTY, PLENTY),
    chain_ids=(LOCAL.chain_id,),
    known_wallets_only=False,
)
REFUNDS_AT_ONCE = 24


def payout(number: int, *, wallet: str = WALLET, chain_nonce: int = 0) -> Payout:
    return Payout(
        refund_id=UUID(int=number),
        merchant_id=MERCHANT_ID,
        network=LOCAL,
        wallet=wallet,
        wallet_index=0,
        token=TOKEN,
        destination=PAYER,
        units=1_000_000,
        max_fee=2 * 10**9,
        tip=10**9,
        chain_nonce=chain_nonce,
    )


def bytes_of(number: int) -> SignedTransfer:
    return SignedTransfer(f"signed {number}".encode(), f"0x{number:064x}")


@dataclass
class Books:
    sender: OutgoingBook
    signer: SigningBook
    memory: MemoryOutgoing | None = None
    owner_dsn: str = ""

    async def stop_signing(self, why: str) -> None:
        if self.memory is not None:
            self.memory.stopped = why
        else:
            await self.sql("SELECT signer.stop_signing(%s)", why)

    async def allow_signing(self) -> None:
        if self.memory is not None:
            self.memory.stopped = None
        else:
            await self.sql("SELECT signer.allow_signing('looked at it')")

    async def tighten(self, caps: Caps) -> None:
        if self.memory is not None:
            self.memory.tighter = caps
            return
        await self.sql(
            "UPDATE signer.controls SET per_transaction_micros = %s, "
            "per_merchant_day_micros = %s, per_day_micros = %s",
            *(caps.per_transaction, caps.per_merchant_day, caps.per_day),
        )

    async def sql(self, statement: str, *parameters: object) -> None:
        async with await psycopg.AsyncConnection.connect(self.owner_dsn) as connection:
            await connection.execute(statement.encode(), parameters)

    async def sign(self, number: int, wallet: str = WALLET, chain_nonce: int = 0) -> int:
        """Reserve, approve and store one; its nonce."""
        await self.sender.reserve(payout(number, wallet=wallet, chain_nonce=chain_nonce))
        verdict = await self.signer.approve(UUID(int=number), TERMS, AT)
        assert isinstance(verdict, Approved)
        await self.signer.store(UUID(int=number), bytes_of(number), AT)
        return verdict.nonce


def books_on(app: Postgres, signer: Postgres, migrated: Migrated) -> Books:
    return Books(PostgresOutgoing(app), PostgresSigningBook(signer), None, migrated.owner_dsn)
