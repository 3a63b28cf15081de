"""Fields that several frames have: times and totals."""

import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.mail import Status
from notifier.feed.protocol import Totals, moment


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_a_time_is_in_utc_with_milliseconds(at: datetime) -> None:
    """Any time is RFC 3339 with three digits after the second, and finer parts of a second are cut off."""
    written = moment(at)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written)
    assert timedelta(0) <= at - datetime.fromisoformat(written) < timedelta(milliseconds=1)


def test_totals_have_every_status() -> None:
    """Each number is found under the name of its status."""
    totals = Totals.of({status: number for number, status in enumerate(Status)})
    assert msgspec.to_builtins(totals) == {status.value: number for number, status in enumerate(Status)}


def test_totals_without_a_status_are_an_error() -> None:
    """A status that was forgotten is not shown as zero."""
    with pytest.raises(TypeError, match="uncertain"):
        Totals.of({status: 1 for status in Status if status is not Status.UNCERTAIN})
