"""What callers send: bodies and query strings, closed and strict.

Shapes  an unknown field is an error that names it. Text holds no NUL (PostgreSQL cannot keep
        one) and no other control characters but line breaks and tabs. Amounts are strings, and
        domain/money.py reads them; here they are only bounded.
Errors  pydantic's, made problems by api/errors.py; `return_url` depends on the mode and is
        therefore asked by the route.
"""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)
from pydantic.json_schema import SkipJsonSchema

from api.problems import Problem
from application.reads import PAGE_SIZE_MAX
from application.sessions import NewSession
from domain.errors import PublicIdMalformed
from domain.merchant import MESSAGE_TYPES
from domain.payment import Status
from domain.transfer import Resolution
from domain.values import Mode, parse_public_id

METADATA_KEYS_MAX = 20
METADATA_KEY_LENGTH_MAX = 40
METADATA_VALUE_LENGTH_MAX = 500
URL_LENGTH_MAX = 2048
AMOUNT_LENGTH_MAX = 100
SIGNATURE_LENGTH_MAX = 2 + 2 * 4_096
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,185}\.[^@\s\x00-\x1f]{2,63}")
_URL = re.compile(r"[\x21-\x7e]+")
_TX_HASH = re.compile(r"0x[0-9a-f]{64}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("holds control characters")
    return text


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("must be one line")
    return _printable(text)


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ValueError("must be a URL in ASCII, without spaces")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError("is not a URL") from error
    plain = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if parts.scheme != "https" and not plain:
        raise ValueError("must begin with https://")
    if not parts.hostname or "@" in parts.netloc or "\\" in text:
        raise ValueError("must name a host, and no user or password")
    return text


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("is not an email address")
    return text


def _tx_hash(text: str) -> str:
    lower = text.lower()
    if not _TX_HASH.fullmatch(lower):
        raise ValueError("must be 0x and 64 hex digits")
    return lower


def _set_by_operator(value: object) -> None:
    del value
    raise ValueError(
        "can only be read here; the gateway's operator sets it, with `gateway receiving-address`"
    )


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Word = Annotated[str, Field(min_length=1, max_length=32), AfterValidator(_one_line)]
Prose = Annotated[str, Field(max_length=500), AfterValidator(_printable)]
AmountText = Annotated[
    str,
    Field(
        max_length=AMOUNT_LENGTH_MAX,
        description='A decimal string of US dollars, such as "10.00". Numbers are refused.',
        examples=["10.00"],
    ),
]
Address = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_one_line)]
Percent = Annotated[
    str,
    Field(
        max_length=AMOUNT_LENGTH_MAX,
        description='A decimal string with at most two places, such as "0.50". Numbers are refused.',
        examples=["0.50"],
    ),
]
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        description="Why, in a few words: it is kept with the decision.",
        examples=["a second payment for order-1042, accepted as a tip"],
    ),
    AfterValidator(_printable),
]
ReturnUrl = Annotated[str, Field(max_length=URL_LENGTH_MAX), AfterValidator(_url)]
Email = Annotated[str, Field(max_length=254), AfterValidator(_email)]
MetadataKey = Annotated[
    str,
    Field(min_length=1, max_length=METADATA_KEY_LENGTH_MAX),
    AfterValidator(_one_line),
]
MetadataValue = Annotated[
    str, Field(max_length=METADATA_VALUE_LENGTH_MAX), AfterValidator(_printable)
]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=METADATA_KEYS_MAX)]


class Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class NewPaymentSession(Body):
    """One amount due. Without a network the first one of the key's mode is taken."""

    amount: AmountText
    currency: Word = Field(examples=["USD"])
    network: Word | None = Field(default=None, description="Such as `polygon`.")
    token: Word | None = Field(default=None, description="`USDC` or `USDT`.")
    description: Prose | None = Field(default=None, examples=["Order 1042"])
    merchant_reference: Line | None = Field(default=None, examples=["order-1042"])
    success_url: ReturnUrl | None = None
    cancel_url: ReturnUrl | None = None
    customer_email: Email | None = None
    metadata: Metadata = Field(default_factory=dict)
    expires_in: int | None = Field(default=None, description="Seconds; 7 days without it.")
    pay_by: Word | None = Field(
        default=None,
        description="`deposit_address`, an address of the session's own, or `merchant_wallet`, "
        "your receiving address. Without it the first, if you have set an extended public key.",
    )

    def asked(self, mode: Mode) -> NewSession:
        for field in ("success_url", "cancel_url"):
            _refuse_plain_http(field, getattr(self, field), mode)
        return NewSession(**dict(self))


class NewPayer(Body):
    """A wallet, and its signature under the session's payer words."""

    address: Address = Field(examples=["0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"])
    signature: Annotated[
        str, Field(min_length=2, max_length=SIGNATURE_LENGTH_MAX), AfterValidator(_one_line)
    ] = Field(examples=["0x7f…1b"])


