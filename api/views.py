"""What callers read: the JSON of each resource.

Shapes  built from decided or folded state, never from stored JSON. Ids are public ids, amounts
        decimal strings of the token with base units beside them where a wallet needs those,
        addresses in EIP-55 form, moments RFC 3339 in UTC with "Z".
Units   `amount` is dollars and the token's amount at once: 1 USD = 1 USDC = 1 USDT.
"""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Generic, Literal, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from application.claims import ProofWords
from application.deciders import transfer_stream_id
from application.instructions import (
    Confirmations,
    WriteAddress,
    confirmations_of,
    instructions_for,
)
from application.messages import moment_text
from domain.events import PayBy
from domain.merchant import EXACT, Merchant
from domain.money import Amount, decimal_of
from domain.networks import NetworkBook
from domain.payment import Exceptional, PaymentSession, SessionTransfer, Status
from domain.refund import Refund
from domain.transfer import OnchainTransfer, Resolution
from domain.values import Mode, public_id

SESSION, REFUND, TRANSFER, ENDPOINT, DELIVERY = "ps", "rf", "tr", "we", "wd"
ADDRESSES_REMEMBERED_MAX = 4_096
MICRO_PLACES = 6  # of a tolerance in dollars
PERCENT_PLACES = 2

When = Annotated[datetime, PlainSerializer(moment_text, return_type=str, when_used="json")]
V = TypeVar("V", bound=BaseModel)


class View(BaseModel):
    # Built by us from values already checked; the strictness is in the types.
    model_config = ConfigDict(frozen=True, extra="forbid", revalidate_instances="never")

    def encoded(self) -> bytes:
        return self.model_dump_json().encode()


class ListView(View, Generic[V]):
    object: Literal["list"] = "list"
    data: tuple[V, ...]
    next_cursor: str | None = None
    has_more: bool = False


class PaymentView(View):
    """How to pay what is still missing: everything a wallet needs, also as an EIP-681 URI."""

    network: str
    chain_id: int
    token: str
    token_contract: str
    address: str
    amount_units: str
    amount: str
    uri: str


class ConfirmationsView(View):
    seen: int
    required: int
    waiting_for: str | None = Field(
        default=None,
        description="Where the chain's own word is awaited, not a count: a finalized block.",
    )

    @classmethod
    def of(cls, confirmations: Confirmations | None) -> Self | None:
        if confirmations is None:
            return None
        return cls(
            seen=confirmations.seen,
            required=confirmations.required,
            waiting_for=confirmations.waiting_for,
        )


class TransferView(View):
    id: str
    tx_hash: str
    amount: str
    payer: str
    block_number: int
    late: bool
    status: Literal["observed", "confirmed", "retracted", "reversed"]


class SessionView(View):
    id: str
    object: Literal["payment_session"] = "payment_session"
    status: Status
    exceptions: tuple[Exceptional, ...]
    amount: str = Field(description="What is due, however much of it has come.")
    currency: Literal["USD"] = "USD"
    network: str
    network_status: Literal["following", "pending"] | None = Field(
        description="Pending: the network is being checked, so payments are seen later than usual. "
        "Null in answers to requests that change something: read the session to know."
    )
    token: str
    payment: PaymentView
    checkout_url: str
    confirmations: ConfirmationsView | None
    transfers: tuple[TransferView, ...]
    amount_received: str = Field(description="Seen on chain; not all of it need be safe yet.")
    amount_confirmed: str
    amount_refunded: str
    amount_refundable: str
    fee: str | None
    pay_by: PayBy
    tolerance: str = Field(description="So much may be missing: the payment is complete then too.")
    proven_payers: tuple[str, ...] = Field(
        description="Wallets that have signed: what they send to the receiving address is for this "
        "session."
    )
    announced: tuple[str, ...] = Field(description="Hashes of transactions said to pay this.")
    created_at: When
    expires_at: When
    completed_at: When | None
    description: str | None
    merchant_reference: str | None
    metadata: dict[str, str]
    success_url: str | None
    cancel_url: str | None
    livemode: bool


