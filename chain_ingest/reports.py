"""What is said on the bus, numbered in the order it is to be believed.

Shapes  A Numbering starts at the cursor's last report and gives the reports of one transaction
        consecutive numbers. A message id names network, number and content, so the same block
        seen again after two reorgs is news, while a repeated publication is not.
"""

from datetime import datetime
from hashlib import sha256
from typing import Literal

from application.chain_messages import (
    ChainReport,
    ReorgReport,
    TransferReport,
    encode_report,
    subject_of,
)
from application.ingest import BlockRef, Cursor, Sighted, StoredReport
from domain.networks import Network


class Numbering:
    """Collects the reports of one transaction."""

    def __init__(self, network: Network, cursor: Cursor, at: datetime) -> None:
        self._network = network
        self._last = cursor.report_number
        self._at = at
        self._reports: list[StoredReport] = []

    @property
    def reports(self) -> tuple[StoredReport, ...]:
        return tuple(self._reports)

    def observed(self, seen: Sighted, head: int) -> None:
        self._transfer("observed", seen, head)

    def confirmed(self, seen: Sighted, head: int) -> None:
        self._transfer("confirmed", seen, head)

    def retracted(self, seen: Sighted) -> None:
        self._transfer("retracted", seen, seen.sighting.block_number - 1)

    def reorg(
        self, cursor: Cursor, fork: BlockRef, tip: BlockRef, orphaned: tuple[Sighted, ...]
    ) -> None:
        number = self._last + 1
        self._add(
            ReorgReport(
                message_id=self._message_id(number, "reorg", cursor.hash, tip.hash),
                report_number=number,
                at=self._at,
                network=self._network.name,
                fork_number=fork.number,
                from_hash=cursor.hash,
                to_hash=tip.hash,
                depth=cursor.number - fork.number,
                orphaned=tuple(seen.sighting.transfer_id for seen in orphaned),
            )
        )

    def _transfer(
        self,
        kind: Literal["observed", "confirmed", "retracted"],
        seen: Sighted,
        head: int,
    ) -> None:
        sighting = seen.sighting
        number = self._last + 1
        self._add(
            TransferReport(
                kind=kind,
                message_id=self._message_id(
                    number, kind, sighting.transfer_id, sighting.block_hash
                ),
                report_number=number,
                at=self._at,
                sighting=sighting,
                confirmations=head - sighting.block_number + 1,
                policy_version=seen.terms.policy_version,
                rule=seen.terms.rule.text,
            )
        )

    def _message_id(self, number: int, *content: str) -> str:
        digest = sha256("\x1f".join(content).encode()).hexdigest()[:16]
        return f"{self._network.name}-{number}-{digest}"

    def _add(self, report: ChainReport) -> None:
        self._last = report.report_number
        self._reports.append(
            StoredReport(
                report_number=report.report_number,
                message_id=report.message_id,
                subject=subject_of(report),
                data=encode_report(report),
            )
        )
