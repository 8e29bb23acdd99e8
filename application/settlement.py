"""Chain reports applied to transfers, sessions, floats and books, each exactly once.

Shapes  One report, one append: the transfer's stream, what it pays for, and the journal. The
        report's message id goes into the inbox with it, so a repeat does nothing.
Ahead   For a pull of reports the owners of their addresses are asked in one question, and the
        streams of their transfers and sessions in another. This saves reading, and decides
        nothing: what has moved since, or would not be checked, is read again (handling.py).
Errors  MoneyWentElsewhere; else reports are never refused. Outages pass through and the message
        comes again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from application.attribution import credit, note_for_claims, reconsider, whose
from application.chain_messages import SOURCE, ChainReport, ReorgReport, TransferReport
from application.deciders import (
    PAYMENT,
    REFUND_FLOAT,
    TRANSFER,
    float_id,
    transfer_stream_id,
)
from application.handling import Ahead, Handler, UnitOfWork
from application.ports import AlreadyProcessed, Context, InboxMessage, Stream, Unavailable
from application.reads import WATCH_LIST_MODEL, Progress, WatchList
from domain import commands as c
from domain.events import ReorgDetected, Sighting
from domain.matching import AddressOwner
from domain.networks import ConfirmationRule, NetworkBook
from domain.transfer import OnchainTransfer
from domain.values import derived_id

CATCH_UP_SECONDS_MAX = 2.0


class MoneyWentElsewhere(Exception):  # noqa: N818 - named for what happened
    """The same log of the same transaction pays somebody else than when it was attributed.

    A contract may do so when a reorg executes it anew, and a provider that was alone may have
    lied about it. Attribution is for ever, so nobody is credited: the report is parked, loudly,
    and a person looks.
    """


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What is known of one address before its reports are applied, one after the other."""

    owner: AddressOwner | None  # None: nobody's, or not known yet
    streams: Ahead


