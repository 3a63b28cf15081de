"""Hypothesis strategy for the filters of the feed."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Status

FILTERS = st.builds(
    MailFilter,
    status=st.frozensets(st.sampled_from(Status)),
    kind=st.frozensets(st.sampled_from(Kind)),
    booking=st.frozensets(st.text(max_size=8), max_size=3),
    mail=st.frozensets(st.text(max_size=8), max_size=3),
    since=st.none() | st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
)
