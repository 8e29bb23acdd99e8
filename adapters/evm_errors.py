"""What a provider means by its error, which every operator says in other words.

Shapes  `kind_of_refusal` reads code, message and data of a JSON-RPC error; rate before range,
        because "too many requests" asks for patience and "too many results" for a smaller
        question, and a smaller question answers the first by asking more often.
        `suggested_range` reads which range would do, from a pair of block numbers or a count.
Units   block numbers, both ends included; seconds.
Source  texts of Alchemy, Infura, QuickNode, Ankr, BlockPI, Blast, Chainstack, Coinbase, dRPC,
        Hyperliquid, PublicNode, Tenderly, thirdweb, geth, reth and op-geth as users report them;
        codes of EIP-1474. Two of them use -32005 for too many results, the others for too many
        questions. Each text is a line of tests/adapters/test_evm_errors.py.
"""

import re
from collections.abc import Callable
from typing import Any

from application.chain_source import FailureKind

RATE_CODE = 429  # some put the HTTP status into the JSON-RPC error
LIMIT_EXCEEDED_CODE = -32005
TEXT_CHARACTERS_MAX = 500
RETRY_AFTER_SECONDS_MAX = 24 * 3_600.0

_BEYOND_HEAD = re.compile(
    r"beyond (the )?(current )?(head|latest)|(block|header) not found|unknown block"
    r"|after last accepted block|block .{0,40}not (yet )?available",
    re.IGNORECASE,
)
_RATE = re.compile(
    r"rate.?limit|rate exceeded|too many requests?\b|compute units|calls per second"
    r"|request(s)? (count|limit|quota)|requests? per (second|minute|day)|credits? (limit|exceed)"
    r"|quota|throughput|over (the )?capacity|/second",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"\brange|blocks? limit|returned more than|too many (blocks|results|logs)|response size"
    r"|(response|result).{0,20}too (large|big)|limited to|max(imum)? results|exceeds? limit"
    r"|requested (too many )?blocks|maximum .{0,40}blocks is|at most [\d,]+ blocks|paginat",
    re.IGNORECASE,
)
_TIMED_OUT = re.compile(r"time[d -]*out|deadline exceeded|took too long", re.IGNORECASE)
_PAIR = re.compile(r"\[\s*(0x[0-9a-fA-F]{1,16})\s*,\s*(0x[0-9a-fA-F]{1,16})\s*\]")
# A number of blocks, and not of results, bytes or calls.
_COUNT = re.compile(
    r"(?:limited to(?: an?)?|up to(?: an?)?|at most|max(?:imum)? (?:block )?range:?"
    r"|(?:blocks|allowed|limit) is(?: set to)?|maximum is set to|\d >|ranges over"
    r"|range .{0,40}exceeds limit of)"
    r"\s*(\d[\d,]{0,12})(k?)\b(?!\s*(?:results|logs|items|bytes|mb|requests))",
    re.IGNORECASE,
)


def kind_of_refusal(code: int, text: str) -> FailureKind:
    """What to do about an error answer: wait, ask for less, ask later, or ask elsewhere."""
    if _BEYOND_HEAD.search(text):
        return "beyond_head"
    if code == RATE_CODE or _RATE.search(text):
        return "rate_limited"
    if _RANGE.search(text):
        return "range_refused"
    if _TIMED_OUT.search(text):
        return "timeout"
    return "rate_limited" if code == LIMIT_EXCEEDED_CODE else "refused"


def parts_of(error: Any, hidden: Callable[[str], str] = str) -> tuple[int, str, str]:
    """Code, message, and the message with what `data` adds to it.

    `hidden` takes out what must not be repeated, before a text is cut and only half of it is left.
    """
    if not isinstance(error, dict):
        text = hidden(str(error))[:TEXT_CHARACTERS_MAX]
        return 0, text, text
    code, data = error.get("code"), error.get("data")
    message = hidden(str(error.get("message", "")))[:TEXT_CHARACTERS_MAX]
    whole = message if data is None else f"{message} {hidden(str(data))[:TEXT_CHARACTERS_MAX]}"
    return code if isinstance(code, int) else 0, message, whole


def backoff_seconds(error: Any) -> float | None:
    """How long the error itself asks to wait (Infura: data.rate.backoff_seconds)."""
    data = error.get("data") if isinstance(error, dict) else None
    rate = data.get("rate", data) if isinstance(data, dict) else None
    seconds = rate.get("backoff_seconds") if isinstance(rate, dict) else None
    return _bounded(seconds) if isinstance(seconds, int | float) else None


def retry_after_seconds(header: str | None) -> float | None:
    """The Retry-After header in seconds; its other form, a date, would trust their clock."""
    if header is None or not header.strip().isascii() or not header.strip().isdigit():
        return None
    return _bounded(int(header.strip()[:9]))


def suggested_range(text: str, first: int, last: int) -> tuple[int, int] | None:
    """What the provider would take of first..last; None when it does not say."""
    pair = _PAIR.search(text)
    if pair is not None:
        begin, end = int(pair[1], 16), int(pair[2], 16)
    else:
        blocks = _blocks_of(text)
        begin, end = first, first + blocks - 1
    return (begin, end) if begin <= first <= end < last else None


def _blocks_of(text: str) -> int:
    found = _COUNT.search(text)
    if found is None:
        return 0
    return int(found[1].replace(",", "") or 0) * (1_000 if found[2] else 1)


def _bounded(seconds: float) -> float:
    return min(max(float(seconds), 0.0), RETRY_AFTER_SECONDS_MAX)
