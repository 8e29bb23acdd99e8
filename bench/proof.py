"""What it costs to prove a block of 200 receipts with three logs each, and what the loop feels.

Seconds are those of the processor, not of the wall. Rounds alternate with two baselines in the
same process. The receipts are those of token transfers; a block's are all proved at once.

Shapes  ours          chain_ingest.proof.why_receipts_lie: encode, build the root, compare
        py-trie       the same encoding put into the general trie, as before
        py-trie, rlp  encoded by the general library too
        header        one header hashed, which the process remembers afterwards
        decode        the JSON of the block's receipts to our shapes (adapters/evm_decoding.py)
        loop          the worst lateness of a 1 ms timer, over rounds of one proved block: with
                      nothing beside it, with the proof on a thread, in a process, on the loop
"""

import asyncio
import pickle
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import rlp
from trie.hexary import HexaryTrie

from adapters.evm_decoding import decode_receipts
from adapters.memory.chain_encoding import bloom_of, receipt_bytes, transfer_log
from application.chain_source import Header, TxReceipt
from bench.report import Report, arguments, finish, machine, show
from chain_ingest import proof

RECEIPTS, LOGS_EACH = 200, 3
ROUNDS = 7
REPEATS = 10  # blocks in one sample
LOOP_ROUNDS = 30
TICK_SECONDS = 0.001
GOAL_RATIO = 4
TOKEN, PAYER = "0x" + "aa" * 20, "0x" + "11" * 20


def receipts_of_a_block() -> tuple[TxReceipt, ...]:
    made = []
    for index in range(RECEIPTS):
        logs = tuple(
            transfer_log(TOKEN, PAYER, f"0x{index * LOGS_EACH + number:040x}", 10**6 + index)
            for number in range(LOGS_EACH)
        )
        made.append(
            TxReceipt(
                tx_hash=f"0x{index:064x}",
                type=2,
                status=1,
                cumulative_gas_used=65_000 * (index + 1),
                logs_bloom=bloom_of(logs),
                logs=logs,
            )
        )
    return tuple(made)


def header_over(receipts: Sequence[TxReceipt]) -> Header:
    blank = bytes(32)
    return Header(
        number=1,
        hash="0x" + "00" * 32,
        parent_hash="0x" + "00" * 32,
        timestamp=1_700_000_000,
        transactions=tuple(receipt.tx_hash for receipt in receipts),
        receipts_root=proof.receipts_root(receipts),
        logs_bloom=bytes(256),
        ommers_hash=blank,
        beneficiary=bytes(20),
        state_root=blank,
        transactions_root=blank,
        difficulty=0,
        gas_limit=30_000_000,
        gas_used=15_000_000,
        extra_data=b"",
        mix_hash=blank,
        nonce=bytes(8),
        base_fee=10**9,
    )


def as_json(receipts: Sequence[TxReceipt]) -> bytes:
    return orjson.dumps(
        [
            {
                "blockHash": "0x" + "22" * 32,
                "blockNumber": "0x1",
                "transactionHash": receipt.tx_hash,
                "type": hex(receipt.type),
                "status": "0x1",
                "cumulativeGasUsed": hex(receipt.cumulative_gas_used),
                "logsBloom": "0x" + receipt.logs_bloom.hex(),
                "logs": [
                    {
                        "address": "0x" + log.address.hex(),
                        "topics": ["0x" + topic.hex() for topic in log.topics],
                        "data": "0x" + log.data.hex(),
                        "blockHash": "0x" + "22" * 32,
                        "transactionHash": receipt.tx_hash,
                    }
                    for log in receipt.logs
                ],
            }
            for receipt in receipts
        ]
    )


def general_root(items: Sequence[bytes]) -> bytes:
    trie = HexaryTrie({}, prune=True)
    for index, item in enumerate(items):
        trie[rlp.encode(index)] = item
    return bytes(trie.root_hash)


# ---------------------------------------------------------------- processor time


