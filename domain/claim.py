"""Evidence of who pays: a wallet's signature, or an announced transaction, and who relies on it.

Shapes  One stream per network, merchant wallet and piece of evidence: a payer's address or a
        transaction hash. Sessions that rely on the evidence, and transfers that fit it and found
        nobody, meet on this stream: whoever writes second has read the first, so a claim and a
        transfer cannot pass each other unseen.
        Sessions are named with the end of their crediting window, so that old ones cost nothing.
Errors  none: what may be claimed is decided by the session.
"""

from typing import assert_never
from uuid import UUID

from domain import commands as c
from domain import events as e
from domain.values import Moment, Value


class PaymentClaim(Value):
    sessions: dict[UUID, Moment] = {}
    transfers: dict[str, int] = {}  # and the report after which each was looked at last

    def awaiting(self, moment: Moment) -> tuple[UUID, ...]:
        """Sessions whose crediting window holds what is mined at this moment."""
        return tuple(one for one, until in self.sessions.items() if moment < until)


NOBODYS = PaymentClaim()
NOTES_MAX = 100  # transfers on one piece of evidence that a later claim looks at


def decide(command: c.ClaimCommand, claim: PaymentClaim | None) -> tuple[e.Event, ...]:
    known = claim or NOBODYS
    match command:
        case c.MakeClaim():
            if command.session_id in known.sessions:
                return ()
            return (e.PaymentClaimMade(**dict(command)),)
        case c.NoteTransfer():
            last = known.transfers.get(command.transfer_id)
            if last is None and len(known.transfers) >= NOTES_MAX:
                return ()  # somebody floods us: the rest waits in the inbox all the same
            if last is not None and command.report_number <= last:
                return ()
            return (e.PaymentClaimTransferSeen(**dict(command)),)
        case _:
            assert_never(command)


def evolve(claim: PaymentClaim | None, event: e.Event) -> PaymentClaim:
    known = claim or NOBODYS
    match event:
        case e.PaymentClaimMade():
            sessions = {**known.sessions, event.session_id: event.credits_until}
            return known.changed(sessions=sessions)
        case e.PaymentClaimTransferSeen():
            transfers = {**known.transfers, event.transfer_id: event.report_number}
            return known.changed(transfers=transfers)
        case _:
            raise AssertionError(f"{event.name} is no event of a claim")
