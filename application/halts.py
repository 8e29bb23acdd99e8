"""A network that stands still, as the log knows it: halted by the ingester, let go on by a person.

Shapes  A halt is a fact before anything else is done about it, so every process and the auditor
        can see it, and a restart cannot forget it. The first reason stays until a person has
        looked.
Errors  NetworkNotHalted (domain/errors.py); ReasonMissing; ports.StoreUnavailable.
"""

from application.deciders import HALTS, halts_stream_id
from application.handling import Handler, UnitOfWork
from application.ports import Context
from domain import commands as c
from domain.errors import ReasonMissing
from domain.events import HaltCause
from domain.halts import NetworkHalts
from domain.networks import Network

REASON_CHARACTERS_MAX = 500


class Halts:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def of(self, network: str) -> NetworkHalts:
        known = await self._handler.load(HALTS, halts_stream_id(network))
        return known or NetworkHalts()

    async def halt(
        self,
        network: Network,
        cause: HaltCause,
        detail: str,
        *,
        block_number: int | None = None,
        our_hash: str | None = None,
        their_hash: str | None = None,
        actor: str | None = None,
    ) -> NetworkHalts:
        """Stop it; one that is stopped already stays so for its first reason."""
        if not detail.strip():
            raise ReasonMissing("say why it is to stop")

        async def work(unit: UnitOfWork) -> NetworkHalts:
            command = c.HaltNetwork(
                at=unit.now,
                network=network.name,
                cause=cause,
                detail=detail[:REASON_CHARACTERS_MAX],
                block_number=block_number,
                our_hash=our_hash,
                their_hash=their_hash,
            )
            return await self._decided(unit, network, command)

        by = actor or f"chain:{network.chain_id}"
        return await self._handler.execute(Context(actor=by, mode=network.mode), work)

    async def resume(self, network: Network, reason: str, actor: str) -> NetworkHalts:
        """A person lets it go on; refused when it is not halted, or for no reason."""
        if not reason.strip():
            raise ReasonMissing("say what was found, and why it may go on")

        async def work(unit: UnitOfWork) -> NetworkHalts:
            command = c.ResumeNetwork(
                at=unit.now, network=network.name, reason=reason.strip()[:REASON_CHARACTERS_MAX]
            )
            return await self._decided(unit, network, command)

        return await self._handler.execute(Context(actor=actor, mode=network.mode), work)

    async def _decided(
        self, unit: UnitOfWork, network: Network, command: c.HaltCommand
    ) -> NetworkHalts:
        stream_id = halts_stream_id(network.name)
        state = await unit.decide(HALTS, stream_id, command, mode=network.mode)
        assert state is not None
        return state
