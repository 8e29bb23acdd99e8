"""In-memory twins of application/reconciling.py, over the twins of the ingester's store and reads.

Shapes  A place in the watch list is counted here, a position of the log there: both go down.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from adapters.memory.ingest_rows import Seen
from adapters.memory.ingest_store import MemoryIngestStore
from adapters.memory.read_models import Follower, Models
from application.ingest import CoveredRange, Purse
from application.ports import EventStore
from application.reconciling import (
    Arrived,
    Examined,
    KnownSighting,
    Mark,
    Reading,
    Reconciliation,
    WatchedAddress,
)
from domain.networks import NetworkBook
from domain.transfer import OnchainTransfer


class MemoryReconcileBook:
    def __init__(self, store: MemoryIngestStore) -> None:
        self._store = store
        self._readings: dict[tuple[str, Purse], Reading] = {}
        self.runs: list[Reconciliation] = []

    async def sightings_of(self, network: str, tx_hash: str) -> Sequence[KnownSighting]:
        return [
            KnownSighting(seen.told(), seen.state != "orphaned")
            for seen in self._seen(network)
            if seen.sighting.tx_hash == tx_hash
        ]

    async def received_until(self, network: str, marks: Collection[Mark]) -> Mapping[Mark, int]:
        found = dict.fromkeys(marks, 0)
        for seen in self._seen(network):
            sighting = seen.sighting
            for recipient, asset, block in marks:
                here = (recipient, asset) == (sighting.recipient, sighting.amount.asset)
                if here and seen.state != "orphaned" and sighting.block_number <= block:
                    found[recipient, asset, block] += sighting.amount.units
        return found

    async def readings(self, network: str, purses: Collection[Purse]) -> Mapping[Purse, Reading]:
        known = ((purse, self._readings.get((network, purse))) for purse in purses)
        return {purse: reading for purse, reading in known if reading is not None}

    async def keep(self, run: Reconciliation, readings: Sequence[Reading]) -> None:
        self.runs.append(run)
        self._readings.update(((run.network, each.purse), each) for each in readings)

    async def newest(self, network: str) -> Reconciliation | None:
        return next((run for run in reversed(self.runs) if run.network == network), None)

    async def examined(self, network: str, covered: CoveredRange) -> Examined:
        blocks = range(covered.first, covered.last + 1)
        attested = sum(
            block.attested and block.ref.number in blocks
            for block in self._store.passed_blocks(network)
        )
        proved = {
            seen.sighting.block_number
            for seen in self._seen(network)
            if seen.state != "orphaned" and seen.sighting.block_number in blocks
        }
        return Examined(len(blocks) if covered.attested else attested, len(proved))

    def _seen(self, network: str) -> Collection[Seen]:
        return self._store._rows(network)  # noqa: SLF001 - twins of one package share their rows


class MemoryAddressesToCheck:
    def __init__(self, store: EventStore, networks: NetworkBook) -> None:
        self._follower = Follower(store)
        self._networks = networks

    async def awaiting(self, network: str, limit: int) -> Sequence[WatchedAddress]:
        sessions = [
            row.session
            for row in (await self._follower.models()).sessions.values()
            if row.session.network == network
            and row.session.status == "pending"
            and row.session.pay_by == "deposit_address"
        ]
        sessions.sort(key=lambda session: session.expires_at, reverse=True)
        chosen = sessions[:limit]
        return [
            WatchedAddress(each.deposit_address, "payment_session", each.created_at)
            for each in chosen
        ]

    async def below(
        self, network: str, position: int, limit: int
    ) -> tuple[Sequence[WatchedAddress], int]:
        mode = self._networks.get(network).mode
        models = await self._follower.models()
        sessions = models.sessions
        born = {one: sessions[one].session.created_at for one in sessions}
        placed = [
            (place, WatchedAddress(address, owner.purpose, born.get(owner.subject_id)))
            for place, ((own, address), owner) in enumerate(models.watched.items(), start=1)
            if own == mode and (position == 0 or place < position)
        ]
        chosen = placed[::-1][:limit]
        more = len(placed) > len(chosen)
        return [address for _, address in chosen], chosen[-1][0] if more else 0


class MemoryBooksAndChain:
    def __init__(
        self, ingest: MemoryIngestStore, store: EventStore, networks: NetworkBook
    ) -> None:
        self._ingest = ingest
        self._follower = Follower(store)
        self._networks = networks

    async def arrived(self, network: str) -> Sequence[Arrived]:
        models = await self._follower.models()
        ours = self._networks.get(network)
        told = {
            row.transfer.sighting.transfer_id: row.transfer
            for row in models.transfers.values()
            if row.transfer.sighting.network == network
        }
        confirmed, nobodys, settling, leaving = (Counter[str]() for _ in range(4))
        there: set[str] = set()
        for seen in self._ingest._rows(network):  # noqa: SLF001 - twins of one package
            if seen.state != "confirmed":
                continue
            sighting = seen.sighting
            there.add(sighting.transfer_id)
            asset, units = sighting.amount.asset, sighting.amount.units
            confirmed[asset] += units
            transfer = told.get(sighting.transfer_id)
            if transfer is None or transfer.status != "confirmed":
                settling[asset] += units
            elif _unbooked(transfer):
                nobodys[asset] += units
        for one, transfer in told.items():
            if one not in there and transfer.status == "confirmed" and not _unbooked(transfer):
                leaving[transfer.sighting.amount.asset] += transfer.sighting.amount.units
        assets = {ours.asset(token) for token in ours.tokens} | set(confirmed) | set(leaving)
        return [
            Arrived(
                asset,
                confirmed[asset],
                nobodys[asset],
                settling[asset],
                leaving[asset],
                _booked(models, asset),
            )
            for asset in sorted(assets)
        ]


def _unbooked(transfer: OnchainTransfer) -> bool:
    nobodys = transfer.merchant_id is None or transfer.resolution == "dismissed"
    return transfer.purpose == "unmatched" and nobodys


_SIGNS = {"customer_receipts": 1, "hot_wallet": 1, "float_shortfall": -1, "customer_refunds": -1}


def _booked(models: Models, asset: str) -> int:
    """As the statement of the real one says."""
    return sum(
        _SIGNS.get(account.split(":", 1)[0], 0) * (debits - credits_)
        for (account, of), (debits, credits_) in models.balances.items()
        if of == asset
    )
