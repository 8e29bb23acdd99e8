"""A short history written down by hand, as it must be: the oracle finds nothing wrong with it.

Story   One merchant with one endpoint. A session over 10.00 is paid with two transfers in one
        transaction, 6.00 and 5.00, confirmed, and completed with a fee of 0.055. A top-up of
        20.00 arrives, and 4.00 go back to the payer, for good. A stranger's 0.50 in another token waits in
        the inbox. Each test spoils one thing.
"""

import json
from typing import Any

from simulation import evidence as ev
from tests.simulation.scribe import (
    ADDRESS,
    ASSET,
    BEGAN_US,
    BLOCKS,
    ENDPOINT,
    FIRST,
    MERCHANT,
    OTHER_ASSET,
    OWNER,
    PAY_TX,
    PAYER,
    REFUND,
    REFUND_TX,
    SECOND,
    SECOND_US,
    SECRET,
    SESSION,
    STRAY_TX,
    TOP_UP_TX,
    URL,
    USDC,
    USDT,
    WALLET,
    Scribe,
    block,
    chain,
    deliver,
    moment,
    units,
    uuid,
)


def merchant_facts(scribe: Scribe) -> None:
    name = "merchant.registered"
    scribe.fact("merchant", MERCHANT, name, merchant_id=uuid(MERCHANT), display_name="Shop")
    scribe.fact(
        "merchant",
        MERCHANT,
        "merchant.refund_wallet_assigned",
        mode="test",
        index=0,
        address=WALLET,
    )
    scribe.fact(
        "merchant",
        MERCHANT,
        "merchant.webhook_endpoint_created",
        endpoint_id=uuid(ENDPOINT),
        mode="test",
        url=URL,
        event_types=["payment.created", "payment.completed", "payment.refunded"],
        secret_id=uuid("5e" * 16),
        correlation_id="req_0",
    )


def created(scribe: Scribe, posts: list[ev.Post]) -> None:
    row = scribe.session(
        "payment_session.created",
        session_id=uuid(SESSION),
        merchant_id=uuid(MERCHANT),
        mode="test",
        network="net",
        due=units(10_000_000),
        pay_by="deposit_address",
        tolerance=units(0),
        deposit_address=ADDRESS,
        deposit_index=0,
        expires_at=moment(BEGAN_US + 600 * SECOND_US),
        grace_seconds=86_400,
        correlation_id="req_1",
    )
    deliver(scribe, posts, row, "payment.created")


def sighted(scribe: Scribe) -> None:
    for place, (transfer_id, amount) in enumerate(((FIRST, 6_000_000), (SECOND, 5_000_000))):
        stream_id = f"{place + 1:032x}"
        what = {"token": USDC, "sender": PAYER, "recipient": ADDRESS, "amount": units(amount)}
        scribe.observed(stream_id, transfer_id, place + 1, block_number=2, **what)
        scribe.fact(
            "onchain_transfer",
            stream_id,
            "onchain_transfer.assigned",
            transfer_id=transfer_id,
            purpose="payment_session",
            subject_id=uuid(SESSION),
            merchant_id=uuid(MERCHANT),
            verdict="deposit_address",
            reason="sent to the session's own deposit address",
        )
        scribe.session(
            "transfer.observed",
            transfer_id=transfer_id,
            amount=units(amount),
            payer=PAYER,
            tx_hash=PAY_TX,
            block_number=2,
            block_hash=block(2).hash,
            block_time=moment(block(2).time_us),
            late=False,
        )
    scribe.session("payment.covered", seen=units(11_000_000))


def stray(scribe: Scribe) -> None:
    """In another token: it waits in the inbox, and its money in suspense."""
    what = {"token": USDT, "sender": OWNER, "recipient": ADDRESS}
    amount = units(500_000, OTHER_ASSET)
    transfer_id, stream_id = f"5:{STRAY_TX}:0", f"{4:032x}"
    scribe.observed(stream_id, transfer_id, 3, block_number=3, amount=amount, **what)
    scribe.fact(
        "onchain_transfer",
        stream_id,
        "onchain_transfer.unmatched",
        transfer_id=transfer_id,
        merchant_id=uuid(MERCHANT),
        verdict="wrong_token",
        reason="sent in USDT, the session asks for USDC",
    )
    row = scribe.confirmed(stream_id, transfer_id, 7, 3)
    scribe.book(row, ("customer_receipts", "suspense", 500_000), asset=OTHER_ASSET)


