"""Python's cycle collector, told what following a log is like.

A batch makes tens of thousands of values that are gone with it, and folded states that stay; none
of them is part of a cycle. Left to its defaults the collector walks all of them again and again:
measured, 60 % of the time of a rebuild. Reference counts free the values as before.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 100_000  # made since the last look at the young ones
GENERATIONS = (20, 100)


@contextmanager
def no_collections() -> Iterator[None]:
    """For the length of the block, which collects by itself now and then."""
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


@contextmanager
def few_collections() -> Iterator[None]:
    """For the length of the block, in the whole process."""
    before = gc.get_threshold()
    gc.freeze()  # modules and classes made at start-up are not looked at again
    gc.set_threshold(YOUNG_OBJECTS, *GENERATIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
