"""What a recheck has found, in words that a support desk can read out.

Shapes  A Finding has a verdict for machines and a sentence for people. What is known is told with
        where it ended: the session it was credited to, the refund wallet, or the inbox and why.
Units   amounts in the token's own decimals; confirmations as in chain_ingest/passing.py.
Errors  ports.StoreUnavailable.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from application.chain_source import ReceiptLog, TxReceipt
from application.deciders import TRANSFER, transfer_stream_id
from application.handling import Handler
from application.ingest import Sighted
from application.reconciling import KnownSighting
from chain_ingest.transfers import TRANSFER_TOPIC, Movement, read_log
from domain.events import Sighting
from domain.money import decimal_of
from domain.networks import Network
from domain.transfer import OnchainTransfer
from domain.values import public_id

Verdict = Literal[
    "known",
    "waits",
    "settling",
    "missed",
    "fed_in",
    "not_read_yet",
    "not_watched",
    "token_not_listed",
    "no_credit",
    "failed",
    "no_transfer",
    "not_on_chain",
    "contested",
    "other_branch",
    "phantom",
]
# Something that must not stay so: a person, or --apply, has to act.
WRONG: frozenset[Verdict] = frozenset({"missed", "contested", "other_branch", "phantom"})
_REJECTED = {
    "topics_not_three": "it has the topics of another kind of token",
    "data_not_32_bytes": "its amount is not one number",
    "dirty_address": "its addresses are not clean",
    "no_value": "it moved nothing",
    "to_itself": "sender and recipient are the same",
}


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    words: str
    transfer_id: str | None = None
    subject: str | None = None  # ps_…, where it was credited

    @property
    def wrong(self) -> bool:
        return self.verdict in WRONG

    def about(self, tx_hash: str) -> bool:
        return self.transfer_id is None or self.transfer_id.split(":")[1] == tx_hash


class Telling:
    def __init__(self, network: Network, handler: Handler) -> None:
        self._network = network
        self._handler = handler

    # ------------------------------------------------------------ what is stored

    async def known(self, seen: Sighted, head: int) -> Finding:
        sighting = seen.sighting
        stream_id = transfer_stream_id(sighting.transfer_id)
        transfer = await self._handler.load(TRANSFER, stream_id)
        what = self._what(sighting)
        if transfer is None:
            words = f"{what}: seen, and on its way to the log (or parked: `gateway parked`)"
            return Finding("settling", words, sighting.transfer_id)
        ended, subject = _ended(transfer)
        if seen.confirmed:
            if transfer.status != "confirmed":
                words = f"{what}: confirmed; {ended}; the report is on its way to the log"
                return Finding("settling", words, sighting.transfer_id, subject)
            return Finding("known", f"{what}: known, {ended}", sighting.transfer_id, subject)
        waits = _waits(seen, head)
        words = f"{what}: known, {ended}; waits for confirmations, {waits}"
        return Finding("waits", words, sighting.transfer_id, subject)

    def phantom(self, seen: Sighted) -> Finding:
        words = (
            f"{self._what(seen.sighting)}: STORED, AND NOT IN THE PROVED RECEIPTS of its block; "
            "nobody may ship for it before this is understood"
        )
        return Finding("phantom", words, seen.sighting.transfer_id)

    # ------------------------------------------------------------ what is not

    def missed(self, sighting: Sighting) -> Finding:
        words = f"{self._what(sighting)}: MISSED; feed it in with --apply"
        return Finding("missed", words, sighting.transfer_id)

    def fed_in(self, sighting: Sighting) -> Finding:
        words = f"{self._what(sighting)}: had been MISSED, and is fed in now"
        return Finding("fed_in", words, sighting.transfer_id)

    def not_read_yet(self, sighting: Sighting, head: int) -> Finding:
        words = f"{self._what(sighting)}: not read yet, the ingester is at block {head}"
        return Finding("not_read_yet", words, sighting.transfer_id)

    def elsewhere(self, number: int, ours: str, theirs: str) -> Finding:
        words = (
            f"block {number} is {theirs} on chain and {ours} with us: a reorg that is not "
            "followed yet; ask again in a minute"
        )
        return Finding("other_branch", words)

    # ------------------------------------------------------------ one transaction

    def not_on_chain(
        self, tx_hash: str, providers: int, known: Sequence[KnownSighting]
    ) -> Finding:
        asked = "the provider has" if providers == 1 else f"none of {providers} providers has"
        words = f"{tx_hash}: not on chain, {asked} it in a block"
        if any(each.canonical for each in known):
            number = known[-1].sighted.sighting.block_number
            words += f"; YET WE HOLD IT in block {number}: a reorg that is not followed yet"
            return Finding("other_branch", words)
        if known:
            number = known[-1].sighted.sighting.block_number
            words += f"; we saw it in block {number}, which a reorg has removed"
        return Finding("not_on_chain", words)

    def contested(self, tx_hash: str, number: int) -> Finding:
        words = (
            f"{tx_hash}: a provider says it is in block {number}, and the block that two "
            "providers agree upon does not have it; ask again in a minute"
        )
        return Finding("contested", words)

    def failed(self, tx_hash: str, number: int) -> Finding:
        return Finding("failed", f"{tx_hash}: failed in block {number}, it moved nothing")

    def no_transfer(self, tx_hash: str, number: int) -> Finding:
        words = f"{tx_hash}: in block {number}, succeeded, and moved no token"
        return Finding("no_transfer", words)

    def others(
        self, receipt: TxReceipt, tokens: AbstractSet[bytes], watched: AbstractSet[str]
    ) -> Iterable[Finding]:
        """Whatever else it logged: not ours, of tokens we do not list, or no credit."""
        for index, log in enumerate(receipt.logs):
            finding = self._other(log, tokens, watched, f"{receipt.tx_hash}, log {index}")
            if finding is not None:
                yield finding

    def _other(
        self, log: ReceiptLog, tokens: AbstractSet[bytes], watched: AbstractSet[str], where: str
    ) -> Finding | None:
        read = read_log(log, tokens, "", 0)
        if isinstance(read, Movement):
            if read.recipient in watched:
                return None
            token = self._network.token_at(read.token)
            assert token is not None, "read_log lets only configured tokens pass"
            amount = f"{decimal_of(read.units, token.decimals)} {token.symbol}"
            words = f"{where}: {amount} to {read.recipient}: not ours, nobody watches it"
            return Finding("not_watched", words)
        if read.reason == "token_not_configured":
            return self._unlisted(log, watched, where)
        if read.reason in _REJECTED:
            return Finding("no_credit", f"{where}: no credit, {_REJECTED[read.reason]}")
        return None

    def _unlisted(self, log: ReceiptLog, watched: AbstractSet[str], where: str) -> Finding | None:
        if len(log.topics) != 3 or log.topics[0] != TRANSFER_TOPIC:
            return None
        recipient, token = "0x" + log.topics[2][12:].hex(), "0x" + log.address.hex()
        whose = "our address" if recipient in watched else "an address that is not ours"
        words = f"{where}: {token} is a token we do not list, sent to {whose} {recipient}"
        return Finding("token_not_listed", words)

    def _what(self, sighting: Sighting) -> str:
        token = self._network.token_at(sighting.token)
        assert token is not None, "only configured tokens are sighted"
        amount = f"{decimal_of(sighting.amount.units, token.decimals)} {token.symbol}"
        number = sighting.block_number
        return f"{sighting.transfer_id}: {amount} to {sighting.recipient} in block {number}"


def _ended(transfer: OnchainTransfer) -> tuple[str, str | None]:
    """Where the log says it went."""
    if transfer.purpose == "payment_session" and transfer.subject_id is not None:
        subject = public_id("ps", transfer.subject_id)
        done = "credited to" if transfer.status == "confirmed" else "seen for"
        return f"{done} {subject}", subject
    if transfer.purpose == "refund_float":
        return "a top-up of the merchant's refund wallet", None
    decided = "" if transfer.resolution == "open" else f", {transfer.resolution}"
    return f"in the inbox{decided}: {transfer.reason}", None


def _waits(seen: Sighted, head: int) -> str:
    rule = seen.terms.rule
    if rule.tag is not None:
        return f"for a {rule.tag} block"
    return f"{head - seen.sighting.block_number + 1}/{rule.blocks}"