class NewAnnouncement(Body):
    tx_hash: Annotated[str, Field(max_length=80), AfterValidator(_one_line)] = Field(
        examples=["0x" + "8a" * 32]
    )


class Decision(Body):
    reason: Reason


class Assignment(Decision):
    payment_session_id: Line = Field(examples=["ps_6f0c2f7be1a24b7f9f0c6f1e2d3c4b5a"])


class TransferRefund(Decision):
    """Without an address it goes back to where it came from."""

    to_address: Address | None = None


class NewTolerance(Body):
    """How much of an amount may be missing: the larger of the two."""

    absolute: AmountText = "0"
    percent: Percent = "0"


class SettingsChange(Body):
    """What is left out stays as it is."""

    tolerance: NewTolerance | None = None
    # Known so that it can be refused with who may: a leaked key must not redirect payments.
    receiving_address: SkipJsonSchema[Annotated[None, BeforeValidator(_set_by_operator)]] = None


class NewRefund(Body):
    """Without an amount all that is left goes back; without an address, to the payer."""

    payment_session_id: Line = Field(examples=["ps_6f0c2f7be1a24b7f9f0c6f1e2d3c4b5a"])
    amount: AmountText | None = None
    reason: Prose | None = None
    to_address: Address | None = None


class NewWebhookEndpoint(Body):
    """Where messages go. Without event types, all of them."""

    url: Annotated[str, Field(min_length=1, max_length=URL_LENGTH_MAX), AfterValidator(_one_line)]
    event_types: list[Line] = Field(
        default_factory=list, max_length=len(MESSAGE_TYPES), examples=[["payment.completed"]]
    )


class Query(BaseModel):
    """A query string: texts, so numbers and moments are read from them; still closed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(Query):
    limit: int = Field(default=20, ge=1, le=PAGE_SIZE_MAX)
    cursor: Line | None = Field(default=None, description="The next_cursor of the page before.")


class SessionsQuery(PageQuery):
    q: Line | None = Field(
        default=None,
        description="One thing, exactly: a session's id, the hash of a transaction, an address "
        "(the payer's, or the one made for the session), or else your reference. Descriptions "
        "and metadata are not searched.",
        examples=["order-1042"],
    )
    status: Status | None = None
    network: Word | None = Field(default=None, examples=["polygon"])
    token: Word | None = Field(default=None, description="Its symbol: `USDC` or `USDT`.")
    merchant_reference: Line | None = Field(default=None, examples=["order-1042"])
    tx_hash: Annotated[str, Field(max_length=66), AfterValidator(_tx_hash)] | None = Field(
        default=None, description="Of a transaction that was ever seen to pay the session."
    )
    payer: Address | None = Field(
        default=None, description="A wallet that was ever seen to pay for the session."
    )
    created_from: AwareDatetime | None = Field(default=None, description="RFC 3339, inclusive.")
    created_to: AwareDatetime | None = Field(default=None, description="RFC 3339, exclusive.")
    amount_min: AmountText | None = Field(
        default=None, description='Of the amount due, inclusive: "10.00".', examples=["10.00"]
    )
    amount_max: AmountText | None = Field(
        default=None, description='Of the amount due, inclusive: "10.00".', examples=["10.00"]
    )


class RefundsQuery(PageQuery):
    payment_session_id: Line | None = None


class TransfersQuery(PageQuery):
    show: Literal["waiting", "all"] = Field(
        default="waiting",
        description="`waiting`: what a person must decide about. `all`: every transfer to your "
        "addresses, those credited to sessions included.",
    )
    resolution: Resolution | None = Field(
        default=None, description="Unmatched transfers about which this was decided."
    )
    network: Word | None = None
    token: Word | None = Field(default=None, description="Its symbol, such as `USDC.e`.")
    tx_hash: Annotated[str, Field(max_length=66), AfterValidator(_tx_hash)] | None = None
    from_address: Address | None = None


class DeliveriesQuery(PageQuery):
    webhook_endpoint_id: Line | None = None
    status: Literal["due", "delivered", "failed"] | None = None


class TimelineQuery(Query):
    after: int = Field(default=0, ge=0, le=2**53, description="Only versions after this one.")
    limit: int = Field(default=100, ge=1, le=PAGE_SIZE_MAX)


def _refuse_plain_http(field: str, url: str | None, mode: Mode) -> None:
    if url is not None and mode == "live" and not url.startswith("https:"):
        issue = "must begin with https://; http is for test mode"
        raise Problem(422, "request.invalid", f"{field}: {issue}", details=((field, issue),))


def id_in(field: str, prefix: str, text: str) -> UUID:
    """An id that stands in a body or a query, where a malformed one is a wrong value."""
    try:
        return parse_public_id(prefix, text)
    except PublicIdMalformed as error:
        raise PublicIdMalformed(error.message, field=field) from error
