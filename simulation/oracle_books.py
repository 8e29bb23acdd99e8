"""The books, from the chain and the refunds: what each account must hold, whatever was posted.

Rules   F1, F2. Per merchant and asset, with all that is confirmed on the final chain:
          receipts    customers' money for sessions, and what waits in the inbox or was accepted
          refunds     given back to customers, who are owed that much less
          wallet      top-ups less refunds paid: what the chain itself says lies there
          free        the wallet less what is set aside for refunds; where that is less than
                      nothing, a gap that later top-ups fill
        A balance here is debits less credits, so what is owed is negative.
Units   base units of the asset.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from simulation.evidence import PostingRow, Violation
from simulation.oracle_chain import Told, verdicts
from simulation.oracle_refunds import Refund, refunds_of
from simulation.oracle_tally import Tally
from simulation.oracle_truth import JOURNAL, Case

Balances = Counter[tuple[str, str]]  # account, asset
NEVER_OWED = ("hot_wallet",)  # never below zero
NEVER_HELD = ("refund_float", "refunds_pending")  # never above it


def check(case: Case, found: dict[str, Tally]) -> Iterator[Violation]:
    expected = _expected(case, found)
    kept = Counter(
        {(row.account, row.asset): row.debits - row.credits for row in case.evidence.accounts}
    )
    yield from _differences("account_wrong", kept, expected)
    yield from _differences("entries_differ", _from_entries(case), kept)
    yield from _differences("postings_differ", _from_postings(case), kept)
    yield from _differences("balances_differ", _from_read_model(case), kept)
    sums: Counter[str] = Counter()
    for (_, asset), units in kept.items():
        sums[asset] += units
    for asset, units in sums.items():
        if units:
            yield Violation("trial_balance", f"{asset}: {units}")
    yield from _at_every_position(case)


def _differences(name: str, found: Balances, expected: Balances) -> Iterator[Violation]:
    for key in sorted({*found, *expected}):
        if found[key] != expected[key]:
            account, asset = key
            yield Violation(name, f"{account} {asset}: {found[key]}, rightly {expected[key]}")


def _expected(case: Case, found: dict[str, Tally]) -> Balances:
    books: Balances = Counter()
    wallets: Counter[tuple[str, str]] = Counter()  # merchant, asset: what lies there
    pending: Counter[tuple[str, str]] = Counter()  # of this, set aside
    for transfer_id, told in verdicts(case).items():
        moved = case.final.get(transfer_id)
        if told.merchant is None:
            continue
        units = moved.units if moved is not None and case.safe(moved) else 0
        asset = moved.asset if moved is not None else ""
        if told.purpose == "refund_float":
            wallets[told.merchant, asset] += units
        else:
            _book_receipt(books, told, asset, units)
    for tally in found.values():
        merchant, asset = tally.opened.merchant, tally.opened.asset
        books[f"fees_receivable:{merchant}", asset] += tally.fee
        books[f"fee_revenue:{merchant}", asset] -= tally.fee
        paid = tally.refund_sum("paid")
        books[f"merchant_payable:{merchant}", asset] += paid
        books[f"customer_refunds:{merchant}", asset] -= paid
    for refund in refunds_of(case).values():
        _book_refund(books, wallets, pending, refund)
    for key in {*wallets, *pending}:
        _book_wallet(books, key, wallets[key], pending[key])
    return books


def _book_receipt(books: Balances, told: Told, asset: str, units: int) -> None:
    """Customers' money: the merchant's, or nobody's yet, or dismissed and in no book at all."""
    if told.purpose == "unmatched" and told.resolution == "dismissed":
        return
    kept = told.purpose == "payment_session" or told.resolution == "accepted"
    owed = "merchant_payable" if kept else "suspense"
    books[f"customer_receipts:{told.merchant}", asset] += units
    books[f"{owed}:{told.merchant}", asset] -= units


def _book_refund(
    books: Balances,
    wallets: Counter[tuple[str, str]],
    pending: Counter[tuple[str, str]],
    refund: Refund,
) -> None:
    key = (refund.merchant, refund.asset)
    if refund.state == "completed":
        wallets[key] -= refund.units
        if refund.transfer is not None:
            books[f"suspense:{refund.merchant}", refund.asset] += refund.units
            books[f"customer_refunds:{refund.merchant}", refund.asset] -= refund.units
    elif refund.state != "failed":
        pending[key] += refund.units
    if refund.gas is not None:
        asset, units = refund.gas
        books[f"gas_spent:{refund.merchant}", asset] += units
        books[f"gas_paid:{refund.merchant}", asset] -= units


def _book_wallet(books: Balances, key: tuple[str, str], holds: int, set_aside: int) -> None:
    merchant, asset = key
    free = max(0, holds - set_aside)
    gap = max(0, set_aside - holds)
    books[f"refund_float:{merchant}", asset] -= free
    books[f"refunds_pending:{merchant}", asset] -= set_aside
    books[f"hot_wallet:{merchant}", asset] += free + set_aside
    books[f"float_shortfall:{merchant}", asset] += gap
    books[f"float_owed:{merchant}", asset] -= gap


def _from_entries(case: Case) -> Balances:
    """The accounts as the log's own entries add up."""
    books: Balances = Counter()
    for _, rows in case.of_type(JOURNAL):
        for posting in (each for row in rows for each in row.data["postings"]):
            units, asset = int(posting["amount"]["units"]), posting["amount"]["asset"]
            books[posting["debit"], asset] += units
            books[posting["credit"], asset] -= units
    return books


def _from_postings(case: Case) -> Balances:
    books: Balances = Counter()
    for row in case.evidence.postings:
        books[row.account, row.asset] += row.units
    return books


def _from_read_model(case: Case) -> Balances:
    return Counter(
        {
            (str(row["account"]), str(row["asset"])): int(row["debits"] or 0)
            - int(row["credits"] or 0)
            for row in case.evidence.live["balances"]
        }
    )


def _at_every_position(case: Case) -> Iterator[Violation]:
    """Each entry sums to zero, running balances are true, and no entry overdraws an account."""
    balances: Balances = Counter()
    entries: defaultdict[int, list[PostingRow]] = defaultdict(list)
    for row in case.evidence.postings:
        entries[row.position].append(row)
    for position, rows in sorted(entries.items()):
        sums: Counter[str] = Counter()
        for row in rows:
            key = (row.account, row.asset)
            balances[key] += row.units
            sums[row.asset] += row.units
            if row.balance_after != balances[key]:
                where = f"{row.account} {row.asset} at {position}"
                yield Violation("postings_differ", f"{where}: says {row.balance_after}")
        for asset, units in sums.items():
            if units:
                yield Violation("trial_balance", f"{asset} at {position}: {units}")
        for account, asset in {(row.account, row.asset): None for row in rows}:
            if _overdrawn(account, balances[account, asset]):
                what = f"{account} {asset} at {position}: {balances[account, asset]}"
                yield Violation("overdrawn", what)


def _overdrawn(account: str, units: int) -> bool:
    kind = account.partition(":")[0]
    return (kind in NEVER_OWED and units < 0) or (kind in NEVER_HELD and units > 0)
