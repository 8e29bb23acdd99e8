"""Where each payment stands at the end: the sums of the final chain, and nothing else.

Rules   A4, A7, B4: every canonical transfer counts, none that is orphaned does; the window is
        closed by the chain's time.
"""

from collections.abc import Iterator

from simulation.evidence import Violation
from simulation.oracle_chain import verdicts
from simulation.oracle_tally import Arrived, Standing, Tally
from simulation.oracle_truth import SESSION, Case, Moved, plain

LEFT = ("transfer.retracted", "transfer.reversed")


def check(case: Case, found: dict[str, Tally]) -> Iterator[Violation]:
    whose = verdicts(case)
    arrived: dict[str, dict[str, Moved]] = {session: {} for session in case.sessions}
    for transfer_id, moved in case.final.items():
        told = whose.get(transfer_id)
        if told and told.purpose == "payment_session" and told.subject in arrived:
            arrived[told.subject][transfer_id] = moved
    status = {
        plain(str(row["session_id"])): row["status"] for row in case.evidence.live["payments"]
    }
    for session, tally in found.items():
        yield from _against_chain(case, tally, arrived[session])
        yield from _against_time(case, tally, arrived[session])
        standing = _from_chain(case, tally, arrived[session])
        if status.get(session) != standing.status:
            what = f"session {session} is {status.get(session)}, rightly {standing.status}"
            yield Violation("status_wrong", what)
        yield from _shown(case, session, standing)


def _from_chain(case: Case, tally: Tally, arrived: dict[str, Moved]) -> Standing:
    """The same sums, of what is on chain now; only losses and refunds come from the log."""
    fresh = Tally(tally.opened, refunds=tally.refunds, ended=tally.ended)
    for transfer_id, known in tally.transfers.items():
        if transfer_id not in arrived and known.state == "lost":
            fresh.transfers[transfer_id] = known
    for transfer_id, moved in arrived.items():
        late = moved.time_us >= tally.opened.expires_us
        state = "safe" if case.safe(moved) else "seen"
        fresh.transfers[transfer_id] = Arrived(moved.units, state, late)
    return fresh.in_the_end()


def _against_chain(case: Case, tally: Tally, arrived: dict[str, Moved]) -> Iterator[Violation]:
    session = tally.opened.session
    counted = {key for key, each in tally.transfers.items() if each.state in {"seen", "safe"}}
    for transfer_id in sorted(arrived.keys() - counted):
        yield Violation("transfer_missed", f"{transfer_id} is not counted for session {session}")
    for transfer_id in sorted(counted - arrived.keys()):
        yield Violation("completed_on_orphan", f"{transfer_id} counts for {session}, not on chain")
    for transfer_id in sorted(counted & arrived.keys()):
        safe = case.safe(arrived[transfer_id])
        if safe != (tally.transfers[transfer_id].state == "safe"):
            yield Violation("confirmation_wrong", f"{transfer_id} for session {session}")
    if tally.complete != tally.enough_safe:
        yield Violation("completed_wrongly", f"session {session} at the end")


def _against_time(case: Case, tally: Tally, arrived: dict[str, Moved]) -> Iterator[Violation]:
    opened = tally.opened
    if (
        tally.in_the_end().status == "pending"
        and case.heads[opened.network].time_us >= opened.expires_us
    ):
        yield Violation("not_expired", f"session {opened.session} is open after its window")
    if tally.ended != "expired" or any(one.early for one in tally.refunds.values()):
        return
    if case.networks[opened.network].believes_one:
        return  # its only provider is believed, also where he shows a branch without the payment
    rows = case.streams[SESSION, opened.session]
    expired = next(row for row in rows if row.name == "payment_session.expired")
    # A block may leave the chain and come back; meanwhile its payment was not there.
    left = {row.data["transfer_id"] for row in rows if row.name in LEFT}
    # What waited in the inbox at first was the session's only when that was decided.
    left |= {
        row.data["transfer_id"]
        for row in case.evidence.log
        if row.name == "onchain_transfer.unmatched"
    }
    firm = sum(
        moved.units
        for moved in arrived.values()
        if moved.id not in left
        and moved.time_us < opened.expires_us
        and _firm(case, moved, opened.expires_us, expired.written_at_us or 0)
    )
    if firm >= opened.due:
        yield Violation("expired_wrongly", f"session {opened.session}: {firm} were mined in time")


def _firm(case: Case, moved: Moved, expires_us: int, expired_us: int) -> bool:
    """Mined once, and shown from before the window's end to beyond the moment it was closed.

    A branch that takes over later may hold blocks that claim to be older; one that comes back was
    not there meanwhile.
    """
    block = case.blocks[moved.block_hash]
    mined = block.mined_at_us is not None and block.mined_at_us < min(expires_us, expired_us)
    stayed = block.left_at_us is None or block.left_at_us > expired_us
    return mined and stayed and case.sighted[moved.id] == 1


def _shown(case: Case, session: str, standing: Standing) -> Iterator[Violation]:
    view = case.evidence.views.get(session)
    if view is None:
        return
    names = ("status", "received", "confirmed", "refunded")
    shown = {name: view[name] for name in names} | {"exceptions": frozenset(view["exceptions"])}
    for name, value in shown.items():
        if value != getattr(standing, name):
            what = f"session {session} shows {name} {value}, rightly {getattr(standing, name)}"
            yield Violation("view_wrong", what)
