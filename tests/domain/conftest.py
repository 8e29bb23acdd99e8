"""Hypothesis profiles for campaigns; without one, the library's own default holds.

    pytest tests/domain tests/application -k "properties or order" --hypothesis-profile=night

A state machine makes up to twice as many histories as the profile says (tests/domain/machine.py).
"""

from hypothesis import settings

settings.register_profile("night", max_examples=2_000, deadline=None)
settings.register_profile("campaign", max_examples=20_000, deadline=None)
# For mutation testing: the same few examples each time, and no clock.
settings.register_profile("mutation", max_examples=20, derandomize=True, deadline=None)
