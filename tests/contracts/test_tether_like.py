"""The second token behaves as USDT on Ethereum; the batcher pays several in one transaction."""

import pytest

from tests.contracts.chain import Chain, Deployed, RevertError, transfers

pytestmark = pytest.mark.services

MOVE = "transferFrom(address,address,uint256)"


@pytest.fixture
async def tether(chain: Chain) -> Deployed:
    token = await chain.deploy("TetherLike", "Tether USD", "USDT")
    await token.send(chain.accounts[0], "mint(address,uint256)", chain.accounts[1], 10_000_000)
    return token


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [("transfer(address,uint256)", 1), ("approve(address,uint256)", 1), (MOVE, 2)],
)
async def test_its_calls_return_nothing(
    chain: Chain, tether: Deployed, signature: str, arguments: int
) -> None:
    customer, other = chain.accounts[1], chain.accounts[2]
    await tether.send(customer, "approve(address,uint256)", other, 5)
    sender = other if arguments == 2 else customer
    spender = chain.accounts[3] if signature.startswith("approve") else other
    addresses = (customer, other) if arguments == 2 else (spender,)
    assert await tether.raw(sender, signature, *addresses, 5) == "0x"


async def test_an_allowance_must_pass_through_zero(chain: Chain, tether: Deployed) -> None:
    customer, spender = chain.accounts[1], chain.accounts[2]
    approve = "approve(address,uint256)"
    await tether.send(customer, approve, spender, 5)
    with pytest.raises(RevertError):
        await tether.send(customer, approve, spender, 6)
    await tether.send(customer, approve, spender, 0)
    await tether.send(customer, approve, spender, 6)
    assert await tether.read("uint256", "allowance(address,address)", customer, spender) == 6


async def test_with_the_fee_on_the_recipient_gets_less_and_two_logs_say_so(
    chain: Chain, tether: Deployed
) -> None:
    owner, customer, payee = chain.accounts[:3]
    await tether.send(owner, "setParams(uint256,uint256)", 10, 1)
    before = await tether.balance(payee)
    receipt = await tether.send(customer, "transfer(address,uint256)", payee, 2_000_000)
    assert transfers(receipt) == [(customer, owner, 2_000), (customer, payee, 1_998_000)]
    assert await tether.balance(payee) == before + 1_998_000


async def test_the_fee_stops_at_its_maximum(chain: Chain, tether: Deployed) -> None:
    owner, customer, payee = chain.accounts[:3]
    await tether.send(owner, "mint(address,uint256)", customer, 10**13)
    await tether.send(owner, "setParams(uint256,uint256)", 19, 1)
    receipt = await tether.send(customer, "transfer(address,uint256)", payee, 10**13)
    assert transfers(receipt) == [(customer, owner, 10**6), (customer, payee, 10**13 - 10**6)]


@pytest.mark.parametrize(("rate", "fee"), [(20, 1), (1, 50)])
async def test_the_fee_cannot_be_raised_past_its_ceilings(
    chain: Chain, tether: Deployed, rate: int, fee: int
) -> None:
    with pytest.raises(RevertError):
        await tether.send(chain.accounts[0], "setParams(uint256,uint256)", rate, fee)


async def test_a_blacklisted_sender_is_stopped_and_can_lose_its_balance(
    chain: Chain, tether: Deployed
) -> None:
    owner, customer, payee = chain.accounts[:3]
    await tether.send(owner, "addBlackList(address)", customer)
    with pytest.raises(RevertError):
        await tether.send(customer, "transfer(address,uint256)", payee, 1)
    receipt = await tether.send(owner, "destroyBlackFunds(address)", customer)
    assert transfers(receipt) == []
    assert await tether.balance(customer) == 0


async def test_a_blacklisted_recipient_still_receives(chain: Chain, tether: Deployed) -> None:
    owner, customer, payee = chain.accounts[:3]
    await tether.send(owner, "addBlackList(address)", payee)
    await tether.send(customer, "transfer(address,uint256)", payee, 7)
    assert await tether.balance(payee) == 7


async def test_a_paused_tether_moves_nothing(chain: Chain, tether: Deployed) -> None:
    owner, customer, payee = chain.accounts[:3]
    await tether.send(owner, "pause()")
    with pytest.raises(RevertError):
        await tether.send(customer, "transfer(address,uint256)", payee, 1)


@pytest.mark.parametrize("name", ["TestDollar", "TetherLike"])
async def test_the_batcher_pays_two_in_one_transaction(chain: Chain, name: str) -> None:
    owner, customer, first, second = chain.accounts[:4]
    token = await chain.deploy(name, "A dollar", "USD")
    batcher = await chain.deploy("Batcher")
    await token.send(owner, "mint(address,uint256)", customer, 30)
    await token.send(customer, "approve(address,uint256)", batcher.address, 30)
    send = "send(address,address[],uint256[])"
    receipt = await batcher.send(customer, send, token.address, [first, second], [10, 20])
    assert transfers(receipt) == [(customer, first, 10), (customer, second, 20)]


async def test_the_batcher_pays_all_or_nobody(chain: Chain, tether: Deployed) -> None:
    customer, first, second = chain.accounts[1:4]
    batcher = await chain.deploy("Batcher")
    await tether.send(customer, "approve(address,uint256)", batcher.address, 15)
    send = "send(address,address[],uint256[])"
    with pytest.raises(RevertError):
        await batcher.send(customer, send, tether.address, [first, second], [10, 20])
    with pytest.raises(RevertError):
        await batcher.send(customer, send, first, [second], [1])
    assert await tether.balance(first) == 0
