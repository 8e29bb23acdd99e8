"""The wire between chain_ingest and settlement: what is said on the bus, and on which subject.

Shapes  JSON of TransferReport and ReorgReport; heads are hints. `report_number` grows over all
        reports of a network: of two reports about one transfer the newer tells the truth.
        `message_id` is the JetStream message id and the consumer's inbox key.
Units   amounts in base units as strings; moments in RFC 3339, UTC.
Errors  MessageMalformed for anything else: the message is parked, never guessed at.
"""

from typing import Literal

from pydantic import ValidationError

from domain.events import Sighting
from domain.values import Moment, Value

STREAM = "CHAIN"
SUBJECTS = "chain.>"
SOURCE = "chain"  # the inbox source of every report
PARKED_AFTER_DELIVERIES = 5


class MessageMalformed(Exception):  # noqa: N818 - named for what is wrong with it
    """These bytes are no report; more tries will not make them one."""


class TransferReport(Value):
    kind: Literal["observed", "confirmed", "retracted"]
    message_id: str
    report_number: int
    at: Moment
    sighting: Sighting
    confirmations: int
    policy_version: int  # the one the transfer was first seen under
    rule: str = ""  # what that policy asks of this transfer, in words


class ReorgReport(Value):
    kind: Literal["reorg"] = "reorg"
    message_id: str
    report_number: int
    at: Moment
    network: str
    fork_number: int
    from_hash: str
    to_hash: str
    depth: int
    orphaned: tuple[str, ...]  # transfer ids; each is retracted by a report of its own


ChainReport = TransferReport | ReorgReport


def subject_of(report: ChainReport) -> str:
    if isinstance(report, ReorgReport):
        return f"chain.{report.network}.reorg.detected"
    return f"chain.{report.sighting.network}.transfer.{report.kind}"


def head_subject(network: str) -> str:
    """Core NATS, not stored: a new block has been passed. Readers look it up in the database."""
    return f"hint.{network}.head"


def report_subjects(network: str) -> str:
    return f"chain.{network}.>"


def encode_report(report: ChainReport) -> bytes:
    return report.model_dump_json().encode()


def decode_report(subject: str, data: bytes) -> ChainReport:
    kind = ReorgReport if subject.endswith(".reorg.detected") else TransferReport
    try:
        report = kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise MessageMalformed(f"{subject}: {first['loc']}: {first['msg']}") from error
    if subject_of(report) != subject:
        raise MessageMalformed(f"{subject} carries a report for {subject_of(report)}")
    return report
