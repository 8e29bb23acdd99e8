"""`gateway explain`: what happened, who did it, why, and what is awaited; for a support desk.

Shapes  ps_… tells a payment with its transfers, refunds, webhooks and strays at its address;
        rf_… a refund; tr_…, or CHAIN:TX:LOG, a transfer; wd_… a delivery. Facts come from the log alone, so what
        is told is what is true; only the chain's head, the terms of what waits and the strays
        come from tables. One thing that is a fact of two streams is told once.
Errors  GatewayError for an id of nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

from application.deciders import (
    CLAIM,
    DELIVERY,
    MERCHANT,
    PAYMENT,
    REFUND,
    TRANSFER,
    Decider,
    hash_claim_id,
    payer_claim_id,
    transfer_stream_id,
)
from application.ingest import Terms
from application.instructions import WriteAddress
from application.messages import message_type
from application.ports import EventStore, Recorded, Stream
from application.reads import ChainHeads
from domain import events as e
from domain.delivery import WebhookDelivery
from domain.errors import PublicIdMalformed
from domain.networks import NetworkBook
from domain.payment import PaymentSession
from domain.transfer import OnchainTransfer
from domain.values import Mode, parse_public_id, public_id
from gateway.explain_next import (
    Chain,
    Standing,
    refund_standing,
    session_standing,
    transfer_standing,
    why_late,
)
from gateway.explain_sentences import told
from gateway.explain_words import BY_PERSON, Told, Words, keys_of, moment, said
from gateway.failures import GatewayError
from gateway.operate_inbox import CHAIN_TRANSFER
from workers.dispatcher import delivery_id_of

S = TypeVar("S")
Facts = Sequence[Recorded[e.Event]]

# What is a fact of two streams, and written in one append: the one that is told less of.
_TWICE: dict[type[e.Event], type[e.Event]] = {
    e.TransferObserved: e.OnchainTransferObserved,
    e.TransferConfirmed: e.OnchainTransferConfirmed,
    e.TransferRetracted: e.OnchainTransferRetracted,
    e.TransferReversed: e.OnchainTransferReversed,
    e.PaymentRefundReserved: e.RefundRequested,
    e.PaymentRefundReleased: e.RefundFailed,
    e.PaymentRefunded: e.RefundCompleted,
    e.PaymentRefundReversed: e.RefundReversed,
    e.OnchainTransferRefundReserved: e.RefundRequested,
    e.OnchainTransferRefundReleased: e.RefundFailed,
    e.OnchainTransferRefunded: e.RefundCompleted,
    e.OnchainTransferRefundReversed: e.RefundReversed,
}


class SupportReads(Protocol):
    async def terms(self, network: str, block_hash: str, transfer_id: str) -> Terms | None: ...

    async def strays(self, merchant_id: UUID, network: str, address: str) -> Sequence[UUID]: ...

    async def elsewhere(self, session: PaymentSession, after: int) -> Sequence[UUID]:
        """Streams of transfers to the session's address that another session got.

        Those that began after this position of the log: its own, when the address is its own.
        """
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact, told."""

    fact: Recorded[e.Event]
    who: str
    told: Told


@dataclass(frozen=True, slots=True)
class Explanation:
    title: str
    standing: Standing
    entries: tuple[Entry, ...]
    webhooks: tuple[str, ...] = ()
    inbox: tuple[str, ...] = ()  # also what was in it, and another session got


