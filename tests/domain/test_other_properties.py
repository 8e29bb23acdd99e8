"""Refunds, floats, deliveries, merchants, claims and policies, whatever happens to them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from application.deciders import CLAIM, DELIVERY, MERCHANT, POLICY, REFUND, REFUND_FLOAT
from domain import commands as c
from domain import events as e
from domain.delivery import ATTEMPTS_MAX, RETRY_DELAYS_SECONDS, WebhookDelivery
from domain.events import Event, Posting
from domain.journal import postings_for
from domain.merchant import ENDPOINTS_MAX, MESSAGE_TYPES, SCOPES, Merchant
from domain.money import Amount
from domain.networks import ConfirmationPolicy
from domain.refund import Refund
from domain.refund_float import RefundFloat
from tests.domain.machine import AnyHistory, histories
from tests.domain.test_refund import REQUESTED
from tests.examples import ASSET, AT, EXAMPLES, GAS, LATER, MERCHANT_ID, SECRET_ID, usd

ids = st.integers(1, 4).map(lambda number: UUID(int=number))
hashes = st.integers(1, 3).map(lambda number: f"0x{number:064x}")
modes = st.sampled_from(("test", "live"))
units = st.one_of(st.sampled_from((0, 1, 5_000_000)), st.integers(0, 60_000_000))
BY_NAME = {event.name: event for event in EXAMPLES}


class AnyRefund(AnyHistory):
    """Once signed, only the stored bytes pay; it ends once, unless a reorg takes the end back."""

    decider = REFUND
    reports = (c.RecordSigned, c.RecordBroadcast, c.RecordRefundMined, c.RecordRefundLost)
    edges = frozenset(
        {
            ("requested", "signed"),
            ("signed", "broadcast"),
            ("broadcast", "completed"),
            ("requested", "completed"),  # reports may be overtaken
            ("signed", "completed"),
            ("requested", "failed"),
            ("signed", "failed"),
            ("broadcast", "failed"),
            ("completed", "broadcast"),
        }
    )
    state: Refund

    @initialize()
    def it_is_requested(self) -> None:
        self.do(c.RequestRefund(**dict(REQUESTED)))

    def postings(self, event: Event, state: Any) -> tuple[Posting, ...]:
        return postings_for(event, MERCHANT_ID)

    @rule(tx_hash=hashes, nonce=st.integers(0, 9))
    def it_is_signed(self, tx_hash: str, nonce: int) -> None:
        self.do(c.RecordSigned(at=LATER, tx_hash=tx_hash, nonce=nonce))

    @rule(tx_hash=hashes)
    def it_is_sent(self, tx_hash: str) -> None:
        self.do(c.RecordBroadcast(at=LATER, tx_hash=tx_hash))

    @rule(tx_hash=hashes, number=st.integers(100, 105), gas=st.sampled_from((GAS, None)))
    def it_is_mined(self, tx_hash: str, number: int, gas: Amount | None) -> None:
        self.do(
            c.RecordRefundMined(
                at=LATER,
                tx_hash=tx_hash,
                block_number=number,
                block_hash=f"0x{number}",
                confirmations=3,
                gas=gas,
            )
        )

    @rule(tx_hash=hashes)
    def it_is_lost(self, tx_hash: str) -> None:
        self.do(c.RecordRefundLost(at=LATER, tx_hash=tx_hash))

    @rule(gas=st.sampled_from((GAS, None)))
    def it_fails(self, gas: Amount | None) -> None:
        self.do(c.FailRefund(at=LATER, reason="frozen", gas=gas))

    def seen(self, before: Any, event: Event) -> None:
        if before is None:
            return
        assert (before.status, self.state.status) in self.edges
        assert self.state.model_copy(update=dict(before)) == before
        for fixed in ("amount", "destination", "wallet", "wallet_index", "session_id", "network"):
            assert getattr(before, fixed) == getattr(self.state, fixed)

    @invariant()
    def it_is_signed_once(self) -> None:
        assert sum(isinstance(fact, e.RefundSigned) for fact in self.past) <= 1

    @invariant()
    def gas_is_booked_for_what_is_on_chain(self) -> None:
        spent = self.state.gas.units if self.state.gas else 0
        failed = [f.gas for f in self.past if isinstance(f, e.RefundFailed) and f.gas]
        assert self.books.debit("gas_spent") == spent + sum(gas.units for gas in failed)
        assert (self.state.block_number is None) == (self.state.status != "completed")


class AnyFloat(AnyHistory):
    """It never gives more than it holds, and its books are its state."""

    decider = REFUND_FLOAT
    reports = (c.TopUpFloat, c.ReverseTopUp, c.ReleaseFloat, c.SpendFloat, c.ReverseSpending)

    state: RefundFloat | None

    def __init__(self) -> None:
        super().__init__()
        self.spent: dict[UUID, Amount] = {}

    @property
    def held(self) -> RefundFloat:
        return self.state or RefundFloat()

    def postings(self, event: Event, state: Any) -> tuple[Posting, ...]:
        return postings_for(event, MERCHANT_ID)

    @rule(name=st.sampled_from("abcd"), units=units)
    def it_is_topped_up(self, name: str, units: int) -> None:
        amount = Amount(units=units, asset=ASSET)
        self.do(c.TopUpFloat(at=LATER, transfer_id=name, amount=amount))

    @rule(name=st.sampled_from("abcd"))
    def a_top_up_is_lost(self, name: str) -> None:
        self.do(c.ReverseTopUp(at=LATER, transfer_id=name))

    @rule(refund_id=ids, units=units)
    def a_refund_asks(self, refund_id: UUID, units: int) -> None:
        if refund_id in self.spent:
            return  # a refund asks once; its own stream says so
        free = self.held.available_units
        amount = Amount(units=units, asset=ASSET)
        if self.do(c.ReserveFloat(at=LATER, refund_id=refund_id, amount=amount)):
            assert units <= free

    @rule(refund_id=ids)
    def a_refund_fails(self, refund_id: UUID) -> None:
        self.do(c.ReleaseFloat(at=LATER, refund_id=refund_id))

    @rule(refund_id=ids)
    def a_refund_is_paid(self, refund_id: UUID) -> None:
        for event in self.do(c.SpendFloat(at=LATER, refund_id=refund_id)):
            assert isinstance(event, e.FloatSpent)
            self.spent[refund_id] = event.amount

    @rule(refund_id=ids)
    def a_paid_refund_is_lost(self, refund_id: UUID) -> None:
        amount = self.spent.pop(refund_id, None)
        if amount is not None:
            self.do(c.ReverseSpending(at=LATER, refund_id=refund_id, amount=amount))

    @invariant()
    def its_books_are_its_state(self) -> None:
        held = self.held
        reserved = sum(amount.units for amount in held.reserved.values())
        arrived = sum(amount.units for amount in held.top_ups.values())
        spent = sum(amount.units for amount in self.spent.values())
        free = self.books.credit("refund_float")
        assert free == max(0, held.available_units)
        assert self.books.credit("refunds_pending") == reserved
        assert self.books.debit("hot_wallet") == free + reserved
        assert self.books.debit("float_shortfall") == held.gap_units
        assert self.books.credit("float_owed") == held.gap_units
        assert held.available_units == arrived - reserved - spent


class AnyDelivery(AnyHistory):
    """At most four attempts a round, each later than the one before, the same bytes for ever."""

    decider = DELIVERY
    repeatable = (c.RecordAttempt,)

    state: WebhookDelivery

    @initialize()
    def it_is_opened(self) -> None:
        self.do(c.OpenDelivery(**dict(BY_NAME["delivery.opened"])))

    @rule(
        status=st.sampled_from((200, 204, 400, 410, 429, 500, None)),
        wait=st.sampled_from((None, 0, 30, 10**9)),
    )
    def it_is_attempted(self, status: int | None, wait: int | None) -> None:
        good = status is not None and status < 300
        self.do(
            c.RecordAttempt(
                at=LATER,
                status_code=status,
                latency_ms=5,
                error=None if good else "no",
                retry_after_seconds=wait,
            )
        )

    @rule()
    def it_is_replayed(self) -> None:
        self.do(c.ReplayDelivery(at=LATER))

    def seen(self, before: Any, event: Event) -> None:
        if before is None:
            return
        assert self.state.body == before.body
        if isinstance(event, e.DeliveryAttemptFailed):
            assert event.attempt == before.attempts + 1
            if event.next_attempt_at is not None:
                planned = RETRY_DELAYS_SECONDS[before.round_attempts]
                waits = event.next_attempt_at - event.at
                assert timedelta(seconds=planned) <= waits <= 2 * timedelta(seconds=planned)

    @invariant()
    def it_is_tried_at_most_four_times_a_round(self) -> None:
        assert self.state.round_attempts <= ATTEMPTS_MAX
        assert (self.state.next_attempt_at is not None) == (self.state.status == "due")
        made = (e.DeliverySucceeded, e.DeliveryAttemptFailed)
        assert self.state.attempts == sum(isinstance(fact, made) for fact in self.past)


class AnyMerchant(AnyHistory):
    """Settings per mode; a revoked key stays revoked; endpoints are bounded."""

    decider = MERCHANT

    state: Merchant

    @initialize()
    def it_registers(self) -> None:
        self.do(c.RegisterMerchant(at=AT, merchant_id=MERCHANT_ID, display_name="Shop"))

    @rule(mode=modes, micros=st.integers(-1, 100_000_001), points=st.integers(-1, 1_001))
    def it_sets_a_tolerance(self, mode: Any, micros: int, points: int) -> None:
        self.do(c.SetTolerance(at=AT, mode=mode, absolute_micros=micros, basis_points=points))

    @rule(mode=modes, digit=st.sampled_from("ab"))
    def it_says_where_customers_pay_to(self, mode: Any, digit: str) -> None:
        self.do(c.SetReceivingAddress(at=AT, mode=mode, address="0x" + digit * 40))
        self.do(c.ConfigureWallet(at=AT, mode=mode, extended_public_key=f"xpub-{digit}"))

    @rule(mode=modes, index=st.integers(1, 3))
    def it_gets_a_refund_wallet(self, mode: Any, index: int) -> None:
        had = self.state.refund_wallets.get(mode)
        address = f"0x{index:040x}"
        self.do(c.AssignRefundWallet(at=AT, mode=mode, index=index, address=address))
        assert had in {None, self.state.refund_wallets[mode]}, "a refund wallet is for ever"

    @rule(key_id=ids, mode=modes, scopes=st.lists(st.sampled_from((*SCOPES, "admin")), max_size=2))
    def it_makes_a_key(self, key_id: UUID, mode: Any, scopes: list[str]) -> None:
        self.do(
            c.CreateApiKey(
                at=AT,
                key_id=key_id,
                mode=mode,
                key_hash="ab",
                last4="x",
                scopes=tuple(scopes),
                label="",
            )
        )

    @rule(key_id=ids)
    def it_revokes_a_key(self, key_id: UUID) -> None:
        self.do(c.RevokeApiKey(at=AT, key_id=key_id))

    @rule(
        number=st.integers(1, ENDPOINTS_MAX + 5),
        kinds=st.lists(st.sampled_from((*MESSAGE_TYPES, "payment.teleported")), max_size=2),
    )
    def it_adds_endpoints(self, number: int, kinds: list[str]) -> None:
        self.do(
            c.CreateEndpoint(
                at=AT,
                endpoint_id=UUID(int=number),
                mode="test",
                url="https://shop.example/hooks",
                event_types=tuple(kinds),
                secret_id=SECRET_ID,
            )
        )

    @rule(number=st.integers(1, 5))
    def an_endpoint_goes(self, number: int) -> None:
        self.do(c.DisableEndpoint(at=AT, endpoint_id=UUID(int=number), reason="410"))
        self.do(c.DeleteEndpoint(at=AT, endpoint_id=UUID(int=number)))

    def seen(self, before: Any, event: Event) -> None:
        for key_id, key in before.api_keys.items() if before else ():
            assert self.state.api_keys[key_id].revoked >= key.revoked
            assert self.state.api_keys[key_id].scopes == key.scopes

    @invariant()
    def it_is_within_its_bounds(self) -> None:
        assert len(self.state.endpoints) <= ENDPOINTS_MAX
        assert all(set(key.scopes) <= set(SCOPES) for key in self.state.api_keys.values())
        due = usd("10.00")
        for tolerance in self.state.tolerances.values():
            assert 0 <= tolerance.of(due, 6).units <= due.units // 2


class AnyClaim(AnyHistory):
    """Nobody who claims and nothing that was seen is ever forgotten."""

    decider = CLAIM

    @rule(session_id=ids, hours=st.integers(0, 3))
    def somebody_claims(self, session_id: UUID, hours: int) -> None:
        until = AT + timedelta(hours=hours)
        self.do(c.MakeClaim(at=LATER, session_id=session_id, credits_until=until))
        assert session_id in self.state.sessions

    @rule(name=st.sampled_from("abc"), number=st.integers(1, 5))
    def something_is_seen(self, name: str, number: int) -> None:
        self.do(c.NoteTransfer(at=LATER, transfer_id=name, report_number=number))
        assert self.state.transfers[name] >= number

    def seen(self, before: Any, event: Event) -> None:
        if before is not None:
            assert before.sessions.items() <= self.state.sessions.items()
            for name, number in before.transfers.items():
                assert self.state.transfers[name] >= number


class AnyPolicy(AnyHistory):
    """Versions are gapless, and a version means the same for ever."""

    decider = POLICY

    @rule(blocks=st.integers(1, 3), tag=st.sampled_from((None, "safe")), version=st.integers(1, 9))
    def it_is_configured(self, blocks: int, tag: Any, version: int) -> None:
        policy = ConfirmationPolicy(version=version, blocks=blocks, tag=tag)
        self.do(c.SetConfirmationPolicy(at=LATER, network="local", policy=policy))
        assert self.state.newest.same_terms(policy)

    def seen(self, before: Any, event: Event) -> None:
        policies = self.state.policies
        assert [policy.version for policy in policies] == list(range(1, len(policies) + 1))
        if before is not None:
            assert policies[:-1] == before.policies


TestAnyRefund = AnyRefund.TestCase
TestAnyRefund.settings = histories()
TestAnyFloat = AnyFloat.TestCase
TestAnyFloat.settings = histories()
TestAnyDelivery = AnyDelivery.TestCase
TestAnyDelivery.settings = histories(1)
TestAnyMerchant = AnyMerchant.TestCase
TestAnyMerchant.settings = histories(1)
TestAnyClaim = AnyClaim.TestCase
TestAnyClaim.settings = histories(1)
TestAnyPolicy = AnyPolicy.TestCase
TestAnyPolicy.settings = histories(1)