class Settlement:
    def __init__(
        self, handler: Handler, watch: WatchList, networks: NetworkBook, progress: Progress
    ) -> None:
        self._handler = handler
        self._watch = watch
        self._progress = progress
        self._networks = networks

    async def look_ahead(
        self, network: str, reports: Collection[TransferReport]
    ) -> Mapping[str, Foreseen]:
        """By receiving address. Its reports may use it one after the other, not at once."""
        by_address: dict[str, list[Stream]] = {}
        for report in reports:
            transfer = transfer_stream_id(report.sighting.transfer_id)
            by_address.setdefault(report.sighting.recipient, []).append(
                Stream(TRANSFER.stream_type, transfer)
            )
        owners = await self._watch.owners_of(network, by_address)
        for address, owner in owners.items():
            if owner.purpose == "payment_session":
                by_address[address].append(Stream(PAYMENT.stream_type, owner.subject_id))
        found = await self._handler.store.read_streams(
            {stream for streams in by_address.values() for stream in streams}
        )
        return {
            address: Foreseen(owners.get(address), Ahead({each: found[each] for each in streams}))
            for address, streams in by_address.items()
        }

    async def apply(self, report: ChainReport, foreseen: Foreseen | None = None) -> bool:
        """Record a report; False when it was processed before."""
        inbox = InboxMessage(SOURCE, report.message_id)
        try:
            if isinstance(report, ReorgReport):
                await self._reorg(report, inbox)
            else:
                await self._transfer(report, inbox, foreseen or Foreseen(None, Ahead({})))
        except AlreadyProcessed:
            return False
        return True

    async def _reorg(self, report: ReorgReport, inbox: InboxMessage) -> None:
        network = self._networks.get(report.network)
        stream_id = derived_id("reorg", report.message_id)

        async def work(unit: UnitOfWork) -> None:
            fact = ReorgDetected(
                at=report.at,
                network=report.network,
                fork_number=report.fork_number,
                from_hash=report.from_hash,
                to_hash=report.to_hash,
                depth=report.depth,
                orphaned=report.orphaned,
            )
            unit.record(Stream("reorg", stream_id), fact, after_version=0)

        await self._handler.execute(
            Context(actor=f"chain:{network.chain_id}", mode=network.mode), work, inbox=inbox
        )

    async def _transfer(
        self, report: TransferReport, inbox: InboxMessage, foreseen: Foreseen
    ) -> None:
        network = self._networks.get(report.sighting.network)
        context = Context(
            actor=f"chain:{network.chain_id}",
            mode=network.mode,
            causation_id=report.message_id,
            correlation_id=report.sighting.transfer_id,
            policy_version=report.policy_version or None,
        )

        async def work(unit: UnitOfWork) -> None:
            await self._settle(unit, report, foreseen.owner)

        await self._handler.execute(context, work, inbox=inbox, ahead=foreseen.streams)

    async def _settle(
        self, unit: UnitOfWork, report: TransferReport, owner: AddressOwner | None
    ) -> None:
        stream_id = transfer_stream_id(report.sighting.transfer_id)
        before = await unit.load(TRANSFER, stream_id)
        if before is not None and report.report_number <= before.report_number:
            return
        if before is not None and report.kind != "retracted":
            _same_money(before.sighting, report.sighting)
        verdict = await self._attribution(unit, report, before, owner)
        mode = self._networks.get(report.sighting.network).mode
        after = await unit.decide(TRANSFER, stream_id, _command(report, verdict, unit), mode=mode)
        assert after is not None
        if after.purpose == "payment_session" and after.subject_id is not None:
            await _settle_session(unit, report, after.subject_id)
        elif after.purpose == "refund_float" and after.merchant_id is not None:
            await self._settle_float(unit, after, after.merchant_id)
        elif after.waits and before is not None and _elsewhere(before, after):
            await self._look_again(unit, after, owner)

    async def _attribution(
        self,
        unit: UnitOfWork,
        report: TransferReport,
        known: OnchainTransfer | None,
        owner: AddressOwner | None,
    ) -> c.Attribution:
        """Decided once, at the first sighting; later reports follow it."""
        if known is not None:
            return c.Attribution(
                purpose=known.purpose or "unmatched",
                subject_id=known.subject_id,
                merchant_id=known.merchant_id,
                verdict=known.verdict,
                reason=known.reason,
            )
        sighting = report.sighting
        owner = owner or await self._owner(sighting)
        safe = report.kind == "confirmed"
        verdict = await whose(unit, sighting, owner, self._networks, safe=safe)
        if owner is not None and owner.purpose == "merchant_wallet" and not verdict.subject_id:
            await note_for_claims(unit, sighting, report.report_number)
        return verdict

    async def _look_again(
        self, unit: UnitOfWork, transfer: OnchainTransfer, owner: AddressOwner | None
    ) -> None:
        """Back on the chain, in another block, or safe now: it may count from here on."""
        owner = owner or await self._owner(transfer.sighting)
        if owner is None or owner.merchant_id != transfer.merchant_id:
            return  # it came to the address before that was anybody's, and stays with a person
        if owner.purpose == "refund_float":
            return
        safe = transfer.status == "confirmed"
        verdict = await whose(unit, transfer.sighting, owner, self._networks, safe=safe)
        if verdict.subject_id is None:
            if owner.purpose == "merchant_wallet":
                await note_for_claims(unit, transfer.sighting, transfer.report_number)
            await reconsider(unit, transfer.sighting.transfer_id, verdict, self._networks)
            return
        command = c.AssignTransfer(
            at=unit.now,
            session_id=verdict.subject_id,
            verdict=verdict.verdict,
            reason=verdict.reason,
        )
        await credit(unit, transfer.sighting.transfer_id, command, self._networks)

    async def _owner(self, sighting: Sighting) -> AddressOwner | None:
        """Nobody is believed only of a watch list that has seen the whole log: this is for ever."""
        owner = await self._watch.owner_of(sighting.network, sighting.recipient)
        if owner is not None:
            return owner
        head = await self._handler.store.head()
        if not await self._progress.wait_for(
            head, timeout_seconds=CATCH_UP_SECONDS_MAX, projection=WATCH_LIST_MODEL
        ):
            raise Unavailable("projections", f"the watch list has not reached position {head}")
        return await self._watch.owner_of(sighting.network, sighting.recipient)

    async def _settle_float(
        self, unit: UnitOfWork, transfer: OnchainTransfer, merchant_id: UUID
    ) -> None:
        sighting = transfer.sighting
        network = self._networks.get(sighting.network)
        stream_id = float_id(merchant_id, network.mode, sighting.amount.asset)
        command: c.FloatCommand
        if transfer.status == "confirmed":
            command = c.TopUpFloat(
                at=unit.now, transfer_id=sighting.transfer_id, amount=sighting.amount
            )
        else:  # no longer safe, or never was: nothing to take back then
            command = c.ReverseTopUp(at=unit.now, transfer_id=sighting.transfer_id)
        await unit.decide(
            REFUND_FLOAT, stream_id, command, merchant_id=merchant_id, mode=network.mode
        )


