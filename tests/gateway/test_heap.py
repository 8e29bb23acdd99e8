"""The collector's settings while a process serves, and after."""

import gc

from gateway.heap import YOUNG_OBJECTS, settled_heap


def test_what_was_there_at_start_up_is_not_looked_at_again() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with settled_heap():
        assert gc.get_freeze_count() > frozen
        assert gc.get_threshold()[0] == YOUNG_OBJECTS
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before


def test_what_is_made_later_is_collected_as_ever() -> None:
    class Ring:
        alive = 0

        def __init__(self) -> None:
            self.me = self
            Ring.alive += 1

        def __del__(self) -> None:
            Ring.alive -= 1

    with settled_heap():
        Ring()
        gc.collect()
    assert Ring.alive == 0
