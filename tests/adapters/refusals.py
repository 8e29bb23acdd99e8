"""How providers say no, word for word, with what we should make of it."""

from application.chain_source import FailureKind

FIRST, LAST = 0x100, 0x2000  # the range asked for

# Code, text, kind, and how many blocks from FIRST on would do (None: it does not say).
REFUSALS: tuple[tuple[str, int, str, FailureKind, int | None], ...] = (
    (
        "alchemy free",
        -32600,
        (
            "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. "
            "Based on your parameters, this block range should work: [0x100, 0x109]. "
            "Upgrade to PAYG for expanded block range."
        ),
        "range_refused",
        10,
    ),
    (
        "alchemy size",
        -32602,
        (
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block "
            "range and no limit on the response size, or you can request any block range with a cap "
            "of 10K logs in the response. Based on your parameters and the response size limit, this "
            "block range should work: [0x100, 0x133]"
        ),
        "range_refused",
        52,
    ),
    (
        "alchemy, without a pair",
        -32602,
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
        "range_refused",
        2_000,
    ),
    (
        "infura",
        -32005,
        "query returned more than 10000 results. Try with this block range [0x100, 0x1FF].",
        "range_refused",
        256,
    ),
    (
        "infura, without a pair",
        -32005,
        "query returned more than 10000 results",
        "range_refused",
        None,
    ),
    (
        "quicknode",
        -32614,
        "eth_getLogs is limited to a 1,000 range",
        "range_refused",
        1_000,
    ),
    ("quicknode trial", -32614, "eth_getLogs is limited to a 5 range", "range_refused", 5),
    (
        "quicknode, more than was asked for",
        -32602,
        "eth_getLogs and eth_newFilter are limited to a 10,000 blocks range",
        "range_refused",
        None,
    ),
    ("ankr", -32600, "block range is too wide", "range_refused", None),
    ("blockpi", -32602, "eth_getLogs is limited to 1024 block range", "range_refused", 1_024),
    (
        "blast",
        -32602,
        (
            "Invalid params {'range': 'the range 256 - 8192 exceeds the range allowed for your plan "
            "(7936 > 2000).'}"
        ),
        "range_refused",
        2_000,
    ),
    ("chainstack", -32600, "Block range limit exceeded.", "range_refused", None),
    (
        "coinbase",
        -32000,
        "please limit the query to at most 1000 blocks",
        "range_refused",
        1_000,
    ),
    (
        "drpc",
        -32000,
        "requested too many blocks from 0 to 16777216, maximum is set to 2048",
        "range_refused",
        2_048,
    ),
    (
        "drpc free",
        35,
        "ranges over 1000 blocks are not supported on freetier",
        "range_refused",
        1_000,
    ),
    ("publicnode", -32701, "exceed maximum block range: 5000", "range_refused", 5_000),
    ("hyperliquid", -32602, "query exceeds max block range 1000", "range_refused", 1_000),
    ("cloudflare", -32047, "Max range: 800", "range_refused", 800),
    (
        "thirdweb",
        -32005,
        "Maximum allowed number of requested blocks is 3500",
        "range_refused",
        3_500,
    ),
    (
        "sei",
        -32000,
        "block range too large (2000), maximum allowed is 1000 blocks",
        "range_refused",
        1_000,
    ),
    ("erigon", -32000, "logs matched by query exceeds limit of 10000", "range_refused", None),
    ("proxyd", -32000, "backend response too large", "range_refused", None),
    ("response size", -32008, "Response is too big", "range_refused", None),
    (
        "alchemy rate",
        429,
        "Your app has exceeded its compute units per second capacity. If you have retries enabled, you can safely ignore this message.",
        "rate_limited",
        None,
    ),
    (
        "infura rate",
        -32005,
        "daily request count exceeded, request rate limited",
        "rate_limited",
        None,
    ),
    ("infura other rate", -32005, "project ID request rate exceeded", "rate_limited", None),
    (
        "quicknode rate",
        -32007,
        "50/second request limit reached - reduce calls per second or upgrade your account at quicknode.com",
        "rate_limited",
        None,
    ),
    (
        "quicknode day",
        -32003,
        "daily request limit reached - upgrade your account",
        "rate_limited",
        None,
    ),
    ("drpc rate", 15, "Too many request, try again later", "rate_limited", None),
    (
        "ankr rate",
        -32005,
        "Too many requests, reason: call rate limit exhausted, retry in 10s",
        "rate_limited",
        None,
    ),
    ("base rate", -32016, "over rate limit", "rate_limited", None),
    ("eip-1474", -32005, "Limit exceeded", "rate_limited", None),
    ("geth", -32602, "block range extends beyond current head block", "beyond_head", None),
    ("geth by hash", -32000, "unknown block", "beyond_head", None),
    ("no header", -32000, "header not found", "beyond_head", None),
    (
        "avalanche",
        -32000,
        "requested from block 9 after last accepted block 5",
        "beyond_head",
        None,
    ),
    ("linkpool", -32002, "request timed out", "timeout", None),
    ("geth timeout", -32000, "query timeout exceeded", "timeout", None),
    ("no archive", -32602, "Archive requests require a personal token", "refused", None),
    ("no such method", -32601, "the method eth_getLogs does not exist", "refused", None),
)
