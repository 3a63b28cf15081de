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
    column = dict(zip((*MAIL_COLUMNS, "content"), row, strict=True))
    return Mail(
        id=column["id"],
        rev=column["rev"],
        aggregate=column["aggregate"],
        kind=Kind(column["kind"]),
        status=Status(column["status"]),
        to=column["address"],
        subject=column["subject"],
        content=_content.decode(column["content"]),
        booking=column["booking"],
        flight=_flight.decode(column["flight"]) if column["flight"] else None,
        event=column["event"],
        correlation=column["correlation"],
        traceparent=column["traceparent"],
        message_id=column["message_id"],
        attempt=column["attempt"],
        created_at=moment(column["created_at"]),
        send_at=moment(column["send_at"]),
        expires_at=_moment(column["expires_at"]),
        next_attempt_at=_moment(column["next_attempt_at"]),
        first_attempt_at=_moment(column["first_attempt_at"]),
        sent_at=_moment(column["sent_at"]),
        smtp=Reply(column["smtp_code"], column["smtp_text"]) if column["smtp_code"] is not None else None,
        error=column["error"],
        past_data=bool(column["past_data"]),
        maybe_sent=bool(column["maybe_sent"]),
        counted_since=_moment(column["counted_since"]),
    )


def event_row(type_: str, prev: Status | None, mail: Mail, body: bytes) -> tuple[Any, ...]:
    """Return the values of the event of a change, in the order of EVENT_COLUMNS."""
    return (
        body,
        type_,
        event_id(mail),
        mail.id,
        prev,
        mail.status,
        mail.kind,
        mail.booking,
        millis(mail.created_at),
        mail.event,
        mail.correlation,
        mail.traceparent,
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
