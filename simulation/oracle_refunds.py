"""Refunds: asked for once, paid at most once, and only what the chain shows as paid is paid.

Rules   C1, C2, C4, C5. A refund that is completed has its transaction on the final chain, deep
        enough, and it moved exactly that money from the merchant's wallet to the destination.
        A failed one has moved nothing. Every transfer out of a refund wallet is some refund's.
        One that is called final names a block of the final chain that pays it, and the chain
        had called that block final by then.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from simulation.evidence import LogRow, OutgoingRow, Violation
from simulation.oracle_policy import final_by
from simulation.oracle_truth import REFUND, Case, Moved, plain, rule_by_tier

ZERO = "0x" + "0" * 40
STATES = {
    "refund.requested": "requested",
    "refund.signed": "signed",
    "refund.broadcast": "broadcast",
    "refund.completed": "completed",
    "refund.failed": "failed",
    "refund.reversed": "broadcast",
}
ENDS = {
    "refund_float.spent": "completed",
    "refund_float.released": "failed",
    "refund_float.spending_reversed": None,
    "payment.refunded": "completed",
    "payment.refund_released": "failed",
    "payment.refund_reversed": None,
    "onchain_transfer.refunded": "completed",
    "onchain_transfer.refund_released": "failed",
    "onchain_transfer.refund_reversed": None,
}
RESERVES = (
    "payment.refund_reserved",
    "refund_float.reserved",
    "onchain_transfer.refund_reserved",
)


@dataclass(frozen=True, slots=True)
class Refund:
    id: str
    merchant: str
    session: str | None
    transfer: str | None  # of the inbox; one of the two is named
    network: str
    asset: str
    units: int
    wallet: str
    destination: str
    state: str
    position: int
    tx_hash: str | None
    gas: tuple[str, int] | None  # coin and units, as booked


def refunds_of(case: Case) -> dict[str, Refund]:
    return {refund_id: _refund(refund_id, rows) for refund_id, rows in case.of_type(REFUND)}


def _refund(refund_id: str, rows: list[LogRow]) -> Refund:
    asked = rows[0].data
    states = [STATES[row.name] for row in rows if row.name in STATES]
    hashes = [row.data["tx_hash"] for row in rows if "tx_hash" in row.data]
    ends = [row for row in rows if row.name in {"refund.completed", "refund.failed"}]
    gas = ends[-1].data.get("gas") if states[-1] in {"completed", "failed"} else None
    return Refund(
        id=refund_id,
        merchant=plain(asked["merchant_id"]),
        session=asked["session_id"] and plain(asked["session_id"]),
        transfer=asked.get("transfer_id"),
        network=asked["network"],
        asset=asked["amount"]["asset"],
        units=int(asked["amount"]["units"]),
        wallet=asked["wallet"],
        destination=asked["destination"],
        state=states[-1],
        position=rows[0].position,
        tx_hash=hashes[-1] if hashes else None,
        gas=(gas["asset"], int(gas["units"])) if gas else None,
    )


def check(case: Case) -> Iterator[Violation]:
    refunds = refunds_of(case)
    outgoing = {row.refund_id: row for row in case.evidence.outgoing}
    paid = _payments(case)
    for refund in refunds.values():
        row = outgoing.get(refund.id)
        mine = paid.pop((refund.network, row.tx_hash), []) if row and row.tx_hash else []
        yield from _ended(case, refund, mine)
        yield from _final(case, refund)
        yield from _terms(case, refund)
        yield from _row(case, refund, row)
        if refund.state not in {"completed", "failed"} and not case.evidence.refunds_held:
            yield Violation("refund_stuck", f"{refund.id} is {refund.state}")
    for (network, tx_hash), moves in paid.items():
        yield Violation("paid_without_refund", f"{network} {tx_hash}: {[m.units for m in moves]}")
    yield from _together(case, refunds)
    yield from _nonces(case)


def _payments(case: Case) -> dict[tuple[str, str], list[Moved]]:
    """Everything that left a refund wallet on the final chains, by transaction."""
    wallets = {
        (network.name, merchant.refund_wallet)
        for merchant in case.evidence.merchants
        for network in case.evidence.networks
        if network.mode == merchant.mode
    }
    found: defaultdict[tuple[str, str], list[Moved]] = defaultdict(list)
    for moved in case.final.values():
        if (moved.network, moved.sender) in wallets:
            found[moved.network, moved.tx_hash].append(moved)
    return dict(found)


def _ended(case: Case, refund: Refund, mine: list[Moved]) -> Iterator[Violation]:
    if len(mine) > 1:
        yield Violation("refund_paid_twice", f"{refund.id}: {len(mine)} transfers")
    for moved in mine:
        said = (refund.asset, refund.units, refund.wallet, refund.destination)
        if (moved.asset, moved.units, moved.sender, moved.recipient) != said:
            yield Violation("refund_wrong", f"{refund.id} paid {moved}")
    if refund.state == "completed":
        if not mine:
            yield Violation("refund_not_on_chain", f"{refund.id} {refund.tx_hash}")
        elif not _deep(case, refund, mine[0]):
            yield Violation("refund_not_safe", f"{refund.id}: {case.depth(mine[0])} confirmations")
    if refund.state == "failed" and mine:
        yield Violation("refund_failed_but_paid", f"{refund.id} {mine[0].tx_hash}")


def _deep(case: Case, refund: Refund, paid: Moved) -> bool:
    """As the newest terms asked for when it was found to be done, for this amount."""
    rows = [row for row in case.streams[REFUND, refund.id] if row.name == "refund.completed"]
    known = [
        int(row.data["policy"]["version"])
        for row in case.evidence.log
        if row.name == "network.confirmation_policy_set"
        and row.data["network"] == refund.network
        and row.position < rows[-1].position
    ]
    said = rows[-1].context.get("policy_version") or case.networks[refund.network].policy_version
    if known and int(said) not in known:
        return False
    return case.meets(paid, rule_by_tier(case, paid, int(said), refund.units))


def _final(case: Case, refund: Refund) -> Iterator[Violation]:
    """Nobody looks at it again, so nothing of this may turn out otherwise."""
    for row in case.streams[REFUND, refund.id]:
        if row.name != "refund.finalized":
            continue
        number, block_hash = int(row.data["block_number"]), row.data["block_hash"]
        asked = (refund.asset, refund.units, refund.wallet, refund.destination)
        pays = any(
            (moved.asset, moved.units, moved.sender, moved.recipient) == asked
            and (moved.network, moved.tx_hash) == (refund.network, row.data["tx_hash"])
            and moved.number == number
            for moved in case.inside.get(block_hash, ())
        )
        if not pays or block_hash not in case.canonical:
            yield Violation("refund_not_final", f"{refund.id}: not paid by {number} {block_hash}")
        elif not final_by(case, refund.network, number, row.written_at_us):
            yield Violation("refund_final_too_early", f"{refund.id}: {number} was not final")


def _terms(case: Case, refund: Refund) -> Iterator[Violation]:
    """To whom, from where, in what: as what it gives back and its chain allow it."""
    given_back = _given_back(case, refund)
    if given_back != (refund.network, refund.asset, refund.merchant):
        yield Violation("refund_wrong", f"{refund.id} of {given_back}")
    network = case.networks[refund.network]
    owner = case.owners.get((network.mode, refund.destination))
    ours = owner is not None and (
        owner.purpose != "payment_session"
        or case.sessions[owner.subject].position < refund.position
    )
    tokens = {token.address for token in network.tokens}
    if ours or refund.destination == ZERO or refund.destination in tokens:
        yield Violation("refund_destination", f"{refund.id} to {refund.destination}")
    wallet = case.owners.get((network.mode, refund.wallet))
    if wallet is None or (wallet.purpose, wallet.subject) != ("refund_float", refund.merchant):
        yield Violation("refund_wrong", f"{refund.id} from {refund.wallet}")


def _given_back(case: Case, refund: Refund) -> tuple[str, str, str] | None:
    """Network, asset and merchant of the session or of the transfer it is a refund of."""
    if refund.session is not None:
        opened = case.sessions.get(refund.session)
        return (opened.network, opened.asset, opened.merchant) if opened else None
    found = (moved for (known, _), moved in case.ever.items() if known == refund.transfer)
    moved = next(found, None)
    owner = case.owner(moved) if moved is not None else None
    return (moved.network, moved.asset, owner.merchant) if moved and owner else None


def _row(case: Case, refund: Refund, row: OutgoingRow | None) -> Iterator[Violation]:
    signed = [log.data for log in case.streams[REFUND, refund.id] if log.name == "refund.signed"]
    if not signed:
        return
    if row is None or (row.tx_hash, row.nonce) != (signed[0]["tx_hash"], signed[0]["nonce"]):
        yield Violation("refund_wrong", f"{refund.id} was signed as {signed[0]}, the row is {row}")
    hashes = {
        log.data["tx_hash"] for log in case.streams[REFUND, refund.id] if "tx_hash" in log.data
    }
    if len(hashes) > 1:
        yield Violation("refund_wrong", f"{refund.id} names {len(hashes)} transactions")


def _together(case: Case, refunds: dict[str, Refund]) -> Iterator[Violation]:
    """Refund, float, and the session or transfer it is of say the same of every refund."""
    reserved: Counter[tuple[str, str]] = Counter()
    ended: dict[tuple[str, str], str | None] = {}
    for row in case.evidence.log:
        if row.name in RESERVES:
            reserved[row.stream_type, plain(row.data["refund_id"])] += 1
        if row.name in ENDS:
            ended[row.stream_type, plain(row.data["refund_id"])] = ENDS[row.name]
    for refund in refunds.values():
        wanted = refund.state if refund.state in {"completed", "failed"} else None
        for side in ("payment_session" if refund.session else "onchain_transfer", "refund_float"):
            if reserved.pop((side, refund.id), 0) != 1:
                yield Violation("refund_not_reserved", f"{refund.id} on its {side}")
            if ended.get((side, refund.id)) != wanted:
                how = f"{refund.state}, its {side} says {ended.get((side, refund.id))}"
                yield Violation("refund_half_ended", f"{refund.id} is {how}")
    for side, refund_id in reserved:
        yield Violation("refund_not_requested", f"{side} holds money for {refund_id}")


def _nonces(case: Case) -> Iterator[Violation]:
    """One nonce a refund and one refund a nonce; one set of bytes for each, without gaps."""
    used: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row in case.evidence.outgoing:
        if row.nonce is not None:
            used[row.network, row.wallet].append(row.nonce)
    for (network, wallet), nonces in used.items():
        if sorted(nonces) != list(range(min(nonces), min(nonces) + len(nonces))):
            yield Violation("nonce_wrong", f"{wallet} on {network}: {sorted(nonces)}")
    stored = {row.tx_hash: row.raw for row in case.evidence.outgoing}
    for sent in case.evidence.broadcasts:
        if stored.get(sent.tx_hash) != sent.raw:
            yield Violation("sent_before_stored", f"{sent.network} {sent.tx_hash}")