class Explainer:
    def __init__(
        self,
        store: EventStore,
        heads: ChainHeads,
        reads: SupportReads,
        networks: NetworkBook,
        write: WriteAddress,
    ) -> None:
        self._store = store
        self._heads = heads
        self._reads = reads
        self._networks = networks
        self._write = write

    async def explain(self, text: str, at: datetime) -> Explanation:
        if CHAIN_TRANSFER.fullmatch(text):
            text = public_id("tr", transfer_stream_id(text))
        prefix = text.partition("_")[0]
        try:
            identity = parse_public_id(prefix, text)
        except PublicIdMalformed:
            identity = None
        match prefix:
            case "ps" if identity:
                return await self._session(text, identity, at)
            case "rf" if identity:
                return await self._refund(text, identity, at)
            case "tr" if identity:
                return await self._transfer(text, identity, at)
            case "wd" if identity:
                return await self._delivery(text, identity)
            case _:
                raise GatewayError(
                    f"{text!r} cannot be explained: give ps_…, rf_…, tr_…, CHAIN:TX:LOG or wd_…"
                )

    # ------------------------------------------------------------ one of each

    async def _session(self, text: str, session_id: UUID, at: datetime) -> Explanation:
        facts = await self._facts(PAYMENT, session_id, text)
        session = _folded(PAYMENT, facts)
        created = facts[0].event
        assert isinstance(created, e.SessionCreated)
        merchant = await self._merchant(session.merchant_id)
        words = Words(self._networks, self._write, created, _keys(merchant))
        transfers = [
            await self._read(TRANSFER, transfer_stream_id(one)) for one in session.transfers
        ]
        refunds = [await self._read(REFUND, one) for one in session.refunds]
        sightings = [_folded(TRANSFER, each).sighting for each in transfers if each]
        chain = await self._chain(session.network, sightings, at)
        return Explanation(
            title=f"Payment {text}",
            standing=session_standing(session, chain, words, at),
            entries=_entries([facts, *transfers, *refunds], words),
            webhooks=await self._webhooks(facts, merchant, session.mode),
            inbox=await self._strays(session, words, facts[0].position),
        )

    async def _refund(self, text: str, refund_id: UUID, at: datetime) -> Explanation:
        facts = await self._facts(REFUND, refund_id, text)
        refund = _folded(REFUND, facts)
        merchant = await self._merchant(refund.merchant_id)
        words = Words(self._networks, self._write, None, _keys(merchant))
        chain = await self._chain(refund.network, [], at)
        origin = refund.session_id
        decider: Decider[Any, Any] = PAYMENT
        if origin is None and refund.transfer_id is not None:
            decider, origin = TRANSFER, transfer_stream_id(refund.transfer_id)
        public: Facts = await self._read(decider, origin) if origin is not None else ()
        about = [fact for fact in public if getattr(fact.event, "refund_id", None) == refund_id]
        of = public_id("ps" if decider is PAYMENT else "tr", origin) if origin else "nothing known"
        return Explanation(
            title=f"Refund {text} of {of}",
            standing=refund_standing(refund, chain, words),
            entries=_entries([facts, about], words),
            webhooks=await self._webhooks(about, merchant, refund.mode),
        )

    async def _transfer(self, text: str, stream_id: UUID, at: datetime) -> Explanation:
        facts = await self._facts(TRANSFER, stream_id, text)
        transfer = _folded(TRANSFER, facts)
        sighting = transfer.sighting
        merchant: Facts = ()
        if transfer.merchant_id is not None:
            merchant = await self._merchant(transfer.merchant_id)
        words = Words(self._networks, self._write, None, _keys(merchant))
        refunds = [
            await self._read(REFUND, refund_id)
            for refund_id in dict.fromkeys(
                fact.event.refund_id
                for fact in facts
                if isinstance(fact.event, e.OnchainTransferRefundReserved)
            )
        ]
        chain = await self._chain(sighting.network, [sighting], at)
        return Explanation(
            title=f"Transfer {text}",
            standing=transfer_standing(transfer, chain, words),
            entries=_entries([facts, *refunds], words),
            webhooks=await self._webhooks(facts, merchant, chain.network.mode),
        )

    async def _delivery(self, text: str, delivery_id: UUID) -> Explanation:
        facts = await self._facts(DELIVERY, delivery_id, text)
        delivery = _folded(DELIVERY, facts)
        merchant = await self._merchant(delivery.merchant_id)
        words = Words(self._networks, self._write, None, _keys(merchant))
        line = _delivery_line(delivery, facts, _urls(merchant))
        return Explanation(f"Delivery {text}", Standing((line,), ()), _entries([facts], words))

    # ------------------------------------------------------------ what belongs to it

    async def _chain(self, network: str, sightings: Iterable[e.Sighting], at: datetime) -> Chain:
        found: dict[str, Terms] = {}
        doubted: set[str] = set()
        for seen in sightings:
            terms = await self._reads.terms(network, seen.block_hash, seen.transfer_id)
            if terms is not None:
                found[seen.transfer_id] = terms
            if not seen.attested:
                doubted.add(seen.transfer_id)
        known = self._networks.find(network)
        if known is None:
            raise GatewayError(f"nothing describes {network}, where this happened: name it again")
        if known.policy.allow_unattested:
            doubted.clear()
        head = await self._heads.head(network)
        standing = await self._heads.standing(network)
        late = why_late(known, None if standing is None else standing.seen_at(at), head)
        return Chain(known, head, found, frozenset(doubted), late)

    async def _webhooks(self, facts: Facts, merchant: Facts, mode: Mode) -> tuple[str, ...]:
        """Every message of these facts, and how its delivery to each endpoint went."""
        urls = _urls(merchant, mode)
        lines: list[str] = []
        for fact in facts:
            if message_type(fact.event) is None:
                continue
            message_id = public_id("evt", fact.event_id)
            for endpoint_id in urls:
                tries = await self._read(DELIVERY, delivery_id_of(message_id, endpoint_id))
                if tries:
                    lines.append(_delivery_line(_folded(DELIVERY, tries), tries, urls))
        return tuple(lines)

    async def _strays(
        self, session: PaymentSession, words: Words, created: int
    ) -> tuple[str, ...]:
        """Transfers to the session's address, or by its evidence, that it has not got."""
        if session.pay_by == "deposit_address":
            place = (session.merchant_id, session.network, session.deposit_address)
            found = [
                *await self._reads.strays(*place),
                *await self._reads.elsewhere(session, created),
            ]
        else:
            found = await self._by_evidence(session)
        lines: list[str] = []
        for stream_id in found:
            facts = await self._read(TRANSFER, stream_id)
            transfer = _folded(TRANSFER, facts)
            if transfer.subject_id != session.session_id:
                lines.append(_stray_line(stream_id, transfer, words))
        return tuple(lines)

    async def _by_evidence(self, session: PaymentSession) -> list[UUID]:
        place = (session.network, session.deposit_address)
        claims = [payer_claim_id(*place, payer) for payer in session.proven_payers]
        claims += [hash_claim_id(*place, tx_hash) for tx_hash in session.announced]
        found: dict[UUID, None] = {}
        for claim_id in claims:
            claim = _folded(CLAIM, await self._read(CLAIM, claim_id))
            found |= dict.fromkeys(transfer_stream_id(one) for one in claim.transfers)
        return list(found)

    async def _merchant(self, merchant_id: UUID) -> Facts:
        return await self._read(MERCHANT, merchant_id)

    async def _read(self, decider: Decider[Any, Any], stream_id: UUID) -> Facts:
        return await self._store.read_stream(Stream(decider.stream_type, stream_id))

    async def _facts(self, decider: Decider[Any, Any], stream_id: UUID, text: str) -> Facts:
        found = await self._read(decider, stream_id)
        if not found:
            raise GatewayError(f"there is no {text}")
        return found


