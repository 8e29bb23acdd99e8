"""What a query for payment sessions asks of one session, said without an index."""

from datetime import datetime

from application.reads import SessionQuery
from domain.payment import PaymentSession


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def asked_for(query: SessionQuery, session: PaymentSession) -> bool:
    transfers = session.transfers.values()
    payers = session.all_payers()
    own = {session.deposit_address} if session.pay_by == "deposit_address" else set()
    units = session.due.units
    return (
        (session.merchant_id, session.mode) == (query.merchant_id, query.mode)
        and query.session_id in {None, session.session_id}
        and query.status in {None, session.status}
        and query.network in {None, session.network}
        and (query.assets is None or session.due.asset in query.assets)
        and query.merchant_reference in {None, session.merchant_reference}
        and query.tx_hash in {None, *(each.tx_hash for each in transfers)}
        and query.payer in {None, *payers}
        and query.address in {None, *payers, *own}
        and (query.created_from is None or session.created_at >= query.created_from)
        and (query.created_to is None or session.created_at < query.created_to)
        and (query.units_min is None or units >= query.units_min)
        and (query.units_max is None or units <= query.units_max)
    )
