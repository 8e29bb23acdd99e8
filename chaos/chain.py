"""`python -m chaos.chain`: the fault campaign, and what people see of it.

Shapes  A progress bar with the rate, a table of the gateway beside the usual ways, and what the
        oracle did not like. With --json one line at the end: seeds, steps, payments, missed,
        phantom, forged, wrong, strategies, seconds.
Errors  exit status 1 when the gateway missed, invented or believed anything, or broke a promise.
"""

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

import structlog
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from chaos import campaign
from chaos.campaign import Result
from chaos.oracle import Verdict

STEPS, SEEDS = 1_000, 3
WORDS = {
    "range-0": "range + failover, 0 confirmations",
    "range-12": "range + failover, 12 confirmations",
    "hash-chain": "block by block, bloom checked, failover, 12",
    "quorum-bloom": "2 of 3 headers, bloom checked, 12",
    "gateway": "the gateway: 2 of 3, union of logs, proof, 12",
}


def main() -> int:
    wanted = _arguments()
    quiet = logging.INFO if wanted.verbose else logging.CRITICAL
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(quiet),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    console = Console(stderr=wanted.json)
    results = [_one(seed, wanted.steps, console) for seed in _seeds(wanted)]
    _show(results, console)
    if wanted.json:
        print(json.dumps(summary(results)), flush=True)
    return 0 if all(result.ours.clean for result in results) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--verbose", action="store_true", help="show what the ingester logs")
    return parser.parse_args()


def _seeds(wanted: argparse.Namespace) -> range:
    return range(wanted.seed, wanted.seed + wanted.seeds)


def _one(seed: int, steps: int, console: Console) -> Result:
    columns = (
        TextColumn("seed {task.fields[seed]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, {task.speed:.1f}/s" if console.is_terminal else "steps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=steps, seed=seed)
        return uvloop.run(campaign.run(seed, steps, lambda _: progress.advance(task)))


# ---------------------------------------------------------------- what came out


def summary(results: Sequence[Result]) -> dict[str, Any]:
    ours = _added("gateway", results)
    return {
        "seeds": [result.seed for result in results],
        "stories": [result.story for result in results],
        "steps": sum(result.steps for result in results),
        "blocks": sum(result.mined for result in results),
        "forks": sum(result.forks for result in results),
        "deepest_fork": max(result.deepest for result in results),
        "forks_followed": sum(result.followed for result in results),
        "deepest_followed": max(result.deepest_followed for result in results),
        "transactions": sum(result.transactions for result in results),
        "payments": ours.payments,
        "reports": sum(result.reports for result in results),
        "missed": ours.missed,
        "phantom": ours.phantom,
        "forged": ours.forged,
        "wrong": ours.wrong,
        "strategies": {
            name: _figures(_added(name, results)) | {"calls_per_block": _calls(name, results)}
            for name in WORDS
        },
        "seconds": round(sum(result.seconds for result in results), 1),
    }


def _figures(verdict: Verdict) -> dict[str, Any]:
    figures = dataclasses.asdict(verdict)
    del figures["name"], figures["wrong"]
    return figures


def _added(name: str, results: Sequence[Result]) -> Verdict:
    total = Verdict(name)
    for result in results:
        verdict = next(each for each in result.verdicts if each.name == name)
        for each in ("payments", "missed", "phantom", "forged", "taken_back", "unattested_forged"):
            setattr(total, each, getattr(total, each) + getattr(verdict, each))
        total.wrong += [f"seed {result.seed}: {text}" for text in verdict.wrong]
    return total


def _calls(name: str, results: Sequence[Result]) -> float:
    key = "ingester" if name == "gateway" else name
    return round(sum(result.calls[key] for result in results) / len(results), 1)


def _show(results: Sequence[Result], console: Console) -> None:
    total = summary(results)
    table = Table(
        title=f"{total['payments']:,} payments, {total['blocks']:,} blocks, {total['forks']} forks "
        f"down to {total['deepest_fork']} blocks, seeds {total['seeds']}",
        title_justify="left",
    )
    table.add_column("strategy")
    for column in ("missed", "phantom", "forged", "taken back", "calls per block"):
        table.add_column(column, justify="right")
    for name, figures in total["strategies"].items():
        bad = figures["missed"] or figures["phantom"] or figures["forged"]
        cells = [f"{figures[key]:,}" for key in ("missed", "phantom", "forged", "taken_back")]
        style = "red" if bad else "green"
        table.add_row(WORDS[name], *cells, f"{figures['calls_per_block']}", style=style)
    console.print(table)
    for text in total["wrong"]:
        console.print(text, style="red", highlight=False, soft_wrap=True)
    console.print(
        f"{total['forks_followed']} forks were seen by the gateway and followed, down to "
        f"{total['deepest_followed']} blocks; the others came and went between two looks",
        style="dim",
    )
    console.print(
        "taken back: confirmed, then retracted by a fork deeper than the confirmations",
        style="dim",
    )


if __name__ == "__main__":
    sys.exit(main())
