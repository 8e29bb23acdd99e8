"""Evidence from a world that has settled down: everything as plain data."""

import json
from collections.abc import Iterable
from datetime import datetime

from adapters.addresses import checksum_address
from adapters.event_store_read import RawEvent
from adapters.memory.chain import FINAL_BLOCKS, MemoryBlock, MemoryChain
from adapters.memory.outgoing import MemoryOutgoing
from api.views import Views
from application.sessions import GRACE_SECONDS_DEFAULT
from domain.events import EVENTS
from domain.money import units_of
from domain.payment import PaymentSession
from projections.catalogue import PROJECTIONS
from simulation import setting
from simulation.clients import EPOCH_US, Clients
from simulation.evidence import (
    AccountRow,
    BlockFacts,
    Broadcast,
    ChainFacts,
    Evidence,
    Json,
    LogFacts,
    LogRow,
    MerchantFacts,
    NetworkFacts,
    OutgoingRow,
    ParkedRow,
    PostingRow,
    TagTold,
    TokenFacts,
    TxFacts,
)
from simulation.servers import Servers
from simulation.staff import Staff
from simulation.tables import Tables
from simulation.wires_chain import tx_hash_of

REBUILD_BATCH_EVENTS = 37  # another size than any live batch need have had


def collect(
    servers: Servers,
    staff: Staff,
    clients: Clients,
    *,
    settled: bool,
    merchants: list[MerchantFacts],
) -> Evidence:
    return Evidence(
        seed=servers.seed,
        networks=tuple(_networks()),
        merchants=tuple(merchants),
        chains=tuple(_chain(name, chain, servers) for name, chain in servers.chains.items()),
        requests=tuple(clients.requests),
        log=tuple(
            _row(raw, servers.written_at_us[raw.position - 1], servers.writes[raw.position - 1])
            for raw in servers.log.recorder.rows
            if raw is not None
        ),
        live=servers.tables.as_text(),
        rebuilt=_rebuilt(servers).as_text(),
        accounts=tuple(
            AccountRow(*key, account.debits, account.credits)
            for key, account in sorted(servers.log.accounts.items())
        ),
        postings=tuple(
            PostingRow(
                position=each.position,
                entry_id=each.leg.entry_id.hex,
                account=each.leg.account,
                asset=each.leg.asset,
                units=each.leg.units,
                balance_after=each.leg.balance_after,
            )
            for each in servers.log.postings
        ),
        posts=tuple(servers.receivers.posts),
        outgoing=tuple(_outgoing(servers.outgoing)),
        broadcasts=tuple(_broadcasts(servers)),
        parked=tuple(_parked(servers)),
        deaths=tuple(staff.deaths),
        settled=settled,
        ended_at_us=EPOCH_US + servers.loop.now_us,
        grace_seconds=GRACE_SECONDS_DEFAULT,
        event_names=tuple(sorted(EVENTS)),
        views=_views(servers),
        tags=tuple(TagTold(*told, EPOCH_US + at_us) for told, at_us in servers.told_tags.items()),
    )


def _networks() -> Iterable[NetworkFacts]:
    for network in setting.BOOK.networks:
        yield NetworkFacts(
            name=network.name,
            chain_id=network.chain_id,
            mode=network.mode,
            tokens=tuple(
                TokenFacts(token.symbol, token.address, token.decimals, token.accepted)
                for token in network.tokens
            ),
            confirmations=network.policy.blocks,
            policy_version=network.policy.version,
            believes_one=network.policy.allow_unattested,
            providers=setting.PROVIDERS[network.name],
            below_head={"safe": setting.SAFE_BLOCKS, "finalized": FINAL_BLOCKS},
        )


def _chain(name: str, chain: MemoryChain, servers: Servers) -> ChainFacts:
    canonical = {block.header.hash for block in chain.blocks}
    return ChainFacts(
        network=name,
        canonical=tuple(_block(block, servers) for block in chain.blocks),
        orphaned=tuple(
            _block(block, servers)
            for block in chain.branches()
            if block.header.hash not in canonical
        ),
        started_after=0,
    )


