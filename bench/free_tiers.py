"""What providers give away, as they say so themselves: a day of it, and the price of a call."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tier:
    """Units given away a day, and what a call costs in them."""

    name: str
    per_day: int
    default: int
    prices: Mapping[str, int]

    def spent(self, calls: Mapping[str, int]) -> int:
        return sum(
            count * self.prices.get(method, self.default) for method, count in calls.items()
        )


TIERS = (
    # alchemy.com/docs/reference/compute-unit-costs; 30 million units a month.
    Tier(
        "Alchemy Free",
        30_000_000 // 30,
        20,
        {"eth_chainId": 0, "eth_call": 26, "eth_getLogs": 60},
    ),
    # docs.metamask.io/services/get-started/pricing: 3 million a day, 80 where no other price is
    # given; those of logs and receipts as the table had them when it was last seen.
    Tier(
        "Infura Free",
        3_000_000,
        80,
        {"eth_getLogs": 255, "eth_getBlockReceipts": 1_000, "eth_chainId": 5},
    ),
    # docs.chainstack.com/docs/request-units: one each; 3 million a month.
    Tier("Chainstack Developer", 3_000_000 // 30, 1, {}),
    # quicknode.com/pricing: 10 million credits a month, 20 a call on EVM chains.
    Tier("QuickNode Free", 10_000_000 // 30, 20, {}),
)
