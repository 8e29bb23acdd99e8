"""Signatures of keys against known answers and another library; contract wallets on a chain."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data

from adapters.evm import EvmClient
from adapters.memory.clock import FakeClock
from adapters.signatures import (
    SIGNATURE_BYTES_MAX,
    EvmSignatures,
    signer_of,
    text_hash,
    typed_data_hash,
)
from application.claims import ProofWords
from application.ports import Unavailable
from domain.networks import POLYGON
from gateway.contracts import load
from gateway.embedded_anvil import Anvil
from gateway.local_chain import LocalChain
from tests.adapters.wallets import (
    ALICE,
    AWAY,
    BOB,
    CONFUSED,
    CONTRACT,
    REVERTED,
    VALID,
    Scripted,
    signatures,
    words,
)
from tests.examples import AT, LOCAL

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


# ---------------------------------------------------------------- keys


def test_a_text_is_hashed_and_its_signer_found_as_everybody_else_does() -> None:
    """Source: the example of the documentation of web3.js, web3.eth.accounts.sign."""
    hash_ = text_hash("Some data")
    assert hash_.hex() == "1da44b586eb0729ff70a73c326926f6ed5a25f5b056e7f47fbc6e58d86871655"
    signature = bytes.fromhex(
        "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
        "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a029"
        "1c"
    )
    assert signer_of(hash_, signature) == "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23"


@pytest.mark.parametrize("number", [1, 7, 2**127])
def test_both_hashes_are_those_of_another_library(number: int) -> None:
    said = words(number)
    key = bytes([number % 200 + 1]) * 32
    account = Account.from_key(key)
    for hash_, message in (
        (text_hash(said.text), encode_defunct(text=said.text)),
        (typed_data_hash(said.typed_data), encode_typed_data(full_message=said.typed_data)),
    ):
        signed = account.sign_message(message)
        assert signed.message_hash == hash_
        assert signer_of(hash_, bytes(signed.signature)) == account.address.lower()


def test_a_text_that_is_not_ascii_counts_bytes() -> None:
    text = "Café ☕"
    signed = Account.from_key(b"\x05" * 32).sign_message(encode_defunct(text=text))
    assert signed.message_hash == text_hash(text)


async def test_a_key_signs_the_text_or_the_typed_data_and_nobody_is_asked() -> None:
    provider = Scripted(code=AWAY)
    said = words()
    for signature, scheme in (
        (ALICE.sign_text(said), "eip191"),
        (ALICE.sign_typed(said), "eip712"),
    ):
        raw = bytes.fromhex(signature[2:])
        for version in (raw[64], raw[64] - 27):  # both spellings of v
            found = await signatures(provider).scheme_of(
                LOCAL, ALICE.address, said, raw[:64] + bytes([version])
            )
            assert found == scheme
    assert provider.asked == []


def _malleable(signature: bytes) -> bytes:
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def test_the_other_form_of_a_signature_is_none() -> None:
    hash_ = text_hash("once")
    signature = ALICE.sign_hash(hash_)
    other = _malleable(signature)
    # The curve takes both; a library that does so too would know two signatures for one.
    assert Account._recover_hash(hash_, signature=other).lower() == ALICE.address
    assert signer_of(hash_, signature) == ALICE.address
    assert signer_of(hash_, other) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[:64],
        lambda s: s + b"\x00",
        lambda s: s[:64] + b"\x02",
        lambda s: s[:64] + b"\x1d",
        lambda s: s[:64] + b"\xff",
        lambda s: bytes(32) + s[32:],
        lambda s: s[:32] + bytes(32) + s[64:],
        lambda s: b"\xff" * 32 + s[32:],
        lambda s: bytes(65),
        _malleable,
    ],
)
async def test_a_malformed_signature_is_nobodys(change: Any) -> None:
    said = words()
    signature = change(bytes.fromhex(ALICE.sign_text(said)[2:]))
    provider = Scripted()
    assert await signatures(provider).scheme_of(LOCAL, ALICE.address, said, signature) is None


async def test_a_signature_of_another_key_or_for_another_session_proves_nothing() -> None:
    provider = Scripted()
    mine, other = words(1), words(2)
    for signer, said in ((BOB, mine), (ALICE, other)):
        for text in (signer.sign_text(said), signer.sign_typed(said)):
            raw = bytes.fromhex(text[2:])
            scheme = await signatures(provider).scheme_of(LOCAL, ALICE.address, mine, raw)
            assert scheme is None


async def test_a_bit_more_or_less_in_the_words_is_another_payment() -> None:
    said = words()
    raw = bytes.fromhex(ALICE.sign_text(said)[2:])
    other = ProofWords(said.text + " ", said.typed_data)
    assert await signatures(Scripted()).scheme_of(LOCAL, ALICE.address, other, raw) is None


# ---------------------------------------------------------------- contract wallets, scripted


@pytest.mark.parametrize("length", [0, SIGNATURE_BYTES_MAX + 1])
async def test_a_signature_out_of_bounds_reaches_no_provider(length: int) -> None:
    provider = Scripted(code="0x60")
    found = await signatures(provider).scheme_of(LOCAL, CONTRACT, words(), bytes(length))
    assert found is None
    assert provider.asked == []


@pytest.mark.parametrize(
    ("answer", "scheme"),
    [
        (VALID, "eip1271"),
        (VALID.upper().replace("0X", "0x"), "eip1271"),
        (VALID + "00" * 32, "eip1271"),
        ("0x1626ba7e", None),  # not a word
        ("0x" + "0" * 56 + "1626ba7e", None),
        ("0x1626ba7e" + "0" * 55 + "1", None),
        ("0xffffffff" + "0" * 56, None),
        ("0x" + "0" * 63 + "1", None),
        ("0x", None),
        (None, None),
        (REVERTED, None),
    ],
)
async def test_only_the_magic_word_is_a_yes(answer: Any, scheme: str | None) -> None:
    provider = Scripted(code="0x60", answer=answer)
    assert await signatures(provider).scheme_of(LOCAL, CONTRACT, words(), b"\x01") == scheme


async def test_where_there_is_no_code_nobody_is_asked() -> None:
    provider = Scripted(code="0x", answer=VALID)
    assert await signatures(provider).scheme_of(LOCAL, CONTRACT, words(), b"\x01") is None
    assert provider.asked == ["eth_getCode"]


@pytest.mark.parametrize("broken", [AWAY, CONFUSED, None, 7])
async def test_a_provider_that_cannot_say_is_an_outage_and_no_answer(broken: Any) -> None:
    provider = Scripted(code=broken)
    with pytest.raises(Unavailable):
        await signatures(provider).scheme_of(LOCAL, CONTRACT, words(), b"\x01")
    with pytest.raises(Unavailable):
        await signatures().scheme_of(LOCAL, CONTRACT, words(), b"\x01")


async def test_one_of_several_providers_cannot_lie_alone() -> None:
    liar, honest, third = Scripted(code="0x60", answer=VALID), Scripted(), Scripted()
    found = await signatures(liar, honest, third).scheme_of(LOCAL, CONTRACT, words(), b"\x01")
    assert found is None
    with pytest.raises(Unavailable):  # two that disagree, and nobody else to ask
        await signatures(liar, honest).scheme_of(LOCAL, CONTRACT, words(), b"\x01")
    with pytest.raises(Unavailable):
        await signatures(liar, Scripted(code=AWAY)).scheme_of(LOCAL, CONTRACT, words(), b"\x01")


async def test_one_provider_that_is_away_is_passed_over() -> None:
    wallets = [Scripted(code=AWAY)] + [Scripted(code="0x60", answer=VALID) for _ in range(2)]
    found = await signatures(*wallets).scheme_of(LOCAL, CONTRACT, words(), b"\x01")
    assert found == "eip1271"


@pytest.mark.parametrize("answer", [VALID, "0x"])
async def test_where_money_is_real_one_provider_alone_proves_nobody(answer: str) -> None:
    provider = Scripted(code="0x60", answer=answer)
    with pytest.raises(Unavailable, match="polygon has 1 of the 2 providers that must agree"):
        await signatures(provider).scheme_of(POLYGON, CONTRACT, words(), b"\x01")
    with pytest.raises(Unavailable, match="polygon has 0 of the 2"):
        await signatures().scheme_of(POLYGON, CONTRACT, words(), b"\x01")
    assert provider.asked == []
    pair = signatures(Scripted(code="0x60", answer=VALID), Scripted(code="0x60", answer=VALID))
    assert await pair.scheme_of(POLYGON, CONTRACT, words(), b"\x01") == "eip1271"
    halved = signatures(Scripted(code="0x60", answer=VALID), Scripted(code=AWAY))
    with pytest.raises(Unavailable, match="fewer than 2 providers agree"):
        await halved.scheme_of(POLYGON, CONTRACT, words(), b"\x01")


async def test_a_keys_signature_needs_no_provider_on_any_network() -> None:
    raw = bytes.fromhex(ALICE.sign_text(words())[2:])
    for providers in ((), (Scripted(code=AWAY),)):
        found = await signatures(*providers).scheme_of(POLYGON, ALICE.address, words(), raw)
        assert found == "eip191"


# ---------------------------------------------------------------- contract wallets, on a chain


@pytest.fixture
async def chain(fresh_anvil: Anvil) -> AsyncIterator[LocalChain]:
    async with LocalChain(fresh_anvil.url) as chain:
        yield chain


@pytest.fixture
async def on_chain(fresh_anvil: Anvil) -> AsyncIterator[EvmSignatures]:
    client = EvmClient(fresh_anvil.url, LOCAL, provider_name="anvil")
    await client.open()
    yield EvmSignatures({"local": (client,)}, FakeClock(AT))
    await client.close()


async def _wallet_of(chain: LocalChain, owner: str) -> str:
    """A contract wallet whose owner is this key."""
    data = load("ContractWallet").bytecode + owner[2:].rjust(64, "0")
    sender = (await chain.accounts())[0]
    tx_hash = await chain.rpc("eth_sendTransaction", {"from": sender, "data": data})
    async with asyncio.timeout(10):
        while (receipt := await chain.receipt(tx_hash)) is None:
            await asyncio.sleep(0.02)
    address: str = receipt["contractAddress"].lower()
    return address


async def test_a_contract_wallet_is_asked_itself(
    chain: LocalChain, on_chain: EvmSignatures
) -> None:
    wallet = await _wallet_of(chain, ALICE.address)
    mine, other = words(1), words(2)

    async def scheme(signature: str, *, of: str = wallet) -> str | None:
        return await on_chain.scheme_of(LOCAL, of, mine, bytes.fromhex(signature[2:]))

    assert await scheme(ALICE.sign_text(mine)) == "eip1271"
    assert await scheme(ALICE.sign_typed(mine)) == "eip1271"
    assert await scheme(ALICE.sign_text(mine), of=ALICE.address) == "eip191"
    assert await scheme(BOB.sign_text(mine)) is None
    assert await scheme(ALICE.sign_text(other)) is None
    assert await scheme(ALICE.sign_typed(other)) is None
    assert await scheme("0x00") is None  # the contract says no
    assert await scheme("0x" + "00" * 66) is None  # the contract reverts


async def test_an_address_without_code_and_a_contract_that_is_no_wallet_sign_nothing(
    chain: LocalChain, on_chain: EvmSignatures
) -> None:
    await chain.deploy_tokens()
    token = await chain.deploy("TestDollar", "Another", "OTH")
    raw = bytes.fromhex(ALICE.sign_text(words())[2:])
    for address in (BOB.address, token):
        assert await on_chain.scheme_of(LOCAL, address, words(), raw) is None


async def test_a_chain_that_is_away_is_an_outage(fresh_anvil: Anvil) -> None:
    client = EvmClient("http://127.0.0.1:9", LOCAL, provider_name="nowhere", timeout_seconds=0.5)
    await client.open()
    asked = EvmSignatures({"local": (client,)}, FakeClock(AT))
    with pytest.raises(Unavailable):
        await asked.scheme_of(LOCAL, CONTRACT, words(), b"\x01")
    await client.close()


# ---------------------------------------------------------------- what it must not bring along


def test_the_process_that_reads_json_of_strangers_keeps_its_recursion_limit() -> None:
    code = (
        "import sys; before = sys.getrecursionlimit(); import gateway.bootstrap_api; "
        "print(before == sys.getrecursionlimit(), 'eth_account' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "False"]
