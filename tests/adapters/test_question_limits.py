"""How often strangers can make us ask a chain, and what is remembered of it."""

import asyncio
from typing import Any

import pytest

from adapters.memory.clock import FakeClock
from adapters.question_limits import (
    FAILURES_MAX,
    FAILURES_WINDOW_SECONDS,
    QUESTIONS_MAX,
    SUBJECTS_MAX,
    QuestionLimits,
)
from adapters.signatures import EvmSignatures
from application.ports import AskedTooOften, Unavailable
from tests.adapters.wallets import (
    ALICE,
    AWAY,
    BOB,
    CONFUSED,
    CONTRACT,
    VALID,
    Scripted,
    signatures,
    words,
)
from tests.examples import AT, LOCAL


async def test_strangers_cannot_make_us_ask_without_bound() -> None:
    held = asyncio.Event()
    checking = signatures(Scripted(code=held))
    asking = [
        asyncio.create_task(checking.scheme_of(LOCAL, CONTRACT, words(number), b"\x01"))
        for number in range(QUESTIONS_MAX)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many"):
        await checking.scheme_of(LOCAL, CONTRACT, words(99), b"\x01")
    raw = bytes.fromhex(ALICE.sign_text(words())[2:])
    assert await checking.scheme_of(LOCAL, ALICE.address, words(), raw) == "eip191"
    held.set()
    assert await asyncio.gather(*asking) == [None] * QUESTIONS_MAX
    assert await checking.scheme_of(LOCAL, CONTRACT, words(99), b"\x01") is None


async def test_of_one_payment_one_question_is_asked_at_a_time() -> None:
    held = asyncio.Event()
    provider = Scripted(code=held)
    checking = signatures(provider)
    first = asyncio.create_task(checking.scheme_of(LOCAL, CONTRACT, words(), b"\x01"))
    await asyncio.sleep(0)
    with pytest.raises(AskedTooOften, match="already"):
        await checking.scheme_of(LOCAL, BOB.address, words(), b"\x02")
    assert provider.asked == ["eth_getCode"]
    held.set()
    assert await first is None
    assert await checking.scheme_of(LOCAL, BOB.address, words(), b"\x02") is None


@pytest.mark.parametrize("code", ["0x", AWAY, CONFUSED])
async def test_few_questions_of_one_payment_may_fail_within_an_hour(code: Any) -> None:
    provider, clock = Scripted(code=code), FakeClock(AT)
    checking = EvmSignatures({"local": (provider,)}, clock)

    async def ask(number: int = 1) -> Any:
        try:
            return await checking.scheme_of(LOCAL, CONTRACT, words(number), b"\x01")
        except AskedTooOften:
            raise
        except Unavailable:
            return None

    for _ in range(FAILURES_MAX):
        assert await ask() is None
        clock.advance(60)
    spent = len(provider.asked)
    with pytest.raises(AskedTooOften) as refused:
        await ask()
    assert refused.value.retry_after_seconds == FAILURES_WINDOW_SECONDS - 60 * FAILURES_MAX
    assert len(provider.asked) == spent  # refused before anything was asked
    raw = bytes.fromhex(ALICE.sign_text(words())[2:])
    assert await checking.scheme_of(LOCAL, ALICE.address, words(), raw) == "eip191"
    assert await ask(2) is None  # another payment's
    clock.advance(refused.value.retry_after_seconds - 0.5)
    with pytest.raises(AskedTooOften):
        await ask()
    clock.advance(0.5)
    assert await ask() is None  # the first of them is an hour ago
    with pytest.raises(AskedTooOften):
        await ask()


async def test_a_signature_that_fits_does_not_count() -> None:
    checking = signatures(Scripted(code="0x60", answer=VALID))
    for _ in range(FAILURES_MAX + 1):
        assert await checking.scheme_of(LOCAL, CONTRACT, words(), b"\x01") == "eip1271"


# ---------------------------------------------------------------- memory


def _fail(limits: QuestionLimits, number: int) -> None:
    with limits.question(number.to_bytes(32, "big")):
        pass


def test_memory_is_bounded_and_the_longest_quiet_is_forgotten_first() -> None:
    limits = QuestionLimits(FakeClock(AT))
    for number in (1, 2):
        for _ in range(FAILURES_MAX):
            _fail(limits, number)
    for number in range(3, SUBJECTS_MAX + 2):
        _fail(limits, number)
    assert len(limits._failures) == SUBJECTS_MAX
    with pytest.raises(AskedTooOften):
        _fail(limits, 2)
    _fail(limits, 1)  # forgotten
    assert len(limits._failures) == SUBJECTS_MAX


def test_what_went_wrong_inside_counts_and_frees_the_place() -> None:
    limits = QuestionLimits(FakeClock(AT))
    for _ in range(FAILURES_MAX):
        with pytest.raises(KeyError), limits.question(b"one"):
            raise KeyError
    with pytest.raises(AskedTooOften, match="did not fit"), limits.question(b"one"):
        pass