class PayerWordsView(View):
    """What the payer's wallet signs: the text, or the typed data. Never both are needed."""

    object: Literal["payer_words"] = "payer_words"
    payment_session_id: str
    text: str = Field(description="For personal_sign (EIP-191), these very bytes.")
    typed_data: dict[str, Any] = Field(description="For eth_signTypedData_v4 (EIP-712).")


class OnchainTransferView(View):
    """A token movement to one of the merchant's addresses, and whose it is."""

    id: str
    object: Literal["transfer"] = "transfer"
    status: Literal["observed", "confirmed", "retracted", "reversed"]
    waiting: bool = Field(description="Whether it waits for your decision.")
    purpose: Literal["payment_session", "refund_float", "unmatched"]
    resolution: Resolution | None = Field(description="What was decided about an unmatched one.")
    verdict: str = Field(description="Why it is whose it is, for machines.")
    reason: str
    payment_session_id: str | None
    refund_id: str | None
    amount: str
    amount_units: str
    token: str
    token_contract: str
    network: str
    from_address: str
    to_address: str
    tx_hash: str
    chain_transfer_id: str
    block_number: int
    block_time: When
    confirmations: int = Field(description="When it was confirmed; 0 before.")
    livemode: bool


class ToleranceView(View):
    absolute: str
    percent: str


class SettingsView(View):
    """What counts for sessions opened from now on, in the mode of the key."""

    object: Literal["settings"] = "settings"
    tolerance: ToleranceView
    receiving_address: str | None = Field(
        description="The wallet that sessions may share. The gateway's operator sets it."
    )
    livemode: bool


class GasView(View):
    """What a refund's transaction cost, in the network's own coin."""

    amount: str
    amount_units: str
    coin: str


class RefundView(View):
    id: str
    object: Literal["refund"] = "refund"
    payment_session_id: str | None = Field(description="Of a payment; else transfer_id is set.")
    transfer_id: str | None = Field(description="Of a transfer that belonged to no session.")
    status: Literal["requested", "signed", "broadcast", "completed", "failed"]
    amount: str
    amount_units: str
    currency: Literal["USD"] = "USD"
    network: str
    token: str
    to_address: str
    from_address: str
    reason: str | None
    tx_hash: str | None
    failure: str | None
    gas: GasView | None
    created_at: When
    livemode: bool


