"""Confirmation policies as the log knows them: the configured one gets its version here.

Shapes  At start the ingester adopts what is configured: where it differs from the newest version,
        a fact makes it the next one. A sighting is confirmed under the version that held when it
        was first seen, so all versions are handed out.
Errors  ports.StoreUnavailable.
"""

from application.deciders import POLICY, policy_stream_id
from application.halts import Halts
from application.handling import Handler, UnitOfWork
from application.ports import Context
from domain import commands as c
from domain.networks import Network
from domain.policy import PolicyHistory


class Policies:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def adopt(self, network: Network) -> PolicyHistory:
        """The history with the configured policy as its newest version."""
        stream_id = policy_stream_id(network.name)

        async def work(unit: UnitOfWork) -> PolicyHistory:
            command = c.SetConfirmationPolicy(
                at=unit.now, network=network.name, policy=network.policy
            )
            history = await unit.decide(POLICY, stream_id, command, mode=network.mode)
            assert history is not None
            return history

        return await self._handler.execute(Context(actor="system", mode=network.mode), work)

    @property
    def halts(self) -> Halts:
        """What else the log says of a network: whether it stands still."""
        return Halts(self._handler)

    async def history(self, network: Network) -> PolicyHistory:
        known = await self._handler.load(POLICY, policy_stream_id(network.name))
        return known or PolicyHistory()
