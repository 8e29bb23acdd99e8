"""Who pays a session that shares the merchant's wallet: a proven payer, an announced transaction.

Shapes  A claim is written on the session and on the evidence's own stream in one append. Whatever
        has arrived before and waits in the inbox is looked at again in that same append, and
        credited if it is now this session's beyond doubt.
        An Idempotency-Key (`key`) keeps the answer, also where there was nothing new to write.
        The words a wallet signs name the session, the network, the amount and the address, so a
        signature for one session proves nothing for another.
Errors  ClaimNotNeeded, SessionNotOpen, TooManyClaims, SignatureRefused,
        TransactionHashMalformed; ports.Unavailable when a contract wallet cannot be asked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from application.attribution import credit, reconsider, whose
from application.callers import Caller, Claim
from application.deciders import (
    CLAIM,
    PAYMENT,
    TRANSFER,
    hash_claim_id,
    payer_claim_id,
    transfer_stream_id,
)
from application.handling import Answer, Handler, UnitOfWork
from application.instructions import WriteAddress
from application.ports import Context, ParseAddress
from domain import commands as c
from domain.errors import (
    AddressMalformed,
    SessionUnknown,
    SignatureRefused,
    TransactionHashMalformed,
)
from domain.events import SignatureScheme
from domain.matching import AddressOwner
from domain.money import decimal_of
from domain.networks import Network, NetworkBook
from domain.payment import PaymentSession
from domain.values import public_id

_TX_HASH = re.compile(r"0x[0-9a-f]{64}")
Respond = Callable[[PaymentSession], Answer]
RECHECKED_MAX = 100  # transfers of one piece of evidence that a claim looks at again


@dataclass(frozen=True, slots=True)
class ProofWords:
    """What a payer's wallet signs: as text (EIP-191) or as typed data (EIP-712)."""

    text: str
    typed_data: dict[str, object]


class Signatures(Protocol):
    """Whether a wallet has signed; a contract wallet is asked on chain (EIP-1271)."""

    async def scheme_of(
        self, network: Network, payer: str, words: ProofWords, signature: bytes
    ) -> SignatureScheme | None:
        """How `payer` has signed these words; None when it has not. Raises Unavailable("rpc")."""
        ...


