"""The wiring of the signing process: its own role, the keystore, and nothing else of the gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from adapters.clock import SystemClock
from adapters.keystore import KeystoreFailed, open_keystore
from adapters.postgres import Postgres
from adapters.signing_book import PostgresSigningBook
from application.paying_out import MICROS_PER_DOLLAR, Caps
from gateway.failures import GatewayError
from gateway.settings import Settings
from workers.signer import SignerProcess


@asynccontextmanager
async def signer(settings: Settings) -> AsyncIterator[SignerProcess]:
    """The signing process: its own role, the keystore, and nothing else of the gateway."""
    path = settings.keystore_path
    assert path is not None, "named among the needs of this process"
    try:
        keys = await asyncio.to_thread(open_keystore, path, settings.secret("keystore_passphrase"))
    except KeystoreFailed as failed:
        raise GatewayError(str(failed)) from failed
    async with Postgres(settings.secret("database_url_signer"), name="gateway-sign") as postgres:
        yield SignerProcess(
            PostgresSigningBook(postgres), keys, settings.book(), SystemClock(), _caps(settings)
        )


def _caps(settings: Settings) -> Caps:
    return Caps(
        per_transaction=_micros(settings.signer_max_per_transaction),
        per_merchant_day=_micros(settings.signer_max_per_merchant_day),
        per_day=_micros(settings.signer_max_per_day),
    )


def _micros(dollars: str) -> int:
    return int(Decimal(dollars) * MICROS_PER_DOLLAR)
