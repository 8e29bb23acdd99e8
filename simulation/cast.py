"""Who is on stage: what a story has opened so far, and how it chooses numbers.

Shapes  Later steps name sessions, requests and endpoints by the ordinals that are counted here.
        Merchants 0 and 1 are paid on networks 0 and 1, merchant 2 on network 2 (setting.py).
Units   BLOCKS_ENOUGH buries anything on every network of the world.
"""

from collections.abc import Callable, Iterator
from random import Random  # noqa: TID251 - the story's own, seeded

from simulation import steps as s

Plot = Callable[["Cast"], Iterator[s.Step]]

BLOCKS_ENOUGH = 8
CENTS = (1, 2, 3, 100, 199, 999, 1000, 1001, 4999, 12345, 1_000_000)
WINDOWS_SECONDS = (60, 90, 120, 600, 3600, 604_800)
OFFSETS_SECONDS = (-2, -1, 0, 0, 1, 2)
PAYERS = 5
SALT_MAX = 2**31


class Cast:
    """What the story has brought on stage so far."""

    def __init__(self, draw: Random) -> None:
        self.draw = draw
        self.sessions: list[int] = []  # the network of each session
        self.requests = 0
        self.endpoints = 0
        self.deliveries = 0
        self.funded: set[tuple[int, int]] = set()

    def network(self) -> int:
        return self.draw.choices((0, 1, 2), (5, 5, 1))[0]

    def merchant(self) -> int:
        return self.draw.choices((0, 1, 2), (5, 4, 1))[0]

    def salt(self) -> int:
        return self.draw.randrange(SALT_MAX)

    def chance(self, of_a_hundred: int) -> bool:
        return self.draw.randrange(100) < of_a_hundred

    def any_session(self) -> int:
        """Rather a recent one."""
        count = len(self.sessions)
        if not count:
            return 0
        return (
            self.draw.randrange(max(0, count - 4), count)
            if self.chance(70)
            else self.draw.randrange(count)
        )

    def payer(self) -> int:
        return self.draw.randrange(PAYERS)

    def opened(
        self,
        *,
        window_seconds: int | None = None,
        cents: int | None = None,
        merchant: int | None = None,
        pay_by: s.PayBy = "deposit_address",
    ) -> s.OpenSession:
        draw = self.draw
        if merchant is None:
            merchant = self.merchant()
        step = s.OpenSession(
            merchant=merchant,
            network=2 if merchant == 2 else draw.randrange(2),
            token=draw.randrange(2),
            cents=draw.choice(CENTS) if cents is None else cents,
            window_seconds=window_seconds or draw.choice(WINDOWS_SECONDS),
            keyed=self.chance(85),
            lost=self.chance(8),
            salt=self.salt(),
            pay_by=pay_by,
        )
        self.sessions.append(step.network)
        self.requests += 1
        return step

    def newest(self) -> int:
        return len(self.sessions) - 1

    def pay(self, session: int, share: s.Share, **more: object) -> s.Pay:
        fields: dict[str, object] = {"payer": self.payer(), "salt": self.salt(), **more}
        return s.Pay(session=session, share=share, **fields)  # type: ignore[arg-type] # as Pay checks

    def mine(self, session: int, blocks: int | None = None) -> s.Mine:
        network = self.sessions[session] if session < len(self.sessions) else 0
        return s.Mine(network, self.draw.randint(1, 4) if blocks is None else blocks)

    def bury(self, session: int) -> s.Mine:
        return self.mine(session, BLOCKS_ENOUGH)

    def reorg(self, network: int) -> s.Reorg:
        draw = self.draw
        fates: tuple[s.Fate, ...] = ("keep", "delay", "drop", "replace", "mixed", "revert")
        aimed = self.chance(50)
        depth = draw.randint(0, 3) if aimed else draw.choice((1, 1, 2, 2, 3, 4, 5, 8, 13, 40, 64))
        return s.Reorg(
            network=network,
            depth=depth,
            fate=draw.choices(fates, (4, 2, 2, 2, 3, 1))[0],
            regrow=draw.choice((1, 1, 2, 3, depth, depth + 1, depth + 3)),
            at_confirmation=aimed,
            salt=self.salt(),
        )

    def asked(self, step: s.Step) -> s.Step:
        self.requests += 1
        return step


def refund_of(cast: Cast, session: int, part: s.Part | None = None) -> s.AskRefund:
    draw = cast.draw
    parts: tuple[s.Part, ...] = ("all", "half", "third", "cent", "unit", "too_much")
    to: tuple[s.Destination, ...] = ("payer", "other", "zero", "token", "own", "deposit")
    return s.AskRefund(
        session=session,
        part=part or draw.choices(parts, (6, 5, 4, 2, 2, 1))[0],
        to=draw.choices(to, (10, 12, 1, 1, 1, 1))[0],
        copies=draw.choices((1, 2, 3), (6, 3, 1))[0],
        lost=cast.chance(12),
        salt=cast.salt(),
    )


def top_up_for(cast: Cast, opened: s.OpenSession) -> s.TopUp:
    cents = cast.draw.choice(
        (opened.cents // 2, opened.cents, opened.cents * 2, 10_000_000, 10_000_000)
    )
    return s.TopUp(opened.merchant, opened.network, opened.token, max(1, cents))
