"""The signer: the only process with keys. It has no HTTP, a role of its own, and trusts nobody.

Shapes  Reads reserved transactions, checks each against its own configuration, has it approved
        (kill switch, caps, nonce), signs it, stores the bytes. It never broadcasts.
Trust   a row may have been written by a thief with the gateway's own password: what it says is
        paid only as far as the caps, to no address of ours, in no token but the configured.
Errors  a refusal is final and names the reason; what is held waits for a person. An outage is
        waited for.
"""

import asyncio

import structlog

from application.paying_out import (
    FEE_PER_GAS_MAX_WEI,
    TRANSFER_GAS_LIMIT,
    Approved,
    Caps,
    Held,
    Refused,
    Signer,
    SigningBook,
    SigningFailed,
    Terms,
    TransferToSign,
    Unsigned,
    micros_of,
)
from application.ports import Clock, Unavailable
from domain.money import UINT256_MAX
from domain.networks import ZERO_ADDRESS, Network, NetworkBook, Token
from workers.pacing import Outages

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.1
OUTAGE_PAUSE_SECONDS = 0.5
BATCH_MAX = 64


class SignerProcess:
    def __init__(
        self,
        book: SigningBook,
        signer: Signer,
        networks: NetworkBook,
        clock: Clock,
        caps: Caps,
    ) -> None:
        self._book = book
        self._signer = signer
        self._networks = networks
        self._clock = clock
        self._caps = caps
        self._outages = Outages("signer")
        self._held: str | None = None
        self._blocked: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                decided = await self.sign_waiting()
                self._outages.back()
            except Unavailable as outage:
                self._outages.away(outage)
                await self._clock.sleep(OUTAGE_PAUSE_SECONDS, stop)
                continue
            if not decided:
                await self._clock.sleep(POLL_SECONDS, stop)

    async def sign_waiting(self) -> int:
        """Decide about what is reserved, oldest first; how many were signed or refused."""
        decided = 0
        for row in await self._book.unsigned(BATCH_MAX):
            outcome = await self._decide(row)
            if isinstance(outcome, Held):
                self._say_held(outcome)
                if outcome.everything:
                    break
            elif outcome is not None:
                decided += 1
        else:
            self._held = None
        return decided

    async def _decide(self, row: Unsigned) -> Approved | Refused | Held | None:
        """None when it can be neither signed nor refused: a person has to look."""
        found = why_not(row, self._networks)
        if isinstance(found, str):
            return await self._refuse(row, found)
        network, token = found
        if await self._signer.address(row.wallet_index) != row.wallet:
            return await self._refuse(row, "the wallet is not one of this signer's")
        verdict = await self._book.approve(
            row.refund_id, self._terms(row, network, token), self._clock.now()
        )
        match verdict:
            case Refused(reason=reason):
                return await self._refuse(row, reason)
            case Approved(nonce=nonce):
                return verdict if await self._sign(row, nonce) else None
            case Held():
                return verdict

    def _terms(self, row: Unsigned, network: Network, token: Token) -> Terms:
        # Test money has caps of its own: it must not use up the day of the real one.
        peers = (n.chain_id for n in self._networks.networks if n.mode == network.mode)
        return Terms(
            micros=micros_of(row.units, token),
            caps=self._caps,
            chain_ids=tuple(peers),
            known_wallets_only=network.mode == "live",
        )

    async def _sign(self, row: Unsigned, nonce: int) -> bool:
        transfer = TransferToSign(
            chain_id=row.chain_id,
            wallet=row.wallet,
            wallet_index=row.wallet_index,
            nonce=nonce,
            token=row.token,
            destination=row.destination,
            units=row.units,
            gas_limit=row.gas_limit,
            max_fee=row.max_fee,
            tip=row.tip,
        )
        try:
            signed = await self._signer.sign_transfer(transfer)
        except SigningFailed as failed:
            self._say_blocked(row, str(failed))
            return False
        await self._book.store(row.refund_id, signed, self._clock.now())
        log.info("refund_signed", refund_id=row.refund_id.hex, nonce=nonce, tx_hash=signed.tx_hash)
        return True

    async def _refuse(self, row: Unsigned, reason: str) -> Refused | None:
        if await self._book.refuse(row.refund_id, reason, self._clock.now()):
            log.warning("refund_refused_by_signer", refund_id=row.refund_id.hex, reason=reason)
            return Refused(reason)
        # Approved under another configuration: its nonce must be used, so it cannot be refused.
        self._say_blocked(row, reason)
        return None

    def _say_held(self, held: Held) -> None:
        if self._held != held.reason:
            self._held = held.reason
            log.error("signing_held", reason=held.reason)

    def _say_blocked(self, row: Unsigned, reason: str) -> None:
        key = f"{row.refund_id.hex} {reason}"
        if key not in self._blocked:
            self._blocked.add(key)
            log.error("refund_cannot_be_signed", refund_id=row.refund_id.hex, reason=reason)


def why_not(row: Unsigned, networks: NetworkBook) -> str | tuple[Network, Token]:
    """Why it must not be signed, else the network and the token it concerns."""
    network = next((n for n in networks.networks if n.name == row.network), None)
    if network is None or network.chain_id != row.chain_id:
        return "the network is not one of this signer's"
    token = network.token_at(row.token)
    if token is None or not token.accepted:
        return "the token is not one of this signer's"
    if row.destination in {ZERO_ADDRESS, row.wallet}:
        return "the destination is the zero address or the wallet itself"
    if any(n.token_at(row.destination) is not None for n in networks.networks):
        return "the destination is a token contract"
    if not 0 < row.units <= UINT256_MAX:
        return "the amount is not a positive number of base units"
    if not 0 < row.gas_limit <= TRANSFER_GAS_LIMIT:
        return "the gas limit is more than a transfer needs"
    if not 0 <= row.tip <= row.max_fee <= FEE_PER_GAS_MAX_WEI:
        return "the fee is more than this signer pays"
    return network, token
