"""The JSON-RPC client against a real node, and against servers that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from adapters import evm, evm_transport
from adapters.evm import EvmClient
from application.chain_source import RangeRefused
from application.eip712 import separator_of
from application.ports import Unavailable
from chain_ingest.proof import may_have_logged, why_header_lies, why_receipts_lie
from chain_ingest.transfers import TRANSFER_TOPIC
from domain.networks import Eip712Domain, Network, Token, local_network
from gateway.embedded_anvil import Anvil
from gateway.local_chain import USDC, USDT, LocalChain

NETWORK = local_network(
    chain_id=31337, tokens=(Token(symbol="USDC", address=USDC, decimals=6),), blocks=3
)
NOBODY = "0x" + "0e" * 20
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def chain(fresh_anvil: Anvil) -> AsyncIterator[LocalChain]:
    async with LocalChain(fresh_anvil.url) as chain:
        await chain.deploy_tokens()
        yield chain


@pytest.fixture
async def client(chain: LocalChain, fresh_anvil: Anvil) -> AsyncIterator[EvmClient]:
    client = EvmClient(fresh_anvil.url, NETWORK, provider_name="anvil")
    await client.open()
    yield client
    await client.close()


@asynccontextmanager
async def served(handler: Handler, network: Network = NETWORK) -> AsyncIterator[EvmClient]:
    """A client whose provider is this handler."""
    app = web.Application()
    app.router.add_post("/secret-key", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    url = f"http://127.0.0.1:{port}/secret-key"
    client = EvmClient(url, network, provider_name="odd", timeout_seconds=0.3)
    await client.open()
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def answering(result: object = None, *, error: object = None) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        answer = {"jsonrpc": "2.0", "id": asked["id"]}
        answer |= {"error": error} if error is not None else {"result": result}
        return web.Response(body=orjson.dumps(answer))

    return handler


# ---------------------------------------------------------------- reading a real chain


async def test_every_header_of_a_real_chain_hashes_to_its_name(
    chain: LocalChain, client: EvmClient
) -> None:
    await chain.mine(3)
    for number in range(await chain.head() + 1):
        header = await client.header(number)
        assert header is not None
        assert why_header_lies(header) is None
        assert await client.header_by_hash(header.hash) == header


async def test_the_receipts_of_a_real_block_are_proved_by_its_header(
    chain: LocalChain, client: EvmClient
) -> None:
    payer, payee = (await chain.accounts())[1:3]
    await chain.mint(USDC, payer, 100)
    await chain.transfer(USDC, payer, payee, 7)
    header = await client.header("latest")
    assert header is not None
    receipts = await client.receipts_of_block(header.hash)
    assert [len(receipt.logs) for receipt in receipts] == [1]
    assert why_receipts_lie(header, receipts) is None
    assert may_have_logged(header.logs_bloom, [bytes.fromhex(USDC[2:])], TRANSFER_TOPIC)
    assert not may_have_logged(header.logs_bloom, [bytes.fromhex(NOBODY[2:])], TRANSFER_TOPIC)


async def test_a_full_block_of_many_transactions_is_proved(
    chain: LocalChain, client: EvmClient
) -> None:
    accounts = await chain.accounts()
    await chain.mint(USDC, accounts[1], 10_000)
    await chain.rpc("evm_setAutomine", False)
    data = "0xa9059cbb" + accounts[2][2:].rjust(64, "0") + f"{1:064x}"
    for _ in range(140):  # past 128 the trie's keys grow a byte
        await chain.rpc("eth_sendTransaction", {"from": accounts[1], "to": USDC, "data": data})
    await chain.mine()
    header = await client.header("latest")
    assert header is not None
    assert len(header.transactions) == 140
    assert why_receipts_lie(header, await client.receipts_of_block(header.hash)) is None


async def test_logs_are_found_by_block_by_range_and_by_recipient(
    chain: LocalChain, client: EvmClient
) -> None:
    payer, payee, other = (await chain.accounts())[1:4]
    await chain.mint(USDC, payer, 100)
    first = await chain.head() + 1
    await chain.transfer(USDC, payer, payee, 7)
    await chain.transfer(USDC, payer, other, 8)
    last = await chain.head()
    header = await client.header(first)
    assert header is not None
    (entry,) = await client.logs_of_block(header.hash, [USDC], [payee])
    assert (entry.block_number, entry.block_hash) == (first, header.hash)
    assert entry.tx_hash == header.transactions[0]
    assert entry.topics[2][-40:] == payee[2:]
    assert await client.logs_of_block(header.hash, [USDC], [other]) == ()
    assert await client.logs_of_block(header.hash, [USDT], None) == ()
    assert (await client.logs_of_range(first, last, [USDC], None)).count == 2
    assert len((await client.logs_of_range(first, last, [USDC, USDT], [other])).entries) == 1


async def test_what_a_node_does_not_have_is_none_or_unavailable(client: EvmClient) -> None:
    unknown = "0x" + "11" * 32
    assert await client.header(10**6) is None
    assert await client.header_by_hash(unknown) is None
    assert await client.receipt(unknown) is None
    with pytest.raises(Unavailable, match="rpc: anvil"):
        await client.logs_of_block(unknown, [USDC], None)
    with pytest.raises(Unavailable):
        await client.receipts_of_block(unknown)


async def test_chain_and_tokens_tell_who_they_are(client: EvmClient) -> None:
    assert await client.chain_id() == 31337
    assert await client.token_decimals(USDC) == 6
    assert await client.token_decimals(NOBODY) is None
    assert await client.domain_separator(NOBODY) is None
    signing = Token(
        symbol="USDC",
        address=USDC,
        decimals=6,
        eip712=Eip712Domain(name="USD Coin", version="2"),
    )
    assert await client.domain_separator(USDC) == separator_of(NETWORK, signing)
    assert await client.domain_separator(USDT) is None, "it has no such function"


# ---------------------------------------------------------------- paying out


async def test_a_signed_transfer_is_broadcast_mined_and_read_back(
    chain: LocalChain, client: EvmClient
) -> None:
    accounts = await chain.accounts()
    payer, payee = accounts[1], accounts[2]
    await chain.mint(USDC, payer, 100)
    nonce = await client.transaction_count(payer)
    signed = await chain.sign_transfer(USDC, 1, payee, 40)
    raw = bytes.fromhex(signed.raw[2:])
    for _ in range(3):
        await client.broadcast(raw)  # "already known" and "nonce too low" prove nothing
    async with asyncio.timeout(5):
        while (receipt := await client.receipt(signed.tx_hash)) is None:
            await asyncio.sleep(0.01)
    await client.broadcast(raw)
    assert receipt.succeeded
    assert receipt.transfers == ((USDC, payer, payee, 40),)
    assert receipt.block_number == await client.head_number()
    assert await client.balance(USDC, payee) == 40
    assert await client.transaction_count(payer) == nonce + 1
    assert await client.transaction_count(payer, pending=True) == nonce + 1
    assert await client.native_balance(payer) > 0


@pytest.mark.parametrize("token", [USDC, USDT])
async def test_a_transfer_is_simulated_whether_the_token_answers_true_or_nothing(
    chain: LocalChain, client: EvmClient, token: str
) -> None:
    payer, payee = (await chain.accounts())[1:3]
    await chain.mint(token, payer, 100)
    assert await client.simulate_transfer(token, payer, payee, 100) is None
    refusal = await client.simulate_transfer(token, payer, payee, 101)
    assert refusal is not None
    assert "revert" in refusal


async def test_a_rollups_fee_for_its_data_is_part_of_the_cost() -> None:
    receipt = {
        "transactionHash": "0x" + "11" * 32,
        "blockNumber": "0x5",
        "blockHash": "0x" + "22" * 32,
        "status": "0x0",
        "logs": [],
        "gasUsed": "0xc350",
        "effectiveGasPrice": "0x3b9aca00",
    }
    async with served(answering(receipt)) as client:
        found = await client.receipt("0x" + "11" * 32)
    assert found is not None
    assert found.cost == 50_000 * 10**9
    async with served(answering({**receipt, "l1Fee": "0x7"})) as client:
        found = await client.receipt("0x" + "11" * 32)
    assert found is not None
    assert found.cost == 50_000 * 10**9 + 7
    del receipt["effectiveGasPrice"]
    async with served(answering(receipt)) as client:
        with pytest.raises(Unavailable, match="wrong shape"):
            await client.receipt("0x" + "11" * 32)


@pytest.mark.parametrize(
    "message", ["finalized block not found", "safe block not found", "unknown block"]
)
async def test_before_the_first_final_block_none_is_named(message: str) -> None:
    async with served(answering(error={"code": -39001, "message": message})) as client:
        assert await client.tagged_number("finalized") is None
    async with served(answering(None)) as client:
        assert await client.tagged_number("safe") is None
    async with served(answering(error={"code": -32601, "message": "method not found"})) as client:
        with pytest.raises(Unavailable):
            await client.tagged_number("safe")


async def test_a_node_that_knows_no_such_tag_names_none() -> None:
    message = "invalid argument 0: hex string without 0x prefix"
    async with served(answering(error={"code": -32602, "message": message})) as client:
        assert await client.tagged_number("finalized") is None


async def test_fees_cover_a_doubled_base_fee(chain: LocalChain, client: EvmClient) -> None:
    await chain.mine(6)
    fee, tip = await client.fees()
    header = await client.header("latest")
    assert header is not None
    assert header.base_fee is not None
    assert fee >= header.base_fee + tip
    assert 0 <= tip < fee


async def test_the_tip_keeps_to_the_floor_of_its_chain() -> None:
    history = {"baseFeePerGas": ["0x1", "0x2"], "reward": [["0x5"], ["0x7"], ["0x6"]]}
    async with served(answering(history)) as client:
        assert await client.fees() == (10, 6)
    polygon = NETWORK.model_copy(update={"chain_id": 137})
    async with served(answering(history), polygon) as client:
        fee, tip = await client.fees()
        assert tip == evm.TIP_FLOOR_WEI[137]
        assert fee == tip + 4


# ---------------------------------------------------------------- providers that misbehave


async def test_a_provider_that_does_not_answer_is_given_up_in_time() -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async with served(silent) as client:
        async with asyncio.timeout(2):
            with pytest.raises(Unavailable, match="no answer in") as caught:
                await client.chain_id()
    assert "secret-key" not in str(caught.value)


async def test_a_refused_connection_is_unavailable_and_does_not_tell_the_url() -> None:
    client = EvmClient("http://127.0.0.1:9/secret-key", NETWORK, provider_name="gone")
    await client.open()
    with pytest.raises(Unavailable) as caught:
        await client.header("latest")
    await client.close()
    assert "gone" in str(caught.value)
    assert "secret-key" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"7", b'{"jsonrpc": "2.0"}', b'{"id": 99, "result": "0x1"}']
)
async def test_what_is_no_answer_to_our_request_is_unavailable(body: bytes) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body)

    async with served(handler) as client:
        with pytest.raises(Unavailable):
            await client.header("latest")


@pytest.mark.parametrize(
    "result", [7, "zero", {}, {"number": "0x1"}, [], {"number": 1, "hash": None}]
)
async def test_a_block_of_the_wrong_shape_is_unavailable(result: object) -> None:
    async with served(answering(result)) as client:
        with pytest.raises(Unavailable):
            await client.header("latest")


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evm_transport, "BODY_BYTES_MAX", 1_000)
    monkeypatch.setattr(evm_transport, "SMALL_BODY_BYTES_MAX", 500)
    async with served(answering("0x" + "00" * 2_000)) as client:
        with pytest.raises(Unavailable, match="more than 500 bytes"):
            await client.header("latest")
        with pytest.raises(Unavailable, match="more than 1000 bytes"):
            await client.receipts_of_block("0x" + "11" * 32)


async def test_an_http_error_is_unavailable_unless_it_carries_an_answer() -> None:
    async def limited(_: web.Request) -> web.Response:
        return web.Response(status=429, text="slow down")

    async with served(limited) as client:
        with pytest.raises(Unavailable, match="429"):
            await client.chain_id()


@pytest.mark.parametrize(
    ("message", "suggested"),
    [
        (
            "query returned more than 10000 results. Try with this block range [0x1, 0x10].",
            (1, 16),
        ),
        ("Log response size exceeded. this block range should work: [0x1, 0x6]", (1, 6)),
        ("eth_getLogs is limited to a 10,000 range", None),
        ("block range is too wide", None),
    ],
)
async def test_a_range_too_wide_is_told_apart_with_what_would_do(
    message: str, suggested: tuple[int, int] | None
) -> None:
    async with served(answering(error={"code": -32602, "message": message})) as client:
        with pytest.raises(RangeRefused) as caught:
            await client.logs_of_range(1, 100, [USDC], None)
    assert caught.value.suggested == suggested


async def test_trouble_of_the_node_never_looks_like_a_contract_that_refuses() -> None:
    async with served(answering(error={"code": -32005, "message": "rate limited"})) as client:
        with pytest.raises(Unavailable):
            await client.simulate_transfer(USDC, NOBODY, NOBODY, 1)
        with pytest.raises(Unavailable):
            await client.token_decimals(USDC)


async def test_a_token_that_answers_false_would_not_pay() -> None:
    async with served(answering("0x" + "00" * 32)) as client:
        assert await client.simulate_transfer(USDC, NOBODY, NOBODY, 1) is not None


async def test_a_redirect_is_not_followed() -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    async with served(elsewhere) as client:
        with pytest.raises(Unavailable, match="302"):
            await client.chain_id()
