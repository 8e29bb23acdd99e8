"""Refunds, floats, deliveries, merchants, networks and ids."""

from datetime import timedelta
from uuid import UUID

import pytest

from application.deciders import DELIVERY, MERCHANT, REFUND, REFUND_FLOAT
from domain import commands as c
from domain.delivery import ATTEMPTS_MAX
from domain.errors import (
    ApiKeyUnknown,
    DeliveryUnknown,
    EndpointLimitReached,
    EndpointUnknown,
    EventTypeUnknown,
    NameMalformed,
    NetworkUnknown,
    PublicIdMalformed,
    RefundFloatTooSmall,
    RefundUnknown,
    ScopeUnknown,
    TokenUnknown,
)
from domain.events import DeliveryAttemptFailed, FloatTopUpReversed
from domain.merchant import ENDPOINTS_MAX
from domain.networks import KNOWN_NETWORKS, POLYGON
from domain.values import parse_public_id, public_id
from tests.examples import (
    AT,
    BOOK,
    EXAMPLES,
    LATER,
    LOCAL,
    MERCHANT_ID,
    REFUND_ID,
    SECRET_ID,
    usd,
)
from tests.given import given

BY_NAME = {event.name: event for event in EXAMPLES}
REQUESTED = given(REFUND, BY_NAME["refund.requested"])
FUNDED = given(REFUND_FLOAT, BY_NAME["refund_float.topped_up"])
DUE = given(DELIVERY, BY_NAME["delivery.opened"])
SHOP = given(MERCHANT, BY_NAME["merchant.registered"])
MINED = c.RecordRefundMined(
    at=LATER, tx_hash="0x22", block_number=9, block_hash="0xaa", confirmations=3
)


def test_a_refund_goes_its_way_once() -> None:
    signed = REQUESTED.when(c.RecordSigned(at=LATER, tx_hash="0x22", nonce=5)).then(
        "refund.signed"
    )
    assert signed.when(c.RecordSigned(at=LATER, tx_hash="0x99", nonce=6)).events() == ()
    sent = signed.when(c.RecordBroadcast(at=LATER, tx_hash="0x22")).then("refund.broadcast")
    done = sent.when(MINED).then("refund.completed")
    assert done.when(MINED).events() == ()
    assert done.when(c.FailRefund(at=LATER, reason="too late")).events() == ()
    given(REFUND).when(MINED).refused(RefundUnknown)


def test_a_float_gives_no_more_than_it_holds() -> None:
    held = FUNDED.when(c.ReserveFloat(at=LATER, refund_id=REFUND_ID, amount=usd("50.00"))).then(
        "refund_float.reserved"
    )
    more = c.ReserveFloat(at=LATER, refund_id=MERCHANT_ID, amount=usd("0.000001"))
    assert "0 base units" in held.when(more).refused(RefundFloatTooSmall).message
    freed = held.when(c.ReleaseFloat(at=LATER, refund_id=REFUND_ID)).then("refund_float.released")
    freed.when(more).then("refund_float.reserved")
    spent = held.when(c.SpendFloat(at=LATER, refund_id=REFUND_ID)).then("refund_float.spent")
    assert spent.state.available_units == 0
    assert spent.when(c.SpendFloat(at=LATER, refund_id=REFUND_ID)).events() == ()


def test_a_top_up_counts_once_and_a_reorg_takes_it_back() -> None:
    top_up = c.TopUpFloat(at=LATER, transfer_id="31337:0x33:0", amount=usd("50.00"))
    assert FUNDED.when(top_up).events() == ()
    back = c.ReverseTopUp(at=LATER, transfer_id="31337:0x33:0")
    lost = FUNDED.when(back).then("refund_float.top_up_reversed")
    assert lost.state.available_units == 0
    assert lost.when(back).events() == ()


def test_a_top_up_lost_after_it_was_used_leaves_a_gap_that_later_money_fills() -> None:
    held = FUNDED.when(c.ReserveFloat(at=LATER, refund_id=REFUND_ID, amount=usd("40.00"))).then(
        "refund_float.reserved"
    )
    lost = held.when(c.ReverseTopUp(at=LATER, transfer_id="31337:0x33:0"))
    gap = lost.then("refund_float.top_up_reversed")
    (reversed_,) = lost.events()
    assert isinstance(reversed_, FloatTopUpReversed)
    assert (reversed_.missing, gap.state.gap_units) == (usd("40.00"), 40_000_000)
    small = c.TopUpFloat(at=LATER, transfer_id="31337:0x44:0", amount=usd("10.00"))
    less = gap.when(small).then("refund_float.topped_up")
    assert less.state.gap_units == 30_000_000
    freed = less.when(c.ReleaseFloat(at=LATER, refund_id=REFUND_ID)).then("refund_float.released")
    assert (freed.state.gap_units, freed.state.available_units) == (0, 10_000_000)


def failed(status: int | None = 500, retry_after: int | None = None) -> c.RecordAttempt:
    return c.RecordAttempt(
        at=LATER,
        status_code=status,
        latency_ms=5,
        error="no",
        retry_after_seconds=retry_after,
    )


