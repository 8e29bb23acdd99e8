"""Each aggregate as a pair of pure functions and the type of its streams."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from domain import (
    claim,
    delivery,
    halts,
    merchant,
    payment,
    policy,
    refund,
    refund_float,
    transfer,
)
from domain import commands as c
from domain.events import Event
from domain.values import Mode, derived_id

S = TypeVar("S")
C = TypeVar("C", bound=c.Command)


@dataclass(frozen=True)
class Decider(Generic[S, C]):
    stream_type: str
    decide: Callable[[C, S | None], tuple[Event, ...]]
    evolve: Callable[[S | None, Event], S]


PAYMENT = Decider[payment.PaymentSession, c.SessionCommand](
    "payment_session", payment.decide, payment.evolve
)
REFUND = Decider[refund.Refund, c.RefundCommand]("refund", refund.decide, refund.evolve)
REFUND_FLOAT = Decider[refund_float.RefundFloat, c.FloatCommand](
    "refund_float", refund_float.decide, refund_float.evolve
)
TRANSFER = Decider[transfer.OnchainTransfer, c.TransferCommand](
    "onchain_transfer", transfer.decide, transfer.evolve
)
MERCHANT = Decider[merchant.Merchant, c.MerchantCommand](
    "merchant", merchant.decide, merchant.evolve
)
DELIVERY = Decider[delivery.WebhookDelivery, c.DeliveryCommand](
    "webhook_delivery", delivery.decide, delivery.evolve
)


CLAIM = Decider[claim.PaymentClaim, c.ClaimCommand]("payment_claim", claim.decide, claim.evolve)
POLICY = Decider[policy.PolicyHistory, c.SetConfirmationPolicy](
    "confirmation_policy", policy.decide, policy.evolve
)


HALTS = Decider[halts.NetworkHalts, c.HaltCommand]("network_halts", halts.decide, halts.evolve)


def payer_claim_id(network: str, wallet: str, payer: str) -> UUID:
    return derived_id("payment_claim", network, wallet, "payer", payer)


def hash_claim_id(network: str, wallet: str, tx_hash: str) -> UUID:
    return derived_id("payment_claim", network, wallet, "tx_hash", tx_hash)


def policy_stream_id(network: str) -> UUID:
    return derived_id("confirmation_policy", network)


def halts_stream_id(network: str) -> UUID:
    return derived_id("network_halts", network)


def transfer_stream_id(transfer_id: str) -> UUID:
    return derived_id("onchain_transfer", transfer_id)


def float_id(merchant_id: UUID, mode: Mode, asset: str) -> UUID:
    return derived_id("refund_float", merchant_id.hex, mode, asset)
