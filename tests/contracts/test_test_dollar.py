"""The test dollar answers as USDC does where a gateway can tell."""

from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from tests.contracts.chain import Chain, Deployed, RevertError, transfers

pytestmark = pytest.mark.services

FOR_EVER = 2**64
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
AUTHORIZATION = "address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32"
CUSTOMER: LocalAccount = Account.from_key(keccak(text="customer"))
NONCE = keccak(text="one session")


@pytest.fixture
async def dollar(chain: Chain) -> Deployed:
    token = await chain.deploy("TestDollar", "USD Coin", "USDC")
    await token.send(chain.accounts[0], "mint(address,uint256)", CUSTOMER.address, 1_000)
    return token


def signed(
    token: Deployed,
    to: str,
    *,
    kind: str = "Transfer",
    value: int = 400,
    after: int = 0,
    before: int = FOR_EVER,
    key: bytes = CUSTOMER.key,
) -> tuple[Any, ...]:
    """The arguments of an authorization the customer signed, by eth-account's own EIP-712."""
    fields = ("from", "to", "value", "validAfter", "validBefore", "nonce")
    kinds = ("address", "address", "uint256", "uint256", "uint256", "bytes32")
    values = (CUSTOMER.address, to, value, after, before, NONCE)
    name = f"{kind}WithAuthorization"
    signature = Account.sign_typed_data(
        key,
        domain_data={
            "name": "USD Coin",
            "version": "2",
            "chainId": 31337,
            "verifyingContract": token.address,
        },
        message_types={
            name: [{"name": f, "type": k} for f, k in zip(fields, kinds, strict=True)],
        },
        message_data=dict(zip(fields, values, strict=True)),
    )
    r, s = (number.to_bytes(32, "big") for number in (signature.r, signature.s))
    return (*values, signature.v, r, s)


async def test_it_has_six_decimals_and_the_domain_of_usdc(dollar: Deployed) -> None:
    assert await dollar.read("uint8", "decimals()") == 6
    assert await dollar.read("string", "name()") == "USD Coin"
    assert await dollar.read("string", "symbol()") == "USDC"
    assert await dollar.read("string", "version()") == "2"


async def test_a_transfer_moves_the_value_and_returns_true(chain: Chain, dollar: Deployed) -> None:
    owner, payee = chain.accounts[0], chain.accounts[1]
    await dollar.send(owner, "mint(address,uint256)", owner, 500)
    before = await dollar.balance(payee)
    assert int(await dollar.raw(owner, "transfer(address,uint256)", payee, 200), 16) == 1
    receipt = await dollar.send(owner, "transfer(address,uint256)", payee, 200)
    assert transfers(receipt) == [(owner, payee, 200)]
    assert await dollar.balance(payee) == before + 200


async def test_only_the_owner_mints(chain: Chain, dollar: Deployed) -> None:
    with pytest.raises(RevertError):
        await dollar.send(chain.accounts[1], "mint(address,uint256)", chain.accounts[1], 1)


async def test_nobody_spends_more_than_balance_or_allowance(
    chain: Chain, dollar: Deployed
) -> None:
    owner, spender = chain.accounts[0], chain.accounts[1]
    with pytest.raises(RevertError):
        await dollar.send(owner, "transfer(address,uint256)", spender, 1)
    await dollar.send(owner, "mint(address,uint256)", owner, 10)
    await dollar.send(owner, "approve(address,uint256)", spender, 6)
    move = "transferFrom(address,address,uint256)"
    await dollar.send(spender, move, owner, spender, 5)
    with pytest.raises(RevertError):
        await dollar.send(spender, move, owner, spender, 2)


@pytest.mark.parametrize("side", ["sender", "recipient"])
async def test_a_frozen_account_neither_sends_nor_receives(
    chain: Chain, dollar: Deployed, side: str
) -> None:
    owner, payee = chain.accounts[0], chain.accounts[1]
    await dollar.send(owner, "mint(address,uint256)", owner, 10)
    frozen = owner if side == "sender" else payee
    await dollar.send(owner, "blacklist(address)", frozen)
    with pytest.raises(RevertError):
        await dollar.send(owner, "transfer(address,uint256)", payee, 1)
    await dollar.send(owner, "unBlacklist(address)", frozen)
    await dollar.send(owner, "transfer(address,uint256)", payee, 1)


