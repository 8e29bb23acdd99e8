"""From what a merchant writes in a query string to what read models are asked.

Shapes  Symbols become assets, decimal strings become base units, addresses lower case.
        `q` is one thing known exactly: an id, a transaction, an address, or else a reference.
Errors  each names its parameter, with the code of its kind.
"""

import re
from dataclasses import replace

from api.bodies import SessionsQuery
from api.problems import Problem
from api.services import ApiServices
from api.views import SESSION
from application.callers import Caller
from application.reads import SessionQuery
from domain.errors import (
    AddressMalformed,
    AmountMalformed,
    NetworkUnknown,
    PublicIdMalformed,
    TokenUnknown,
)
from domain.money import units_of
from domain.networks import NetworkBook
from domain.values import Mode, parse_public_id

DECIMALS_DEFAULT = 6  # where there is no such token, and so nothing to be found
_TX_HASH = re.compile(r"0[xX][0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
# What `q` may turn out to be; beside it they would say the same again, or nothing.
_SAID_BY_Q = ("merchant_reference", "tx_hash", "payer")


def session_query(asked: SessionsQuery, who: Caller, gateway: ApiServices) -> SessionQuery:
    if asked.network is not None and gateway.networks.find(asked.network) is None:
        raise NetworkUnknown(f"no network is called {asked.network!r}")
    assets = None
    if asked.token is not None:
        assets = assets_of(asked.token, who.mode, gateway.networks, served_only=False)
    least, highest = _units(asked, who.mode, gateway.networks)
    wanted = SessionQuery(
        merchant_id=who.merchant_id,
        mode=who.mode,
        limit=asked.limit,
        cursor=asked.cursor,
        status=asked.status,
        network=asked.network,
        assets=assets,
        merchant_reference=asked.merchant_reference,
        tx_hash=asked.tx_hash,
        payer=None if asked.payer is None else address_in("payer", asked.payer, gateway),
        created_from=asked.created_from,
        created_to=asked.created_to,
        units_min=least,
        units_max=highest,
    )
    return wanted if asked.q is None else _searched(wanted, asked.q, gateway)


def assets_of(
    symbol: str, mode: Mode, networks: NetworkBook, *, served_only: bool
) -> tuple[str, ...]:
    """On every network of the mode; tokens that are recognised and not accepted included."""
    among = networks.networks if served_only else tuple(networks.known())
    known = [
        (token.symbol, network.asset(token))
        for network in among
        if network.mode == mode
        for token in network.tokens
    ]
    found = tuple(asset for name, asset in known if name == symbol)
    if not found:
        offered = ", ".join(dict.fromkeys(name for name, _ in known))
        raise TokenUnknown(f"{symbol!r} is not known in {mode} mode; choose one of: {offered}")
    return found


def address_in(field: str, text: str, gateway: ApiServices) -> str:
    try:
        return gateway.parse_address(text)
    except AddressMalformed as error:
        raise AddressMalformed(error.message, field=field) from error


def _searched(wanted: SessionQuery, text: str, gateway: ApiServices) -> SessionQuery:
    for name in _SAID_BY_Q:
        if getattr(wanted, name) is not None:
            raise _wrong("q", f"cannot be asked together with {name}")
    if _TX_HASH.fullmatch(text):
        return replace(wanted, tx_hash=text.lower())
    if _ADDRESS.fullmatch(text):
        return replace(wanted, address=address_in("q", text, gateway))
    try:
        return replace(wanted, session_id=parse_public_id(SESSION, text))
    except PublicIdMalformed:
        return replace(wanted, merchant_reference=text)


def _units(
    asked: SessionsQuery, mode: Mode, networks: NetworkBook
) -> tuple[int | None, int | None]:
    texts = {"amount_min": asked.amount_min, "amount_max": asked.amount_max}
    if not any(text is not None for text in texts.values()):
        return None, None
    decimals = _decimals(asked, mode, networks)
    units: dict[str, int | None] = {}
    for field, text in texts.items():
        try:
            units[field] = None if text is None else units_of(text, decimals)
        except AmountMalformed as error:
            raise AmountMalformed(error.message, field=field) from error
    least, highest = units["amount_min"], units["amount_max"]
    if least is not None and highest is not None and least > highest:
        raise _wrong("amount_max", "is less than amount_min")
    return least, highest


def _decimals(asked: SessionsQuery, mode: Mode, networks: NetworkBook) -> int:
    """Of all tokens a session in question may be due in. So far every dollar has six."""
    found = {
        token.decimals
        for network in networks.known()
        if network.mode == mode and asked.network in {None, network.name}
        for token in network.tokens
        if token.accepted and asked.token in {None, token.symbol}
    }
    if len(found) > 1:
        field = "token" if asked.token is None else "network"
        raise _wrong(field, "is needed beside an amount: tokens here differ in their decimals")
    return found.pop() if found else DECIMALS_DEFAULT


def _wrong(field: str, issue: str) -> Problem:
    return Problem(422, "request.invalid", f"{field}: {issue}", details=((field, issue),))
