from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import NOW, mail

from notifier.domain.events import encode_event, event_id, event_type
from notifier.domain.mail import (
    FINISHED,
    AirportTime,
    Flight,
    Itinerary,
    Kind,
    Mail,
    PlainContent,
    Price,
    Reply,
    Status,
    claimed,
)
from notifier.storage.rows import (
    CHANGING_COLUMNS,
    EVENT_COLUMNS,
    MAIL_COLUMNS,
    change_row,
    event_row,
    mail_row,
    millis,
    moment,
    read_event,
    read_mail,
)

TIMES = st.integers(0, 4 * 10**12).map(moment)
WORDS = st.text(max_size=20)
CLOCKS = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1))  # noqa: DTZ001 - what an airport's clock shows
AIRPORT_TIMES = st.builds(
    AirportTime,
    at=st.none() | CLOCKS.map(lambda clock: clock.replace(tzinfo=UTC)),
    clock=CLOCKS,
    zone=st.none() | WORDS,
)
FLIGHTS = st.builds(
    Flight,
    number=WORDS,
    origin=WORDS,
    destination=WORDS,
    departs=AIRPORT_TIMES,
    arrives=st.none() | AIRPORT_TIMES,
    seat=st.none() | WORDS,
    gate=st.none() | WORDS,
)
ITINERARIES = st.builds(
    Itinerary,
    names=st.lists(WORDS, max_size=3).map(tuple),
    flights=st.lists(FLIGHTS, max_size=3).map(tuple),
    price=st.none() | st.builds(Price, WORDS, WORDS),
    locale=st.none() | WORDS,
    note=st.none() | WORDS,
    sequence=st.integers(0, 99),
    before=st.lists(FLIGHTS, max_size=2).map(tuple),
    leaves_soon=st.booleans(),
)
MAILS = st.builds(
    Mail,
    id=WORDS,
    rev=st.integers(1, 99),
    aggregate=WORDS,
    kind=st.sampled_from(Kind),
    status=st.sampled_from(Status),
    to=WORDS,
    subject=WORDS,
    content=ITINERARIES | st.builds(PlainContent, WORDS, st.none() | WORDS),
    booking=st.none() | WORDS,
    flight=st.none() | FLIGHTS,
    event=WORDS,
    correlation=st.none() | WORDS,
    traceparent=st.none() | WORDS,
    message_id=WORDS,
    attempt=st.integers(0, 99),
    created_at=TIMES,
    send_at=TIMES,
    expires_at=st.none() | TIMES,
    next_attempt_at=st.none() | TIMES,
    first_attempt_at=st.none() | TIMES,
    sent_at=st.none() | TIMES,
    smtp=st.none() | st.builds(Reply, st.integers(200, 599), WORDS),
    error=st.none() | WORDS,
)


@given(MAILS)
def test_a_mail_comes_back_as_it_was_stored(stored: Mail) -> None:
    """Every field of a mail survives its row, and a row has one value for each column."""
    row = mail_row(stored, NOW)
    assert len(row) == len(MAIL_COLUMNS)
    assert read_mail(row) == stored


@given(MAILS)
def test_a_change_writes_the_same_values_as_a_new_row(changed: Mail) -> None:
    """The values of a change are those that the whole row has in the same columns."""
    whole = dict(zip(MAIL_COLUMNS, mail_row(changed, NOW), strict=True))
    assert dict(zip(CHANGING_COLUMNS, change_row(changed, NOW), strict=True)) == {
        column: whole[column] for column in CHANGING_COLUMNS
    }


def test_what_never_changes_is_not_written_again() -> None:
    """A change does not touch a mail's id, its content, or its times of creation, sending and expiry."""
    fixed = {"id", "aggregate", "kind", "address", "subject", "content", "created_at", "send_at", "expires_at"}
    assert not fixed & set(CHANGING_COLUMNS)


@pytest.mark.parametrize("status", Status)
def test_a_row_says_whether_it_waits_or_is_finished(status: Status) -> None:
    """A pending mail has the time at which it is due, a finished one the time at which it ended, any other neither."""
    row = dict(zip(MAIL_COLUMNS, mail_row(mail(status=status, next_attempt_at=NOW + timedelta(1)), NOW), strict=True))
    assert row["due_at"] == (millis(NOW + timedelta(1)) if status is Status.PENDING else None)
    assert row["finished_at"] == (millis(NOW) if status in FINISHED else None)


@pytest.mark.parametrize("prev", [None, Status.PENDING])
def test_an_event_comes_back_as_it_was_logged(prev: Status | None) -> None:
    """An event's row has the fields that filters and brokers need, and the unchanged body."""
    after = claimed(mail(booking="RXJ34P", correlation="c1"), NOW)
    type_ = event_type(prev, after)
    body = encode_event(type_, prev, after, NOW)
    row = event_row(type_, prev, after, body)
    assert len(row) == len(EVENT_COLUMNS)
    found = read_event((7, *row))
    assert (found.seq, found.body, found.type, found.id) == (7, body, type_, event_id(after))
    assert (found.mail, found.prev, found.status, found.kind) == (after.id, prev, Status.SENDING, Kind.NOTIFICATION)
    assert (found.booking, found.created_at, found.event, found.correlation) == ("RXJ34P", NOW, "r1", "c1")


@given(st.integers(-(10**12), 4 * 10**12))
def test_a_time_is_kept_to_the_millisecond(value: int) -> None:
    """A time in whole milliseconds stays the same; a finer one is rounded down."""
    assert millis(moment(value)) == value
    assert millis(moment(value) + timedelta(microseconds=999)) == value
