"""What the last provider made up of a true block is taken back once a quorum has read it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from adapters.memory.chain import MemorySource
from application.chain_source import Header, TxReceipt
from domain.networks import AmountTier, ConfirmationPolicy, ConfirmationRule
from tests.chain_ingest.test_doubtful_providers import silence
from tests.chain_ingest.test_one_providers_word import back, left_alone
from tests.chain_ingest.world import DEPOSIT, OTHER_DEPOSIT, STRICT, World

Bend = Callable[[Sequence[str]], tuple[str, ...]]


def renames(source: MemorySource, bend: Bend) -> None:
    """The header is the true one, and names other transactions, as no hash of it says."""

    def header(told: Header) -> Header:
        return replace(told, transactions=bend(told.transactions))

    def receipts(told: Sequence[TxReceipt]) -> Sequence[TxReceipt]:
        names = bend([each.tx_hash for each in told])
        return [replace(each, tx_hash=name) for each, name in zip(told, names, strict=True)]

    source.bends, source.forges = header, receipts


def other_names(hashes: Sequence[str]) -> tuple[str, ...]:
    return tuple("0x" + "fe" * 31 + f"{number:02x}" for number in range(len(hashes)))


def swapped(hashes: Sequence[str]) -> tuple[str, ...]:
    return tuple(reversed(hashes))


async def test_what_one_provider_made_up_is_taken_back_before_the_true_one_is_told() -> None:
    world = await left_alone(3)
    renames(world.sources[0], other_names)
    true = world.pay(5_000_000)
    await world.mine_and_follow()
    assert world.said() == ["observed"]
    await back(world)
    for _ in range(4):
        await world.mine_and_follow()
    assert world.said() == ["observed", "retracted", "observed", "confirmed"]
    phantom, gone, *real = world.transfers
    assert gone.sighting == phantom.sighting
    assert {each.sighting.tx_hash for each in real} == {true}
    purse = (DEPOSIT, phantom.sighting.amount.asset)
    assert await world.store.received("local", {purse}, above=0) == {purse: 5_000_000}
    assert len(await world.store.sightings_above("local", 0)) == 1
    assert world.store.all_attested("local")


async def test_a_phantom_beside_nothing_true_is_taken_back_too() -> None:
    world = await left_alone(3)
    renames(world.sources[0], other_names)
    world.pay(1)
    await world.mine_and_follow()
    world.watched.now = world.watched.now - {DEPOSIT}  # given up meanwhile: nothing is found anew
    await back(world)
    await world.mine_and_follow(3)
    await world.follow()
    assert world.said()[:2] == ["observed", "retracted"]


async def test_transactions_that_changed_their_names_are_taken_back_and_told_anew() -> None:
    world = await left_alone(3)
    renames(world.sources[0], swapped)
    hashes = [world.pay(1), world.pay(2, to=OTHER_DEPOSIT)]
    await world.mine_and_follow()
    await back(world)
    for _ in range(4):
        await world.mine_and_follow()
    assert world.said() == [
        *["observed"] * 2,
        *["retracted"] * 2,
        *["observed"] * 2,
        *["confirmed"] * 2,
    ]
    told = {
        each.sighting.tx_hash: (each.sighting.recipient, each.sighting.amount.units)
        for each in world.transfers
        if each.kind == "confirmed"
    }
    assert told == {hashes[0]: (DEPOSIT, 1), hashes[1]: (OTHER_DEPOSIT, 2)}


async def test_a_sighting_that_both_lose_the_logs_of_is_not_taken_for_a_phantom() -> None:
    world = await left_alone(3)
    world.pay(1)
    await world.mine_and_follow()
    for source in world.sources:
        source.loses_logs = True
    await back(world)
    for _ in range(4):
        await world.mine_and_follow()
    assert world.said() == ["observed", "confirmed"]


async def test_a_phantom_does_not_make_the_true_one_larger_than_it_is() -> None:
    tier = AmountTier(from_usd=1_000, rule=ConfirmationRule(blocks=5))
    policy = ConfirmationPolicy(version=2, blocks=2, tiers=(tier,))
    world = World(STRICT.model_copy(update={"policy": policy}), sources=3)
    world.chain.mine(3)
    await world.follow()
    await silence(world, 1, 2)
    renames(world.sources[0], other_names)
    world.pay(600 * 10**6)
    await world.mine_and_follow()
    await back(world)
    for _ in range(2):
        await world.mine_and_follow()
    assert world.transfers[-1].rule == "2 confirmations"
