"""Convert domain objects to database rows and back. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from notifier.domain.events import StoredEvent, event_id
from notifier.domain.mail import FINISHED, Flight, Itinerary, Kind, Mail, PlainContent, Reply, Status

FIXED_COLUMNS = (
    *("id", "aggregate", "kind", "address", "subject", "booking", "flight", "event", "correlation"),
    *("traceparent", "message_id", "created_at", "send_at", "expires_at"),
)
CHANGING_COLUMNS = (
    *("rev", "status", "attempt", "next_attempt_at", "first_attempt_at", "sent_at"),
    *("smtp_code", "smtp_text", "error", "past_data", "maybe_sent", "counted_since", "due_at", "finished_at"),
)
PERSONAL_COLUMNS = ("address", "subject", "flight", "smtp_text", "error")
MAIL_COLUMNS = (*FIXED_COLUMNS, *CHANGING_COLUMNS)
"""The columns of a mail in its own table; its content is in another one."""
EVENT_COLUMNS = (
    *("body", "type", "id", "mail", "prev", "status", "kind", "booking", "created_at", "event", "correlation"),
    "traceparent",
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_content = msgspec.json.Decoder(Itinerary | PlainContent)
_flight = msgspec.json.Decoder(Flight)


def millis(at: datetime) -> int:
    """Return a UTC time as milliseconds since 1970."""
    return (at - _EPOCH) // _MILLISECOND


def moment(value: int) -> datetime:
    """Return milliseconds since 1970 as a UTC time."""
    return _EPOCH + value * _MILLISECOND


def mail_row(mail: Mail, now: datetime) -> tuple[Any, ...]:
    """Return the values of a new mail, in the order of MAIL_COLUMNS."""
    return (
        mail.id,
        mail.aggregate,
        mail.kind,
        mail.to,
        mail.subject,
        mail.booking,
        _flight_value(mail),
        mail.event,
        mail.correlation,
        mail.traceparent,
        mail.message_id,
        millis(mail.created_at),
        millis(mail.send_at),
        _millis(mail.expires_at),
        *change_row(mail, now),
    )


def change_row(mail: Mail, now: datetime) -> tuple[Any, ...]:
    """Return the values that a step can change, in the order of CHANGING_COLUMNS."""
    return (
        mail.rev,
        mail.status,
        mail.attempt,
        _millis(mail.next_attempt_at),
        _millis(mail.first_attempt_at),
        _millis(mail.sent_at),
        mail.smtp.code if mail.smtp else None,
        mail.smtp.text if mail.smtp else None,
        mail.error,
        mail.past_data,
        mail.maybe_sent,
        _millis(mail.counted_since),
        *_marks(mail, now),
    )


def rewrite_row(mail: Mail) -> tuple[Any, ...]:
    """Return the values that a rewritten mail has anew, besides its content: subject, flight, expires_at."""
    return mail.subject, _flight_value(mail), _millis(mail.expires_at)


def personal_row(mail: Mail) -> tuple[Any, ...]:
    """Return the values of the PERSONAL_COLUMNS of a mail."""
    return mail.to, mail.subject, _flight_value(mail), mail.smtp.text if mail.smtp else None, mail.error


def content_value(mail: Mail) -> bytes:
    """Return what a mail says, as it is stored."""
    return msgspec.json.encode(mail.content)


def read_mail(row: Sequence[Any]) -> Mail:
    """Return the mail of a row of MAIL_COLUMNS and the content."""
    id_, aggregate, kind, address, subject, booking, flight, event, correlation, *changing, content = row
    traceparent, message_id, created_at, send_at, expires_at, *changing = changing
    rev, status, attempt, next_attempt_at, first_attempt_at, sent_at, *changing = changing
    smtp_code, smtp_text, error, past_data, maybe_sent, counted_since, _due_at, _finished_at = changing
    return Mail(
        id=id_,
        rev=rev,
        aggregate=aggregate,
        kind=Kind(kind),
        status=Status(status),
        to=address,
        subject=subject,
        content=_content.decode(content),
        booking=booking,
        flight=_flight.decode(flight) if flight else None,
        event=event,
        correlation=correlation,
        traceparent=traceparent,
        message_id=message_id,
        attempt=attempt,
        created_at=moment(created_at),
        send_at=moment(send_at),
        expires_at=_moment(expires_at),
        next_attempt_at=_moment(next_attempt_at),
        first_attempt_at=_moment(first_attempt_at),
        sent_at=_moment(sent_at),
        smtp=Reply(smtp_code, smtp_text) if smtp_code is not None else None,
        error=error,
        past_data=bool(past_data),
        maybe_sent=bool(maybe_sent),
        counted_since=_moment(counted_since),
    )


def stored_event(seq: int, type_: str, prev: Status | None, mail: Mail, body: bytes) -> StoredEvent:
    """Return the event of a change as the log has it."""
    created_at = mail.created_at
    return StoredEvent(
        seq=seq,
        body=body,
        type=type_,
        id=event_id(mail),
        mail=mail.id,
        prev=prev,
        status=mail.status,
        kind=mail.kind,
        booking=mail.booking,
        created_at=created_at.replace(microsecond=created_at.microsecond // 1000 * 1000),
        event=mail.event,
        correlation=mail.correlation,
        traceparent=mail.traceparent,
    )


def event_row(event: StoredEvent) -> tuple[Any, ...]:
    """Return the values of an event: its `seq`, then EVENT_COLUMNS."""
    return (
        event.seq,
        event.body,
        event.type,
        event.id,
        event.mail,
        event.prev,
        event.status,
        event.kind,
        event.booking,
        millis(event.created_at),
        event.event,
        event.correlation,
        event.traceparent,
    )


def read_event(row: Sequence[Any]) -> StoredEvent:
    """Return the event of a row: its `seq`, then EVENT_COLUMNS."""
    seq, body, type_, id_, mail, prev, status, kind, booking, created_at, event, correlation, traceparent = row
    return StoredEvent(
        seq=seq,
        body=body,
        type=type_,
        id=id_,
        mail=mail,
        prev=Status(prev) if prev else None,
        status=Status(status),
        kind=Kind(kind),
        booking=booking,
        created_at=moment(created_at),
        event=event,
        correlation=correlation,
        traceparent=traceparent,
    )


def _marks(mail: Mail, now: datetime) -> tuple[int | None, int | None]:
    at = mail.due_at
    if mail.next_attempt_at is None and mail.send_at <= mail.created_at:
        # It is due at once, even if the clock was set back since it was created.
        at = min(at, now)
    due_at = millis(at) if mail.status is Status.PENDING else None
    finished_at = millis(now) if mail.status in FINISHED else None
    return due_at, finished_at


def _flight_value(mail: Mail) -> bytes | None:
    return msgspec.json.encode(mail.flight) if mail.flight else None


def _millis(at: datetime | None) -> int | None:
    return millis(at) if at else None


def _moment(value: int | None) -> datetime | None:
    return moment(value) if value is not None else None
