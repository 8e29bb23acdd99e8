"""Forms with gaps, filled in anew for each telling of a story.

Shapes  Template    the batches of one story, each with the moment it is written at
        BatchForm   rows of es.events, es.inbox and ledger.postings as COPY reads them, with %s
                    where a telling has texts of its own; `fill` picks the values to put there
        A telling's values are a list: those of its shop, of the story, and of the batch, in this
        order. `makers` make those of the story, each from what is there already.
Units   microseconds since 1970 for moments; a telling's own randomness as hex digits
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from application.deciders import float_id
from bench.load_world import MODE, Shop
from domain import values
from domain.networks import KNOWN_NETWORKS

MICROS = 1_000_000
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BLOCKS_KEPT_MAX = 20_000
MINUTES_KEPT_MAX = 10_000
CHAIN_BEGUN_SECONDS = 1_600_000_000  # of every network: block numbers count from there
ASSETS: tuple[str, ...] = tuple(
    network.asset(token)
    for network in KNOWN_NETWORKS
    if network.mode == MODE
    for token in network.accepted_tokens()
)

Values = list[Any]  # texts, and the integers that are counted
Account = list[int]  # debits, credits, version


# ---------------------------------------------------------------- what is told


@dataclass(slots=True)
class ShopState:
    """A merchant as the load has left it."""

    values: Values
    deposits: int = 0
    nonces: int = 0
    float_versions: dict[int, int] = field(default_factory=dict)  # by the place of its id
    promised: dict[str, int] = field(default_factory=dict)  # of the float, to refunds to come
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)


@dataclass(slots=True)
class Telling:
    shop: ShopState
    start: int
    random: str
    values: Values


Maker = Callable[[Telling], Any]
Counters = dict[str, int]  # reports of each network
Op = Callable[[Values, ShopState, Counters], Any]
Filler = Callable[[Values], Any]


def shop_values(shop: Shop) -> Values:
    floats = [float_id(shop.merchant_id, MODE, asset) for asset in ASSETS]
    ids = (shop.merchant_id, shop.key_id, shop.endpoint_id, *floats)
    return [
        *(text for each in ids for text in (each.hex, str(each))),
        shop.wallet,
        str(shop.wallet_index),
    ]


MERCHANT_HEX, ENDPOINT_HEX = 0, 4  # places among the values of a shop


@dataclass(frozen=True, slots=True)
class Form:
    """A text with %s, and what to put there."""

    text: str
    fill: Filler

    def filled(self, values: Values) -> str:
        filled: str = self.text % self.fill(values)
        return filled


@dataclass(frozen=True, slots=True)
class BatchForm:
    offset: int  # from the story's start
    rows: int
    ops: tuple[Op, ...]
    moves: tuple[tuple[str, str, int], ...]  # kind of account, asset, units of each leg
    events: Form
    inbox: Form | None
    postings: Form | None


@dataclass(frozen=True, slots=True)
class Template:
    makers: tuple[Maker, ...]
    digits: int  # of randomness a telling needs
    batches: tuple[BatchForm, ...]

    def telling(self, shop: ShopState, start: int, random: str) -> Telling:
        telling = Telling(shop, start, random, shop.values.copy())
        append = telling.values.append
        for maker in self.makers:
            append(maker(telling))
        return telling


# ---------------------------------------------------------------- texts of ids, moments and blocks

_DERIVED = hashlib.sha1(values._NAMESPACE.bytes, usedforsecurity=False)  # noqa: SLF001 - see below


def derived_hex(*parts: str) -> str:
    """`domain.values.derived_id(*parts).hex` in a quarter of its time; a test holds them equal."""
    digest = _DERIVED.copy()
    digest.update("\x1f".join(parts).encode())
    found = digest.hexdigest()
    variant = "89ab"[int(found[16], 16) & 3]
    return f"{found[:12]}5{found[13:16]}{variant}{found[17:32]}"


def dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@lru_cache(maxsize=MINUTES_KEPT_MAX)
def _minute(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")


def text_of(moment: int) -> str:
    """As pydantic writes a datetime."""
    seconds, micros = divmod(moment, MICROS)
    minute, second = divmod(seconds, 60)
    if micros:
        return f"{_minute(minute)}{second:02d}.{micros:06d}Z"
    return f"{_minute(minute)}{second:02d}Z"


class Block(NamedTuple):
    number: int
    hash: str
    time: str


@lru_cache(maxsize=BLOCKS_KEPT_MAX)
def _block(network: str, branch: str, block_seconds: int, number: int) -> Block:
    found = hashlib.sha256(f"{network} {branch} {number}".encode()).hexdigest()
    seconds = CHAIN_BEGUN_SECONDS + number * block_seconds
    return Block(number, "0x" + found, text_of(seconds * MICROS))


def block_of(of: tuple[Any, ...], telling: Telling) -> Block:
    network, branch, block_seconds, seconds = of
    passed = telling.start // MICROS + seconds - CHAIN_BEGUN_SECONDS
    return _block(network, branch, block_seconds, passed // block_seconds)
