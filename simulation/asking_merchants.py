"""Steps of merchants' settings and decisions, and of payers' claims, turned into requests.

Shapes  Clients know transfers from the inbox as the API lists it, which lags as read models do,
        and transactions from the payers' own wallets, in the order in which they were made.
"""

from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - seeded by a step's salt
from typing import assert_never
from zlib import crc32

from application.deciders import transfer_stream_id
from domain.networks import ZERO_ADDRESS
from simulation import setting
from simulation import steps as s
from simulation.asking import Asking
from simulation.chains import payer_address, stranger_address
from simulation.clients import Merchant
from simulation.evidence import Json

TOGETHER_SECONDS = 0.5

MerchantSteps = (
    s.SetTolerance
    | s.SetReceivingAddress
    | s.ProvePayer
    | s.AnnounceTransaction
    | s.DecideTransfer
)


@dataclass(frozen=True, slots=True)
class Made:
    """A payer's transaction, as its wallet knows it."""

    session_id: str
    tx_hash: str


@dataclass(eq=False)
class Merchandising:
    asking: Asking
    made: list[Made] = field(default_factory=list)

    def perform(self, step: MerchantSteps) -> None:
        match step:
            case s.SetTolerance():
                body: Json = {"cents": step.cents, "basis_points": step.basis_points}
                merchant = self.asking.merchant(step.merchant)
                self.asking.clients.ask("set_tolerance", merchant, body, lost=step.lost)
            case s.SetReceivingAddress():
                number = step.merchant % len(setting.MERCHANTS)
                body = {"address": setting.receiving_address(number, step.wallet)}
                merchant = self.asking.merchant(step.merchant)
                self.asking.clients.ask("set_receiving_address", merchant, body, lost=step.lost)
            case s.ProvePayer():
                self._prove(step)
            case s.AnnounceTransaction():
                self._announce(step)
            case s.DecideTransfer():
                self._decide(step)
            case _:
                assert_never(step)

    def paid(self, session_id: str, tx_hash: str) -> None:
        self.made.append(Made(session_id, tx_hash))

    # ------------------------------------------------------------ claims

    def _prove(self, step: s.ProvePayer) -> None:
        found = self.asking.session(step.session)
        if found is None:
            return
        asked, known = found
        wallet = payer_address(step.payer)
        signed_for = known["session_id"]
        if step.signer == "session_before":
            before = self.asking.session(max(0, step.session - 1))
            signed_for = before[1]["session_id"] if before is not None else signed_for
        body = {
            "session_id": known["session_id"],
            "address": wallet,
            "signed_by": payer_address(step.payer + 1) if step.signer == "stranger" else wallet,
            "signed_for": signed_for,
            "customer": step.customer,
        }
        self.asking.clients.ask(
            "prove_payer", asked.merchant, body, lost=step.lost, delay_seconds=_delay(step)
        )

    def _announce(self, step: s.AnnounceTransaction) -> None:
        found = self.asking.session(step.session)
        if found is None:
            return
        asked, known = found
        tx_hash = self._hash(step, known["session_id"])
        if tx_hash is None:
            return
        body = {
            "session_id": known["session_id"],
            "tx_hash": tx_hash,
            "customer": step.customer,
        }
        self.asking.clients.ask(
            "announce", asked.merchant, body, lost=step.lost, delay_seconds=_delay(step)
        )

    def _hash(self, step: s.AnnounceTransaction, session_id: str) -> str | None:
        if step.whose == "nobodys":
            random = Random(f"announce {step.salt}")  # noqa: S311 - repeatable
            return "0x" + random.randbytes(32).hex()
        own = step.whose == "own"
        there = [each for each in self.made if (each.session_id == session_id) == own]
        return there[-1].tx_hash if there else None

    # ------------------------------------------------------------ decisions

    def _decide(self, step: s.DecideTransfer) -> None:
        row = self._listed(step)
        if row is None:
            return
        owners = {each.merchant_id: each for each in self.asking.merchants}
        merchant = owners.get(row["merchant_id"])  # type: ignore[call-overload] # a UUID
        if merchant is None:
            return
        if step.meddling:
            place = self.asking.merchants.index(merchant) + 1
            merchant = self.asking.merchants[place % len(self.asking.merchants)]
        body = self._body(step, row, merchant)
        if body is None:
            return
        what = "refund_transfer" if step.decision == "refund" else step.decision
        keyed = step.keyed or step.decision == "refund"
        clients = self.asking.clients
        for _ in range(step.copies):
            clients.ask(
                what,
                merchant,
                dict(body),
                key=f"key-{len(clients.asked)}" if keyed else None,
                lost=step.lost,
                delay_seconds=_delay(step),
            )

    def _listed(self, step: s.DecideTransfer) -> dict[str, object] | None:
        rows = self.asking.servers.tables.rows_of("transfers")
        mine = [
            row
            for row in rows
            if row["merchant_id"] is not None and (row["waits"] or not step.waiting)
        ]
        return mine[-1 - step.transfer % len(mine)] if mine else None

    def _body(
        self, step: s.DecideTransfer, row: dict[str, object], merchant: Merchant
    ) -> Json | None:
        transfer_id = str(row["transfer_id"])
        body: Json = {
            "transfer": transfer_stream_id(transfer_id).hex,
            "transfer_id": transfer_id,
            "reason": f"decided under {step.salt}",
        }
        if step.decision == "assign":
            found = self.asking.session(step.session)
            return None if found is None else body | {"session_id": found[1]["session_id"]}
        if step.decision == "refund":
            return body | {"to_address": _destination(step, row, merchant)}
        return body


def _destination(step: s.DecideTransfer, row: dict[str, object], merchant: Merchant) -> str | None:
    match step.to:
        case "payer":
            return None
        case "other":
            return stranger_address(Random(f"refund {step.salt}"))  # noqa: S311 - repeatable
        case "zero":
            return ZERO_ADDRESS
        case "token":
            return str(row["asset"]).rpartition(":")[2]
        case "own":
            return merchant.refund_wallet
        case "deposit":
            return str(row["recipient"])


def _delay(step: MerchantSteps) -> float:
    """One in two comes while the workers are at work; the same one every time."""
    return TOGETHER_SECONDS if crc32(repr(step).encode()) % 2 == 0 else 0.0
