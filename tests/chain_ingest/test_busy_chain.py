"""A block taken on one word is read again with a quorum back, though blocks never stop coming.

Catching up, or a chain faster than a round of questions: then nobody is ever in step.
"""

from application.ports import Unavailable
from tests.chain_ingest.world import STRICT, World

BLOCKS = 200


async def test_a_block_taken_on_one_word_is_read_again_though_blocks_never_stop_coming() -> None:
    world = World(STRICT, sources=3)
    await world.mine_and_follow(3)
    for source in world.sources[1:]:
        source.down = True
    world.pay(7)
    world.chain.mine()
    for _ in range(20):  # until the others count as down
        try:
            await world.follow()
        except Unavailable:
            world.clock.advance(1)
        if world.transfers:
            break
        world.clock.advance(1)
    assert [each.kind for each in world.transfers] == ["observed"]
    assert not world.transfers[0].sighting.attested
    for source in world.sources[1:]:
        source.down = False
    world.clock.advance(120)
    for _ in range(BLOCKS):
        world.chain.mine()
        await world.follower.step()
    assert "confirmed" in [each.kind for each in world.transfers]
