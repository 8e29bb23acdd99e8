"""Each process of the gateway, from its first connection to its last.

Shapes  every function runs until `stop` is set, then finishes what it holds and returns.
"""
# ruff: noqa: PLC0415 - what one process alone needs, the other six need not import

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from adapters.evm import EvmClient
from application.ports import Unavailable
from chain_ingest.admission import Misconfigured, admit
from chain_ingest.service import Ingester
from domain.networks import Network
from gateway import bootstrap
from gateway.failures import GatewayError
from gateway.settings import Settings

if TYPE_CHECKING:
    import uvicorn

    from gateway.metrics import Origin

log = structlog.get_logger(__name__)

_DATABASE_AND_BUS = ("database_url", "nats_url", "networks")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "api": (*_DATABASE_AND_BUS, "master_key"),
    "ingest": (*_DATABASE_AND_BUS, "rpc_urls"),
    "settle": _DATABASE_AND_BUS,
    "project": _DATABASE_AND_BUS,
    "deliver": (*_DATABASE_AND_BUS, "master_key"),
    "work": (*_DATABASE_AND_BUS, "rpc_urls"),
    "sign": ("database_url_signer", "keystore_path", "keystore_passphrase", "networks"),
}
DRAIN_SECONDS_MAX = 20
CONNECTIONS_MAX = 2_000
HEADER_BYTES_MAX = 16 * 1024


async def api(settings: Settings, stop: asyncio.Event) -> None:
    import uvicorn

    from gateway import bootstrap_api

    class _Server(uvicorn.Server):
        """Without signal handlers of its own: the process's `stop` is the one way to end."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    async with _core(settings, "api") as core, _asked(core) as chains:
        http = bootstrap.poster(core)
        server = _Server(
            uvicorn.Config(
                bootstrap_api.api(core, http, stop, chains),
                host=settings.api_host,
                port=settings.api_port,
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                h11_max_incomplete_event_size=HEADER_BYTES_MAX,
                timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
                lifespan="off",
            )
        )
        ender = asyncio.create_task(_end_with(stop, server))
        try:
            await server.serve()
        finally:
            stop.set()
            await ender
            await http.close()


async def _end_with(stop: asyncio.Event, server: "uvicorn.Server") -> None:
    await stop.wait()
    server.should_exit = True


async def ingest(settings: Settings, stop: asyncio.Event, name: str) -> None:
    if name not in settings.networks:
        served = ", ".join(settings.networks)
        raise GatewayError(f"{name!r} is not among NETWORKS, which has: {served}")
    network = settings.book().get(name)
    async with bootstrap.core(settings, f"ingest-{name}") as core:
        sources = bootstrap.providers(core, network)
        async with _opened(sources):
            ingester = bootstrap.ingester(core, network, sources)
            try:
                async with _measured(core, *_of_the_chain(ingester)):
                    await ingester.run(stop)
            except Misconfigured as mistake:
                raise GatewayError(str(mistake)) from mistake


@contextlib.asynccontextmanager
async def _core(settings: Settings, name: str) -> AsyncIterator[bootstrap.Core]:
    """What a process has, with its figures shown."""
    async with bootstrap.core(settings, name) as core, _measured(core):
        yield core


@contextlib.asynccontextmanager
async def _measured(core: bootstrap.Core, *origins: "Origin") -> AsyncIterator[None]:
    """With /metrics on METRICS_PORT, if there is one: those of the store, and the origins'."""
    if core.settings.metrics_port is None:
        yield
        return
    from gateway.metrics import Exposition, served
    from gateway.store_metrics import store_samples

    exposition = Exposition(functools.partial(store_samples, core.store), *origins)
    async with served(exposition, core.settings.metrics_host, core.settings.metrics_port):
        yield


def _of_the_chain(ingester: Ingester) -> "tuple[Origin, ...]":
    if ingester.measures is None:
        return ()
    from gateway.chain_metrics import chain_samples

    return (functools.partial(chain_samples, ingester.measures),)


async def settle(settings: Settings, stop: asyncio.Event) -> None:
    async with _core(settings, "settle") as core, asyncio.TaskGroup() as group:
        for network in core.networks.networks:
            group.create_task(bootstrap.settlement(core, network).run(stop))


async def project(settings: Settings, stop: asyncio.Event) -> None:
    from gateway.projection_metrics import projection_samples

    async with bootstrap.core(settings, "project") as core:
        origin = functools.partial(projection_samples, core.postgres)
        async with _measured(core, origin):
            await bootstrap.projector(core).run(stop)


async def deliver(settings: Settings, stop: asyncio.Event) -> None:
    async with _core(settings, "deliver") as core:
        http = bootstrap.poster(core)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(bootstrap.dispatcher(core).run(stop))
                group.create_task(bootstrap.webhook_worker(core, http).run(stop))
        finally:
            await http.close()


async def work(settings: Settings, stop: asyncio.Event) -> None:
    async with _core(settings, "work") as core:
        chains = {n.name: bootstrap.providers(core, n)[0] for n in core.networks.networks}
        async with _opened(tuple(chains.values())):
            await asyncio.gather(*(_admitted(chains[n.name], n) for n in core.networks.networks))
            async with asyncio.TaskGroup() as group:
                group.create_task(bootstrap.refund_sender(core, chains).run(stop))
                group.create_task(bootstrap.expiry(core, chains).run(stop))
                group.create_task(bootstrap.purge(core).run(stop))


async def _admitted(client: EvmClient, network: Network) -> None:
    """Money goes out through it: of the chain and tokens that we were told of, or not at all.

    One that is silent now is let in: what it would send is signed for our chain alone.
    """
    try:
        await admit(client, network)
    except Misconfigured as mistake:
        raise GatewayError(str(mistake)) from mistake
    except Unavailable as outage:
        log.warning("provider_is_silent_at_start", provider=client.name, reason=outage.reason)


async def sign(settings: Settings, stop: asyncio.Event) -> None:
    from gateway import bootstrap_signer

    async with bootstrap_signer.signer(settings) as process:
        await process.run(stop)


@contextlib.asynccontextmanager
async def _asked(core: bootstrap.Core) -> AsyncIterator[dict[str, tuple[EvmClient, ...]]]:
    """The providers there are: the API asks them about contract wallets, and lives without."""
    known = [n for n in core.networks.networks if n.name in core.settings.rpc_urls]
    chains = {network.name: bootstrap.providers(core, network) for network in known}
    async with _opened([client for clients in chains.values() for client in clients]):
        yield chains


@contextlib.asynccontextmanager
async def _opened(clients: Sequence[EvmClient]) -> AsyncIterator[None]:
    for client in clients:
        await client.open()
    try:
        yield
    finally:
        for client in clients:
            await client.close()