class Claims:
    def __init__(
        self,
        handler: Handler,
        networks: NetworkBook,
        signatures: Signatures,
        parse_address: ParseAddress,
        write: WriteAddress,
    ) -> None:
        self._handler = handler
        self._networks = networks
        self._signatures = signatures
        self._parse_address = parse_address
        self._write = write

    async def words_for(self, session_id: UUID, caller: Caller | None = None) -> ProofWords:
        return self._words(await self._session(session_id, caller))

    async def prove_payer(
        self,
        session_id: UUID,
        payer: str,
        signature: str,
        caller: Caller | None = None,
        key: Claim | None = None,
        respond: Respond | None = None,
    ) -> PaymentSession:
        """What this wallet sends to the merchant is for this session. No caller: the customer."""
        address = self._address(payer)
        session = await self._session(session_id, caller)
        context = _context(session, caller)
        if self._settled_already(session, address):
            return await self._handler.execute(
                context, lambda _: _known(session), claim=key, respond=respond
            )
        network = self._networks.get(session.network)
        scheme = await self._signatures.scheme_of(
            network, address, self._words(session), _signature_bytes(signature)
        )
        if scheme is None:
            raise SignatureRefused(
                f"{self._write(address)} has not signed the words of this payment"
            )

        async def work(unit: UnitOfWork) -> PaymentSession:
            prove = c.ProvePayer(at=unit.now, payer=address, scheme=scheme)
            proven = await unit.decide(PAYMENT, session_id, prove)
            assert proven is not None
            evidence = payer_claim_id(proven.network, proven.deposit_address, address)
            return await self._claim(unit, proven, evidence)

        return await self._handler.execute(context, work, claim=key, respond=respond)

    async def announce(
        self,
        session_id: UUID,
        tx_hash: str,
        caller: Caller | None = None,
        key: Claim | None = None,
        respond: Respond | None = None,
    ) -> PaymentSession:
        """This transaction pays this session, unless somebody else says the same of another."""
        wanted = tx_hash.lower()
        if _TX_HASH.fullmatch(wanted) is None:
            raise TransactionHashMalformed("a transaction hash is 0x and 64 hex digits")
        session = await self._session(session_id, caller)

        async def work(unit: UnitOfWork) -> PaymentSession:
            announce = c.AnnounceTransaction(at=unit.now, tx_hash=wanted)
            announced = await unit.decide(PAYMENT, session_id, announce)
            assert announced is not None
            evidence = hash_claim_id(announced.network, announced.deposit_address, wanted)
            return await self._claim(unit, announced, evidence)

        return await self._handler.execute(
            _context(session, caller), work, claim=key, respond=respond
        )

    def _address(self, text: str) -> str:
        try:
            return self._parse_address(text)
        except AddressMalformed as error:
            raise AddressMalformed(error.message, field="address") from error

    def _settled_already(self, session: PaymentSession, payer: str) -> bool:
        """Refused or known without a look at the signature, which may cost a question on chain."""
        at = self._handler.clock.now()
        prove = c.ProvePayer(at=at, payer=payer, scheme="eip191")
        return PAYMENT.decide(prove, session) == ()

    async def _session(self, session_id: UUID, caller: Caller | None) -> PaymentSession:
        session = await self._handler.load(PAYMENT, session_id)
        mine = caller is None or (
            session is not None
            and (session.merchant_id, session.mode) == (caller.merchant_id, caller.mode)
        )
        if session is None or not mine:
            raise SessionUnknown("there is no such payment session")
        return session

    async def _claim(
        self, unit: UnitOfWork, session: PaymentSession, evidence: UUID
    ) -> PaymentSession:
        made = c.MakeClaim(
            at=unit.now, session_id=session.session_id, credits_until=session.credits_until
        )
        claim = await unit.decide(CLAIM, evidence, made)
        assert claim is not None
        for transfer_id in list(claim.transfers)[-RECHECKED_MAX:]:
            await self._recheck(unit, session, transfer_id)
        after = await unit.load(PAYMENT, session.session_id)
        assert after is not None
        return after

    async def _recheck(self, unit: UnitOfWork, session: PaymentSession, transfer_id: str) -> None:
        transfer = await unit.load(TRANSFER, transfer_stream_id(transfer_id))
        if transfer is None or not transfer.waits or transfer.merchant_id != session.merchant_id:
            return
        owner = AddressOwner(
            purpose="merchant_wallet",
            subject_id=session.merchant_id,
            merchant_id=session.merchant_id,
        )
        safe = transfer.status == "confirmed"
        verdict = await whose(unit, transfer.sighting, owner, self._networks, safe=safe)
        if verdict.subject_id != session.session_id:
            await reconsider(unit, transfer_id, verdict, self._networks)
            return
        command = c.AssignTransfer(
            at=unit.now,
            session_id=session.session_id,
            verdict=verdict.verdict,
            reason=f"{verdict.reason}, after it had arrived",
        )
        await credit(unit, transfer_id, command, self._networks)

    def _words(self, session: PaymentSession) -> ProofWords:
        return words_of(session, self._networks, self._write)


def words_of(session: PaymentSession, networks: NetworkBook, write: WriteAddress) -> ProofWords:
    """The same words for the same session, for ever."""
    network, token = networks.of_asset(session.due.asset)
    identity = public_id("ps", session.session_id)
    amount = f"{decimal_of(session.due.units, token.decimals)} {token.symbol}"
    address = write(session.deposit_address)
    text = (
        "This wallet pays the payment session below. Signing costs nothing and moves no money.\n"
        f"\nPayment session: {identity}\nAmount: {amount}\nTo: {address}\n"
        f"Network: {network.title} (chain id {network.chain_id})"
    )
    domain_type = [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
    ]
    fields = ("paymentSession", "amount", "recipient")
    types = ("string", "string", "address")
    payment_type = [{"name": n, "type": t} for n, t in zip(fields, types, strict=True)]
    typed: dict[str, object] = {
        "types": {"EIP712Domain": domain_type, "Payment": payment_type},
        "primaryType": "Payment",
        "domain": {"name": "Stablecoin Gateway", "version": "1", "chainId": network.chain_id},
        "message": dict(zip(fields, (identity, amount, address), strict=True)),
    }
    return ProofWords(text, typed)


async def _known(session: PaymentSession) -> PaymentSession:
    return session


def _signature_bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise SignatureRefused("a signature is 0x and hex digits") from None


def _context(session: PaymentSession, caller: Caller | None) -> Context:
    if caller is not None:
        return caller.context()
    return Context(actor="customer", merchant_id=session.merchant_id, mode=session.mode)
