"""Twin of the outgoing book, both sides of it: the sender's and the signer's."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from adapters.signing_book import over_a_cap, why_locked
from application.outside import RESENT_MAX, Outgoing, Payout
from application.paying_out import (
    DAY_SECONDS,
    TRANSFER_GAS_LIMIT,
    Approved,
    Caps,
    Held,
    Refused,
    SignedTransfer,
    Terms,
    Unsigned,
    Verdict,
)


@dataclass(slots=True)
class _Row:
    asked: Unsigned
    seen: Outgoing
    micros: int = 0
    approved_at: datetime | None = None


@dataclass(slots=True)
class _Wallet:
    next_nonce: int
    locked: str | None = None


@dataclass(slots=True)
class MemoryOutgoing:
    """Implements OutgoingBook and SigningBook; `stopped` is the kill switch."""

    stopped: str | None = None
    tighter: Caps | None = None
    _rows: dict[UUID, _Row] = field(default_factory=dict)
    _wallets: dict[tuple[int, str], _Wallet] = field(default_factory=dict)

    def all_rows(self) -> list[Outgoing]:
        """Of every refund there ever was, oldest first."""
        return [row.seen for row in self._rows.values()]

    # ------------------------------------------------------------ the sender's side

    async def reserve(self, payout: Payout) -> Outgoing:
        return self._insert(payout, None)

    async def decline(self, payout: Payout, reason: str) -> Outgoing:
        return self._insert(payout, reason)

    async def withdraw(self, refund_id: UUID, reason: str) -> Outgoing:
        row = self._rows[refund_id]
        if row.seen.state == "reserved" and row.seen.nonce is None:
            row.seen = replace(row.seen, state="refused", refusal=reason)
        return row.seen

    async def find(self, refund_id: UUID) -> Outgoing | None:
        row = self._rows.get(refund_id)
        return None if row is None else row.seen

    async def signed_before(self, outgoing: Outgoing, first_nonce: int) -> list[bytes]:
        chain_id = self._rows[outgoing.refund_id].asked.chain_id
        assert outgoing.nonce is not None
        found = sorted(
            (row.seen.nonce, row.seen.raw)
            for row in self._rows.values()
            if (row.asked.chain_id, row.asked.wallet) == (chain_id, outgoing.wallet)
            and row.seen.nonce is not None
            and row.seen.raw is not None
            and first_nonce <= row.seen.nonce < outgoing.nonce
        )
        return [raw for _, raw in found[:RESENT_MAX]]

    def _insert(self, payout: Payout, refusal: str | None) -> Outgoing:
        row = self._rows.get(payout.refund_id)
        if row is None:
            row = self._rows[payout.refund_id] = _row(payout, refusal)
        return row.seen

    # ------------------------------------------------------------ the signer's side

    async def unsigned(self, limit: int) -> list[Unsigned]:
        waiting = [
            row.asked
            for row in self._rows.values()
            if row.seen.state == "reserved" and self._locked(row) is None
        ]
        return waiting[:limit]

    async def approve(self, refund_id: UUID, terms: Terms, now: datetime) -> Verdict:
        row = self._rows[refund_id]
        verdict = self._standing(row) or self._over_a_cap(row, terms, now)
        return verdict or self._give_nonce(row, terms, now)

    async def store(self, refund_id: UUID, signed: SignedTransfer, now: datetime) -> None:
        del now
        row = self._rows[refund_id]
        if row.seen.state == "reserved" and row.seen.nonce is not None:
            row.seen = replace(row.seen, state="signed", raw=signed.raw, tx_hash=signed.tx_hash)

    async def refuse(self, refund_id: UUID, reason: str, now: datetime) -> bool:
        del now
        row = self._rows[refund_id]
        if row.seen.state == "reserved" and row.seen.nonce is None:
            row.seen = replace(row.seen, state="refused", refusal=reason)
        return row.seen.state == "refused"

    def _locked(self, row: _Row) -> str | None:
        wallet = self._wallets.get((row.asked.chain_id, row.asked.wallet))
        return None if wallet is None else wallet.locked

    def _standing(self, row: _Row) -> Verdict | None:
        if row.seen.state == "refused":
            return Refused(row.seen.refusal or "")
        if row.seen.state == "signed":
            return Approved(row.seen.nonce or 0)
        if self.stopped is not None:
            return Held(f"signing is stopped: {self.stopped}", everything=True)
        if row.seen.nonce is not None:
            return Approved(row.seen.nonce)
        locked = self._locked(row)
        if locked is not None:
            return Held(locked, everything=False)
        if any(address == row.asked.destination for _, address in self._wallets):
            return Refused("the destination is one of the gateway's own wallets")
        return None

    def _over_a_cap(self, row: _Row, terms: Terms, now: datetime) -> Refused | None:
        day_began = now - timedelta(seconds=DAY_SECONDS)
        today = [
            other
            for other in self._rows.values()
            if other.approved_at is not None
            and other.approved_at > day_began
            and other.asked.chain_id in terms.chain_ids
        ]
        mine = sum(o.micros for o in today if o.asked.merchant_id == row.asked.merchant_id)
        caps = terms.caps if self.tighter is None else terms.caps.tightened(self.tighter)
        return over_a_cap(caps, terms.micros, sum(o.micros for o in today), mine)

    def _give_nonce(self, row: _Row, terms: Terms, now: datetime) -> Approved | Held:
        place = (row.asked.chain_id, row.asked.wallet)
        known = self._wallets.get(place)
        ours = None if known is None else known.next_nonce
        seen = row.asked.chain_nonce
        locked = why_locked(seen, ours, known_wallets_only=terms.known_wallets_only)
        nonce = seen if ours is None else ours
        if locked is not None:
            self._wallets[place] = _Wallet(nonce, locked)
            return Held(locked, everything=False)
        self._wallets[place] = _Wallet(nonce + 1)
        row.seen = replace(row.seen, nonce=nonce)
        row.micros, row.approved_at = terms.micros, now
        return Approved(nonce)


def _row(payout: Payout, refusal: str | None) -> _Row:
    asked = Unsigned(
        refund_id=payout.refund_id,
        merchant_id=payout.merchant_id,
        network=payout.network.name,
        chain_id=payout.network.chain_id,
        wallet=payout.wallet,
        wallet_index=payout.wallet_index,
        token=payout.token,
        destination=payout.destination,
        units=payout.units,
        gas_limit=TRANSFER_GAS_LIMIT,
        max_fee=payout.max_fee,
        tip=payout.tip,
        chain_nonce=payout.chain_nonce,
    )
    seen = Outgoing(
        refund_id=payout.refund_id,
        network=payout.network.name,
        wallet=payout.wallet,
        nonce=None,
        state="reserved" if refusal is None else "refused",
        raw=None,
        tx_hash=None,
        refusal=refusal,
    )
    return _Row(asked, seen)
