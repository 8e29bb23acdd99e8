"""What a support desk reads of money that went back, was lost, or went to another session."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from application.deciders import PAYMENT
from application.handling import UnitOfWork
from application.ports import Context
from domain import commands as c
from domain.payment import PaymentSession
from gateway.operate_inbox import Operator
from tests.examples import PAYER, RECEIVING
from tests.gateway.support_desk import Case, lines, new_case

Decided = Callable[[type[c.SettleRefund] | type[c.UnsettleRefund]], Awaitable[None]]


@pytest.fixture
async def case() -> Case:
    return await new_case()


# ---------------------------------------------------------------- what went back, and what was lost


async def give_back(case: Case, session: PaymentSession, amount: str) -> Decided:
    """A refund asked for, and paid as far as the session is concerned."""
    refund = await case.world.refunds.request(
        session.session_id,
        amount,
        "sent back",
        None,
        case.shop.caller(),
        None,
        lambda _: (201, b""),
    )

    async def decided(kind: type[c.SettleRefund] | type[c.UnsettleRefund]) -> None:
        async def work(unit: UnitOfWork) -> None:
            command = kind(at=unit.now, refund_id=refund.refund_id, tx_hash="0x" + "22" * 32)
            await unit.decide(PAYMENT, session.session_id, command)

        await case.world.handler.execute(Context(actor="system"), work)

    await decided(c.SettleRefund)
    return decided


async def test_what_went_back_is_said_also_when_the_payment_was_lost_after_it(case: Case) -> None:
    session = await case.world.session(case.shop, "20.00")
    await case.world.fund(case.shop, "50.00")
    await case.world.pay(session, "21.50")
    decided = await give_back(case, session, "21.50")
    seen = case.world._sighting(session, "21.50", "11", 100)
    await case.world._report("retracted", seen, 0)
    (now, *_) = (await case.session(session)).standing.now
    lost = "What had arrived was lost to a reorg: nothing of 20.00 USDC is on the chain now."
    assert now == f"{lost} 21.50 USDC has been given back."
    await decided(c.UnsettleRefund)
    assert (await case.session(session)).standing.now[0] == lost
    await decided(c.SettleRefund)
    assert (await case.session(session)).standing.now[0] == now
    case.world.clock.advance(60 * 24 * 3600)
    assert (await case.session(session)).standing.now[0] == now


async def test_what_went_back_of_a_part_is_said_too(case: Case) -> None:
    session = await case.world.session(case.shop, "7.00")
    await case.world.fund(case.shop, "50.00")
    await case.world.pay(session, "3.00")
    await give_back(case, session, "3.00")
    assert (await case.session(session)).standing.now[0] == (
        "3.00 USDC of 7.00 USDC has arrived; 7.00 USDC is missing. 3.00 USDC has been given back."
    )
    await case.world.observe(session, "7.00", tx="12")
    assert (await case.session(session)).standing.now[0] == (
        "Enough has arrived, 10.00 USDC, but not all of it is safe yet. "
        "3.00 USDC has been given back."
    )
    await case.world.pay(session, "7.00", tx="12")
    assert (await case.session(session)).standing.now[0].endswith("3.00 USDC has been given back.")


async def test_what_was_lost_before_it_was_safe_is_not_called_nothing_yet(case: Case) -> None:
    session = await case.world.session(case.shop)
    seen = await case.world.observe(session)
    await case.world._report("retracted", seen, 0)
    assert (await case.session(session)).standing.now == (
        "What had arrived was lost to a reorg: nothing of 10.00 USDC is on the chain now.",
    )


# ---------------------------------------------------------------- wallets that sessions share


async def stray_for_another(case: Case) -> tuple[UUID, PaymentSession]:
    """Confirmed money in the inbox, assigned by hand to a session that nobody else paid."""
    await case.world.receive_at(case.shop, RECEIVING)
    stream_id = await case.world.arrive(RECEIVING)
    target = await case.world.session(case.shop, pay_by="merchant_wallet")
    operator = Operator(case.world.handler, case.world.networks, case.world.refunds)
    name = f"ps_{target.session_id.hex}"
    await operator.decide(stream_id, "assign", "he showed the receipt", name)
    return stream_id, target


async def test_a_transfer_assigned_by_hand_names_its_session_and_quotes_the_reason(
    case: Case,
) -> None:
    stream_id, target = await stray_for_another(case)
    session = f"ps_{target.session_id.hex}"
    alone = await case.of(f"tr_{stream_id.hex}")
    assert alone.standing.now[1] == (
        f'It was assigned to the payment {session} by hand: "he showed the receipt".'
    )
    named = await case.of(f"31337:0x{'44' * 32}:0")
    assert named == alone
    paid = await case.world.session(case.shop)
    await case.world.pay(paid)
    (by_itself,) = [one.transfer_id for one in (await load(case, paid)).transfers.values()]
    assert (await case.of(by_itself)).standing.now[1] == (
        f"It counts towards the payment ps_{paid.session_id.hex}: "
        "sent to the session's own deposit address."
    )


async def load(case: Case, session: PaymentSession) -> PaymentSession:
    found = await case.world.handler.load(PAYMENT, session.session_id)
    assert found is not None
    return found


async def test_money_that_was_safe_before_it_was_assigned_is_not_called_unsafe(case: Case) -> None:
    _, target = await stray_for_another(case)
    found = await case.session(target)
    assert "Enough is there: 10.00 USDC has been seen." in lines(found)
    assert not any("not all of it is safe" in line.lower() for line in lines(found))


async def test_a_stray_that_another_session_got_is_still_told(case: Case) -> None:
    stream_id, target = await stray_for_another(case)
    session = await case.world.session(case.shop)
    case.desk.elsewhere_ids.append(stream_id)
    (line,) = (await case.session(session)).inbox
    assert line == (
        f"tr_{stream_id.hex}: 10.00 USDC from 0xFFfFfFffFFfffFFfFFfFFFFFffFFFffffFfFFFfF, assigned "
        f'to ps_{target.session_id.hex} by hand: "he showed the receipt"'
    )
    assert (await case.session(target)).inbox == ()


async def test_a_payer_s_money_that_another_session_got_is_told_by_the_evidence(
    case: Case,
) -> None:
    stream_id, target = await stray_for_another(case)
    session = await case.world.session(case.shop, pay_by="merchant_wallet")

    async def prove(unit: UnitOfWork) -> None:
        command = c.ProvePayer(at=unit.now, payer=PAYER, scheme="eip191")
        await unit.decide(PAYMENT, session.session_id, command)

    await case.world.handler.execute(Context(actor="customer"), prove)
    (line,) = (await case.session(session)).inbox
    assert line.startswith(f"tr_{stream_id.hex}: 10.00 USDC")
    assert f"assigned to ps_{target.session_id.hex} by hand" in line


async def test_a_shared_wallet_says_what_the_payer_has_to_do(case: Case) -> None:
    await case.world.receive_at(case.shop, RECEIVING)
    session = await case.world.session(case.shop, pay_by="merchant_wallet")
    (how, waits) = (await case.session(session)).standing.next
    assert "signs for this payment with the wallet" in how
    assert "or names the transaction" in how
    assert waits.startswith("Waits for 10.00 USDC")
    await case.world.claims.announce(session.session_id, "0x" + "77" * 32)
    (how, _) = (await case.session(session)).standing.next
    assert "that was named" in how
    case.world.clock.advance(60 * 24 * 3600)
    assert len((await case.session(session)).standing.next) == 1
