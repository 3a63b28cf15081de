"""The filters that clients write, and the hash by which a cursor knows them."""

from datetime import UTC
from typing import Any

import msgspec
import pytest
from hypothesis import given
from msgspec import Raw
from support.client_frames import read
from support.filters import FILTERS
from support.samples import NOW
from support.structs import undescribed

from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Status
from notifier.feed.protocol import BadFrame, FilterFields, HelloFrame, filter_hash, read_filter


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


def test_a_filter_is_read_as_json_as_a_mapping_and_as_fields() -> None:
    """Each field is found under its name, and unknown ones are ignored."""
    given = {"status": ["sent", "failed"], "kind": "notification", "booking": ["R", "S"], "mail": "m", "later": 5}
    found = MailFilter(
        status=frozenset({Status.SENT, Status.FAILED}),
        kind=frozenset({Kind.NOTIFICATION}),
        booking=frozenset({"R", "S"}),
        mail=frozenset({"m"}),
    )
    fields = msgspec.convert(given, FilterFields)
    assert read_filter(given) == read_filter(fields) == read_filter(Raw(msgspec.json.encode(given))) == found
    assert read_filter({"mail": ["x"] * 500}) == read_filter({"mail": "x"})


def test_the_earliest_time_of_a_filter_is_in_utc() -> None:
    """Mails are compared with it in UTC, so two ways to write it are one filter."""
    one, other = (read_filter({"since": since}) for since in ("2026-11-24T15:30+05:30", "2026-11-24T10:00:00Z"))
    assert one == other
    assert one.since
    assert one.since.tzinfo is UTC
    assert filter_hash(one) == filter_hash(other)


@pytest.mark.parametrize("text", [b'{"status":"sent"}x', b"{", b'{"mail":' + b"[" * 100_000])
def test_a_filter_that_is_no_json_is_bad(text: bytes) -> None:
    """The error begins with its place."""
    with pytest.raises(BadFrame, match=r"^filter"):
        read_filter(Raw(text))


def test_a_cursor_stays_valid_after_an_upgrade() -> None:
    """It contains the hash of its filter, so the hash of a filter is promised."""
    given = {"status": "sent", "kind": "notification", "booking": "R", "mail": ["b", "a"], "since": "2026-11-24T10:00Z"}
    assert filter_hash(MailFilter()) == "68de7228"
    assert filter_hash(read_filter(given)) == "f53f41c3"


def test_a_filter_is_written_without_the_fields_that_it_does_not_have() -> None:
    """An older service is not asked for what it does not know."""
    assert msgspec.json.encode(FilterFields()) == b"{}"
    assert msgspec.json.encode(FilterFields(booking="R")) == b'{"booking":"R"}'


def test_every_field_of_a_filter_is_described() -> None:
    """The document says what each one is, and how many values it can have."""
    assert undescribed(FilterFields) == []
    fields = msgspec.json.schema(FilterFields)["$defs"]["FilterFields"]["properties"]
    for name in ("status", "kind", "booking", "mail"):
        assert [each["maxItems"] for each in fields[name]["anyOf"] if each.get("type") == "array"] == [500]