def topped_up(scribe: Scribe) -> None:
    transfer_id, stream_id = f"5:{TOP_UP_TX}:0", f"{3:032x}"
    what = {"token": USDC, "sender": OWNER, "recipient": WALLET, "amount": units(20_000_000)}
    scribe.observed(stream_id, transfer_id, 4, block_number=3, **what)
    scribe.fact(
        "onchain_transfer",
        stream_id,
        "onchain_transfer.assigned",
        transfer_id=transfer_id,
        purpose="refund_float",
        subject_id=uuid(MERCHANT),
        merchant_id=uuid(MERCHANT),
        verdict="refund_wallet",
        reason="sent to the merchant's refund wallet",
    )
    scribe.confirmed(stream_id, transfer_id, 8, 3)
    row = scribe.fact(
        "refund_float",
        "f1" * 16,
        "refund_float.topped_up",
        transfer_id=transfer_id,
        amount=units(20_000_000),
        owed=units(0),
    )
    scribe.book(row, ("hot_wallet", "refund_float", 20_000_000))


def shown(**said: Any) -> dict[str, Any]:
    transfers = [
        {"id": FIRST, "amount": "6.00", "status": "confirmed"},
        {"id": SECOND, "amount": "5.00", "status": "confirmed"},
    ]
    return {
        "amount_received": "11.00",
        "amount_confirmed": "11.00",
        "transfers": transfers,
        "tx_hash": PAY_TX,
        "exceptions": ["overpaid", "multiple_transfers"],
        **said,
    }


def completed(scribe: Scribe, posts: list[ev.Post]) -> None:
    for place, (transfer_id, amount) in enumerate(((FIRST, 6_000_000), (SECOND, 5_000_000))):
        scribe.confirmed(f"{place + 1:032x}", transfer_id, 5 + place, 2)
        row = scribe.session(
            "transfer.confirmed",
            transfer_id=transfer_id,
            amount=units(amount),
            confirmations=BLOCKS,
            policy_version=1,
            rule="2 confirmations",
        )
        scribe.book(row, ("customer_receipts", "merchant_payable", amount))
    row = scribe.session("payment.completed", amount=units(11_000_000), fee=units(55_000))
    scribe.book(row, ("fees_receivable", "fee_revenue", 55_000))
    deliver(scribe, posts, row, "payment.completed", **shown(status="completed"))


def refunded(scribe: Scribe, posts: list[ev.Post]) -> None:
    amount, floats = units(4_000_000), "f1" * 16
    scribe.session("payment.refund_reserved", refund_id=uuid(REFUND), amount=amount)
    reserved = "refund_float.reserved"
    row = scribe.fact("refund_float", floats, reserved, refund_id=uuid(REFUND), amount=amount)
    scribe.book(row, ("refund_float", "refunds_pending", 4_000_000))
    scribe.fact(
        "refund",
        REFUND,
        "refund.requested",
        refund_id=uuid(REFUND),
        session_id=uuid(SESSION),
        transfer_id=None,
        merchant_id=uuid(MERCHANT),
        mode="test",
        network="net",
        amount=amount,
        destination=PAYER,
        wallet=WALLET,
        wallet_index=0,
        reason=None,
        correlation_id="req_2",
    )
    scribe.fact("refund", REFUND, "refund.signed", tx_hash=REFUND_TX, nonce=0)
    scribe.fact("refund", REFUND, "refund.broadcast", tx_hash=REFUND_TX)
    scribe.at(65)
    scribe.fact(
        "refund",
        REFUND,
        "refund.completed",
        tx_hash=REFUND_TX,
        block_number=5,
        block_hash=block(5).hash,
        confirmations=BLOCKS,
        gas=None,
    )
    row = scribe.session(
        "payment.refunded",
        refund_id=uuid(REFUND),
        amount=amount,
        refunded_total=amount,
        tx_hash=REFUND_TX,
    )
    scribe.book(row, ("merchant_payable", "customer_refunds", 4_000_000))
    refund = {"refund_id": f"rf_{REFUND}", "amount": "4.00", "status": "completed"}
    said = shown(status="partially_refunded", amount_refunded="4.00", refund=refund)
    deliver(scribe, posts, row, "payment.refunded", **said)
    spent = "refund_float.spent"
    row = scribe.fact("refund_float", floats, spent, refund_id=uuid(REFUND), amount=amount)
    scribe.book(row, ("refunds_pending", "hot_wallet", 4_000_000))


