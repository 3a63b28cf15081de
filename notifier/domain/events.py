"""The CloudEvent of each change of a mail. Pure.

An event is encoded once, when the change is stored; the feed and the broker get the same bytes. Addresses are masked.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from notifier.domain.addresses import masked
from notifier.domain.mail import ERASED, Kind, Mail, Status
from notifier.domain.public_mail import PublicMail, StatusWord, Time, public_mail
from notifier.domain.timestamps import timestamp

MAX_EVENTS = 100
"""Maximum number of events that are read from the log, and sent in a frame, at once."""

SOURCE = "/notifier"
EVENT_TYPES = (
    f"mail.{Status.PENDING}",
    "mail.retrying",
    *(f"mail.{each}" for each in Status if each is not Status.PENDING),
)
"""All types that `event_type` returns."""
EventType = Annotated[str, Meta(extra_json_schema={"enum": list(EVENT_TYPES)})]


class EventData(Struct, frozen=True, kw_only=True):
    """One change of one mail."""

    prev: Annotated[StatusWord | None, Meta(description="Status before the change; null if the mail is new")]
    mail: Annotated[PublicMail, Meta(description="The mail after the change")]


class PublicEvent(Struct, frozen=True, kw_only=True):
    """A CloudEvent: one change of one mail."""

    specversion: Annotated[Literal["1.0"], Meta(description="Version of CloudEvents")]
    id: Annotated[str, Meta(description="Id of the event: that of the mail, a dot, and the mail's rev")]
    source: Annotated[str, Meta(description="Always /notifier")]
    type: Annotated[EventType, Meta(description="mail.retrying after a failed attempt, else the new status")]
    time: Annotated[Time, Meta(description="When the change was made")]
    subject: Annotated[str, Meta(description="Id of the mail")]
    traceparent: Annotated[
        str | UnsetType, Meta(description="W3C trace context of the message that caused the mail, if it had one")
    ] = UNSET
    data: Annotated[EventData, Meta(description="The change")]


def event_type(prev: Status | None, mail: Mail, *, counted: bool = True) -> str:
    """Return the type of a change's event: `mail.` and the new status.

    After an attempt that `counted` and did not succeed it is `mail.retrying`. `prev` is the status before; None: the
    mail is new.
    """
    if mail.status is Status.PENDING and prev is Status.SENDING and counted:
        return "mail.retrying"
    return f"mail.{mail.status}"


def event_id(mail: Mail) -> str:
    """Return the id of the event of one change of one mail; a consumer that gets it twice can recognise it."""
    return f"{mail.id}.{mail.rev}"


def encode_event(type_: str, prev: Status | None, mail: Mail, at: datetime) -> bytes:
    """Return the CloudEvent of a change from `prev` (None: the mail is new) to `mail`, in JSON."""
    return msgspec.json.encode(
        PublicEvent(
            specversion="1.0",
            id=event_id(mail),
            source=SOURCE,
            type=type_,
            time=timestamp(at),
            subject=mail.id,
            traceparent=mail.traceparent or UNSET,
            data=EventData(prev=prev, mail=public_mail(mail)),
        )
    )


def erased_body(body: bytes) -> bytes:
    """Remove everything personal from an encoded event; its type, time and statuses stay."""
    event = msgspec.json.decode(body)
    mail = event["data"]["mail"]
    mail |= {"to": masked(""), "subject": "", "error": mail["error"] and ERASED}
    if mail["smtp"]:
        mail["smtp"]["text"] = ""
    return msgspec.json.encode(event)


def ids(mail: str, message: str, booking: str | None, traceparent: str | None) -> dict[str, str]:
    """Return the fields by which a log line names a mail, the message that caused it, its booking and its trace."""
    given = {"mail": mail, "message": message, "booking": booking, "traceparent": traceparent}
    return {name: value for name, value in given.items() if value}


class StoredEvent(NamedTuple):
    """One event of the log, with the fields of its mail that filters and brokers need."""

    seq: int
    """Its number in the log: it rises in the order of commits and is never reused."""
    body: bytes
    """The encoded CloudEvent."""
    type: str
    """The CloudEvent's type, see `event_type`."""
    id: str
    """The CloudEvent's id, see `event_id`."""
    mail: str
    """The id of the mail."""
    prev: Status | None
    """The mail's status before; None if the mail is new."""
    status: Status
    """The mail's status after the change."""
    kind: Kind
    """The kind of the mail."""
    booking: str | None
    """The reference of the mail's booking."""
    created_at: datetime
    """When the mail was created (UTC)."""
    event: str
    """The id of the message that caused the mail."""
    correlation: str | None
    """The AMQP correlation id of that message."""
    traceparent: str | None = None
    """The W3C trace of that message."""


class MailFilter(Struct, frozen=True):
    """Which mails a client wants to see: fields are ANDed, the values of one field ORed; an empty field matches all."""

    status: frozenset[Status] = frozenset()
    """Statuses."""
    kind: frozenset[Kind] = frozenset()
    """Kinds."""
    booking: frozenset[str] = frozenset()
    """References of bookings."""
    mail: frozenset[str] = frozenset()
    """Ids of mails."""
    since: datetime | None = None
    """The earliest creation time (UTC)."""

    def passes(self, event: StoredEvent) -> bool:
        """Return whether the event's mail matched before or after the change, so that a client sees a mail leave."""
        return (
            (not self.status or event.status in self.status or event.prev in self.status)
            and (not self.kind or event.kind in self.kind)
            and (not self.booking or event.booking in self.booking)
            and (not self.mail or event.mail in self.mail)
            and (self.since is None or event.created_at >= self.since)
        )

    def may_pass(self, batch: "Batch") -> bool:
        """Return whether any of the events can pass; this is much cheaper than testing each of them."""
        pairs = ((self.mail, batch.mails), (self.booking, batch.bookings), (self.kind, batch.kinds))
        return (
            not any(wanted and wanted.isdisjoint(found) for wanted, found in pairs)
            and not (self.status and self.status.isdisjoint(batch.statuses))
            and (self.since is None or self.since <= batch.latest)
        )


class Batch:
    """At least one event, with the sets of their values, by which filters that no event can pass are found quickly."""

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.events = events
        self.mails = frozenset(event.mail for event in events)
        self.bookings = frozenset(event.booking for event in events)
        self.kinds = frozenset(event.kind for event in events)
        self.statuses = frozenset(status for event in events for status in (event.status, event.prev))
        self.latest = max(event.created_at for event in events)
