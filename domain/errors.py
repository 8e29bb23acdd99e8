"""Refusals: answers to people, with permanent codes.

Shapes  A Refusal has a `code` ("refund.exceeds_received"), the `field` it concerns where there
        is one, and a message that says what to do next. Codes are public and never change.
        Nothing else reaches a caller with a reason: an assertion is our bug, a port's
        exception an outage.
"""

from typing import ClassVar


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error of ours
    """The request is understood and declined; nothing changed."""

    code: ClassVar[str] = "refused"
    field: ClassVar[str | None] = None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.at_field = field if field is not None else type(self).field


class PublicIdMalformed(Refusal):
    code = "id.malformed"
    field = "id"


class AmountMalformed(Refusal):
    code = "amount.malformed"
    field = "amount"


class AmountOutOfRange(Refusal):
    code = "amount.out_of_range"
    field = "amount"


class CurrencyUnknown(Refusal):
    code = "currency.unknown"
    field = "currency"


class NetworkUnknown(Refusal):
    code = "network.unknown"
    field = "network"


class TokenUnknown(Refusal):
    code = "token.unknown"
    field = "token"


class AddressMalformed(Refusal):
    code = "address.malformed"
    field = "to_address"


class AddressForbidden(Refusal):
    """Money sent there would be lost, or would come back to ourselves."""

    code = "address.forbidden"
    field = "to_address"


class ExtendedKeyMalformed(Refusal):
    code = "merchant.extended_key_malformed"
    field = "extended_public_key"


class WalletMissing(Refusal):
    """The merchant has not said yet where customers shall pay to."""

    code = "merchant.wallet_missing"


class NameMalformed(Refusal):
    code = "merchant.name_malformed"
    field = "name"


class SessionUnknown(Refusal):
    code = "payment_session.unknown"


class SessionNotOpen(Refusal):
    """Only a session nobody has paid to can be cancelled."""

    code = "payment_session.not_open"


class PayByUnknown(Refusal):
    code = "payment_session.pay_by_unknown"
    field = "pay_by"


class ClaimNotNeeded(Refusal):
    """Only sessions that share the merchant's wallet need to be told who pays."""

    code = "payment_session.claim_not_needed"


class TooManyClaims(Refusal):
    code = "payment_session.too_many_claims"


class SignatureRefused(Refusal):
    """It is not this wallet's signature under this session's words."""

    code = "payment_session.signature_refused"
    field = "signature"


class TransactionHashMalformed(Refusal):
    code = "transaction_hash.malformed"
    field = "tx_hash"


class ReceivingAddressMissing(Refusal):
    """The merchant has not said which wallet of its own customers shall pay to."""

    code = "merchant.receiving_address_missing"


class ToleranceOutOfRange(Refusal):
    code = "merchant.tolerance_out_of_range"
    field = "tolerance"


class TransferUnknown(Refusal):
    code = "transfer.unknown"


class TransferNotUnmatched(Refusal):
    """Somebody, or the gateway itself, has decided about it already."""

    code = "transfer.not_unmatched"


class TransferNotOnChain(Refusal):
    """A reorg has removed it; should it come back, it can be decided about then."""

    code = "transfer.not_on_chain"


class TransferNotConfirmed(Refusal):
    """Money goes back only after it is safely here."""

    code = "transfer.not_confirmed"


class TransferDoesNotFit(Refusal):
    """The session is paid in another token, on another network, or is another merchant's."""

    code = "transfer.does_not_fit"
    field = "payment_session_id"


class ReasonMissing(Refusal):
    """A person's decision about money is written down with its reason."""

    code = "reason.missing"
    field = "reason"


class ExpiryOutOfRange(Refusal):
    code = "payment_session.expiry_out_of_range"
    field = "expires_in"


class RefundUnknown(Refusal):
    code = "refund.unknown"


class RefundExceedsReceived(Refusal):
    """Asked to give back more than arrived and is still unrefunded."""

    code = "refund.exceeds_received"
    field = "amount"


class RefundNotPossible(Refusal):
    """Nothing confirmed has arrived, so there is nothing to give back."""

    code = "refund.not_possible"
    field = "payment_session_id"


class RefundDestinationNeeded(Refusal):
    """Several payers, or none known: the merchant must say where the money goes."""

    code = "refund.destination_needed"
    field = "to_address"


class RefundFloatTooSmall(Refusal):
    """The merchant's refund float does not cover the refund: top it up and ask again."""

    code = "refund.float_too_small"
    field = "amount"


class EndpointUnknown(Refusal):
    code = "webhook_endpoint.unknown"


class EndpointUrlRefused(Refusal):
    code = "webhook_endpoint.url_refused"
    field = "url"


class EndpointLimitReached(Refusal):
    code = "webhook_endpoint.limit_reached"


class EventTypeUnknown(Refusal):
    code = "webhook_endpoint.event_type_unknown"
    field = "event_types"


class DeliveryUnknown(Refusal):
    code = "webhook_delivery.unknown"


class ApiKeyUnknown(Refusal):
    code = "api_key.unknown"


class ScopeUnknown(Refusal):
    code = "api_key.scope_unknown"
    field = "scopes"


class CursorMalformed(Refusal):
    code = "cursor.malformed"
    field = "cursor"


class MonthMalformed(Refusal):
    code = "statement.month_malformed"
    field = "month"


class MonthAhead(Refusal):
    """The month has not begun, so there is nothing to state."""

    code = "statement.month_ahead"
    field = "month"


class AssetUnknown(Refusal):
    """The books hold an asset whose decimals nobody has configured any more."""

    code = "statement.asset_unknown"


class NetworkNotHalted(Refusal):
    """It goes on already: there is nothing to let go on."""

    code = "network.not_halted"
    field = "network"


class PositionAhead(Refusal):
    """The log does not reach this position yet."""

    code = "balances.position_ahead"
    field = "at_position"
