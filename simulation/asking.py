"""Steps of clients turned into requests, with what the clients themselves have come to know.

Shapes  Sessions and endpoints are counted in the order in which somebody first asked for them. One
        whose answer nobody ever got stays unknown: a step that names it does nothing.
"""

from dataclasses import dataclass
from random import Random  # noqa: TID251 - seeded by a step's salt
from typing import assert_never
from zlib import crc32

from domain.merchant import MESSAGE_TYPES
from domain.networks import ZERO_ADDRESS
from simulation import setting
from simulation import steps as s
from simulation.chains import UNITS_OF_A_CENT, stranger_address
from simulation.clients import Asked, Clients, Merchant
from simulation.evidence import Json
from simulation.servers import Servers

DELAYED_ONE_IN = 2
DELAY_SECONDS = 0.5

Requests = (
    s.OpenSession
    | s.CancelSession
    | s.AskRefund
    | s.Repeat
    | s.CreateEndpoint
    | s.DeleteEndpoint
    | s.ReplayDelivery
)


@dataclass(eq=False)
class Asking:
    clients: Clients
    servers: Servers
    merchants: tuple[Merchant, ...]

    def perform(self, step: Requests) -> None:
        match step:
            case s.OpenSession():
                self._open(step)
            case s.CancelSession():
                self._cancel(step)
            case s.AskRefund():
                self._refund(step)
            case s.Repeat():
                self._repeat(step)
            case s.CreateEndpoint():
                self._create_endpoint(step)
            case s.DeleteEndpoint():
                self._delete_endpoint(step)
            case s.ReplayDelivery():
                self._replay(step)
            case _:
                assert_never(step)

    def _open(self, step: s.OpenSession) -> None:
        merchant = self.merchant(step.merchant)
        networks = [each for each in setting.BOOK.networks if each.mode == merchant.mode]
        network = networks[step.network % len(networks)]
        tokens = network.accepted_tokens()
        body = {
            "amount": f"{step.cents // 100}.{step.cents % 100:02d}",
            "network": network.name,
            "token": tokens[step.token % len(tokens)].symbol,
            "expires_in": step.window_seconds,
            "pay_by": step.pay_by,
        }
        key = self._key() if step.keyed else None
        self.clients.ask("create_session", merchant, body, key=key, lost=step.lost)

    def _cancel(self, step: s.CancelSession) -> None:
        found = self.session(step.session)
        if found is not None:
            asked, known = found
            body = {"session_id": known["session_id"]}
            self.clients.ask(
                "cancel_session",
                asked.merchant,
                body,
                lost=step.lost,
                delay_seconds=_delay(step),
            )

    def _refund(self, step: s.AskRefund) -> None:
        found = self.session(step.session)
        if found is None:
            return
        asked, known = found
        body = {
            "session_id": known["session_id"],
            "amount": _amount(step.part, known["units"]),
            "to_address": self._destination(step, asked, known),
        }
        for _ in range(step.copies):
            self.clients.ask(
                "refund",
                asked.merchant,
                dict(body),
                key=self._key(),
                lost=step.lost,
                delay_seconds=_delay(step),
            )

    def _destination(self, step: s.AskRefund, asked: Asked, known: Json) -> str | None:
        match step.to:
            case "payer":
                return None
            case "other":
                return stranger_address(Random(f"refund {step.salt}"))  # noqa: S311 - repeatable
            case "zero":
                return ZERO_ADDRESS
            case "token":
                return str(known["asset"]).rpartition(":")[2]
            case "own":
                return asked.merchant.refund_wallet
            case "deposit":
                return str(known["address"])

    def _repeat(self, step: s.Repeat) -> None:
        originals = [each for each in self.clients.asked if each.request.repeats is None]
        if originals:
            earlier = originals[step.request % len(originals)]
            for _ in range(step.copies):
                self.clients.repeat(
                    earlier, altered=step.altered, lost=step.lost, delay_seconds=_delay(step)
                )

    def _create_endpoint(self, step: s.CreateEndpoint) -> None:
        merchant = self.merchant(step.merchant)
        number = len(self.clients.asked)
        chosen = [kind for bit, kind in enumerate(MESSAGE_TYPES) if step.types >> bit & 1]
        body = {"url": f"https://shop{number}.example/hooks", "event_types": chosen}
        self.clients.ask("create_endpoint", merchant, body, key=self._key(), lost=step.lost)

    def _delete_endpoint(self, step: s.DeleteEndpoint) -> None:
        found = self.known("create_endpoint", step.endpoint)
        if found is not None:
            asked, known = found
            body = {"endpoint_id": known["endpoint_id"]}
            self.clients.ask("delete_endpoint", asked.merchant, body, delay_seconds=_delay(step))

    def _replay(self, step: s.ReplayDelivery) -> None:
        rows = self.servers.tables.rows_of("deliveries")
        if not rows:
            return
        row = rows[step.delivery % len(rows)]
        merchant = next(each for each in self.merchants if each.merchant_id == row["merchant_id"])
        body = {"delivery_id": row["delivery_id"].hex}  # type: ignore[attr-defined] # a UUID
        self.clients.ask("replay", merchant, body, lost=step.lost, delay_seconds=_delay(step))

    def _key(self) -> str:
        return f"key-{len(self.clients.asked)}"

    def merchant(self, number: int) -> Merchant:
        return self.merchants[number % len(self.merchants)]

    def session(self, number: int) -> tuple[Asked, Json] | None:
        return self.known("create_session", number)

    def known(self, what: str, number: int) -> tuple[Asked, Json] | None:
        """The number-th thing that clients asked for, if its answer ever reached one of them."""
        there = [
            each
            for each in self.clients.asked
            if each.request.what == what and each.request.repeats is None
        ]
        if not there:
            return None
        asked = there[number % len(there)]
        for each in (asked, *self.clients.asked[asked.request.number + 1 :]):
            request = each.request
            same = request.repeats in {None, asked.request.number} and request.what == what
            if (each is asked or (same and request.repeats is not None)) and request.answer:
                return asked, request.answer
        return None

    def addresses(self) -> list[Json]:
        found = (each.request for each in self.clients.asked)
        return [each.answer for each in found if each.what == "create_session" and each.answer]


def _delay(step: Requests) -> float:
    """One request in DELAYED_ONE_IN meets the workers at work; the same one every time."""
    return DELAY_SECONDS if crc32(repr(step).encode()) % DELAYED_ONE_IN == 0 else 0.0


def _amount(part: s.Part, units: int) -> str | None:
    """A decimal of a token with six places."""
    match part:
        case "all":
            return None
        case "half":
            wanted = max(1, units // 2)
        case "third":
            wanted = max(1, units // 3)
        case "cent":
            wanted = UNITS_OF_A_CENT
        case "unit":
            wanted = 1
        case "too_much":
            wanted = units * 2 + 1
    whole, rest = divmod(wanted, 10**6)
    return f"{whole}.{rest:06d}"
