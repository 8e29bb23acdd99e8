"""The attacks on whoever reads a chain, each by its number in the catalogue, each defeated.

A19, providers that lie, is in test_attacks_of_providers.py, A16 in test_admission.py, the balances
behind A5 and A19 in test_reconcile.py. A15 and A21 to A34 are not about reading a chain.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from adapters.memory.chain_encoding import TRANSFER_TOPIC, transfer_log, word
from application.chain_source import ReceiptLog
from application.ports import Unavailable
from chain_ingest.admission import Misconfigured
from tests.api.world import World as Books
from tests.chain_ingest.world import (
    BRIDGED,
    DEPOSIT,
    FAKE,
    OTHER_DEPOSIT,
    PAYER,
    STRANGER,
    STRICT,
    USDC,
    World,
)

ROUTER = "0x" + "bb" * 20
DEPOSITED = bytes.fromhex("e1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c")


def world() -> World:
    return World(STRICT, sources=3)


def units(of: World) -> list[int]:
    return [each.sighting.amount.units for each in of.transfers if each.kind == "observed"]


async def mined(of: World, *logs: ReceiptLog, succeeded: bool = True) -> None:
    of.chain.transaction(*logs, succeeded=succeeded)
    await of.mine_and_follow(3)


# ---------------------------------------------------------------- what a transaction claims


async def test_a01_a_transaction_that_succeeded_without_a_transfer_log_credits_nothing() -> None:
    shop = world()
    await mined(shop)
    assert shop.reports == []


async def test_a02_a_failed_transaction_that_names_our_address_credits_nothing() -> None:
    shop = world()
    paid = transfer_log(USDC, PAYER, DEPOSIT, 5)
    await mined(shop, paid, succeeded=False)
    assert shop.reports == []
    # Nor does a provider that shows the logs it would have had: no root bears them out.
    for source in shop.sources:
        source.forges = lambda receipts: [
            replace(each, logs=(paid,)) if each.status == 0 else each for each in receipts
        ]
    shop.pay(7)
    shop.chain.transaction(paid, succeeded=False)
    shop.chain.mine()
    with pytest.raises(Unavailable):
        await shop.follow()
    assert shop.reports == []


async def test_a03_a_token_that_only_calls_itself_usdt_credits_nothing() -> None:
    shop = world()
    look_alike = USDC[:-2] + "ab"
    await mined(
        shop, transfer_log(FAKE, PAYER, DEPOSIT, 5), transfer_log(look_alike, PAYER, DEPOSIT, 5)
    )
    assert shop.reports == []


async def test_a04_what_a_router_says_and_what_the_call_asked_for_count_for_nothing() -> None:
    shop = world()
    says_more = transfer_log(ROUTER, PAYER, DEPOSIT, 1_000_000)
    await mined(shop, says_more, transfer_log(USDC, ROUTER, DEPOSIT, 3), says_more)
    assert units(shop) == [3], "only what the token itself says"
    assert shop.transfers[0].sighting.sender == ROUTER


async def test_a05_an_event_about_a_deposit_moves_no_funds() -> None:
    shop = world()
    vault = ReceiptLog(
        bytes.fromhex(ROUTER[2:]),
        (DEPOSITED, word(bytes.fromhex(DEPOSIT[2:]))),
        (10**12).to_bytes(32, "big"),
    )
    of_the_token = replace(vault, address=bytes.fromhex(USDC[2:]))
    await mined(shop, vault, of_the_token)
    assert shop.reports == []


@pytest.mark.parametrize(
    "bent",
    [
        lambda log: replace(log, topics=(*log.topics, word(b"\x07")), data=b""),  # ERC-721
        lambda log: replace(log, topics=(*log.topics, word(b"\x07"))),
        lambda log: replace(log, data=log.data + log.data),
        lambda log: replace(log, data=log.data[:31]),
        lambda log: replace(
            log, topics=(TRANSFER_TOPIC, b"\xff" * 12 + log.topics[1][12:], log.topics[2])
        ),
    ],
    ids=["erc721", "four_topics", "long_data", "short_data", "dirty_sender"],
)
async def test_a06_the_same_topic_in_another_shape_is_rejected_and_said(
    bent: Callable[[ReceiptLog], ReceiptLog],
) -> None:
    shop = world()
    odd = bent(transfer_log(USDC, PAYER, DEPOSIT, 5))
    with capture_logs() as logs:
        await mined(shop, odd, transfer_log(USDC, PAYER, DEPOSIT, 1))
    assert units(shop) == [1]
    assert [each["event"] for each in logs if "rejected" in each["event"]]


# ---------------------------------------------------------------- blocks that come and go


@pytest.mark.parametrize("depth", [1, 3, 20, 64])
async def test_a07_a_payment_that_a_reorg_takes_is_taken_back_before_the_new_branch(
    depth: int,
) -> None:
    shop = world()
    await shop.mine_and_follow()
    shop.pay(1)
    await shop.mine_and_follow(depth)
    confirmed = ["confirmed"] if depth >= STRICT.policy.blocks else []
    assert shop.said() == ["observed", *confirmed]
    shop.chain.reorg(depth, keep=False)
    shop.pay(2, to=OTHER_DEPOSIT)
    shop.chain.mine(depth + 1)
    await shop.follow()
    assert shop.said()[: 4 + len(confirmed)] == [
        "observed",
        *confirmed,
        "reorg",
        "retracted",
        "observed",
    ]
    assert shop.transfers[-1].sighting.recipient == OTHER_DEPOSIT


async def test_a07_what_was_final_is_never_taken_back_by_itself() -> None:
    shop = world()
    for source in shop.sources:
        source.tags["finalized"] = 3
    await shop.mine_and_follow()
    shop.pay(1)
    await shop.mine_and_follow(5)
    shop.clock.advance(60)
    await shop.follow()
    shop.chain.reorg(5, keep=False)
    shop.chain.mine(9)
    await shop.follow()
    assert shop.said() == ["observed", "confirmed"]
    assert (await shop.halts()).halt is not None


async def test_a08_a_transaction_mined_again_elsewhere_is_the_same_transfer() -> None:
    shop = world()
    await shop.mine_and_follow()
    shop.pay(1)
    await shop.mine_and_follow(2)
    shop.chain.reorg(2)
    shop.chain.mempool.insert(0, shop.chain.transaction(transfer_log(USDC, PAYER, STRANGER, 9)))
    shop.chain.mempool.pop()
    shop.chain.mine(6)
    await shop.follow()
    assert shop.said() == ["observed", "reorg", "retracted", "observed", "confirmed"]
    first, *_, last = shop.transfers
    assert first.sighting.transfer_id == last.sighting.transfer_id
    assert first.sighting.block_hash != last.sighting.block_hash
    confirmed = [each for each in shop.transfers if each.kind == "confirmed"]
    assert len(confirmed) == 1


# ---------------------------------------------------------------- how people pay


async def test_a09_every_transfer_of_one_transaction_counts_for_itself() -> None:
    shop = world()
    await mined(
        shop,
        transfer_log(USDC, PAYER, DEPOSIT, 1),
        transfer_log(USDC, PAYER, OTHER_DEPOSIT, 2),
        transfer_log(USDC, PAYER, DEPOSIT, 1),
        transfer_log(USDC, PAYER, STRANGER, 4),
    )
    seen = [each.sighting for each in shop.transfers if each.kind == "observed"]
    assert [(each.recipient, each.amount.units) for each in seen] == [
        (DEPOSIT, 1),
        (OTHER_DEPOSIT, 2),
        (DEPOSIT, 1),
    ]
    assert len({each.transfer_id for each in seen}) == 3


async def test_a10_who_sent_the_transaction_does_not_matter() -> None:
    shop = world()
    tx = shop.chain.transaction(transfer_log(USDC, PAYER, DEPOSIT, 1))
    shop.chain.mempool[-1] = replace(tx, sender=STRANGER, nonce=0)
    await shop.mine_and_follow()
    assert [each.sighting.sender for each in shop.transfers] == [PAYER]


async def test_a11_a_transfer_of_nothing_creates_nothing_and_costs_no_proof() -> None:
    shop = world()
    look_alike = PAYER[:6] + "0" * 32 + PAYER[-4:]
    for _ in range(20):
        await mined(shop, transfer_log(USDC, look_alike, DEPOSIT, 0))
    assert shop.reports == []
    assert sum(source.calls["receipts_of_block"] for source in shop.sources) == 0


async def test_a12_thousands_of_dust_transfers_are_bounded_work_and_hold_nobody_up() -> None:
    shop = world()
    for _ in range(20):
        shop.chain.transaction(*(transfer_log(USDC, STRANGER, DEPOSIT, 1) for _ in range(500)))
    shop.pay(7, to=OTHER_DEPOSIT)
    await shop.mine_and_follow()
    asked = sum((source.calls for source in shop.sources), start=type(shop.sources[0].calls)())
    assert (asked["receipts_of_block"], asked["logs_of_block"]) == (1, 2)
    assert len(shop.transfers) == 10_001
    assert shop.transfers[-1].sighting.recipient == OTHER_DEPOSIT, "in the same pass"
    await shop.mine_and_follow(6)
    assert sum(each.kind == "confirmed" for each in shop.transfers) == 10_001


async def test_a13_of_a_fee_on_transfer_only_what_arrived_is_credited() -> None:
    shop = world()
    # The call asked for 100: the token keeps 2 and says so in a log of its own.
    await mined(
        shop, transfer_log(USDC, PAYER, STRANGER, 2), transfer_log(USDC, PAYER, DEPOSIT, 98)
    )
    assert units(shop) == [98]


async def test_a14_a_token_with_hooks_is_not_on_the_list_and_credits_nothing() -> None:
    shop = world()
    sent = bytes.fromhex("06b541ddaa720db2b10a4d0cdac39b8d360425fc073085fac19bc82614677987")
    hooked = bytes.fromhex(FAKE[2:])
    parties = tuple(word(bytes.fromhex(each[2:])) for each in (PAYER, PAYER, DEPOSIT))
    await mined(
        shop,
        ReceiptLog(hooked, (sent, *parties), (5).to_bytes(32, "big")),
        transfer_log(FAKE, PAYER, DEPOSIT, 5),
        transfer_log(FAKE, DEPOSIT, PAYER, 5),
    )
    assert shop.reports == []


async def test_a17_a_provider_of_another_chain_is_refused() -> None:
    shop = world()
    elsewhere = World(STRICT.model_copy(update={"chain_id": 56}))
    elsewhere.pay(1)
    elsewhere.chain.mine()
    shop.sources[0].chain = elsewhere.chain
    with pytest.raises(Misconfigured, match="56"):
        await shop.follower._providers.check()
    assert shop.reports == []


async def test_a17_a_bridged_copy_is_seen_under_its_own_name_and_another_token_not_at_all() -> (
    None
):
    shop = world()
    await mined(
        shop, transfer_log(BRIDGED, PAYER, DEPOSIT, 5), transfer_log(FAKE, PAYER, DEPOSIT, 6)
    )
    assert {each.sighting.amount.asset for each in shop.transfers} == {
        f"eip155:31337/erc20:{BRIDGED}"
    }
    assert STRICT.token_at(BRIDGED) not in STRICT.accepted_tokens()


async def test_a18_what_waits_in_the_mempool_is_nothing_and_a_replacement_counts_alone() -> None:
    shop = world()
    await shop.mine_and_follow()
    waiting = shop.chain.transfer(USDC, PAYER, DEPOSIT, 100)
    for _ in range(5):
        await shop.follow()
    assert shop.reports == []
    shop.chain.mempool.remove(waiting)  # the payer replaces it by one that pays himself
    shop.chain.transfer(USDC, PAYER, PAYER, 100)
    await shop.mine_and_follow(5)
    assert shop.reports == []


# ---------------------------------------------------------------- amounts, times, payers


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_a20_two_payers_of_one_session_come_to_the_same_in_any_order(
    order: tuple[int, ...],
) -> None:
    books = Books()
    shop = await books.tenant("Acme", 1)
    session = await books.session(shop)
    parts = (("4.00", "11"), ("6.00", "22"), ("0.50", "33"))
    for each in order:
        await books.pay(session, parts[each][0], tx=parts[each][1])
    row = await books.reads.sessions.find(session.session_id)
    assert row is not None
    assert row.session.status == "completed"
    assert row.session.confirmed.units == 10_500_000, "every part is attributed"
    assert set(row.session.exceptions) == {"overpaid", "multiple_transfers"}


@pytest.mark.parametrize(
    ("paid", "status", "exception"),
    [
        ("9.99", "pending", "underpaid"),
        ("10.00", "completed", None),
        ("12.00", "completed", "overpaid"),
    ],
)
async def test_a20_less_and_more_than_due_are_named_and_attributed(
    paid: str, status: str, exception: str | None
) -> None:
    books = Books()
    shop = await books.tenant("Acme", 1)
    session = await books.session(shop)
    await books.pay(session, paid)
    row = await books.reads.sessions.find(session.session_id)
    assert row is not None
    assert (row.session.status, row.session.exceptions) == (
        status,
        () if exception is None else (exception,),
    )
    assert row.session.confirmed.units == int(paid.replace(".", "")) * 10_000
