"""Writes a log, its books and its webhooks by hand, as an honest gateway would.

Units   base units; microseconds since 1970; blocks come every ten seconds.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

from simulation import evidence as ev

BEGAN_US = 1_800_000_000_000_000
SECOND_US = 1_000_000
TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
USDC, USDT = "0x11" + "70" * 19, "0x12" + "70" * 19
ASSET, OTHER_ASSET = f"eip155:5/erc20:{USDC}", f"eip155:5/erc20:{USDT}"
MERCHANT, SESSION, REFUND = "a1" * 16, "51" * 16, "4f" * 16
ENDPOINT, WALLET, ADDRESS = "e0" * 16, "0x" + "b0" * 20, "0x" + "d0" * 20
PAYER, OWNER = "0x" + "c1" * 20, "0x" + "c2" * 20
URL, SECRET = "https://shop.example/hooks", "whsec_" + base64.b64encode(bytes(32)).decode()
PAY_TX, TOP_UP_TX, STRAY_TX, REFUND_TX = ("0x" + pair * 32 for pair in ("01", "02", "03", "04"))
FIRST, SECOND = f"5:{PAY_TX}:0", f"5:{PAY_TX}:1"
KEYS = (f"customer_receipts:{MERCHANT}", f"merchant_payable:{MERCHANT}")
BLOCKS = 2  # confirmations


def moment(us: int) -> str:
    seconds, rest = divmod(us, SECOND_US)
    assert rest == 0
    hours, seconds = divmod(seconds - BEGAN_US // SECOND_US, 3600)
    return f"2027-01-15T{8 + hours:02d}:{seconds // 60:02d}:{seconds % 60:02d}Z"


def uuid(text: str) -> str:
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def units(amount: int, asset: str = ASSET) -> dict[str, str]:
    return {"units": str(amount), "asset": asset}


def log_of(token: str, sender: str, recipient: str, amount: int) -> ev.LogFacts:
    topics = (TOPIC, "0x" + "0" * 24 + sender[2:], "0x" + "0" * 24 + recipient[2:])
    return ev.LogFacts(token, topics, f"0x{amount:064x}")


def block(number: int, *txs: ev.TxFacts, branch: str = "ab", parent: str = "ab") -> ev.BlockFacts:
    return ev.BlockFacts(
        number=number,
        hash=f"0x{branch * 31}{number:02x}",
        parent=f"0x{parent * 31}{number - 1:02x}",
        time_us=BEGAN_US + number * 10 * SECOND_US,
        txs=txs,
        mined_at_us=BEGAN_US + number * 10 * SECOND_US,
    )


def tx(tx_hash: str, *logs: ev.LogFacts) -> ev.TxFacts:
    return ev.TxFacts(tx_hash, succeeded=True, logs=logs)


def chain() -> ev.ChainFacts:
    pay = tx(
        PAY_TX,
        log_of(USDC, PAYER, ADDRESS, 6_000_000),
        log_of(USDC, PAYER, ADDRESS, 5_000_000),
    )
    top_up = tx(TOP_UP_TX, log_of(USDC, OWNER, WALLET, 20_000_000))
    stray = tx(STRAY_TX, log_of(USDT, OWNER, ADDRESS, 500_000))
    refund = tx(REFUND_TX, log_of(USDC, WALLET, PAYER, 4_000_000))
    blocks = (block(0), block(1), block(2, pay), block(3, top_up, stray), block(4))
    return ev.ChainFacts("net", (*blocks, block(5, refund), block(6), block(7)))


@dataclass
class Scribe:
    """Writes facts, and with them the books, as an honest gateway would."""

    rows: list[ev.LogRow] = field(default_factory=list)
    legs: list[ev.PostingRow] = field(default_factory=list)
    accounts: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    now_us: int = BEGAN_US

    def at(self, second: int) -> None:
        self.now_us = BEGAN_US + second * SECOND_US

    def fact(self, kind: str, stream_id: str, name: str, **data: Any) -> ev.LogRow:
        version = 1 + sum(row.stream_id == stream_id for row in self.rows)
        correlation = data.pop("correlation_id", None)
        position = len(self.rows) + 1
        row = ev.LogRow(
            position=position,
            stream_type=kind,
            stream_id=stream_id,
            version=version,
            name=name,
            event_version=1,
            event_id=f"{position:032x}",
            merchant_id=MERCHANT,
            mode="test",
            occurred_at_us=self.now_us,
            recorded_at_us=self.now_us,
            data={"at": moment(self.now_us), **data},
            context={"correlation_id": correlation},
            written_at_us=self.now_us,
        )
        self.rows.append(row)
        return row

    def book(self, cause: ev.LogRow, *moves: tuple[str, str, int], asset: str = ASSET) -> None:
        entry_id = f"{cause.position:028x}0e47"
        postings = [
            {
                "debit": f"{debit}:{MERCHANT}",
                "credit": f"{credit}:{MERCHANT}",
                "amount": units(amount, asset),
            }
            for debit, credit, amount in moves
        ]
        named = f"{cause.name} {cause.stream_type}/{cause.stream_id}@{cause.version}"
        entry = self.fact(
            "journal_entry",
            entry_id,
            "journal.entry_posted",
            entry_id=uuid(entry_id),
            cause=named,
            merchant_id=uuid(MERCHANT),
            postings=postings,
        )
        for debit, credit, amount in moves:
            self._leg(entry, f"{debit}:{MERCHANT}", asset, amount)
            self._leg(entry, f"{credit}:{MERCHANT}", asset, -amount)

    def _leg(self, entry: ev.LogRow, account: str, asset: str, amount: int) -> None:
        sums = self.accounts.setdefault((account, asset), [0, 0])
        sums[0 if amount > 0 else 1] += abs(amount)
        balance = sums[0] - sums[1]
        row = ev.PostingRow(entry.position, entry.stream_id, account, asset, amount, balance)
        self.legs.append(row)

    # ------------------------------------------------------------ longer words

    def observed(self, stream_id: str, transfer_id: str, report: int, **sighting: Any) -> None:
        number = sighting["block_number"]
        said = {
            "transfer_id": transfer_id,
            "network": "net",
            "tx_hash": transfer_id.split(":")[1],
            "log_index": int(transfer_id.split(":")[2]),
            "block_hash": block(number).hash,
            "block_time": moment(block(number).time_us),
            "attested": True,
            "providers": ["one", "two"],
            **sighting,
        }
        name = "onchain_transfer.observed"
        self.fact("onchain_transfer", stream_id, name, report_number=report, sighting=said)

    def confirmed(self, stream_id: str, transfer_id: str, report: int, number: int) -> ev.LogRow:
        return self.fact(
            "onchain_transfer",
            stream_id,
            "onchain_transfer.confirmed",
            report_number=report,
            transfer_id=transfer_id,
            block_hash=block(number).hash,
            confirmations=BLOCKS,
            policy_version=1,
            rule="2 confirmations",
        )

    def session(self, name: str, **data: Any) -> ev.LogRow:
        return self.fact("payment_session", SESSION, name, **data)


def body_of(fact: ev.LogRow, kind: str, **said: Any) -> str:
    data = {
        "payment_session_id": f"ps_{SESSION}",
        "livemode": False,
        "amount": "10.00",
        "currency": "USD",
        "status": "pending",
        "exceptions": [],
        "network": "net",
        "token": "USDC",
        "address": ADDRESS,
        "amount_received": "0.00",
        "amount_confirmed": "0.00",
        "amount_refunded": "0.00",
        "tx_hash": None,
        "transfers": [],
        "refund": None,
        **said,
    }
    return json.dumps(
        {
            "id": f"evt_{fact.event_id}",
            "type": kind,
            "created_at": fact.data["at"],
            "api_version": "1",
            "sequence": fact.version,
            "data": data,
        }
    )


def headers_of(message_id: str, body: str, second: int) -> dict[str, str]:
    stamp = str(BEGAN_US // SECOND_US + second)
    own = hmac.new(SECRET.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
    standard = hmac.new(bytes(32), f"{message_id}.{stamp}.{body}".encode(), hashlib.sha256)
    return {
        "X-Webhook-Timestamp": stamp,
        "X-Webhook-Signature": own,
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(standard.digest()).decode()}",
    }


def deliver(scribe: Scribe, posts: list[ev.Post], fact: ev.LogRow, kind: str, **said: Any) -> None:
    body, message_id = body_of(fact, kind, **said), f"evt_{fact.event_id}"
    stream_id = f"{fact.position:028x}de11"
    scribe.fact(
        "webhook_delivery",
        stream_id,
        "delivery.opened",
        delivery_id=uuid(stream_id),
        merchant_id=uuid(MERCHANT),
        mode="test",
        endpoint_id=uuid(ENDPOINT),
        message_id=message_id,
        message_type=kind,
        body=body,
    )
    name = "delivery.succeeded"
    attempt = {"attempt": 1, "status_code": 200, "latency_ms": 1}
    scribe.fact("webhook_delivery", stream_id, name, **attempt)
    second = (scribe.now_us - BEGAN_US) // SECOND_US
    headers = headers_of(message_id, body, second)
    posts.append(
        ev.Post(URL, headers, body, scribe.now_us, answered=200, sender_at_us=scribe.now_us)
    )
