"""Refunds as merchants ask for them: the money is set aside in the same write.

Units   amounts come as decimal strings of the session's token.
Errors  refusals name the field: payment_session_id, amount, to_address.
"""

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from uuid import UUID

from application.callers import Caller, Claim
from application.deciders import (
    MERCHANT,
    PAYMENT,
    REFUND,
    REFUND_FLOAT,
    TRANSFER,
    float_id,
)
from application.handling import Answer, Handler, UnitOfWork
from application.inbox import owned
from application.ports import Ids, Overdraft, ParseAddress
from application.reads import WatchList
from domain import commands as c
from domain.errors import (
    AddressForbidden,
    AmountMalformed,
    RefundDestinationNeeded,
    RefundFloatTooSmall,
    RefundNotPossible,
    SessionUnknown,
)
from domain.events import Sighting
from domain.merchant import RefundWallet
from domain.money import Amount, units_of
from domain.networks import ZERO_ADDRESS, Network, NetworkBook
from domain.payment import PaymentSession
from domain.refund import Refund


class Refunds:
    def __init__(
        self,
        handler: Handler,
        networks: NetworkBook,
        watch: WatchList,
        ids: Ids,
        parse_address: ParseAddress,
    ) -> None:
        self._handler = handler
        self._parse_address = parse_address
        self._networks = networks
        self._watch = watch
        self._ids = ids

    async def request(
        self,
        session_id: UUID,
        amount: str | None,
        reason: str | None,
        to_address: str | None,
        caller: Caller,
        claim: Claim | None,
        respond: Callable[[Refund], Answer],
    ) -> Refund:
        """Set the money aside on the session and in the float; the refund sender pays it.

        Without an amount everything still unrefunded goes back; without an address the
        payer gets it. Raises KeyAlreadyUsed with the first answer for a key seen before.
        """
        refund_id = self._ids.new()
        explicit = self._parse_address(to_address) if to_address is not None else None

        async def work(unit: UnitOfWork) -> Refund:
            session = await _session(unit, session_id, caller)
            wallet = await _refund_wallet(unit, caller)
            destination = explicit or _payer(session)
            network = self._served(session.network)
            ours = {wallet.address, session.deposit_address}
            await self._refuse_forbidden(network, destination, ours)
            units = self._units(session, amount)
            command = c.RequestRefund(
                at=unit.now,
                refund_id=refund_id,
                session_id=session_id,
                transfer_id=None,
                merchant_id=caller.merchant_id,
                mode=caller.mode,
                network=session.network,
                amount=units,
                destination=destination,
                wallet=wallet.address,
                wallet_index=wallet.index,
                reason=reason,
            )
            reserve = c.ReserveRefund(at=unit.now, refund_id=refund_id, amount=units)
            await unit.decide(PAYMENT, session_id, reserve)
            return await _requested(unit, command)

        return await self._execute(work, caller, claim, respond)

    async def request_for_transfer(
        self,
        stream_id: UUID,
        reason: str,
        to_address: str | None,
        caller: Caller,
        claim: Claim | None,
        respond: Callable[[Refund], Answer],
    ) -> Refund:
        """Give back a transfer of the inbox, all of it, to its sender or to another address.

        Beyond the refusals of `request`: TransferUnknown, TransferNotUnmatched,
        TransferNotOnChain, TransferNotConfirmed, ReasonMissing.
        """
        refund_id = self._ids.new()
        explicit = self._parse_address(to_address) if to_address is not None else None

        async def work(unit: UnitOfWork) -> Refund:
            known = await unit.load(TRANSFER, stream_id)
            sighting = owned(known, caller, self._networks).sighting
            network = self._served(sighting.network)
            self._refuse_unaccepted(sighting)
            reserve = c.ReserveTransferRefund(at=unit.now, refund_id=refund_id, reason=reason)
            await unit.decide(TRANSFER, stream_id, reserve, mode=caller.mode)
            wallet = await _refund_wallet(unit, caller)
            destination = explicit or sighting.sender
            await self._refuse_forbidden(network, destination, {wallet.address})
            command = c.RequestRefund(
                at=unit.now,
                refund_id=refund_id,
                session_id=None,
                transfer_id=sighting.transfer_id,
                merchant_id=caller.merchant_id,
                mode=caller.mode,
                network=sighting.network,
                amount=sighting.amount,
                destination=destination,
                wallet=wallet.address,
                wallet_index=wallet.index,
                reason=reason,
            )
            return await _requested(unit, command)

        return await self._execute(work, caller, claim, respond)

    async def _execute(
        self,
        work: Callable[[UnitOfWork], Awaitable[Refund]],
        caller: Caller,
        claim: Claim | None,
        respond: Callable[[Refund], Answer],
    ) -> Refund:
        try:
            return await self._handler.execute(
                caller.context(), work, claim=claim, respond=respond
            )
        except Overdraft as overdraft:
            raise RefundFloatTooSmall(
                "the refund wallet does not hold enough; top it up and ask again"
            ) from overdraft

    def _served(self, name: str) -> Network:
        """Nobody would send it on a network that has left NETWORKS."""
        if not self._networks.serves(name):
            raise RefundNotPossible(
                f"{name} is not served here any more: the gateway's operator can serve it again, "
                "or you send the money back from your own wallet"
            )
        return self._networks.get(name)

    def _refuse_unaccepted(self, sighting: Sighting) -> None:
        """The signer pays in accepted tokens only."""
        token = self._networks.get(sighting.network).token_at(sighting.token)
        if token is None or not token.accepted:
            raise RefundNotPossible(
                f"{self._networks.unit_of(sighting.amount.asset)[0]} is not paid by the refund "
                "wallet: send it back from your own wallet, then dismiss it here",
                field="transfer_id",
            )

    def _units(self, session: PaymentSession, amount: str | None) -> Amount:
        if amount is None:
            return session.refundable
        _, token = self._networks.of_asset(session.due.asset)
        units = units_of(amount, token.decimals)
        if units == 0:
            raise AmountMalformed("a refund is more than zero")
        return Amount(units=units, asset=session.due.asset)

    async def _refuse_forbidden(
        self, network: Network, destination: str, ours: AbstractSet[str]
    ) -> None:
        if destination == ZERO_ADDRESS:
            raise AddressForbidden("the zero address would burn the money")
        if network.token_at(destination) is not None:
            raise AddressForbidden("a token contract would keep the money for ever")
        owner = await self._watch.owner_of(network.name, destination)
        if owner is not None or destination in ours:
            raise AddressForbidden("this is an address of the gateway's own merchants")


