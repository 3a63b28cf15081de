"""Times as events, frames and logs write them."""

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from support.samples import NOW

from notifier.domain.timestamps import timestamp


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_a_time_is_in_utc_with_milliseconds(at: datetime) -> None:
    """Any time is RFC 3339 with three digits after the second, and finer parts of a second are cut off."""
    written = timestamp(at)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written)
    assert timedelta(0) <= at - datetime.fromisoformat(written) < timedelta(milliseconds=1)


def test_a_time_is_written_with_milliseconds() -> None:
    """Times are RFC 3339 in UTC with exactly three decimals."""
    assert timestamp(NOW + timedelta(microseconds=1234)) == "2026-11-24T10:00:00.001Z"
    assert timestamp(None) is None


def test_no_time_stays_no_time() -> None:
    """A field of a frame that has no time is null."""
    assert timestamp(None) is None
