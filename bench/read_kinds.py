"""What bench/reads.py asks, each of a session of the merchant that the answer must tell of.

Shapes  Own    one of the merchant's sessions, as the read models have it
        Kind   `path` makes a request of a session; `of` says of which sessions it can be made;
               `itself` that the session is in the answer. Every kind finds at least one row:
               what finds nothing has measured nothing.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from application.cursors import cursor_of, microseconds_of
from bench.read_rows import EXCHANGE, address, session_id, tx_hash
from bench.read_samples import APART, BEGAN, SECONDS_APART
from domain.values import public_id

DAY_ROWS = 86_400 // SECONDS_APART
OLDEST_SHARE = 10  # a tenth of the history may have nothing rare before it
_LISTED = "/v1/payment-sessions"


class Own(NamedTuple):
    number: int
    payer: str | None


class Kind(NamedTuple):
    path: Callable[[Own], str]
    of: Callable[[Own], bool] = lambda _: True
    itself: bool = False


def kinds(count: int) -> Mapping[str, Kind]:
    def before(number: int) -> str:
        return cursor_of(microseconds_of(BEGAN + number * APART), number)

    def late(own: Own) -> bool:
        return own.number > count // OLDEST_SHARE

    def paging(filters: str) -> Kind:
        """From any place of the history on; the page is full, or the kind is a rare one."""
        return Kind(lambda own: f"{_LISTED}?{filters}&cursor={before(own.number)}", late)

    return {
        **_naming_one(),
        "first page": Kind(lambda _: _LISTED),
        "second page": Kind(lambda _: f"{_LISTED}?cursor={before(count - 33)}"),
        "a deep page": Kind(lambda own: f"{_LISTED}?cursor={before(own.number)}", late),
        "created within a day": Kind(lambda own: f"{_LISTED}?{_day(own.number)}"),
        "status, common": Kind(lambda _: f"{_LISTED}?status=completed"),
        "status, rare": paging("status=partially_refunded"),
        "network, rare": paging("network=base_sepolia"),
        "token": paging("token=USDC"),
        "status and network": paging("status=failed&network=base_sepolia"),
        "status and token": paging("status=refunded&token=USDC"),
        "payer, an exchange": paging(f"payer={EXCHANGE}"),
        "an exact amount": paging("amount_min=49.90&amount_max=49.90"),
        "a range of amounts": paging("amount_min=20&amount_max=60"),
        "amounts and status": paging("amount_min=20&amount_max=60&status=refunded"),
        "payer and status": paging(f"payer={EXCHANGE}&status=refunded"),
        "payer and status, rare": paging(f"payer={EXCHANGE}&status=partially_refunded"),
    }


def _naming_one() -> Mapping[str, Kind]:
    """One session, or the few of a wallet."""

    def paid(own: Own) -> bool:
        return own.payer is not None

    def by_wallet(own: Own) -> bool:
        return own.payer not in {None, EXCHANGE}

    return {
        "one session": Kind(
            lambda own: f"{_LISTED}/{public_id('ps', session_id(own.number))}", itself=True
        ),
        "reference": Kind(
            lambda own: f"{_LISTED}?merchant_reference=order-{own.number}", itself=True
        ),
        "transaction": Kind(
            lambda own: f"{_LISTED}?tx_hash={tx_hash(own.number)}", paid, itself=True
        ),
        "payer": Kind(lambda own: f"{_LISTED}?payer={own.payer}", by_wallet, itself=True),
        "search by reference": Kind(lambda own: f"{_LISTED}?q=order-{own.number}", itself=True),
        "search by address": Kind(lambda own: f"{_LISTED}?q={address(own.number)}", itself=True),
    }


def _day(number: int) -> str:
    begins, ends = (quote((BEGAN + n * APART).isoformat()) for n in (number, number + DAY_ROWS))
    return f"created_from={begins}&created_to={ends}"