def milliseconds(run: Callable[[], object]) -> float:
    begun = time.process_time()
    for _ in range(REPEATS):
        run()
    return (time.process_time() - begun) / REPEATS * 1_000


def measure(header: Header, receipts: tuple[TxReceipt, ...]) -> dict[str, float]:
    encoded = [receipt_bytes(receipt) for receipt in receipts]
    body = as_json(receipts)
    headers = iter(replace(header, number=number) for number in range(10**6))
    contenders: dict[str, Callable[[], object]] = {
        "ours": lambda: proof.why_receipts_lie(header, receipts),
        "py-trie": lambda: general_root(encoded),
        "py-trie, rlp": lambda: general_root([receipt_bytes(each) for each in receipts]),
        "header": lambda: proof.header_hash(next(headers)),
        "decode": lambda: decode_receipts(orjson.loads(body)),
    }
    assert proof.why_receipts_lie(header, receipts) is None
    assert general_root(encoded) == header.receipts_root
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            samples[name].append(milliseconds(run))
    return {name: round(statistics.median(taken), 3) for name, taken in samples.items()}


# ---------------------------------------------------------------- what the loop feels


async def lateness(prove: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """The median and the worst of the rounds, in milliseconds."""
    worst: list[float] = []
    for _ in range(LOOP_ROUNDS):
        proving = asyncio.ensure_future(prove())
        late = 0.0
        while not proving.done():
            due = time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            late = max(late, time.perf_counter() - due)
        await proving
        worst.append(late * 1_000)
    return round(statistics.median(worst), 2), round(max(worst), 2)


async def felt(header: Header, receipts: tuple[TxReceipt, ...]) -> dict[str, tuple[float, float]]:
    async def nothing() -> object:
        return await asyncio.sleep(0.01, result=True)

    async def on_the_loop() -> object:
        await asyncio.sleep(0)
        lie = proof.why_receipts_lie(header, receipts)
        await asyncio.sleep(0.005)
        return lie

    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1) as process:
        await loop.run_in_executor(process, proof.why_receipts_lie, header, receipts)
        return {
            "nothing": await lateness(nothing),
            "thread": await lateness(
                lambda: asyncio.to_thread(proof.why_receipts_lie, header, receipts)
            ),
            "process": await lateness(
                lambda: loop.run_in_executor(process, proof.why_receipts_lie, header, receipts)
            ),
            "on the loop": await lateness(on_the_loop),
        }


def report(costs: dict[str, float], late: dict[str, Any], conditions: dict[str, Any]) -> Report:
    ratio = round(costs["py-trie, rlp"] / costs["ours"], 2)
    return Report(
        figure=costs["ours"],
        unit=f"processor ms per block of {RECEIPTS} receipts",
        baseline=costs["py-trie, rlp"],
        ratio=ratio,
        goal=f"a {GOAL_RATIO}th of what the general trie costs, or less",
        met=ratio >= GOAL_RATIO,
        conditions={
            **conditions,
            "logs_per_receipt": LOGS_EACH,
            "ms": costs,
            "loop_late_ms_median_and_worst": late,
            "rounds": ROUNDS,
        },
    )


def main() -> None:
    as_line: bool = arguments("Proving a block's receipts.").parse_args().json
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        conditions = machine(Path(folder))
    receipts = receipts_of_a_block()
    header = header_over(receipts)
    costs = measure(header, receipts)
    late = asyncio.run(felt(header, receipts))
    conditions["pickled_bytes"] = len(pickle.dumps(receipts))
    if not as_line:
        rows = [(name, f"{cost:,.3f}") for name, cost in costs.items()]
        show(f"A block of {RECEIPTS} receipts, {LOGS_EACH} logs each", ("", "processor ms"), rows)
        lates = [(name, f"{median:.2f}", f"{worst:.2f}") for name, (median, worst) in late.items()]
        show("The loop is late beside one proof", ("", "median ms", "worst ms"), lates)
    finish(report(costs, late, conditions), as_json=as_line)


if __name__ == "__main__":
    main()