def _same_money(known: Sighting, told: Sighting) -> None:
    before, now = (known.recipient, known.token), (told.recipient, told.token)
    if before != now:
        raise MoneyWentElsewhere(
            f"{told.transfer_id} was attributed as {before[1]} to {before[0]}, "
            f"and pays {now[1]} to {now[0]} in block {told.block_number}"
        )


def _command(report: TransferReport, whose: c.Attribution, unit: UnitOfWork) -> c.TransferCommand:
    match report.kind:
        case "observed":
            return c.ReportObserved(
                at=unit.now,
                report_number=report.report_number,
                sighting=report.sighting,
                attribution=whose,
            )
        case "confirmed":
            return c.ReportConfirmed(
                at=unit.now,
                report_number=report.report_number,
                sighting=report.sighting,
                attribution=whose,
                confirmations=report.confirmations,
                policy_version=report.policy_version,
                rule=_rule(report),
            )
        case "retracted":
            return c.ReportRetracted(
                at=unit.now,
                report_number=report.report_number,
                sighting=report.sighting,
                attribution=whose,
            )


def _elsewhere(before: OnchainTransfer, after: OnchainTransfer) -> bool:
    moved = not before.sighting.same_place(after.sighting)
    return moved or before.status != after.status


def _rule(report: TransferReport) -> str:
    """Reports from before they named it asked for blocks, and had them."""
    return report.rule or ConfirmationRule(blocks=max(1, report.confirmations)).text


async def _settle_session(unit: UnitOfWork, report: TransferReport, session_id: UUID) -> None:
    sighting = report.sighting
    if report.kind == "retracted":
        await _retract(unit, sighting.transfer_id, session_id)
        return
    if report.kind == "observed":
        await _retract(unit, sighting.transfer_id, session_id, confirmed_only=True)
    observe = c.ObserveTransfer(at=unit.now, sighting=sighting)
    await unit.decide(PAYMENT, session_id, observe)
    if report.kind == "confirmed":
        confirm = c.ConfirmTransfer(
            at=unit.now,
            transfer_id=sighting.transfer_id,
            block_hash=sighting.block_hash,
            confirmations=report.confirmations,
            policy_version=report.policy_version,
            rule=_rule(report),
        )
        await unit.decide(PAYMENT, session_id, confirm)


async def _retract(
    unit: UnitOfWork, transfer_id: str, session_id: UUID, *, confirmed_only: bool = False
) -> None:
    """The newest report says it is nowhere: so it leaves the block the session holds it in.

    Or it says that it is only seen: where it is confirmed the report of its loss was overtaken,
    also in the same block, which can leave the chain and come back.
    """
    session = await unit.load(PAYMENT, session_id)
    known = session.transfers.get(transfer_id) if session is not None else None
    if known is None or (confirmed_only and known.status != "confirmed"):
        return
    retract = c.RetractTransfer(at=unit.now, transfer_id=transfer_id, block_hash=known.block_hash)
    await unit.decide(PAYMENT, session_id, retract)
