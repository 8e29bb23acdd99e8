"""The shared chain, seen through raw JSON-RPC."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.embedded_anvil import Anvil
from tests.contracts.chain import Chain


@pytest.fixture
async def chain(anvil: Anvil) -> AsyncIterator[Chain]:
    async with aiohttp.ClientSession() as session:
        made = Chain(session, anvil.url)
        made.accounts = await made.rpc("eth_accounts")
        yield made
