"""What an operator sees of the networks, and that his word is kept with its reason."""

import io
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest
from rich.console import Console

from adapters.memory.clock import FakeClock, SeededIds
from adapters.memory.store import MemoryEventStore
from application.deciders import HALTS, halts_stream_id
from application.halts import Halts
from application.handling import Handler
from application.ports import Stream
from application.reads import Passed
from application.standing import FinalBlock, Finality, Standing
from domain.errors import NetworkNotHalted, ReasonMissing
from domain.halts import NetworkHalts
from gateway.operate_networks import Seen, table_of
from tests.examples import AT, LOCAL

FOLLOWED = Seen(
    network=LOCAL,
    now=AT,
    standing=Standing("local", AT, tip=105, attested=103),
    finality=Finality(FinalBlock(60, "0x" + "06" * 32), AT, 61, AT),
    passed=Passed(103, "0x" + "03" * 32, AT - timedelta(seconds=4), None),
    halts=NetworkHalts(),
)


def shown(seen: Seen) -> str:
    out = io.StringIO()
    Console(file=out, width=300).print(table_of([seen]))
    return out.getvalue()


def test_a_followed_network_shows_head_lag_and_what_is_final() -> None:
    line = orjson.loads(FOLLOWED.as_json())
    assert (line["state"], line["trouble"]) == ("following", None)
    assert (line["head"], line["tip"], line["lag_blocks"], line["lag_seconds"]) == (103, 105, 2, 4)
    assert (line["attested"], line["final"], line["final_told"]) == (103, 60, 61)
    assert "2 (4 s)" in shown(FOLLOWED)


def test_one_provider_is_called_unattested() -> None:
    alone = replace(FOLLOWED, standing=Standing("local", AT, tip=105, single=True))
    assert "one provider: unattested" in shown(alone)
    assert orjson.loads(alone.as_json())["single_provider"] is True


def test_trouble_is_named_with_its_beginning_and_its_words() -> None:
    since = AT - timedelta(minutes=3)
    standing = Standing(
        "local", AT, trouble="disagreement", since=since, detail="2 versions", pending=True
    )
    pending = replace(FOLLOWED, standing=standing)
    assert "the providers disagree: 2 versions" in shown(pending)
    line = orjson.loads(pending.as_json())
    assert (line["state"], line["trouble"]) == ("pending", "disagreement")
    assert line["since"] == since.isoformat()
    quiet = replace(standing, trouble="finality_stalled", pending=False)
    line = orjson.loads(replace(FOLLOWED, standing=quiet).as_json())
    assert (line["state"], line["trouble"]) == ("following", "finality_stalled")


def test_an_ingester_that_fell_silent_or_never_ran_is_trouble() -> None:
    silent = replace(FOLLOWED, now=AT + timedelta(minutes=5))
    assert "no ingester runs" in shown(silent)
    assert orjson.loads(silent.as_json())["lag_blocks"] is None, "the head it told is an old one"
    assert "- (304 s)" in shown(silent)
    never = replace(FOLLOWED, standing=None, passed=None, finality=Finality())
    assert orjson.loads(never.as_json())["trouble"] == "not_begun"
    assert "no ingester has run yet" in shown(never)


@pytest.fixture
def handler() -> Handler:
    clock = FakeClock(AT)
    return Handler(MemoryEventStore(ids=SeededIds(1), clock=clock), clock)


async def test_the_logs_word_on_a_halt_counts_before_the_ingesters(handler: Handler) -> None:
    halts = await Halts(handler).halt(LOCAL, "operator", "suspected", actor="operator:ann")
    halted = replace(FOLLOWED, halts=halts)
    line = orjson.loads(halted.as_json())
    assert (line["state"], line["trouble"], line["since"]) == ("halted", "halted", AT.isoformat())
    assert "operator: suspected" in shown(halted)


async def test_who_let_it_go_on_and_why_is_kept(handler: Handler) -> None:
    halts = Halts(handler)
    with pytest.raises(NetworkNotHalted):
        await halts.resume(LOCAL, "why", "operator:ann")
    await halts.halt(LOCAL, "finality_violated", "block 7 is another one", block_number=7)
    with pytest.raises(ReasonMissing):
        await halts.resume(LOCAL, "  ", "operator:ann")
    await halts.resume(LOCAL, " a faulty release ", "operator:ann")
    stream = Stream(HALTS.stream_type, halts_stream_id("local"))
    facts = await handler.store.read_stream(stream)
    assert [each.event.name for each in facts] == ["network.halted", "network.resumed"]
    assert [each.context.actor for each in facts] == ["chain:31337", "operator:ann"]
    assert facts[-1].event.model_dump()["reason"] == "a faulty release"
    with pytest.raises(ReasonMissing):
        await halts.halt(LOCAL, "operator", " ", actor="operator:ann")
