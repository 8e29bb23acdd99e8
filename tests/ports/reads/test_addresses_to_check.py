"""Which addresses are read each hour: those that wait for money, and everybody in rotation."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from adapters.memory.reconciling import MemoryAddressesToCheck
from application.ports import Stream
from application.reconciling import AddressesToCheck, WatchedAddress
from domain import events as e
from projections.to_check_reads import ToCheckReads
from tests.examples import CREATED, MERCHANT_ID, WALLET
from tests.ports.reads.conftest import NETWORKS, Given, created, example, session_stream


@pytest.fixture
def to_check(request: pytest.FixtureRequest, reads: Given) -> AddressesToCheck:
    if "twin" in request.node.name:
        return MemoryAddressesToCheck(reads.store, NETWORKS)
    connections = reads.watch_list._connections
    return ToCheckReads(connections, NETWORKS)


def session(number: int) -> WatchedAddress:
    return WatchedAddress(f"0x{number:040x}", "payment_session", CREATED.at)


async def several(reads: Given, count: int) -> None:
    for number in range(1, count + 1):
        late = CREATED.expires_at + timedelta(minutes=number)
        await reads.append(session_stream(number), created(number, expires_at=late))


async def below(
    to_check: AddressesToCheck, position: int, limit: int
) -> tuple[Sequence[WatchedAddress], int]:
    return await to_check.below("local", position, limit)


async def test_the_newest_come_first_and_the_rotation_ends_and_begins_anew(
    reads: Given, to_check: AddressesToCheck
) -> None:
    assert await below(to_check, 0, 2) == ([], 0)
    await several(reads, 5)
    found, reached = await below(to_check, 0, 2)
    assert found == [session(5), session(4)]
    found, reached = await below(to_check, reached, 2)
    assert found == [session(3), session(2)]
    assert reached > 0
    assert await below(to_check, reached, 2) == ([session(1)], 0)
    assert (await below(to_check, 0, 5))[1] == 0, "all of them, and no more"


async def test_a_merchants_wallet_and_its_refund_wallet_are_read_too(
    reads: Given, to_check: AddressesToCheck
) -> None:
    assigned, own = example(e.RefundWalletAssigned), example(e.ReceivingAddressSet)
    await reads.append(Stream("merchant", MERCHANT_ID), assigned, own)
    found, _ = await below(to_check, 0, 10)
    assert {(each.address, each.purpose, each.since) for each in found} == {
        (assigned.address, "refund_float", None),
        (own.address, "merchant_wallet", None),
    }


async def test_sessions_that_wait_for_money_come_the_last_to_expire_first(
    reads: Given, to_check: AddressesToCheck
) -> None:
    await several(reads, 4)
    cancelled = e.SessionCancelled(at=CREATED.at)
    await reads.append(session_stream(3), cancelled, after=1)
    shared = created(9, pay_by="merchant_wallet", deposit_address=WALLET)
    await reads.append(session_stream(9), shared)
    elsewhere = created(8, network="other")
    await reads.append(session_stream(8), elsewhere)
    assert await to_check.awaiting("local", 2) == [session(4), session(2)]
    assert await to_check.awaiting("local", 9) == [session(4), session(2), session(1)]
    assert await to_check.awaiting("real", 9) == []


async def test_an_address_of_another_mode_is_not_read(
    reads: Given, to_check: AddressesToCheck
) -> None:
    await several(reads, 1)
    assert await to_check.below("real", 0, 9) == ([], 0)
    assert (await to_check.below("other", 0, 9))[0] == [session(1)]
