"""Cursors: what was given out comes back, and nothing else does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.cursors import cursor_of, microseconds_of, moment_of, place_of
from domain.errors import CursorMalformed

positions = st.integers(0, 2**63 - 1)


@given(st.lists(positions, min_size=1, max_size=3))
def test_a_place_comes_back_from_its_cursor(place: list[int]) -> None:
    assert place_of(cursor_of(*place), len(place)) == tuple(place)


@given(st.text())
def test_any_text_is_a_place_or_refused(text: str) -> None:
    try:
        (position,) = place_of(text, 1)
    except CursorMalformed:
        return
    assert 0 <= position < 2**63


@given(st.datetimes(datetime(1971, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 - zone below
def test_a_moment_is_kept_to_the_microsecond(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert moment_of(microseconds_of(aware)) == aware


def test_a_moment_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(CursorMalformed):
        moment_of(2**63 - 1)


def test_the_smallest_difference_in_time_makes_another_place() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert microseconds_of(now + timedelta(microseconds=1)) == microseconds_of(now) + 1