async def test_a_paused_token_moves_nothing(chain: Chain, dollar: Deployed) -> None:
    owner = chain.accounts[0]
    await dollar.send(owner, "mint(address,uint256)", owner, 10)
    await dollar.send(owner, "pause()")
    with pytest.raises(RevertError):
        await dollar.send(owner, "transfer(address,uint256)", chain.accounts[1], 1)
    await dollar.send(owner, "unpause()")
    await dollar.send(owner, "transfer(address,uint256)", chain.accounts[1], 1)


async def test_anybody_may_carry_a_signed_transfer_once(chain: Chain, dollar: Deployed) -> None:
    relayer, payee = chain.accounts[3], chain.accounts[1]
    arguments = signed(dollar, payee)
    receipt = await dollar.send(relayer, f"transferWithAuthorization({AUTHORIZATION})", *arguments)
    assert transfers(receipt) == [(CUSTOMER.address.lower(), payee, 400)]
    assert await dollar.balance(CUSTOMER.address) == 600
    used = receipt["logs"][0]["topics"]
    assert used[0] == "0x" + keccak(text="AuthorizationUsed(address,bytes32)").hex()
    assert used[2] == "0x" + NONCE.hex()
    with pytest.raises(RevertError):
        await dollar.send(relayer, f"transferWithAuthorization({AUTHORIZATION})", *arguments)


async def test_only_the_payee_carries_a_receive_authorization(
    chain: Chain, dollar: Deployed
) -> None:
    payee = chain.accounts[1]
    arguments = signed(dollar, payee, kind="Receive")
    call = f"receiveWithAuthorization({AUTHORIZATION})"
    with pytest.raises(RevertError):
        await dollar.send(chain.accounts[3], call, *arguments)
    await dollar.send(payee, call, *arguments)
    assert await dollar.balance(payee) == 400


@pytest.mark.parametrize(
    "wrong", ["early", "late", "other key", "other value", "other kind", "twin signature"]
)
async def test_an_authorization_that_is_not_exactly_right_is_refused(
    chain: Chain, dollar: Deployed, wrong: str
) -> None:
    payee = chain.accounts[1]
    cases = {
        "early": {"after": FOR_EVER},
        "late": {"before": 1},
        "other key": {"key": keccak(text="somebody else")},
        "other kind": {"kind": "Receive"},
    }
    arguments = signed(dollar, payee, **cases.get(wrong, {}))  # type: ignore[arg-type]  # mixed table
    if wrong == "other value":
        arguments = (*arguments[:2], 401, *arguments[3:])
    if wrong == "twin signature":
        twin = ORDER - int.from_bytes(arguments[8], "big")
        assert twin > HALF_ORDER
        arguments = (*arguments[:6], 55 - arguments[6], arguments[7], twin.to_bytes(32, "big"))
    with pytest.raises(RevertError):
        await dollar.send(payee, f"transferWithAuthorization({AUTHORIZATION})", *arguments)
    assert await dollar.balance(CUSTOMER.address) == 1_000


async def test_a_cancelled_authorization_is_spent(chain: Chain, dollar: Deployed) -> None:
    signature = Account.sign_typed_data(
        CUSTOMER.key,
        domain_data={
            "name": "USD Coin",
            "version": "2",
            "chainId": 31337,
            "verifyingContract": dollar.address,
        },
        message_types={
            "CancelAuthorization": [
                {"name": "authorizer", "type": "address"},
                {"name": "nonce", "type": "bytes32"},
            ]
        },
        message_data={"authorizer": CUSTOMER.address, "nonce": NONCE},
    )
    r, s = (number.to_bytes(32, "big") for number in (signature.r, signature.s))
    cancel = "cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)"
    await dollar.send(chain.accounts[3], cancel, CUSTOMER.address, NONCE, signature.v, r, s)
    with pytest.raises(RevertError):
        await dollar.send(
            chain.accounts[3],
            f"transferWithAuthorization({AUTHORIZATION})",
            *signed(dollar, chain.accounts[1]),
        )
