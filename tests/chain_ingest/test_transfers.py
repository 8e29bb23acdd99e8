"""Only a Transfer log of a configured token is a movement; each other shape has its reason."""

import pytest

from adapters.memory.chain_encoding import TRANSFER_TOPIC, transfer_log, word
from application.chain_source import ReceiptLog, TxReceipt
from chain_ingest.transfers import Movement, Reason, Reject, movements_in, read_log
from tests.chain_ingest.world import DEPOSIT, FAKE, OTHER_DEPOSIT, PAYER, STRANGER, USDC

TOKENS = frozenset({bytes.fromhex(USDC[2:])})
GOOD = transfer_log(USDC, PAYER, DEPOSIT, 5_000_000)
APPROVAL = bytes.fromhex("8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925")


def changed(**fields: object) -> ReceiptLog:
    kept = {"address": GOOD.address, "topics": GOOD.topics, "data": GOOD.data}
    return ReceiptLog(**{**kept, **fields})  # type: ignore[arg-type]  # one value a field


def receipt(*logs: ReceiptLog, status: int = 1, tx: str = "0x01") -> TxReceipt:
    return TxReceipt(tx, 2, status, 21_000, bytes(256), logs)


def test_a_transfer_log_gives_token_parties_and_units() -> None:
    read = read_log(GOOD, TOKENS, "0x01", 3)
    assert read == Movement("0x01", 3, USDC, PAYER, DEPOSIT, 5_000_000)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (transfer_log(FAKE, PAYER, DEPOSIT, 1), "token_not_configured"),
        (changed(topics=()), "not_a_transfer"),
        (changed(topics=(APPROVAL, *GOOD.topics[1:])), "not_a_transfer"),
        (changed(topics=(*GOOD.topics, word(b"\x01"))), "topics_not_three"),
        (changed(topics=GOOD.topics[:2]), "topics_not_three"),
        (changed(data=GOOD.data + bytes(32)), "data_not_32_bytes"),
        (changed(data=b""), "data_not_32_bytes"),
        (changed(topics=(TRANSFER_TOPIC, b"\xff" * 32, GOOD.topics[2])), "dirty_address"),
        (
            changed(topics=(TRANSFER_TOPIC, GOOD.topics[1], b"\x01" + GOOD.topics[2][1:])),
            "dirty_address",
        ),
        (changed(data=bytes(32)), "no_value"),
        (transfer_log(USDC, DEPOSIT, DEPOSIT, 1), "to_itself"),
    ],
)
def test_every_other_shape_is_rejected_by_name(log: ReceiptLog, reason: Reason) -> None:
    assert read_log(log, TOKENS, "0x01", 0) == Reject("0x01", 0, reason)


def test_every_transfer_of_a_transaction_counts_with_its_place_in_the_receipt() -> None:
    logs = (
        transfer_log(FAKE, PAYER, DEPOSIT, 9),
        transfer_log(USDC, PAYER, DEPOSIT, 1),
        transfer_log(USDC, PAYER, STRANGER, 2),
        transfer_log(USDC, PAYER, OTHER_DEPOSIT, 3),
        transfer_log(USDC, PAYER, DEPOSIT, 1),
    )
    moved, posed = movements_in([receipt(*logs)], TOKENS, {DEPOSIT, OTHER_DEPOSIT})
    assert [(each.log_index, each.units) for each in moved] == [(1, 1), (3, 3), (4, 1)]
    assert posed == ()


def test_a_failed_transaction_moves_nothing() -> None:
    assert movements_in([receipt(GOOD, status=0)], TOKENS, {DEPOSIT}) == ((), ())


def test_a_log_that_poses_as_a_transfer_of_a_known_token_is_told() -> None:
    posing = changed(topics=(*GOOD.topics, word(b"\x01")))
    moved, posed = movements_in([receipt(posing)], TOKENS, {DEPOSIT})
    assert moved == ()
    assert [each.reason for each in posed] == ["topics_not_three"]


def test_the_largest_value_is_read_exactly() -> None:
    read = read_log(transfer_log(USDC, PAYER, DEPOSIT, 2**256 - 1), TOKENS, "0x01", 0)
    assert isinstance(read, Movement)
    assert read.units == 2**256 - 1