def _folded(decider: Decider[S, Any], facts: Facts) -> S:
    state: S | None = None
    for fact in facts:
        state = decider.evolve(state, fact.event)
    assert state is not None, "folded from nothing"
    return state


def _entries(streams: Sequence[Facts], words: Words) -> tuple[Entry, ...]:
    """All facts in the order of the log, those of two streams once."""
    facts = sorted((fact for stream in streams for fact in stream), key=lambda f: f.position)
    there = {_sameness(type(fact.event), fact) for fact in facts}
    return tuple(
        Entry(fact, words.who(fact.context.actor), told(fact.event, words))
        for fact in facts
        if (other := _TWICE.get(type(fact.event))) is None or _sameness(other, fact) not in there
    )


def _sameness(kind: type[e.Event], fact: Recorded[e.Event]) -> tuple[object, ...]:
    """Facts of one append say the same moment and name the same transfer or refund."""
    event = fact.event
    name = getattr(event, "refund_id", None) or getattr(event, "transfer_id", None)
    if isinstance(event, e.OnchainTransferObserved):
        name = event.sighting.transfer_id
    elif fact.stream.type == REFUND.stream_type:
        name = fact.stream.id
    return kind, event.at, name


def _keys(merchant: Facts) -> dict[str, str]:
    return keys_of([fact.event for fact in merchant])


def _urls(merchant: Facts, mode: Mode | None = None) -> dict[UUID, str]:
    return {
        fact.event.endpoint_id: fact.event.url
        for fact in merchant
        if isinstance(fact.event, e.WebhookEndpointCreated) and mode in {None, fact.event.mode}
    }


def _delivery_line(delivery: WebhookDelivery, facts: Facts, urls: dict[UUID, str]) -> str:
    url = urls.get(delivery.endpoint_id, "an endpoint that is not known")
    last = facts[-1].event
    failed = [f.event for f in facts if isinstance(f.event, e.DeliveryAttemptFailed)]
    why = failed[-1].error if failed else "nothing was tried"
    what = f"{delivery.message_type} to {url}"
    if delivery.status == "delivered":
        return f"{what}: delivered at {moment(last.at)}, attempt {delivery.attempts}"
    if delivery.status == "failed":
        return f"{what}: given up after {delivery.attempts} attempts, the last one: {why}"
    if not delivery.attempts:
        return f"{what}: not attempted yet"
    again = delivery.next_attempt_at
    when = f", next attempt at {moment(again)}" if again is not None else ""
    return f"{what}: failing, {delivery.attempts} attempts made ({why}){when}"


def _stray_line(stream_id: UUID, transfer: OnchainTransfer, words: Words) -> str:
    sighting = transfer.sighting
    state: str = "waits in the inbox" if transfer.waits else transfer.resolution
    why = f"{transfer.reason} ({transfer.verdict})"
    if transfer.subject_id is not None:
        other = public_id("ps", transfer.subject_id)
        state = f"counts towards {other}"
        if transfer.verdict == BY_PERSON:
            state, why = f"assigned to {other} by hand", said(transfer.reason) or ""
    if not transfer.on_chain:
        state = f"gone from the chain, {state}" if transfer.subject_id else "gone from the chain"
    return (
        f"{public_id('tr', stream_id)}: {words.amount(sighting.amount)} from "
        f"{words.write(sighting.sender)}, {state}: {why}"
    )
