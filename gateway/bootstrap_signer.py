"""The wiring of the signing process: its own role, the keystore, and nothing else of the gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from adapters.clock import SystemClock
from adapters.keystore import open_keystore
from adapters.postgres import Postgres
from adapters.signing_book import PostgresSigningBook
from application.paying_out import MICROS_PER_DOLLAR, Caps
from gateway.failures import GatewayError
from gateway.settings import Settings
from workers.signer import SignerProcess


@asynccontextmanager
async def signer(settings: Settings) -> AsyncIterator[SignerProcess]:
    """The signing process: its own role, the keystore, and nothing else of the gateway."""
    url, path, passphrase = (
        settings.database_url_signer,
        settings.keystore_path,
        settings.keystore_passphrase,
    )
    if url is None or path is None or passphrase is None:
        raise GatewayError(
            "the signer needs DATABASE_URL_SIGNER, KEYSTORE_PATH and KEYSTORE_PASSPHRASE"
        )
    keys = await asyncio.to_thread(open_keystore, path, passphrase.get_secret_value())
    postgres = Postgres(url.get_secret_value(), name="gateway-sign")
    async with postgres:
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
