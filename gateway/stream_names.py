"""Streams as people name them: ps_..., rf_..., wd_..., any other one as TYPE/UUID.

Errors  GatewayError for what names none.
"""

from uuid import UUID

from application.deciders import (
    DELIVERY,
    MERCHANT,
    PAYMENT,
    REFUND,
    REFUND_FLOAT,
    TRANSFER,
)
from application.ports import Stream
from application.upkeep import STREAM_TYPE, upkeep_stream
from domain.errors import PublicIdMalformed
from domain.values import parse_public_id
from gateway.failures import GatewayError
from projections.catalogue import PROJECTIONS

_TYPES = frozenset(
    decider.stream_type
    for decider in (PAYMENT, REFUND, REFUND_FLOAT, TRANSFER, MERCHANT, DELIVERY)
) | {"journal_entry", "reorg", STREAM_TYPE}
_STREAMS = {"ps": PAYMENT.stream_type, "rf": REFUND.stream_type, "wd": DELIVERY.stream_type}


def stream_named(text: str) -> Stream:
    """What was done to a read model is in projection/NAME."""
    prefix, _, rest = text.partition("/")
    if prefix == STREAM_TYPE and rest in {each.name for each in PROJECTIONS}:
        return upkeep_stream(rest)
    try:
        if rest and prefix in _TYPES:
            return Stream(prefix, UUID(rest))
        prefix = text.partition("_")[0]
        return Stream(_STREAMS[prefix], parse_public_id(prefix, text))
    except (KeyError, ValueError, PublicIdMalformed):
        raise GatewayError(
            f"{text!r} names no stream: give ps_…, rf_…, wd_… or TYPE/UUID"
        ) from None
