"""What `gateway networks check` makes of the answers; on a real chain: test_networks_on_anvil."""

import pytest

from chain_ingest.admission import Finding
from gateway.check_networks import Agreement, Checked, _advice
from gateway.rpc_operators import operator_of

FITS = Finding("chain id", "1", "1", holds=True, remedy="give another URL")
WRONG = Finding("chain id", "1", "5", holds=False, remedy="give another URL")
NO_TAG = Finding("tag safe", "a block", "nothing", holds=False, remedy="wait", needed=False)
AGREED = Agreement(7, {"a-1": "0x01", "a-2": "0x01", "a-3": "0x01"})
URLS = ("https://a.infura.io/k", "https://b.quiknode.pro/k", "https://c.g.alchemy.com/k")


def panel(*findings: Finding, urls: tuple[str, ...] = URLS) -> list[Checked]:
    return [
        Checked(f"a-{number}", operator_of(url), 10, findings)
        for number, url in enumerate(urls, start=1)
    ]


def test_three_that_fit_need_no_advice() -> None:
    checked = panel(FITS)
    assert _advice(checked, AGREED) == []
    assert all(each.good for each in checked)


def test_what_does_not_fit_is_named_with_its_remedy() -> None:
    (first, *_) = panel(FITS, WRONG)
    assert not first.good
    assert _advice([first, *panel(FITS)[1:]], AGREED) == [
        "a-1: chain id: it says 5, expected 1; give another URL",
    ]


def test_a_tag_that_no_policy_asks_for_is_only_a_remark() -> None:
    checked = panel(FITS, NO_TAG)
    assert all(each.good for each in checked)
    assert len(_advice(checked, AGREED)) == 3


def test_providers_of_different_branches_do_not_agree() -> None:
    forked = Agreement(7, {"a-1": "0x01", "a-2": "0x02"})
    assert not forked.good
    (advice,) = _advice(panel(FITS), forked)
    assert "tell of different blocks 7" in advice


def test_silence_is_not_well() -> None:
    silent = Checked("a-1", operator_of(URLS[0]), None, (), "no answer in 2 s")
    assert not silent.good
    (advice,) = _advice([silent, *panel(FITS)[1:]], AGREED)
    assert advice == "a-1: does not answer: no answer in 2 s"


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (URLS[:1], "one provider: nothing is attested"),
        (URLS[:2], "two providers: while one is down"),
        ((*URLS[:2], "https://lb.drpc.org/k"), "a-3: drpc.org passes questions on to other oper"),
    ],
)
def test_too_few_or_borrowed_voices_are_warned_of(urls: tuple[str, ...], said: str) -> None:
    (advice,) = _advice(panel(FITS, urls=urls), AGREED)
    assert advice.startswith(said)
