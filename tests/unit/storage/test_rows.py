from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.any_mail import MAILS
from support.samples import NOW, TRACE, mail

from notifier.domain.events import StoredEvent, encode_event, event_id, event_type
from notifier.domain.mail import (
    FINISHED,
    Kind,
    Mail,
    Status,
    claimed,
)
from notifier.storage.rows import (
    CHANGING_COLUMNS,
    EVENT_COLUMNS,
    MAIL_COLUMNS,
    PERSONAL_COLUMNS,
    change_row,
    content_value,
    event_row,
    mail_row,
    millis,
    moment,
    personal_row,
    read_event,
    read_mail,
    rewrite_row,
    stored_event,
)


@given(MAILS)
def test_a_mail_comes_back_as_it_was_stored(stored: Mail) -> None:
    """Every field of a mail survives its row and its content, and a row has one value for each column."""
    row = mail_row(stored, NOW)
    assert len(row) == len(MAIL_COLUMNS)
    assert read_mail((*row, content_value(stored))) == stored


@given(MAILS)
def test_a_change_writes_the_same_values_as_a_new_row(changed: Mail) -> None:
    """The values of a change are those that the whole row has in the same columns."""
    whole = dict(zip(MAIL_COLUMNS, mail_row(changed, NOW), strict=True))
    assert dict(zip(CHANGING_COLUMNS, change_row(changed, NOW), strict=True)) == {
        column: whole[column] for column in CHANGING_COLUMNS
    }


@given(MAILS)
def test_rewriting_and_erasing_write_the_same_values_as_a_new_row(changed: Mail) -> None:
    """Their values are those of the whole row in the same columns."""
    whole = dict(zip(MAIL_COLUMNS, mail_row(changed, NOW), strict=True))
    rewritten = ("subject", "flight", "expires_at")
    for columns, row in ((rewritten, rewrite_row(changed)), (PERSONAL_COLUMNS, personal_row(changed))):
        assert row == tuple(whole[column] for column in columns)


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


@pytest.mark.parametrize(("wait", "due"), [(timedelta(0), timedelta(-1)), (timedelta(1), timedelta(1))])
def test_a_mail_without_a_wait_is_due_at_once_although_the_clock_was_set_back(wait: timedelta, due: timedelta) -> None:
    """A day back, a mail for the time of its creation is due now, and one for a later time is due at that time."""
    row = dict(zip(MAIL_COLUMNS, mail_row(mail(send_at=NOW + wait), NOW - timedelta(1)), strict=True))
    assert row["due_at"] == millis(NOW + due)


def test_the_columns_of_an_event_have_the_names_of_its_fields() -> None:
    """Queries name the columns, and a reader takes their values in this order."""
    assert ("seq", *EVENT_COLUMNS) == StoredEvent._fields


@pytest.mark.parametrize("prev", [None, Status.PENDING])
def test_an_event_comes_back_as_it_was_logged(prev: Status | None) -> None:
    """An event's row has the fields that filters and brokers need, and the unchanged body."""
    after = claimed(mail(booking="RXJ34P", correlation="c1", traceparent=TRACE), NOW)
    type_ = event_type(prev, after)
    body = encode_event(type_, prev, after, NOW)
    event = stored_event(7, type_, prev, after, body)
    row = event_row(event)
    assert len(row) == 1 + len(EVENT_COLUMNS)
    found = read_event(row)
    assert found == event
    assert (found.seq, found.body, found.type, found.id) == (7, body, type_, event_id(after))
    assert (found.mail, found.prev, found.status, found.kind) == (after.id, prev, Status.SENDING, Kind.NOTIFICATION)
    assert (found.booking, found.created_at, found.event, found.correlation) == ("RXJ34P", NOW, "r1", "c1")
    assert found.traceparent == TRACE


@given(MAILS)
def test_an_event_is_the_same_before_and_after_it_was_logged(changed: Mail) -> None:
    """Those who read it from memory see exactly what those see who read the log."""
    event = stored_event(1, "mail.sent", None, changed, b"{}")
    assert read_event(event_row(event)) == event


@given(st.integers(-(10**12), 4 * 10**12))
def test_a_time_is_kept_to_the_millisecond(value: int) -> None:
    """A time in whole milliseconds stays the same; a finer one is rounded down."""
    assert millis(moment(value)) == value
    assert millis(moment(value) + timedelta(microseconds=999)) == value


def test_a_time_is_stored_as_milliseconds_since_1970() -> None:
    """Databases of every version have the same numbers."""
    assert (millis(datetime(1970, 1, 1, tzinfo=UTC)), millis(NOW)) == (0, 1795514400000)
    assert moment(1795514400000) == NOW
