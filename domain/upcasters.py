"""Old event shapes, lifted one version at a time.

Shapes  UPCASTERS[name, n] turns the stored fields of version n into those of n + 1. A step is
        pure, never edited once released, and has a golden file in tests/golden.
"""

from collections.abc import Callable, Mapping
from typing import Any

Shape = dict[str, Any]


def _session_created_1(shape: Shape) -> Shape:
    """Every session had an address of its own, and had to be paid to the last unit."""
    nothing = {"units": "0", "asset": shape["due"]["asset"]}
    return {**shape, "pay_by": "deposit_address", "tolerance": nothing}


def _confirmed_1(shape: Shape) -> Shape:
    """Policies asked for blocks only, and what there were was just enough or a little more."""
    count = shape["confirmations"]
    return {**shape, "rule": "1 confirmation" if count == 1 else f"{count} confirmations"}


def _assigned_1(shape: Shape) -> Shape:
    """There was one way to belong to a session: by its address."""
    to_session = shape["purpose"] == "payment_session"
    return {**shape, "verdict": "deposit_address" if to_session else "refund_wallet"}


_VERDICTS_1 = {
    "nobody has been given this address": "unknown_address",
    "the session of this address is not known": "session_unknown",
    "another token than the session asks for": "wrong_token",
    "the session was cancelled": "session_cancelled",
    "sent after the session's grace period": "after_grace",
}


def _unmatched_1(shape: Shape) -> Shape:
    """The reason was one of six sentences, the sixth with names in it."""
    return {**shape, "verdict": _VERDICTS_1.get(shape["reason"], "wrong_network")}


def _refund_requested_1(shape: Shape) -> Shape:
    """Refunds were of sessions only."""
    return {**shape, "transfer_id": None}


def _gas_1(shape: Shape) -> Shape:
    """What it cost was not written down."""
    return {**shape, "gas": None}


UPCASTERS: Mapping[tuple[str, int], Callable[[Shape], Shape]] = {
    ("payment_session.created", 1): _session_created_1,
    ("transfer.confirmed", 1): _confirmed_1,
    ("onchain_transfer.confirmed", 1): _confirmed_1,
    ("onchain_transfer.assigned", 1): _assigned_1,
    ("onchain_transfer.unmatched", 1): _unmatched_1,
    ("refund.requested", 1): _refund_requested_1,
    ("refund.completed", 1): _gas_1,
    ("refund.failed", 1): _gas_1,
}
