"""How networks stand, as PostgreSQL and its twin keep it."""

from datetime import timedelta

import pytest

from application.standing import FinalBlock, Finality, Standing
from tests.ports.ingesting import AT, NETWORK, Kit, database_or_none, hash_at, kit

__all__ = ["database_or_none", "kit"]
LATER = AT + timedelta(seconds=5)


async def test_nothing_is_known_before_the_first_word(kit: Kit) -> None:
    assert await kit.store.finality(NETWORK) == Finality()
    assert await kit.store.standing(NETWORK) is None
    assert await kit.heads.standing(NETWORK) is None


@pytest.mark.parametrize(
    "finality",
    [
        Finality(FinalBlock(7, hash_at(7)), AT, 9, LATER, resumed=1, deep=True),
        Finality(told=9, told_at=AT),
        Finality(resumed=2),
    ],
)
async def test_what_is_final_is_written_over_whole(kit: Kit, finality: Finality) -> None:
    before = Finality(FinalBlock(3, hash_at(3)), AT, 4, AT, resumed=0, deep=False)
    await kit.store.keep_finality(NETWORK, before)
    await kit.store.keep_finality("other", before)
    await kit.store.keep_finality(NETWORK, finality)
    assert await kit.store.finality(NETWORK) == finality
    assert await kit.store.finality("other") == before


async def test_the_last_word_of_an_ingester_is_what_others_read(kit: Kit) -> None:
    troubled = Standing(
        NETWORK, AT, 12, 11, single=False, trouble="too_few", since=AT, detail="d", pending=True
    )
    await kit.store.keep_standing(troubled)
    assert await kit.heads.standing(NETWORK) == troubled
    well = Standing(NETWORK, LATER, 13, None, single=True)
    await kit.store.keep_standing(well)
    assert await kit.heads.standing(NETWORK) == well == await kit.store.standing(NETWORK)
    assert await kit.heads.standing("other") is None