def _block(block: MemoryBlock, servers: Servers) -> BlockFacts:
    header = block.header
    left_at_us = servers.left_at_us.get(header.hash)
    return BlockFacts(
        number=header.number,
        hash=header.hash,
        parent=header.parent_hash,
        time_us=header.timestamp * 1_000_000,
        mined_at_us=EPOCH_US + servers.mined_at_us.get(header.hash, 0),
        left_at_us=None if left_at_us is None else EPOCH_US + left_at_us,
        txs=tuple(
            TxFacts(
                hash=receipt.tx_hash,
                succeeded=receipt.status == 1,
                logs=tuple(
                    LogFacts(
                        address="0x" + log.address.hex(),
                        topics=tuple("0x" + topic.hex() for topic in log.topics),
                        data="0x" + log.data.hex(),
                    )
                    for log in receipt.logs
                ),
            )
            for receipt in block.receipts
        ),
    )


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _row(raw: RawEvent, written_at_us: int, write: int) -> LogRow:
    return LogRow(
        position=raw.position,
        stream_type=raw.stream_type,
        stream_id=raw.stream_id.hex,
        version=raw.version,
        name=raw.topic,
        event_version=raw.schema_version,
        event_id=raw.event_id.hex,
        merchant_id=raw.merchant_id.hex if raw.merchant_id else None,
        mode=raw.mode,
        occurred_at_us=_us(raw.occurred_at),
        recorded_at_us=_us(raw.recorded_at),
        data=json.loads(raw.state),
        context=json.loads(raw.meta),
        written_at_us=EPOCH_US + written_at_us,
        write=write,
    )


def _rebuilt(servers: Servers) -> Tables:
    tables = Tables(PROJECTIONS)
    log = servers.log
    rows = [row for row in log.recorder.rows if row is not None]
    for first in range(0, len(rows), REBUILD_BATCH_EVENTS):
        tables.advance([log.decoded(row) for row in rows[first : first + REBUILD_BATCH_EVENTS]])
    return tables


def _views(servers: Servers) -> dict[str, Json]:
    """What the API shows of each session: the view of what the read model holds."""
    views = Views(setting.BOOK, checksum_address, setting.PUBLIC_BASE_URL)
    found: dict[str, Json] = {}
    for row in servers.tables.rows_of("payments"):
        session = PaymentSession.model_validate_json(str(row["state"]))
        shown = views.session(session)
        _, token = setting.BOOK.of_asset(session.due.asset)
        found[session.session_id.hex] = {
            "status": shown.status,
            "exceptions": list(shown.exceptions),
            "received": units_of(shown.amount_received, token.decimals),
            "confirmed": units_of(shown.amount_confirmed, token.decimals),
            "refunded": units_of(shown.amount_refunded, token.decimals),
        }
    return found


def _outgoing(book: MemoryOutgoing) -> Iterable[OutgoingRow]:
    for row in book.all_rows():
        yield OutgoingRow(
            refund_id=row.refund_id.hex,
            network=row.network,
            wallet=row.wallet,
            nonce=row.nonce,
            state=row.state,
            tx_hash=row.tx_hash,
            raw=row.raw.hex() if row.raw is not None else None,
            refusal=row.refusal,
        )


def _broadcasts(servers: Servers) -> Iterable[Broadcast]:
    for node in servers.nodes.values():
        for network, raw, at_us in node.heard:
            yield Broadcast(network, tx_hash_of(raw), raw.hex(), EPOCH_US + at_us)


def _parked(servers: Servers) -> Iterable[ParkedRow]:
    for message in servers.parked.all_parked():
        yield ParkedRow("settlement", message.message_id, message.error)
    for (follower, position), reason in servers.checkpoints.parked.items():
        yield ParkedRow(follower, str(position), reason)
    for projection, stream, error in servers.tables.parked:
        yield ParkedRow(f"projection:{projection}", f"{stream.type}/{stream.id.hex}", error)