def test_four_attempts_at_0_10_60_and_600_seconds_then_failed() -> None:
    story, delays = DUE, []
    for _ in range(ATTEMPTS_MAX - 1):
        event = story.when(failed()).events()[0]
        assert isinstance(event, DeliveryAttemptFailed)
        assert event.next_attempt_at is not None
        delays.append((event.next_attempt_at - LATER).total_seconds())
        story = story.when(failed()).then("delivery.attempt_failed")
    assert delays == [10, 60, 600]
    over = story.when(failed()).then("delivery.attempt_failed", "delivery.failed")
    assert over.when(failed()).events() == ()
    again = over.when(c.ReplayDelivery(at=LATER)).then("delivery.replayed")
    assert again.when(c.ReplayDelivery(at=LATER)).events() == ()
    good = c.RecordAttempt(at=LATER, status_code=200, latency_ms=5, error=None)
    done = again.when(good).then("delivery.succeeded")
    assert (done.state.status, done.state.attempts) == ("delivered", 5)


def test_a_receiver_may_ask_for_more_time_within_bounds() -> None:
    event = DUE.when(failed(429, retry_after=3600)).events()[0]
    assert isinstance(event, DeliveryAttemptFailed)
    assert event.next_attempt_at == LATER + timedelta(seconds=20)


def test_410_ends_a_delivery_at_once() -> None:
    DUE.when(failed(410)).then("delivery.attempt_failed", "delivery.failed")
    given(DELIVERY).when(failed()).refused(DeliveryUnknown)


def endpoint(number: int, *kinds: str) -> c.CreateEndpoint:
    return c.CreateEndpoint(
        at=AT,
        endpoint_id=UUID(int=number),
        mode="test",
        url="https://shop.example/hooks",
        event_types=kinds,
        secret_id=SECRET_ID,
    )


def test_a_merchants_endpoints_are_bounded_and_know_their_event_types() -> None:
    story = SHOP
    for number in range(ENDPOINTS_MAX):
        story = story.when(endpoint(number)).then("merchant.webhook_endpoint_created")
    story.when(endpoint(99)).refused(EndpointLimitReached)
    refused = SHOP.when(endpoint(1, "payment.teleported")).refused(EventTypeUnknown)
    assert "payment.completed" in refused.message
    SHOP.when(c.DeleteEndpoint(at=AT, endpoint_id=UUID(int=5))).refused(EndpointUnknown)
    off = c.DisableEndpoint(at=AT, endpoint_id=UUID(int=0), reason="gone")
    silent = story.when(off).then("merchant.webhook_endpoint_disabled")
    assert not silent.state.endpoints[UUID(int=0)].wants("payment.completed")
    assert silent.when(off).events() == ()


def test_api_keys_have_known_scopes_and_can_be_revoked_once() -> None:
    key = c.CreateApiKey(
        at=AT, key_id=REFUND_ID, mode="test", key_hash="ab", last4="x", scopes=("read",), label=""
    )
    made = SHOP.when(key).then("merchant.api_key_created")
    SHOP.when(key.model_copy(update={"scopes": ("admin",)})).refused(ScopeUnknown)
    SHOP.when(key.model_copy(update={"scopes": ()})).refused(ScopeUnknown)
    revoke = c.RevokeApiKey(at=LATER, key_id=REFUND_ID)
    gone = made.when(revoke).then("merchant.api_key_revoked")
    assert gone.when(revoke).events() == ()
    SHOP.when(revoke).refused(ApiKeyUnknown)


def test_a_merchant_needs_a_name() -> None:
    blank = c.RegisterMerchant(at=AT, merchant_id=MERCHANT_ID, display_name="  ")
    given(MERCHANT).when(blank).refused(NameMalformed)


def test_networks_and_tokens_that_are_not_offered_are_named_with_those_that_are() -> None:
    with pytest.raises(NetworkUnknown, match="local"):
        BOOK.named("ethereum", "test")
    with pytest.raises(NetworkUnknown, match="no network"):
        BOOK.default("live")
    with pytest.raises(TokenUnknown, match="USDC, USDT"):
        LOCAL.token("DOGE")
    with pytest.raises(TokenUnknown):
        POLYGON.token("USDC.e")
    assert BOOK.of_asset(LOCAL.asset(LOCAL.tokens[1])) == (LOCAL, LOCAL.tokens[1])


def test_every_known_network_has_a_chain_id_and_addresses_of_its_own() -> None:
    assert len({network.chain_id for network in KNOWN_NETWORKS}) == len(KNOWN_NETWORKS)
    assets = [n.asset(token) for n in KNOWN_NETWORKS for token in n.tokens]
    assert len(set(assets)) == len(assets)


def test_public_ids_read_back_and_nothing_else_does() -> None:
    assert parse_public_id("ps", public_id("ps", REFUND_ID)) == REFUND_ID
    for text in (
        "",
        "ps_",
        "rf_" + REFUND_ID.hex,
        "ps_" + REFUND_ID.hex.upper(),
        "ps_" + "0" * 31,
    ):
        with pytest.raises(PublicIdMalformed):
            parse_public_id("ps", text)
