"""What one agreed block pays to watched addresses, proved.

Shapes  The bloom may rule a block out for certain; else two providers' logs say whether to look,
        and the receipts, hashed to the header's root, say what there is.
Errors  ports.Unavailable, NoQuorum and Unprovable from chain_ingest/providers.py: the block is
        not passed. Nothing is ever taken from a log that no receipt proves.
Source  a bridge's mint on Polygon before PIP-74 is neither in bloom nor receipts: not seen here.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import structlog

from application.chain_source import LogEntry
from chain_ingest.panel import Heard
from chain_ingest.proof import block_may_have_logged
from chain_ingest.providers import Agreed, Providers
from chain_ingest.transfers import TRANSFER_TOPIC, movements_in, sighting_of
from domain.events import Sighting
from domain.networks import Network

log = structlog.get_logger(__name__)


class Scanner:
    def __init__(self, network: Network, providers: Providers) -> None:
        self._network = network
        self._providers = providers
        # Tokens we refuse are looked for too: their sender is told, and the money is not lost.
        self.tokens = tuple(token.address for token in network.tokens)
        self._token_bytes = frozenset(bytes.fromhex(address[2:]) for address in self.tokens)

    async def sightings(self, block: Agreed, watched: AbstractSet[str]) -> tuple[Sighting, ...]:
        """Everything the block moved to a watched address."""
        header = block.header
        if not watched or not block_may_have_logged(header, self._token_bytes, TRANSFER_TOPIC):
            return ()
        heard = await self._providers.logs_of_block(block, self.tokens, watched)
        if not any(self.matching(heard.entries, watched)):
            return ()
        return await self.proved(block, watched, heard)

    async def proved(
        self, block: Agreed, watched: AbstractSet[str], heard: Heard | None = None
    ) -> tuple[Sighting, ...]:
        """All of it by its receipts; `heard` is what the providers had told of its logs."""
        receipts = await self._providers.proved_receipts(block.header)
        if heard is not None:
            self._providers.check_logs(block, receipts, heard)
        movements, posed = movements_in(receipts, self._token_bytes, watched)
        for reject in posed:
            log.warning(
                "transfer_rejected",
                network=self._network.name,
                tx_hash=reject.tx_hash,
                log_index=reject.log_index,
                reason=reject.reason,
            )
        if not movements and heard is not None:
            log.error("log_without_receipt", network=self._network.name, block=block.header.number)
        return tuple(
            sighting_of(
                movement,
                self._network,
                block.header,
                attested=block.attested,
                providers=block.providers,
            )
            for movement in movements
        )

    def matching(self, logs: Iterable[LogEntry], watched: AbstractSet[str]) -> Iterable[LogEntry]:
        """Logs worth a proof: of our tokens, to a watched address, and moving something.

        Anybody can send nothing to any address for free; that must cost us no proof.
        """
        return (
            entry
            for entry in logs
            if entry.address in self.tokens
            and len(entry.topics) == 3
            and "0x" + entry.topics[2][-40:] in watched
            and entry.topics[1] != entry.topics[2]
            and entry.data.strip("0x")
        )
