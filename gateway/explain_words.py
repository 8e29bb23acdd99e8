"""How a support desk reads facts: what happened, why, and the transaction to look up.

Shapes  Told is one fact in words. Words knows what people call amounts, addresses, networks and
        those who act; gateway/explain_sentences.py has a sentence for every fact.
Units   amounts are decimals with their symbol, moments are UTC, addresses have their checksum,
        hashes are whole: they can be pasted into any block explorer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from application.instructions import WriteAddress
from domain import events as e
from domain.money import Amount, decimal_of
from domain.networks import NetworkBook
from domain.values import public_id

BY_PERSON = "assigned_by_person"  # the verdict of application/inbox.py


@dataclass(frozen=True, slots=True)
class Told:
    what: str
    why: str | None = None
    tx_hash: str | None = None


class Words:
    """How people read amounts, addresses, moments and each other."""

    def __init__(
        self,
        networks: NetworkBook,
        write: WriteAddress,
        created: e.SessionCreated | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.networks = networks
        self.write = write
        self.created = created
        self._keys = dict(keys or {})  # of API keys: what the merchant calls them

    def amount(self, amount: Amount) -> str:
        symbol, decimals = self.networks.unit_of(amount.asset)
        return f"{decimal_of(amount.units, decimals)} {symbol}"

    def network(self, name: str) -> str:
        return self.networks.title_of(name)

    def late(self, sighting: e.Sighting) -> bool:
        return self.created is not None and sighting.block_time >= self.created.expires_at

    def who(self, actor: str) -> str:
        kind, _, rest = actor.partition(":")
        match kind:
            case "api_key":
                label = self._keys.get(rest)
                return f"the merchant (API key {label})" if label else "the merchant"
            case "customer":
                return "the customer"
            case "chain":
                titles = [n.title for n in self.networks.known() if str(n.chain_id) == rest]
                return f"the chain ({titles[0]})" if titles else f"the chain {rest}"
            case "system":
                return "the gateway"
            case "operator":
                return "the operator"
            case _:
                return actor


def moment(at: datetime) -> str:
    """To the second; a year costs nothing and saves a question."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%B %Y %H:%M:%S} UTC"


def keys_of(facts: Sequence[e.Event]) -> dict[str, str]:
    """What a merchant calls its API keys, by their id."""
    return {
        fact.key_id.hex: f"{fact.label!r} …{fact.last4}"
        for fact in facts
        if isinstance(fact, e.ApiKeyCreated)
    }


def tx_of(transfer_id: str) -> str | None:
    """Of "chain:hash:log"; the name of anything else has none."""
    parts = transfer_id.split(":")
    return parts[1] if len(parts) == 3 else None


def by_policy(version: int, rule: str, confirmations: int) -> str:
    there = "1 confirmation" if confirmations == 1 else f"{confirmations} confirmations"
    return f"policy version {version} of the network asks for {rule}; there were {there}"


def refund_name(refund_id: Any) -> str:
    return public_id("rf", refund_id)


def said(reason: str | None) -> str | None:
    """What a person wrote, told as a person's words."""
    return f'"{reason}"' if reason else None