async def _session(unit: UnitOfWork, session_id: UUID, caller: Caller) -> PaymentSession:
    session = await unit.load(PAYMENT, session_id)
    mine = (caller.merchant_id, caller.mode)
    if session is None or (session.merchant_id, session.mode) != mine:
        raise SessionUnknown("there is no such payment session", field="payment_session_id")
    if session.confirmed.units == 0:
        raise RefundNotPossible("no confirmed transfer has arrived for this session yet")
    return session


async def _refund_wallet(unit: UnitOfWork, caller: Caller) -> RefundWallet:
    merchant = await unit.load(MERCHANT, caller.merchant_id)
    wallet = merchant.refund_wallets.get(caller.mode) if merchant else None
    if wallet is None:
        raise RefundFloatTooSmall("no refund wallet has been assigned to this merchant yet")
    return wallet


def _payer(session: PaymentSession) -> str:
    payers = session.payers()
    if len(payers) != 1:
        raise RefundDestinationNeeded(
            "several wallets paid this session: say in to_address who gets the money"
        )
    return payers[0]


async def _requested(unit: UnitOfWork, command: c.RequestRefund) -> Refund:
    """The float's part and the refund itself; whose money it is has been set aside already."""
    held = c.ReserveFloat(at=unit.now, refund_id=command.refund_id, amount=command.amount)
    float_stream = float_id(command.merchant_id, command.mode, command.amount.asset)
    await unit.decide(
        REFUND_FLOAT,
        float_stream,
        held,
        merchant_id=command.merchant_id,
        mode=command.mode,
    )
    refund = await unit.decide(REFUND, command.refund_id, command)
    assert refund is not None
    return refund
