"""The inbox: what a merchant decides about transfers that belong to no session.

Shapes  Each decision is a fact with its actor and its reason, and final; refunds of the inbox are
        in application/refunds.py.
Errors  TransferUnknown (also for another merchant's), TransferNotUnmatched, TransferNotOnChain,
        TransferDoesNotFit, ReasonMissing.
"""

from collections.abc import Callable
from uuid import UUID

from application.attribution import credit
from application.callers import Caller, Claim
from application.deciders import PAYMENT, TRANSFER
from application.handling import Answer, Handler, UnitOfWork
from domain import commands as c
from domain.errors import SessionUnknown, TransferDoesNotFit, TransferUnknown
from domain.networks import NetworkBook
from domain.payment import PaymentSession
from domain.transfer import OnchainTransfer

Respond = Callable[[OnchainTransfer], Answer]


class Inbox:
    """`stream_id` is the transfer's public identity, application.deciders.transfer_stream_id."""

    def __init__(self, handler: Handler, networks: NetworkBook) -> None:
        self._handler = handler
        self._networks = networks

    async def accept(
        self,
        stream_id: UUID,
        reason: str,
        caller: Caller,
        claim: Claim | None = None,
        respond: Respond | None = None,
    ) -> OnchainTransfer:
        """Keep the money, for no session."""

        def command(unit: UnitOfWork) -> c.TransferCommand:
            return c.AcceptTransfer(at=unit.now, reason=reason)

        return await self._decide(stream_id, caller, command, claim, respond)

    async def dismiss(
        self,
        stream_id: UUID,
        reason: str,
        caller: Caller,
        claim: Claim | None = None,
        respond: Respond | None = None,
    ) -> OnchainTransfer:
        """It was no customer's money: take it out of the inbox and of the books."""

        def command(unit: UnitOfWork) -> c.TransferCommand:
            return c.DismissTransfer(at=unit.now, reason=reason)

        return await self._decide(stream_id, caller, command, claim, respond)

    async def assign(
        self,
        stream_id: UUID,
        session_id: UUID,
        reason: str,
        caller: Caller,
        claim: Claim | None = None,
        respond: Respond | None = None,
    ) -> OnchainTransfer:
        """Credit it to a session, also to one that is closed: a person has decided."""

        async def work(unit: UnitOfWork) -> OnchainTransfer:
            known = await unit.load(TRANSFER, stream_id)
            transfer = owned(known, caller, self._networks)
            asked = await unit.load(PAYMENT, session_id)
            session = _session(asked, caller)
            sighting = transfer.sighting
            if (sighting.network, sighting.amount.asset) != (session.network, session.due.asset):
                sent, _ = self._networks.unit_of(sighting.amount.asset)
                wanted, _ = self._networks.unit_of(session.due.asset)
                raise TransferDoesNotFit(
                    f"{sent} on {sighting.network} cannot pay a session that asks for "
                    f"{wanted} on {session.network}"
                )
            command = c.AssignTransfer(
                at=unit.now,
                session_id=session_id,
                verdict="assigned_by_person",
                reason=reason,
            )
            await credit(unit, sighting.transfer_id, command, self._networks)
            after = await unit.load(TRANSFER, stream_id)
            return owned(after, caller, self._networks)

        return await self._handler.execute(caller.context(), work, claim=claim, respond=respond)

    async def find(self, stream_id: UUID, caller: Caller) -> OnchainTransfer:
        known = await self._handler.load(TRANSFER, stream_id)
        return owned(known, caller, self._networks)

    async def _decide(
        self,
        stream_id: UUID,
        caller: Caller,
        command: Callable[[UnitOfWork], c.TransferCommand],
        claim: Claim | None,
        respond: Respond | None,
    ) -> OnchainTransfer:
        async def work(unit: UnitOfWork) -> OnchainTransfer:
            known = await unit.load(TRANSFER, stream_id)
            owned(known, caller, self._networks)
            after = await unit.decide(TRANSFER, stream_id, command(unit), mode=caller.mode)
            return owned(after, caller, self._networks)

        return await self._handler.execute(caller.context(), work, claim=claim, respond=respond)


def owned(
    transfer: OnchainTransfer | None, caller: Caller, networks: NetworkBook
) -> OnchainTransfer:
    """Another merchant's transfer, the other mode's or nobody's is as unknown as none."""
    if transfer is None or transfer.merchant_id != caller.merchant_id:
        raise TransferUnknown("there is no such transfer")
    network = networks.find(transfer.sighting.network)
    if network is None or network.mode != caller.mode:
        raise TransferUnknown("there is no such transfer")
    return transfer


def _session(session: PaymentSession | None, caller: Caller) -> PaymentSession:
    mine = (caller.merchant_id, caller.mode)
    if session is None or (session.merchant_id, session.mode) != mine:
        raise SessionUnknown("there is no such payment session", field="payment_session_id")
    return session