def final(scribe: Scribe) -> None:
    paid_in = {"tx_hash": REFUND_TX, "block_number": 5, "block_hash": block(5).hash}
    scribe.fact("refund", REFUND, "refund.finalized", **paid_in)


def requests() -> tuple[ev.Request, ...]:
    def asked(number: int, what: str, body: ev.Json, answer: ev.Json) -> ev.Request:
        return ev.Request(
            number=number,
            what=what,
            merchant_id=MERCHANT,
            mode="test",
            asked_at_us=BEGAN_US,
            answered_at_us=BEGAN_US,
            outcome="ok",
            body=body,
            key=f"key-{number}",
            answer=answer,
            raw=json.dumps(answer),
        )

    session = {
        "session_id": SESSION,
        "address": ADDRESS,
        "network": "net",
        "asset": ASSET,
        "units": 10_000_000,
        "expires_at_us": BEGAN_US + 600 * SECOND_US,
    }
    amounts = {"amount": "10.00", "network": "net", "token": "USDC", "expires_in": 600}
    endpoint = {"endpoint_id": ENDPOINT, "url": URL, "secret": SECRET}
    refund = {"refund_id": REFUND, "session_id": SESSION, "units": 4_000_000}
    refund |= {"destination": PAYER, "status": "pending"}
    return (
        asked(0, "create_endpoint", {"url": URL, "event_types": []}, endpoint),
        asked(1, "create_session", amounts, session),
        asked(2, "refund", {"session_id": SESSION, "amount": "4.00", "to_address": None}, refund),
    )


def right() -> ev.Evidence:
    scribe, posts = Scribe(), list[ev.Post]()
    merchant_facts(scribe)
    created(scribe, posts)
    scribe.at(21)
    sighted(scribe)
    scribe.at(42)
    stray(scribe)
    topped_up(scribe)
    completed(scribe, posts)
    scribe.at(50)
    refunded(scribe, posts)
    scribe.at(71)
    final(scribe)
    tables = _tables(scribe)
    return ev.Evidence(
        seed=1,
        networks=(
            ev.NetworkFacts(
                "net",
                5,
                "test",
                (
                    ev.TokenFacts("USDC", USDC, 6, accepted=True),
                    ev.TokenFacts("USDT", USDT, 6, accepted=True),
                ),
                BLOCKS,
                1,
                below_head={"safe": 1, "finalized": 2},
            ),
        ),
        merchants=(ev.MerchantFacts(MERCHANT, "test", WALLET),),
        chains=(chain(),),
        requests=requests(),
        log=tuple(scribe.rows),
        live=tables,
        rebuilt={name: [dict(row) for row in rows] for name, rows in tables.items()},
        accounts=tuple(ev.AccountRow(*key, *sums) for key, sums in scribe.accounts.items()),
        postings=tuple(scribe.legs),
        posts=tuple(posts),
        outgoing=(ev.OutgoingRow(REFUND, "net", WALLET, 0, "signed", REFUND_TX, "f00d", None),),
        broadcasts=(ev.Broadcast("net", REFUND_TX, "f00d", BEGAN_US),),
        parked=(),
        deaths=(),
        settled=True,
        ended_at_us=BEGAN_US + 100 * SECOND_US,
        grace_seconds=86_400,
        event_names=tuple({row.name for row in scribe.rows}),
    )


def _tables(scribe: Scribe) -> dict[str, list[dict[str, str | None]]]:
    watched = ((ADDRESS, "payment_session"), (WALLET, "refund_float"))
    return {
        "payments": [{"session_id": SESSION, "status": "partially_refunded"}],
        "balances": [
            {"account": account, "asset": asset, "debits": str(debits), "credits": str(credits_)}
            for (account, asset), (debits, credits_) in scribe.accounts.items()
        ],
        "watch_list": [
            {"mode": "test", "address": address, "purpose": purpose}
            for address, purpose in watched
        ],
    }
