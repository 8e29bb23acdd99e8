"""What is said of money that could not be credited, without a page around it."""

from typing import get_args

import pytest

from adapters.addresses import checksum_address
from domain import payment
from domain.matching import Verdict
from domain.networks import NetworkBook
from domain.transfer import OnchainTransfer, Resolution
from tests.api.world import NETWORK
from tests.examples import AT, CREATED, MERCHANT_ID, sighting
from web.arrivals import arrivals_of
from web.checkout import Checkout, checkout_of

OTHER = NETWORK.model_copy(update={"name": "other", "title": "Other chain"})
BOOK = NetworkBook(networks=(NETWORK, OTHER))
SESSION = payment.evolve(None, CREATED)
CREDITED = {"deposit_address", "payer_proven", "hash_announced", "refund_wallet"}
GENERAL = {"session_unknown", "unknown_sender", "unknown_address"}


def stray(
    verdict: str, *, resolution: Resolution = "open", network: str = "local"
) -> OnchainTransfer:
    return OnchainTransfer(
        sighting=sighting().model_copy(update={"network": network}),
        report_number=1,
        status="confirmed",
        purpose="unmatched",
        merchant_id=MERCHANT_ID,
        verdict=verdict,
        reason="the merchant's own words",
        resolution=resolution,
    )


def said(transfer: OnchainTransfer) -> str:
    (arrival,) = arrivals_of(SESSION, (transfer,), "Acme", BOOK)
    return f"{arrival.amount} on {arrival.network}: {arrival.why} {arrival.then}"


def test_every_verdict_has_words_of_its_own() -> None:
    wrong = set(get_args(Verdict)) - CREDITED
    general = said(stray("unknown_sender"))
    own = {verdict: said(stray(verdict)) for verdict in wrong - GENERAL}
    assert len({*own.values(), general}) == len(own) + 1
    for verdict in GENERAL:
        assert said(stray(verdict)) == general
    assert all("own words" not in text for text in own.values())


def test_every_decision_has_words_of_its_own() -> None:
    words = {said(stray("after_grace", resolution=one)) for one in get_args(Resolution)}
    assert len(words) == len(get_args(Resolution))


def test_both_networks_are_named_where_the_wrong_one_was_taken() -> None:
    words = said(stray("wrong_network", network="other"))
    assert words.startswith("10.00 USDC on Other chain: ")
    assert "It was sent on Other chain, and this payment is on Local test chain." in words


@pytest.mark.parametrize("resolution", ["open", "refunded"])
def test_a_live_page_is_drawn_again_when_something_arrives_or_is_decided(
    resolution: Resolution,
) -> None:
    def page(*strays: OnchainTransfer) -> Checkout:
        return checkout_of(
            SESSION,
            version=1,
            merchant="Acme",
            head=None,
            now=AT,
            networks=BOOK,
            write=checksum_address,
            strays=strays,
        )

    before = page() if resolution == "open" else page(stray("after_grace"))
    assert page(stray("after_grace", resolution=resolution)).state() != before.state()
    assert page().state() == page().state()
