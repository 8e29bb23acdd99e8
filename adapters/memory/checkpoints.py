"""The checkpoints' twin."""


class MemoryCheckpoints:
    def __init__(self) -> None:
        self.positions: dict[str, int] = {}
        self.parked: dict[tuple[str, int], str] = {}

    async def position(self, follower: str) -> int:
        return self.positions.get(follower, 0)

    async def move(self, follower: str, position: int) -> None:
        self.positions[follower] = max(position, self.positions.get(follower, 0))

    async def park(self, follower: str, position: int, reason: str) -> None:
        self.parked[follower, position] = reason
