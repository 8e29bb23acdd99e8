"""A deploy that was begun and not ended, and what the log is still to be told of read models.

Errors  NotMigrated; ports.StoreUnavailable.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters import deploys
from adapters.postgres import Postgres
from projections.standing import untold


@dataclass(frozen=True, slots=True)
class Unfinished:
    since: datetime | None  # of the deploy that is under way
    untold: Mapping[str, int]  # operations by projection

    def json(self, projection: str) -> dict[str, Any]:
        return {
            "deploy_under_way_since": None if self.since is None else self.since.isoformat(),
            "untold": self.untold.get(projection, 0),
        }

    def sentences(self) -> list[str]:
        count = sum(self.untold.values())
        noted = f"operations noted that the log has not been told of: {count:,}"
        if self.since is not None:
            return [
                f"a deploy is under way since {self.since:%Y-%m-%d %H:%M:%S %Z}; {noted}",
                "  `gateway migrate --after` of the newer release ends it, once no other runs",
                "  if it was given up: `gateway migrate --given-up` of the release that goes on",
            ]
        if count:
            return [f"{noted}; the next command that changes something tells it"]
        return []


async def unfinished(postgres: Postgres) -> Unfinished:
    since = None
    with suppress(deploys.NotKnown):  # to look is allowed before `gateway migrate`
        since = await deploys.under_way_since(postgres)
    return Unfinished(since, await untold(postgres))


def noted_only(since: datetime) -> str:
    """For whoever does something to read models meanwhile."""
    return (
        f"a deploy is under way since {since:%Y-%m-%d %H:%M:%S %Z}: what is done to read models "
        "is noted, and `gateway migrate --after` tells the log, which processes of the release "
        "before may still read\n"
    )
