"""What leaves the service about a mail: its public form, and the CloudEvent of a change. Pure.

The event is encoded once, here, when the change is stored; the feed and the
broker get these bytes. Addresses are masked in it.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from notifier.domain.addresses import all_masked, masked, without
from notifier.domain.mail import ERASED, Flight, Kind, Mail, Status

MAX_EVENTS = 100
"""How many events are read from the log, and sent in a frame, at a time."""

SOURCE = "/notifier"
EVENT_TYPES = (
    f"mail.{Status.PENDING}",
    "mail.retrying",
    *(f"mail.{each}" for each in Status if each is not Status.PENDING),
)
"""All that `event_type` can say."""


def event_type(prev: Status | None, mail: Mail, *, counted: bool = True) -> str:
    """Name the change: the new status, or `mail.retrying` after an attempt that `counted` and did not succeed."""
    if mail.status is Status.PENDING and prev is Status.SENDING and counted:
        return "mail.retrying"
    return f"mail.{mail.status}"


def event_id(mail: Mail) -> str:
    """Name one change of one mail; a consumer that sees it twice knows that it is the same."""
    return f"{mail.id}.{mail.rev}"


def encode_event(type_: str, prev: Status | None, mail: Mail, at: datetime) -> bytes:
    """Write the CloudEvent, named by `event_type`, of a change from `prev` (None: the mail is new) to `mail`."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": event_id(mail),
            "source": SOURCE,
            "type": type_,
            "time": timestamp(at),
            "subject": mail.id,
            **({"traceparent": mail.traceparent} if mail.traceparent else {}),
            "data": {"prev": prev, "mail": public(mail)},
        }
    )


def erased_body(body: bytes) -> bytes:
    """Strip an encoded event of everything personal; what happened and when stays."""
    event = msgspec.json.decode(body)
    mail = event["data"]["mail"]
    mail |= {"to": masked(""), "subject": "", "error": mail["error"] and ERASED}
    if mail["smtp"]:
        mail["smtp"]["text"] = ""
    return msgspec.json.encode(event)


def public(mail: Mail) -> dict[str, Any]:
    """Show a mail as everyone may see it: no content, the address masked."""
    return {
        "id": mail.id,
        "rev": mail.rev,
        "kind": mail.kind,
        "status": mail.status,
        "to": masked(mail.to),
        "subject": mail.subject,
        "booking": mail.booking,
        "flight": _flight(mail.flight) if mail.flight else None,
        "attempt": mail.attempt,
        "created_at": timestamp(mail.created_at),
        "send_at": timestamp(mail.send_at),
        "expires_at": timestamp(mail.expires_at),
        "next_attempt_at": timestamp(mail.next_attempt_at),
        "sent_at": timestamp(mail.sent_at),
        "message_id": mail.message_id,
        "event": mail.event,
        "smtp": {"code": mail.smtp.code, "text": _hidden(mail, mail.smtp.text)} if mail.smtp else None,
        "error": _hidden(mail, mail.error) if mail.error else None,
    }


def _hidden(mail: Mail, text: str) -> str:
    """Mask the recipient and every other address: servers name an alias's recipients, or the account that logged in."""
    return all_masked(without(mail.to, text))


def ids(mail: str, message: str, booking: str | None, traceparent: str | None) -> dict[str, str]:
    """Name what a line of our log is about: the mail, the message that caused it, and its booking and trace, if any."""
    given = {"mail": mail, "message": message, "booking": booking, "traceparent": traceparent}
    return {name: value for name, value in given.items() if value}


@lru_cache(maxsize=1024)  # the events of one message share most of their times
def timestamp(at: datetime | None) -> str | None:
    """Write a UTC time as RFC 3339 with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def _flight(flight: Flight) -> dict[str, Any]:
    return {
        "number": flight.number,
        "from": flight.origin,
        "to": flight.destination,
        "departs_at": timestamp(flight.departs_at),
    }


class StoredEvent(NamedTuple):
    """One event of the log: its place `seq`, the encoded `body`, and what filters and brokers look at."""

    seq: int
    body: bytes
    type: str
    id: str
    mail: str
    prev: Status | None
    status: Status
    kind: Kind
    booking: str | None
    created_at: datetime
    event: str
    correlation: str | None
    traceparent: str | None = None


class MailFilter(Struct, frozen=True):
    """Which mails someone wants to see: the fields are ANDed, the values of one ORed, an empty field takes all.

    `booking` and `mail` are references and ids; `since` is the earliest creation time (UTC).
    """

    status: frozenset[Status] = frozenset()
    kind: frozenset[Kind] = frozenset()
    booking: frozenset[str] = frozenset()
    mail: frozenset[str] = frozenset()
    since: datetime | None = None

    def passes(self, event: StoredEvent) -> bool:
        """Say whether the event's mail matched before or after the change: who saw it must see it leave."""
        return (
            (not self.status or event.status in self.status or event.prev in self.status)
            and (not self.kind or event.kind in self.kind)
            and (not self.booking or event.booking in self.booking)
            and (not self.mail or event.mail in self.mail)
            and (self.since is None or event.created_at >= self.since)
        )

    def may_pass(self, batch: "Batch") -> bool:
        """Return whether any of the events can pass. Much cheaper than to look at each of them."""
        pairs = ((self.mail, batch.mails), (self.booking, batch.bookings), (self.kind, batch.kinds))
        return (
            not any(wanted and wanted.isdisjoint(found) for wanted, found in pairs)
            and not (self.status and self.status.isdisjoint(batch.statuses))
            and (self.since is None or self.since <= batch.latest)
        )


class Batch:
    """Several events, of which there must be one, and what stands in them, to find out quickly who wants none."""

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.events = events
        self.mails = frozenset(event.mail for event in events)
        self.bookings = frozenset(event.booking for event in events)
        self.kinds = frozenset(event.kind for event in events)
        self.statuses = frozenset(status for event in events for status in (event.status, event.prev))
        self.latest = max(event.created_at for event in events)
