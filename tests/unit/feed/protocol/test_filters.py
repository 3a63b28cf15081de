"""The filters that clients write, and the hash by which a cursor knows them."""

from typing import Any

import pytest
from hypothesis import given
from support.client_frames import read
from support.filters import FILTERS
from support.samples import NOW

from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Status
from notifier.feed.protocol import BadFrame, HelloFrame, filter_hash, read_filter


@pytest.mark.parametrize(
    ("given_filter", "says"),
    [
        ([], "^filter: must be an object or null$"),
        ({"status": "done"}, "^filter.status: must be one of pending, sending, .* or a list of at most 500 entries"),
        ({"status": {}}, "filter"),
        ({"kind": ["x"]}, r"^filter.kind\[0\]: must be one of booking.confirmation, "),
        ({"booking": [5]}, "filter"),
        ({"mail": [[]]}, "filter"),
        ({"mail": ["x"] * 501}, "^filter.mail: must be a string or a list of at most 500 entries or null$"),
        ({"since": "yesterday"}, "^filter.since: 'yesterday' is not a time such as "),
        ({"since": "2026-11-24T10:00:00"}, "^filter.since: needs an offset"),
        ({"since": 5}, "filter"),
        ({"since": {}}, "filter"),
        ({"since": ["2026-11-24T10:00:00Z"] * 20}, "filter"),
        ({"since": {str(n): n for n in range(20)}}, "filter"),
    ],
)
def test_a_filter_that_breaks_the_protocol_is_bad(given_filter: Any, says: str) -> None:
    """The error says what is wrong with a filter, whether it is given as JSON or as a mapping."""
    with pytest.raises(BadFrame, match=says):
        read(HelloFrame, type="hello", filter=given_filter).wanted()
    with pytest.raises(BadFrame, match=says):
        read_filter(given_filter)


def test_no_filter_is_every_mail() -> None:
    """Without a filter, or with an empty one, nothing is left out."""
    assert read_filter(None) == read_filter({}) == read_filter({"status": [], "kind": None}) == MailFilter()


def test_a_filter_takes_a_value_or_a_list() -> None:
    """A single value is a list of one, and `since` becomes UTC."""
    found = read_filter(
        {
            "status": "sent",
            "kind": ["booking.change", "notification"],
            "booking": "R",
            "since": "2026-11-24T15:30+05:30",
        }
    )
    assert found == MailFilter(
        status=frozenset({Status.SENT}),
        kind=frozenset({Kind.CHANGE, Kind.NOTIFICATION}),
        booking=frozenset({"R"}),
        since=NOW,
    )


@given(FILTERS, FILTERS)
def test_another_filter_makes_another_cursor(one: MailFilter, other: MailFilter) -> None:
    """Cursors of two filters differ, unless the filters are equal."""
    assert (filter_hash(one) == filter_hash(other)) is (one == other)
