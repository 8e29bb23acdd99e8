"""A network stands still for one reason, until a person lets it go on."""

from application.deciders import HALTS
from domain import commands as c
from domain import events as e
from domain.errors import NetworkNotHalted
from tests.examples import AT, LATER
from tests.given import given

OTHER = "0x" + "70" * 32
HALT = c.HaltNetwork(
    at=AT, network="local", cause="finality_violated", detail="why", block_number=7
)
RESUME = c.ResumeNetwork(at=LATER, network="local", reason="looked into it")


def test_a_second_reason_to_halt_adds_nothing_and_the_first_stays() -> None:
    halted = given(HALTS).when(HALT).then("network.halted")
    again = HALT.model_copy(update={"cause": "operator", "their_hash": OTHER, "at": LATER})
    assert halted.when(again).events() == ()
    assert (halted.state.halt.cause, halted.state.halt.at) == ("finality_violated", AT)


def test_letting_go_on_is_counted_and_the_network_can_be_halted_again() -> None:
    going = (
        given(HALTS)
        .when(HALT)
        .then("network.halted")
        .when(RESUME)
        .gives(e.NetworkResumed(at=LATER, network="local", reason="looked into it"))
    )
    assert (going.state.halt, going.state.resumed) == (None, 1)
    again = going.when(HALT).then("network.halted").when(RESUME).then("network.resumed")
    assert again.state.resumed == 2


def test_what_goes_on_already_cannot_be_let_go_on() -> None:
    given(HALTS).when(RESUME).refused(NetworkNotHalted)
    going = given(HALTS).when(HALT).then("network.halted").when(RESUME).then("network.resumed")
    going.when(RESUME).refused(NetworkNotHalted)
