"""What the operator alone sets for a merchant: the wallet that its sessions may share.

Shapes  It has no place in the API: whoever has a key with the scope `write` could send every
        later payment elsewhere, at once and unseen. The fact says that the actor was "operator".
Errors  GatewayError for what names no merchant; AddressMalformed (also for a checksum that does
        not add up), AddressForbidden, NetworkUnknown where no network of the mode is served.
"""

import sys
from uuid import UUID

from adapters.addresses import checksum_address, parse_address
from application.callers import Caller
from application.deciders import MERCHANT
from application.handling import Handler
from application.merchant_settings import MerchantSettings, NewSettings
from application.reads import WatchList
from domain.networks import NetworkBook
from domain.values import Mode
from gateway import bootstrap
from gateway.books import merchant_of
from gateway.failures import GatewayError
from gateway.settings import Settings
from projections.watchlist_reads import WatchListReads

ACTOR = "operator"


async def receiving_address(
    settings: Settings, merchant: str, address: str, *, live: bool
) -> None:
    mode: Mode = "live" if live else "test"
    merchant_id = merchant_of(merchant)
    async with bootstrap.core(settings, "receiving-address") as core:
        watch = WatchListReads(core.postgres, core.networks)
        wallets = Wallets(core.handler, core.networks, watch)
        said = await wallets.receive_at(merchant_id, mode, address)
    sys.stdout.write(said + "\n")


class Wallets:
    """Sets where the customers of a merchant pay to."""

    def __init__(self, handler: Handler, networks: NetworkBook, watch: WatchList) -> None:
        self._handler = handler
        self._networks = networks
        self._settings = MerchantSettings(handler, networks, watch, parse_address)

    async def receive_at(self, merchant_id: UUID, mode: Mode, address: str) -> str:
        """What came of it, for people."""
        self._networks.default(mode)  # or there is nothing to look the address up on
        merchant = await self._handler.load(MERCHANT, merchant_id)
        if merchant is None:
            raise GatewayError(f"there is no merchant {merchant_id.hex}")
        before = merchant.receiving_addresses.get(mode)
        after = await self._settings.change(
            NewSettings(receiving_address=address), _operator(merchant_id, mode)
        )
        now = after.receiving_addresses[mode]
        if now == before:
            return f"nothing changed: it is {checksum_address(now)} already"
        said = (
            f"{merchant.display_name}: new {mode} sessions that are paid to the merchant's wallet "
            f"are paid to {checksum_address(now)} (compare it with the wallet's)"
        )
        if before is None:
            return said
        return (
            f"{said}\nopen ones are still paid to {checksum_address(before)}, "
            "which is watched for ever"
        )


def _operator(merchant_id: UUID, mode: Mode) -> Caller:
    return Caller(
        merchant_id=merchant_id,
        mode=mode,
        key_id=UUID(int=0),
        scopes=(),
        request_id=f"{ACTOR}:{merchant_id.hex}",
        acting=ACTOR,
    )
