"""What the benchmarks of ingestion read is a chain like any other: all of it proves itself."""

from itertools import pairwise

import orjson

from adapters.evm_decoding import decode_header, decode_logs, decode_receipts
from application.chain_source import Header, RangeLogs
from bench.replay_chain import FIRST_NUMBER, TOKEN, Plan, ReplayChain, watched_address
from chain_ingest.proof import why_header_lies, why_receipts_lie
from chain_ingest.transfers import movements_in

PLAN = Plan(blocks=20, logs=10, ours=15_000, laps=3)
CHAIN = ReplayChain(PLAN)
WATCHED = {watched_address(number) for number in range(PLAN.watched)}


def header(number: int) -> Header:
    return decode_header(orjson.loads(CHAIN.header_json(number)))


def logs(first: int, last: int) -> RangeLogs:
    return decode_logs(orjson.loads(b"[%b]" % CHAIN.logs_json(first, last)), WATCHED)


def test_one_block_agrees_with_the_general_libraries() -> None:
    CHAIN.check()


def test_every_header_proves_itself_and_stands_on_the_one_before() -> None:
    told = [header(number) for number in range(FIRST_NUMBER, PLAN.last_number + 1)]
    assert [why_header_lies(each) for each in told] == [None] * len(told)
    assert all(after.parent_hash == before.hash for before, after in pairwise(told))


def test_receipts_prove_what_the_logs_say_in_every_lap() -> None:
    tokens = frozenset({bytes.fromhex(TOKEN[2:])})
    for number in range(FIRST_NUMBER, PLAN.last_number + 1):
        told = orjson.loads(b"[%b]" % CHAIN.receipts_json(number))
        receipts = tuple(decode_receipts(told))
        assert why_receipts_lie(header(number), receipts) is None
        moved, posed = movements_in(receipts, tokens, WATCHED)
        hinted = logs(number, number)
        assert not posed
        assert hinted.count == PLAN.logs
        assert len(moved) == PLAN.ours_of(number) == len(hinted.entries)
        assert {each.tx_hash for each in moved} == {each.tx_hash for each in hinted.entries}


def test_no_transaction_and_no_block_comes_twice() -> None:
    whole = decode_logs(
        orjson.loads(b"[%b]" % CHAIN.logs_json(FIRST_NUMBER, PLAN.last_number)), None
    )
    count = PLAN.laps * PLAN.blocks * PLAN.logs
    assert whole.count == len({each.tx_hash for each in whole.entries}) == count
    assert len({each.block_hash for each in whole.entries}) == PLAN.laps * PLAN.blocks
    assert len({each.block_number for each in whole.entries}) == PLAN.laps * PLAN.blocks
