"""The signer believes nothing it reads: each row here is one that a thief might write."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.auto import keccak
from hexbytes import HexBytes

from adapters.keystore import LocalSigner
from adapters.memory.clock import FakeClock
from adapters.memory.outgoing import MemoryOutgoing
from application.outside import Outgoing, Payout
from application.paying_out import (
    FEE_PER_GAS_MAX_WEI,
    TRANSFER_GAS_LIMIT,
    Caps,
    Signer,
    SigningFailed,
    TransferToSign,
    micros_of,
)
from application.ports import StoreUnavailable
from domain.networks import ZERO_ADDRESS, Network, NetworkBook, Token
from tests.examples import AT, LOCAL, MERCHANT_ID, OTHER_TOKEN, PAYER, TOKEN
from workers.signer import POLL_SECONDS, SignerProcess, why_not

KEYS = LocalSigner(bytes(range(32)))
WALLET = asyncio.run(KEYS.address(0))
BRIDGED = "0x" + "ac" * 20
LIVE_TOKEN = "0x" + "ad" * 20
TEST_NETWORK = LOCAL.model_copy(
    update={
        "tokens": (
            *LOCAL.tokens,
            Token(symbol="USDC.e", address=BRIDGED, decimals=6, accepted=False),
        )
    }
)
LIVE = Network(
    name="polygon",
    title="Polygon",
    chain_id=137,
    mode="live",
    tokens=(Token(symbol="USDC", address=LIVE_TOKEN, decimals=6),),
    policy=LOCAL.policy,
    block_seconds=2,
)
NETWORKS = NetworkBook(networks=(TEST_NETWORK, LIVE))
CAPS = Caps(100_000_000, 150_000_000, 200_000_000)
GOOD = Payout(
    refund_id=UUID(int=1),
    merchant_id=MERCHANT_ID,
    network=TEST_NETWORK,
    wallet=WALLET,
    wallet_index=0,
    token=TOKEN,
    destination=PAYER,
    units=60_000_000,
    max_fee=3 * 10**9,
    tip=10**9,
    chain_nonce=0,
)


def numbered(number: int, **changes: Any) -> Payout:
    return replace(GOOD, refund_id=UUID(int=number), **changes)


class Rig:
    def __init__(self, signer: Signer = KEYS, networks: NetworkBook = NETWORKS) -> None:
        self.book = MemoryOutgoing()
        self.clock = FakeClock(AT)
        self.process = SignerProcess(self.book, signer, networks, self.clock, CAPS)

    async def after_signing(self, *payouts: Payout) -> list[Outgoing]:
        for payout in payouts:
            await self.book.reserve(payout)
        await self.process.sign_waiting()
        return [await self.row(payout.refund_id) for payout in payouts]

    async def row(self, refund_id: UUID) -> Outgoing:
        row = await self.book.find(refund_id)
        assert row is not None
        return row


def other_chain(**changes: Any) -> Network:
    return TEST_NETWORK.model_copy(update=changes)


class TestWhatIsSigned:
    async def test_a_good_row_is_signed_as_it_was_asked(self) -> None:
        (row,) = await Rig().after_signing(GOOD)
        assert row.state == "signed"
        assert row.raw is not None
        sent = TypedTransaction.from_bytes(HexBytes(row.raw)).as_dict()
        assert Account.recover_transaction(row.raw).lower() == WALLET
        assert (sent["chainId"], sent["nonce"], sent["value"]) == (31337, 0, 0)
        assert (sent["gas"], sent["maxFeePerGas"]) == (TRANSFER_GAS_LIMIT, GOOD.max_fee)
        assert "0x" + bytes(sent["to"]).hex() == TOKEN
        data = bytes(sent["data"])
        assert data[:4].hex() == "a9059cbb"
        assert data[4:36].hex() == PAYER[2:].rjust(64, "0")
        assert int.from_bytes(data[36:]) == GOOD.units
        assert row.tx_hash == "0x" + keccak(row.raw).hex()

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"network": other_chain(name="other")}, "network"),
            ({"network": other_chain(chain_id=1)}, "network"),
            ({"token": BRIDGED}, "token is not"),
            ({"token": PAYER}, "token is not"),
            ({"token": LIVE_TOKEN}, "token is not"),
            ({"destination": ZERO_ADDRESS}, "zero address"),
            ({"destination": WALLET}, "wallet itself"),
            ({"destination": TOKEN}, "token contract"),
            ({"destination": OTHER_TOKEN}, "token contract"),
            ({"destination": LIVE_TOKEN}, "token contract"),
            ({"units": 0}, "amount"),
            ({"units": -1}, "amount"),
            ({"units": 2**256}, "amount"),
            ({"wallet_index": 1}, "wallet is not"),
            ({"wallet": PAYER, "destination": "0x" + "fe" * 20}, "wallet is not"),
            ({"max_fee": FEE_PER_GAS_MAX_WEI + 1}, "fee"),
            ({"tip": 4 * 10**9}, "fee"),
            ({"tip": -1}, "fee"),
            ({"units": CAPS.per_transaction + 1}, "one refund"),
        ],
    )
    async def test_any_other_row_is_refused_with_the_reason(
        self, changes: dict[str, Any], says: str
    ) -> None:
        (row,) = await Rig().after_signing(replace(GOOD, **changes))
        assert row.state == "refused"
        assert says in (row.refusal or "")
        assert (row.raw, row.nonce) == (None, None)

    async def test_a_gas_limit_beyond_a_transfer_is_refused(self) -> None:
        rig = Rig()
        await rig.book.reserve(GOOD)
        (unsigned,) = await rig.book.unsigned(1)
        assert not isinstance(why_not(unsigned, NETWORKS), str)
        greedy = replace(unsigned, gas_limit=TRANSFER_GAS_LIMIT + 1)
        assert why_not(greedy, NETWORKS) == "the gas limit is more than a transfer needs"

    async def test_a_refused_row_leaves_no_gap_in_the_nonces(self) -> None:
        rows = await Rig().after_signing(
            numbered(1), numbered(2, destination=ZERO_ADDRESS), numbered(3)
        )
        assert [row.nonce for row in rows] == [0, None, 1]


class TestCaps:
    async def test_the_day_of_a_merchant_ends_before_its_cap(self) -> None:
        rows = await Rig().after_signing(*(numbered(n) for n in (1, 2, 3)))
        assert [row.state for row in rows] == ["signed", "signed", "refused"]
        assert rows[2].refusal == "more than may leave for one merchant in 24 hours"

    async def test_the_day_of_all_ends_before_its_cap(self) -> None:
        merchants = [UUID(int=0x900 + n) for n in range(4)]
        rows = await Rig().after_signing(
            *(numbered(n, merchant_id=merchant) for n, merchant in enumerate(merchants, 1))
        )
        assert [row.state for row in rows] == ["signed", "signed", "signed", "refused"]
        assert rows[3].refusal == "more than the gateway may pay out in 24 hours"

    async def test_test_money_does_not_use_up_the_day_of_real_money(self) -> None:
        rig = Rig()
        await rig.after_signing(numbered(1), numbered(2))
        (real,) = await rig.after_signing(numbered(3, network=LIVE, token=LIVE_TOKEN))
        assert real.state == "signed"

    async def test_caps_count_dollars_whatever_the_decimals(self) -> None:
        fine = Token(symbol="USDT", address="0x" + "ae" * 20, decimals=18)
        assert micros_of(10**18, fine) == 1_000_000
        assert micros_of(1, fine) == 1
        assert micros_of(1_000_001, LOCAL.tokens[0]) == 1_000_001
        networks = NetworkBook(networks=(other_chain(tokens=(fine,)),))
        rows = await Rig(networks=networks).after_signing(
            numbered(1, network=networks.networks[0], token=fine.address, units=100 * 10**18),
            numbered(2, network=networks.networks[0], token=fine.address, units=100 * 10**18 + 1),
        )
        assert [row.state for row in rows] == ["signed", "refused"]


class TestHolding:
    async def test_the_kill_switch_holds_rows_without_refusing_them(self) -> None:
        rig = Rig()
        rig.book.stopped = "stolen key"
        rows = await rig.after_signing(numbered(1), numbered(2))
        assert [row.state for row in rows] == ["reserved", "reserved"]
        rig.book.stopped = None
        await rig.process.sign_waiting()
        assert (await rig.row(UUID(int=1))).state == "signed"

    async def test_the_kill_switch_stops_a_signer_between_two_rows(self) -> None:
        class Stops(SlowSigner):
            async def sign_transfer(self, transfer: TransferToSign) -> Any:
                rig.book.stopped = "now"
                return await KEYS.sign_transfer(transfer)

        rig = Rig(Stops())
        rows = await rig.after_signing(numbered(1), numbered(2))
        assert [row.state for row in rows] == ["signed", "reserved"]

    async def test_a_wallet_that_an_old_copy_of_the_database_forgot_is_locked(self) -> None:
        rig = Rig()
        (row,) = await rig.after_signing(
            numbered(1, network=LIVE, token=LIVE_TOKEN, chain_nonce=3)
        )
        assert row.state == "reserved"
        assert await rig.book.unsigned(10) == []

    async def test_a_locked_wallet_holds_nobody_else(self) -> None:
        rig = Rig()
        other = await KEYS.address(5)
        await rig.after_signing(numbered(1))
        rows = await rig.after_signing(
            numbered(2, chain_nonce=9), numbered(3), numbered(4, wallet=other, wallet_index=5)
        )
        assert [row.state for row in rows] == ["reserved", "reserved", "signed"]

    async def test_killed_between_approval_and_bytes_it_signs_at_the_same_nonce(self) -> None:
        rig = Rig(FailsOnce())
        (row,) = await rig.after_signing(numbered(1))
        assert (row.state, row.nonce) == ("reserved", 0)
        await rig.process.sign_waiting()
        row = await rig.row(UUID(int=1))
        assert (row.state, row.nonce) == ("signed", 0)

    async def test_approved_and_no_longer_allowed_it_waits_for_a_person(self) -> None:
        rig = Rig(FailsOnce())
        await rig.after_signing(numbered(1))
        without = NetworkBook(networks=(LIVE,))
        later = SignerProcess(rig.book, KEYS, without, rig.clock, CAPS)
        assert await later.sign_waiting() == 0
        assert (await rig.row(UUID(int=1))).state == "reserved"


class SlowSigner:
    async def address(self, index: int) -> str:
        return await KEYS.address(index)

    async def sign_transfer(self, transfer: TransferToSign) -> Any:
        return await KEYS.sign_transfer(transfer)


class FailsOnce(SlowSigner):
    failed = False

    async def sign_transfer(self, transfer: TransferToSign) -> Any:
        if not self.failed:
            self.failed = True
            raise SigningFailed("the key service did not answer")
        return await super().sign_transfer(transfer)


class Lost(MemoryOutgoing):
    """A book whose database is away for a while."""

    outages = 3

    async def unsigned(self, limit: int) -> Any:
        if self.outages:
            self.outages -= 1
            raise StoreUnavailable("the connection failed")
        return await super().unsigned(limit)


class TestRunning:
    async def test_it_outlives_the_database_and_goes_on(self) -> None:
        book = Lost()
        clock = FakeClock(AT)
        stop = asyncio.Event()
        running = asyncio.create_task(SignerProcess(book, KEYS, NETWORKS, clock, CAPS).run(stop))
        await book.reserve(GOOD)
        for _ in range(40):
            clock.advance(POLL_SECONDS)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        row = await book.find(GOOD.refund_id)
        assert row is not None
        assert row.state == "signed"
        stop.set()
        await asyncio.wait_for(running, timeout=1)