class Views:
    """Makes views; knows what they need beside the state itself."""

    def __init__(self, networks: NetworkBook, write: WriteAddress, public_base_url: str) -> None:
        self._networks = networks
        # A checksum costs a hash; the same contracts and payers come again and again.
        self._write = lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)(write)
        self._base = public_base_url

    def session(
        self, session: PaymentSession, head: int | None = None, *, pending: bool | None = None
    ) -> SessionView:
        """`head` is that of its network, `pending` whether that is read late just now, if known."""
        units = session.outstanding.units or session.due.units
        pay = instructions_for(session, self._networks, self._write, units=units)
        session_id = public_id(SESSION, session.session_id)
        return SessionView(
            id=session_id,
            status=session.status,
            exceptions=session.exceptions,
            amount=self._text(session.due),
            network=session.network,
            network_status=_network_status(pending),
            token=pay.token.symbol,
            payment=PaymentView(
                network=session.network,
                chain_id=pay.network.chain_id,
                token=pay.token.symbol,
                token_contract=pay.contract,
                address=pay.address,
                amount_units=str(pay.units),
                amount=pay.amount,
                uri=pay.uri,
            ),
            checkout_url=f"{self._base}/c/{session_id}",
            confirmations=ConfirmationsView.of(confirmations_of(session, pay.network, head)),
            transfers=tuple(self._transfer(one) for one in session.transfers.values()),
            amount_received=self._text(session.seen),
            amount_confirmed=self._text(session.confirmed),
            amount_refunded=self._text(session.refunded),
            amount_refundable=self._text(session.refundable),
            fee=self._text(session.fee) if session.fee else None,
            pay_by=session.pay_by,
            tolerance=self._text(session.tolerance),
            proven_payers=tuple(self._write(payer) for payer in session.proven_payers),
            announced=session.announced,
            created_at=session.created_at,
            expires_at=session.expires_at,
            completed_at=session.completed_at,
            description=session.description,
            merchant_reference=session.merchant_reference,
            metadata=session.metadata,
            success_url=session.success_url,
            cancel_url=session.cancel_url,
            livemode=session.mode == "live",
        )

    def refund(self, refund: Refund) -> RefundView:
        _, token = self._networks.of_asset(refund.amount.asset)
        return RefundView(
            id=public_id(REFUND, refund.refund_id),
            payment_session_id=_public(SESSION, refund.session_id),
            transfer_id=_transfer_id(refund.transfer_id) if refund.transfer_id else None,
            status=refund.status,
            amount=self._text(refund.amount),
            amount_units=str(refund.amount.units),
            network=refund.network,
            token=token.symbol,
            to_address=self._write(refund.destination),
            from_address=self._write(refund.wallet),
            reason=refund.reason,
            tx_hash=refund.tx_hash,
            failure=refund.failure,
            gas=self._gas(refund.gas) if refund.gas else None,
            created_at=refund.created_at,
            livemode=refund.mode == "live",
        )

    def words(self, session_id: UUID, words: ProofWords) -> PayerWordsView:
        return PayerWordsView(
            payment_session_id=public_id(SESSION, session_id),
            text=words.text,
            typed_data=words.typed_data,
        )

    def onchain_transfer(self, transfer: OnchainTransfer) -> OnchainTransferView:
        sighting = transfer.sighting
        symbol, decimals = self._networks.unit_of(sighting.amount.asset)
        of_session = transfer.purpose == "payment_session"
        unmatched = transfer.purpose == "unmatched"
        return OnchainTransferView(
            id=_transfer_id(sighting.transfer_id),
            status=transfer.status,
            waiting=transfer.waits,
            purpose=transfer.purpose or "unmatched",
            resolution=transfer.resolution if unmatched else None,
            verdict=transfer.verdict,
            reason=transfer.reason,
            payment_session_id=_public(SESSION, transfer.subject_id) if of_session else None,
            refund_id=_public(REFUND, transfer.refund_id),
            amount=decimal_of(sighting.amount.units, decimals),
            amount_units=str(sighting.amount.units),
            token=symbol,
            token_contract=self._write(sighting.token),
            network=sighting.network,
            from_address=self._write(sighting.sender),
            to_address=self._write(sighting.recipient),
            tx_hash=sighting.tx_hash,
            chain_transfer_id=sighting.transfer_id,
            block_number=sighting.block_number,
            block_time=sighting.block_time,
            confirmations=transfer.confirmations,
            livemode=self._networks.get(sighting.network).mode == "live",
        )

    def settings(self, merchant: Merchant, mode: Mode) -> SettingsView:
        tolerance = merchant.tolerances.get(mode, EXACT)
        address = merchant.receiving_addresses.get(mode)
        return SettingsView(
            tolerance=ToleranceView(
                absolute=decimal_of(tolerance.absolute_micros, MICRO_PLACES),
                percent=decimal_of(tolerance.basis_points, PERCENT_PLACES),
            ),
            receiving_address=self._write(address) if address else None,
            livemode=mode == "live",
        )

    def _gas(self, gas: Amount) -> GasView:
        coin, decimals = self._networks.unit_of(gas.asset)
        return GasView(
            amount=decimal_of(gas.units, decimals), amount_units=str(gas.units), coin=coin
        )

    def _transfer(self, transfer: SessionTransfer) -> TransferView:
        return TransferView(
            id=transfer.transfer_id,
            tx_hash=transfer.tx_hash,
            amount=self._text(transfer.amount),
            payer=self._write(transfer.payer),
            block_number=transfer.block_number,
            late=transfer.late,
            status=transfer.status,
        )

    def _text(self, amount: Amount) -> str:
        _, token = self._networks.of_asset(amount.asset)
        return decimal_of(amount.units, token.decimals)


def _network_status(pending: bool | None) -> Literal["following", "pending"] | None:
    if pending is None:
        return None
    return "pending" if pending else "following"


def _public(prefix: str, identity: UUID | None) -> str | None:
    return None if identity is None else public_id(prefix, identity)


def _transfer_id(chain_transfer_id: str) -> str:
    return public_id(TRANSFER, transfer_stream_id(chain_transfer_id))
