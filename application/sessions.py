"""Payment sessions as merchants use them: create, cancel, look at the history.

Units   amounts come as decimal strings of US dollars; 1 USD = 1 USDC = 1 USDT.
Errors  refusals name the field: amount, currency, network, token, expires_in.
        NotReadYet: a session is opened only where the ingester has begun, for it begins with the
        blocks of that moment, and what was paid before them would be nobody's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from application.callers import Caller, Claim
from application.deciders import MERCHANT, PAYMENT
from application.handling import Answer, Handler, UnitOfWork
from application.ports import (
    DepositAddresses,
    Ids,
    KeyAlreadyUsed,
    NotReadYet,
    Recorded,
    Stream,
    Vault,
)
from domain import commands as c
from domain.errors import (
    AmountOutOfRange,
    CurrencyUnknown,
    ExpiryOutOfRange,
    PayByUnknown,
    ReceivingAddressMissing,
    SessionUnknown,
    WalletMissing,
)
from domain.events import Event, PayBy, Sealed
from domain.merchant import EXACT, Merchant, Tolerance
from domain.money import Amount, decimal_of, units_of
from domain.networks import Network, NetworkBook, Token
from domain.payment import PaymentSession
from domain.values import Mode

USD_PLACES = 2
WINDOW_SECONDS_DEFAULT = 7 * 24 * 3600
WINDOW_SECONDS_MIN = 60
WINDOW_SECONDS_MAX = 30 * 24 * 3600
GRACE_SECONDS_DEFAULT = 24 * 3600
AMOUNT_MIN = "0.01"


@dataclass(frozen=True, slots=True)
class NewSession:
    amount: str
    currency: str
    network: str | None = None
    token: str | None = None
    description: str | None = None
    merchant_reference: str | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    customer_email: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    expires_in: int | None = None
    pay_by: str | None = None


class Heads(Protocol):
    """The part of application.reads.ChainHeads that is needed here."""

    async def head(self, network: str) -> int | None: ...


class Sessions:
    def __init__(
        self,
        handler: Handler,
        networks: NetworkBook,
        addresses: DepositAddresses,
        vault: Vault,
        ids: Ids,
        heads: Heads,
        *,
        amount_max: str,
    ) -> None:
        self._handler = handler
        self._networks = networks
        self._addresses = addresses
        self._vault = vault
        self._ids = ids
        self._heads = heads
        self._read: set[str] = set()  # networks: what has begun once has begun for ever
        self._amount_max = amount_max

    async def create(
        self,
        new: NewSession,
        caller: Caller,
        claim: Claim | None,
        respond: Callable[[PaymentSession], Answer],
    ) -> PaymentSession:
        """Open a session. Raises KeyAlreadyUsed with the first answer for a key seen before.

        Raises NotReadYet on a network whose ingester has never begun.
        """
        await self._refuse_used_key(caller, claim)
        network = self._network(new, caller)
        await self._insist_it_is_read(network)
        due = self._due(new, network)
        window_seconds = _window_seconds(new)
        merchant = await self._handler.load(MERCHANT, caller.merchant_id)
        pay_by = _pay_by(new, merchant, caller.mode)
        index, address = await self._address(pay_by, merchant, caller)
        tolerance = _tolerance(merchant, caller.mode).of(due, _token(new, network).decimals)
        session_id = self._ids.new()
        email = await self._sealed(session_id, new.customer_email)

        async def work(unit: UnitOfWork) -> PaymentSession:
            command = c.CreateSession(
                at=unit.now,
                session_id=session_id,
                merchant_id=caller.merchant_id,
                mode=caller.mode,
                network=network.name,
                due=due,
                pay_by=pay_by,
                tolerance=tolerance,
                deposit_address=address,
                deposit_index=index,
                expires_at=unit.now + timedelta(seconds=window_seconds),
                grace_seconds=GRACE_SECONDS_DEFAULT,
                description=new.description,
                merchant_reference=new.merchant_reference,
                success_url=new.success_url,
                cancel_url=new.cancel_url,
                customer_email=email,
                metadata=new.metadata,
            )
            session = await unit.decide(PAYMENT, session_id, command)
            assert session is not None
            return session

        return await self._handler.execute(caller.context(), work, claim=claim, respond=respond)

    async def cancel(self, session_id: UUID, caller: Caller) -> PaymentSession:
        async def work(unit: UnitOfWork) -> PaymentSession:
            known = await unit.load(PAYMENT, session_id)
            _owned(known, caller)
            session = await unit.decide(PAYMENT, session_id, c.CancelSession(at=unit.now))
            return _owned(session, caller)

        return await self._handler.execute(caller.context(), work)

    async def find(self, session_id: UUID, caller: Caller) -> PaymentSession:
        """From the log itself, so it never lags behind a write."""
        session = await self._handler.load(PAYMENT, session_id)
        return _owned(session, caller)

    async def history(self, session_id: UUID, caller: Caller) -> Sequence[Recorded[Event]]:
        """Every fact of a session, oldest first."""
        recorded = await self._handler.store.read_stream(Stream(PAYMENT.stream_type, session_id))
        state: PaymentSession | None = None
        for fact in recorded:
            state = PAYMENT.evolve(state, fact.event)
        _owned(state, caller)
        return recorded

    async def _refuse_used_key(self, caller: Caller, claim: Claim | None) -> None:
        """Spare a deposit address; the append itself decides when two ask at once."""
        if claim is None:
            return
        stored = await self._handler.store.stored_response(
            caller.merchant_id, caller.mode, claim.key
        )
        if stored is not None:
            raise KeyAlreadyUsed(stored)

    def _network(self, new: NewSession, caller: Caller) -> Network:
        if new.currency != "USD":
            raise CurrencyUnknown('the only currency is "USD"')
        if new.network is None:
            return self._networks.default(caller.mode)
        return self._networks.named(new.network, caller.mode)

    async def _insist_it_is_read(self, network: Network) -> None:
        if network.name in self._read:
            return
        if await self._heads.head(network.name) is None:
            raise NotReadYet(network.name)
        self._read.add(network.name)

    def _due(self, new: NewSession, network: Network) -> Amount:
        token = _token(new, network)
        units = units_of(new.amount, token.decimals, decimals_max=USD_PLACES)
        lowest = units_of(AMOUNT_MIN, token.decimals)
        highest = units_of(self._amount_max, token.decimals)
        if not lowest <= units <= highest:
            most = decimal_of(highest, token.decimals)
            raise AmountOutOfRange(f"the amount must be from {AMOUNT_MIN} to {most} USD")
        return Amount(units=units, asset=network.asset(token))

    async def _address(
        self, pay_by: PayBy, merchant: Merchant | None, caller: Caller
    ) -> tuple[int | None, str]:
        if pay_by == "merchant_wallet":
            wallet = merchant.receiving_addresses.get(caller.mode) if merchant else None
            if wallet is None:
                raise ReceivingAddressMissing(
                    f"there is no receiving address for {caller.mode} mode yet: the gateway's "
                    "operator sets the wallet these customers pay to"
                )
            return None, wallet
        key = merchant.extended_public_keys.get(caller.mode) if merchant else None
        if key is None:
            raise WalletMissing(
                f"set the extended public key for {caller.mode} mode first: "
                "customers pay to addresses derived from it"
            )
        # Of the same seed perhaps: an address that many sessions shared cannot be one's own.
        shared = merchant.known_wallets if merchant else ()
        for _ in range(len(shared) + 1):  # each address comes once, so one of these is free
            index, address = await self._addresses.allocate(caller.merchant_id, caller.mode, key)
            if address not in shared:
                return index, address
        raise AssertionError("an address was handed out twice")

    async def _sealed(self, session_id: UUID, email: str | None) -> Sealed | None:
        if email is None:
            return None
        subject = f"payment_session:{session_id.hex}"
        return Sealed(subject=subject, ciphertext=await self._vault.seal(subject, email))


def _pay_by(new: NewSession, merchant: Merchant | None, mode: Mode) -> PayBy:
    """As asked for; else an address of its own, which works from anywhere, where there can be."""
    match new.pay_by:
        case "deposit_address" | "merchant_wallet" as asked:
            return asked
        case str():
            raise PayByUnknown('pay_by is "deposit_address" or "merchant_wallet"')
    only_wallet = (
        merchant is not None
        and mode not in merchant.extended_public_keys
        and mode in merchant.receiving_addresses
    )
    return "merchant_wallet" if only_wallet else "deposit_address"


def _tolerance(merchant: Merchant | None, mode: Mode) -> Tolerance:
    return EXACT if merchant is None else merchant.tolerances.get(mode, EXACT)


def _token(new: NewSession, network: Network) -> Token:
    return network.token(new.token) if new.token else network.accepted_tokens()[0]


def _window_seconds(new: NewSession) -> int:
    seconds = WINDOW_SECONDS_DEFAULT if new.expires_in is None else new.expires_in
    if not WINDOW_SECONDS_MIN <= seconds <= WINDOW_SECONDS_MAX:
        raise ExpiryOutOfRange(
            f"expires_in must be from {WINDOW_SECONDS_MIN} to {WINDOW_SECONDS_MAX} seconds"
        )
    return seconds


def _owned(session: PaymentSession | None, caller: Caller) -> PaymentSession:
    """Another merchant's session, or the other mode's, is as unknown as none."""
    if session is None or (session.merchant_id, session.mode) != (
        caller.merchant_id,
        caller.mode,
    ):
        raise SessionUnknown("there is no such payment session")
    return session
