"""Millions of events as production would have written them: stories interleaved in time.

Shapes  A Plan says how many and of what seed: the same plan gives the same bytes. `chunks` gives
        them in the order of the log, each with rows of es.events, es.inbox and ledger.postings
        as COPY reads them and the accounts as they stand after it. A chunk ends with a batch, so
        whatever is loaded of them is a log that could have stopped there.
        Sessions open at a steady rate; each is one of STORIES (bench/load_stories.py), at one of
        some prices, on one of three networks, of one of the shops, of which the first sells most.
        What is under way at the end stays so.
Units   microseconds since 1970; sessions per second of the time told
"""

import itertools
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import TypeVar

from bench.load_compiler import Compiler, Literal
from bench.load_stories import CENT, REFUNDING, STORIES, TOP_UP, TOP_UP_CENTS, Scene, Story
from bench.load_templates import (
    EPOCH,
    MERCHANT_HEX,
    MICROS,
    MICROSECOND,
    Account,
    BatchForm,
    Counters,
    ShopState,
    Telling,
    Template,
    shop_values,
)
from bench.load_world import Shop, World
from domain.networks import KNOWN_NETWORKS, Network

T = TypeVar("T")
CHUNK_EVENTS = 20_000
# Not a whole second: only blocks have such moments (bench/load_compiler.py).
BEGUN_AT = datetime(2026, 11, 2, 8, 0, 0, 123_457, tzinfo=UTC)
SHOPS = 50
SESSIONS_PER_SECOND = 20
PRICES = 6  # at which each story is told on each network
CENTS_MIN, CENTS_MAX = 400, 40_000
MODEL_INDEX = 79_000_900_000  # of the wallet of the shop that stories are told of
WANTED = (
    "payment.completed",
    "payment.failed",
    "payment.refunded",
    "payment.reversed",
    "payment.retracted",
    "transfer.unmatched",
)
PLACES = {"polygon": 5, "base": 3, "ethereum": 2}  # shares of all sessions
SYMBOLS = {"polygon": "USDC", "base": "USDC", "ethereum": "USDT"}


@dataclass(frozen=True, slots=True)
class Plan:
    events: int
    seed: int = 1
    shops: int = SHOPS
    sessions_per_second: float = SESSIONS_PER_SECOND
    prices: int = PRICES


@dataclass(slots=True)
class Chunk:
    """What one transaction writes."""

    events: int = 0
    head: int = 0
    rows: list[str] = field(default_factory=list)
    inbox: list[str] = field(default_factory=list)
    postings: list[str] = field(default_factory=list)
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)


class Library:
    """Every story told once for each network and price."""

    def __init__(self, plan: Plan) -> None:
        self._random = Random(plan.seed)
        self._prices = plan.prices
        self._networks = [_network(name) for name in PLACES]
        self._places = list(itertools.accumulate(PLACES.values()))
        self._stories = list(STORIES)
        self._shares = list(itertools.accumulate(STORIES.values()))
        self._told: dict[Story, list[list[Told]]] = {}
        self.top_ups: dict[str, Template] = {}  # by asset

    async def tell(self) -> None:
        world = World(BEGUN_AT)
        shop = await world.open_shop("Model", MODEL_INDEX, WANTED)
        scenes = [self.scenes(world, shop, network) for network in self._networks]
        for scene, *_ in scenes:  # first: the model shop pays refunds too
            self.top_ups[scene.asset] = await _told(TOP_UP, scene)
        for story in STORIES:
            self._told[story] = [
                [Told(story, scene.asset, scene.units, await _told(story, scene)) for scene in at]
                for at in scenes
            ]

    def scenes(self, world: World, shop: Shop, network: Network) -> list[Scene]:
        symbol = SYMBOLS[network.name]
        asset = network.asset(network.token(symbol))
        return [
            Scene(
                world,
                shop,
                network,
                asset,
                symbol,
                self._random.randrange(CENTS_MIN, CENTS_MAX),
                Random(self._random.random()),
            )
            for _ in range(self._prices)
        ]

    def pick(self, random: Random) -> "Told":
        story = chosen(random, self._stories, self._shares)
        place = chosen(random, self._told[story], self._places)
        return place[int(random.random() * self._prices)]


@dataclass(frozen=True, slots=True)
class Told:
    story: Story
    asset: str
    units: int
    template: Template


async def _told(story: Story, scene: Scene) -> Template:
    scene.world.begin()
    await story(scene)
    template = Compiler(scene.world, shop_values(scene.shop)).template(scene.world.store.written)
    scene.world.wait(60)
    return template


def _network(name: str) -> Network:
    return next(network for network in KNOWN_NETWORKS if network.name == name)


