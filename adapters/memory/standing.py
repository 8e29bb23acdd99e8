"""An in-memory twin of how networks stand."""

from application.standing import Finality, Standing


class MemoryStandings:
    """application.standing.StandingStore, and Standings for those who read."""

    def __init__(self) -> None:
        self._finality: dict[str, Finality] = {}
        self._standings: dict[str, Standing] = {}
        self.written = 0  # how often a standing was

    def _insist_on_service(self) -> None:
        """The store it is part of may be away."""

    async def finality(self, network: str) -> Finality:
        self._insist_on_service()
        return self._finality.get(network, Finality())

    async def keep_finality(self, network: str, finality: Finality) -> None:
        self._insist_on_service()
        self._finality[network] = finality

    async def standing(self, network: str) -> Standing | None:
        self._insist_on_service()
        return self._standings.get(network)

    async def keep_standing(self, standing: Standing) -> None:
        self._insist_on_service()
        self.written += 1
        self._standings[standing.network] = standing
