"""Merchants: registration, where customers pay to, API keys.

Errors  ExtendedKeyMalformed for anything but an extended public key.
"""

from uuid import UUID

from application.api_keys import new_key
from application.deciders import MERCHANT
from application.handling import Handler, UnitOfWork
from application.ports import Context, DepositAddresses, Ids, RefundWallets
from domain import commands as c
from domain.merchant import Merchant
from domain.values import Mode

KEY_ENTROPY_BYTES = 32


class Merchants:
    def __init__(
        self,
        handler: Handler,
        addresses: DepositAddresses,
        refund_wallets: RefundWallets,
        ids: Ids,
    ) -> None:
        self._handler = handler
        self._addresses = addresses
        self._refund_wallets = refund_wallets
        self._ids = ids

    async def register(self, display_name: str, mode: Mode, *, actor: str) -> UUID:
        """A new merchant with a refund wallet of its own in one mode."""
        merchant_id = self._ids.new()
        index, address = await self._refund_wallets.allocate()

        async def work(unit: UnitOfWork) -> None:
            register = c.RegisterMerchant(
                at=unit.now, merchant_id=merchant_id, display_name=display_name
            )
            await unit.decide(MERCHANT, merchant_id, register)
            wallet = c.AssignRefundWallet(at=unit.now, mode=mode, index=index, address=address)
            await unit.decide(MERCHANT, merchant_id, wallet)

        await self._handler.execute(_context(merchant_id, mode, actor), work)
        return merchant_id

    def first_address(self, extended_public_key: str) -> str:
        """To compare with a wallet. Raises ExtendedKeyMalformed before anything is done."""
        return self._addresses.check(extended_public_key)

    async def configure_wallet(
        self, merchant_id: UUID, mode: Mode, extended_public_key: str, *, actor: str
    ) -> str:
        """Where customers pay to from now on; gives the first address, to compare with a wallet."""
        first_address = self.first_address(extended_public_key)

        async def work(unit: UnitOfWork) -> None:
            command = c.ConfigureWallet(
                at=unit.now, mode=mode, extended_public_key=extended_public_key
            )
            await unit.decide(MERCHANT, merchant_id, command)

        await self._handler.execute(_context(merchant_id, mode, actor), work)
        return first_address

    async def set_receiving_address(
        self, merchant_id: UUID, mode: Mode, address: str, *, actor: str
    ) -> None:
        """The one wallet for sessions that are paid to it; `address` in lower case."""

        async def work(unit: UnitOfWork) -> None:
            command = c.SetReceivingAddress(at=unit.now, mode=mode, address=address)
            await unit.decide(MERCHANT, merchant_id, command)

        await self._handler.execute(_context(merchant_id, mode, actor), work)

    async def set_tolerance(
        self,
        merchant_id: UUID,
        mode: Mode,
        *,
        absolute_micros: int,
        basis_points: int,
        actor: str,
    ) -> None:
        """How much of new sessions may be missing. Raises ToleranceOutOfRange."""

        async def work(unit: UnitOfWork) -> None:
            command = c.SetTolerance(
                at=unit.now,
                mode=mode,
                absolute_micros=absolute_micros,
                basis_points=basis_points,
            )
            await unit.decide(MERCHANT, merchant_id, command)

        await self._handler.execute(_context(merchant_id, mode, actor), work)

    async def create_api_key(
        self,
        merchant_id: UUID,
        mode: Mode,
        scopes: tuple[str, ...],
        label: str,
        *,
        actor: str,
    ) -> str:
        """The key itself, shown this once: only its hash is kept."""
        key, key_hash, last4 = new_key(mode, self._ids.secret(KEY_ENTROPY_BYTES))
        key_id = self._ids.new()

        async def work(unit: UnitOfWork) -> None:
            command = c.CreateApiKey(
                at=unit.now,
                key_id=key_id,
                mode=mode,
                key_hash=key_hash,
                last4=last4,
                scopes=scopes,
                label=label,
            )
            await unit.decide(MERCHANT, merchant_id, command)

        await self._handler.execute(_context(merchant_id, mode, actor), work)
        return key

    async def find(self, merchant_id: UUID) -> Merchant | None:
        return await self._handler.load(MERCHANT, merchant_id)


def _context(merchant_id: UUID, mode: Mode, actor: str) -> Context:
    return Context(actor=actor, merchant_id=merchant_id, mode=mode)
