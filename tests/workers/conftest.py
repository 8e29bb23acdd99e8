"""A world to pay refunds in: the shared chain, a database of the test's own, keys of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest

from adapters.clock import SystemIds
from adapters.event_store import PostgresEventStore
from adapters.evm import EvmClient
from adapters.keystore import LocalSigner
from adapters.memory.clock import FakeClock
from adapters.outgoing import PostgresOutgoing
from adapters.postgres import Postgres
from adapters.signing_book import PostgresSigningBook
from gateway.embedded_anvil import Anvil
from tests.conftest import Migrated
from tests.contracts.chain import Chain
from tests.examples import AT
from tests.workers.paying import World, network_of

MakeWorld = Callable[..., Awaitable[World]]
FLOAT_UNITS = 1_000_000_000


@pytest.fixture
async def make_world(migrated: Migrated) -> AsyncIterator[MakeWorld]:
    """A funded wallet on the chain it is called with, in a token of its own."""
    async with AsyncExitStack() as stack:

        async def make(anvil: Anvil, contract: str = "TestDollar") -> World:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            chain = Chain(session, anvil.url)
            chain.accounts = await chain.rpc("eth_accounts")
            token = await chain.deploy(contract, "USD Coin", "USDC")
            networks = network_of(token.address)
            client = EvmClient(anvil.url, networks.networks[0], provider_name="anvil")
            await client.open()
            stack.push_async_callback(client.close)
            app = await stack.enter_async_context(Postgres(migrated.app_dsn, name="app"))
            signer = await stack.enter_async_context(Postgres(migrated.signer_dsn, name="sign"))
            store = PostgresEventStore(app, ids=SystemIds())
            await stack.enter_async_context(store)
            keys = LocalSigner(SystemIds().secret(32))
            world = World(
                clock=FakeClock(AT),
                store=store,
                outgoing=PostgresOutgoing(app),
                signer_book=PostgresSigningBook(signer),
                chain=chain,
                token=token,
                client=client,
                networks=networks,
                keys=keys,
                wallet=await keys.address(0),
            )
            await world.top_up(FLOAT_UNITS)
            return world

        yield make


@pytest.fixture
async def world(make_world: MakeWorld, anvil: Anvil) -> World:
    return await make_world(anvil)