class Log:
    """A plan carried out."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = Random(plan.seed)
        self._library = Library(plan)
        self._shops: list[ShopState] = []
        self._weights: list[float] = []
        self._opening: list[tuple[int, BatchForm, Telling]] = []
        self._due: defaultdict[int, list[tuple[int, int, BatchForm, Telling]]] = defaultdict(list)
        self._tellings = itertools.count()
        self._reports: Counters = {}
        self._chunk = Chunk()
        self._head = 0

    async def prepare(self) -> None:
        """Tell the stories and open the shops."""
        await self._library.tell()
        world = World(BEGUN_AT, seed=self._plan.seed)
        opened = [
            await world.open_shop(f"Shop {number}", number, WANTED)
            for number in range(1, self._plan.shops + 1)
        ]
        self._shops = [ShopState(shop_values(shop)) for shop in opened]
        # As customers are spread over shops: the first of fifty has a fifth of them.
        shares = [1 / number for number in range(1, self._plan.shops + 1)]
        self._weights = list(itertools.accumulate(shares))
        template = Literal(world, []).template(world.store.written)
        start = _micros(BEGUN_AT)
        for shop, form in zip(self._shops, template.batches, strict=True):
            self._opening.append((start + form.offset, form, Telling(shop, start, "", [])))

    def chunks(self) -> Iterator[Chunk]:
        for _, form, telling in self._opening:
            self._write(form, telling)
        second = (self._opening[-1][0] if self._opening else _micros(BEGUN_AT)) // MICROS + 1
        for shop in self._shops:
            for asset in self._library.top_ups:
                self._fill_float(shop, asset, second)
        for now in itertools.count(second):
            self._open_sessions(now)
            for _, _, form, telling in sorted(self._due.pop(now, ())):
                self._write(form, telling)
                if self._chunk.events >= CHUNK_EVENTS or self._head >= self._plan.events:
                    yield self._take()
                if self._head >= self._plan.events:
                    return

    def _take(self) -> Chunk:
        taken, self._chunk = self._chunk, Chunk()
        taken.head = self._head
        return taken

    # ------------------------------------------------------------ what begins

    def _open_sessions(self, second: int) -> None:
        random = self._random
        whole, part = divmod(self._plan.sessions_per_second, 1)
        for _ in range(int(whole) + (random.random() < part)):
            told = self._library.pick(random)
            shop = chosen(random, self._shops, self._weights)
            if told.story in REFUNDING:
                left = shop.promised[told.asset] = shop.promised[told.asset] - told.units
                if left < TOP_UP_CENTS * CENT // 2:
                    self._fill_float(shop, told.asset, second)
            self._begin(told.template, shop, second)

    def _fill_float(self, shop: ShopState, asset: str, second: int) -> None:
        shop.promised[asset] = shop.promised.get(asset, 0) + TOP_UP_CENTS * CENT
        self._begin(self._library.top_ups[asset], shop, second)

    def _begin(self, template: Template, shop: ShopState, second: int) -> None:
        start = second * MICROS + int(self._random.random() * MICROS)
        digits = f"{self._random.getrandbits(4 * template.digits):0{template.digits}x}"
        telling = template.telling(shop, start, digits)
        number = next(self._tellings)  # of two at the same microsecond the first goes first
        for form in template.batches:
            at = start + form.offset
            self._due[at // MICROS].append((at, number, form, telling))

    # ------------------------------------------------------------ what is written

    def _write(self, form: BatchForm, telling: Telling) -> None:
        shop, head = telling.shop, self._head
        values = telling.values.copy()
        values.extend(range(head + 1, head + 1 + form.rows))
        for op in form.ops:
            values.append(op(values, shop, self._reports))
        for kind, asset, units in form.moves:
            account = shop.accounts.get((kind, asset))
            if account is None:
                account = shop.accounts[kind, asset] = [0, 0, 0]
            account[units < 0] += abs(units)
            account[2] += 1
            values.append(account[2])
            values.append(account[0] - account[1])
            self._chunk.accounts[f"{kind}:{values[MERCHANT_HEX]}", asset] = account
        chunk = self._chunk
        chunk.rows.append(form.events.filled(values))
        if form.inbox is not None:
            chunk.inbox.append(form.inbox.filled(values))
        if form.postings is not None:
            chunk.postings.append(form.postings.filled(values))
        chunk.events += form.rows
        self._head = head + form.rows


def chosen(random: Random, among: Sequence[T], shares: Sequence[float]) -> T:
    """One of them, by what the shares add up to; random.choices() takes three times as long."""
    return among[bisect(shares, random.random() * shares[-1], 0, len(shares) - 1)]


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND
