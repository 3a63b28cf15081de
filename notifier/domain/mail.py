"""A mail, its statuses, and every way from one status to the next. Pure: the time is an argument.

A change never edits a mail: each function here returns the mail as it is
afterwards, with `rev` raised by one. The store writes it only where the stored
`rev` is still the one before, so two writers can never both win.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

_NAMESPACE = uuid.UUID("7f1c1f0e-6f0b-5a55-9f0e-3c1b7d4f2a10")


class Kind(StrEnum):
    """What a mail tells its reader."""

    CONFIRMATION = "booking.confirmation"
    CHANGE = "booking.change"
    CANCELLATION = "booking.cancellation"
    REMINDER = "flight.reminder"
    NOTIFICATION = "notification"


class Status(StrEnum):
    """Where a mail is in its life; `NEXT` says where it can go from there."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNCERTAIN = "uncertain"


NEXT: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.SENDING, Status.CANCELLED, Status.EXPIRED}),
    Status.SENDING: frozenset({Status.SENT, Status.PENDING, Status.FAILED, Status.UNCERTAIN}),
    Status.SENT: frozenset(),
    Status.FAILED: frozenset({Status.PENDING}),
    Status.CANCELLED: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.UNCERTAIN: frozenset({Status.SENT, Status.PENDING}),
}

_WESTERNMOST = timedelta(hours=12)
"""How far the clocks of the last time zone (UTC-12) are behind UTC."""

ERASED = "the address was erased"

FINISHED = frozenset({Status.SENT, Status.FAILED, Status.CANCELLED, Status.EXPIRED})
"""Statuses that nothing but an operator leaves; such mails are purged after the retention."""


class Reply(Struct, frozen=True):
    """What an SMTP server answered: the three-digit code and its own words."""

    code: int
    text: str


class AirportTime(Struct, frozen=True):
    """A moment at an airport: `at` in UTC (None where no zone is known) and what the `clock` there shows (naive).

    `zone` is the abbreviation of the time zone, where it has one.
    """

    at: datetime | None
    clock: datetime
    zone: str | None = None


class Flight(Struct, frozen=True, rename={"origin": "from", "destination": "to"}):
    """One flight as a passenger sees it; airports are IATA codes."""

    number: str
    origin: str
    destination: str
    departs: AirportTime
    arrives: AirportTime | None = None
    seat: str | None = None
    gate: str | None = None

    @property
    def departs_at(self) -> datetime | None:
        """The departure in UTC, None where no time zone is known."""
        return self.departs.at

    @property
    def departs_by(self) -> datetime:
        """The latest moment at which it can depart (UTC): without a known time zone, that of the westernmost one."""
        return self.departs.at or self.departs.clock.replace(tzinfo=UTC) + _WESTERNMOST


class Price(Struct, frozen=True):
    """What was paid: a decimal number as text, and the ISO 4217 currency."""

    amount: str
    currency: str


class Itinerary(Struct, frozen=True, tag="itinerary"):
    """The content of a booking's mail: whom it greets and which flights it speaks of.

    `note` is something wrong with the booking that did not stop the mail. `sequence` counts
    the booking's messages, from 0. `before` are the flights that a change replaces. A mail
    that `leaves_soon` is written inside the time in which a reminder would be sent. `thread`
    is the id of the confirmation that this mail refers to, None in mails of earlier versions.
    """

    names: tuple[str, ...]
    flights: tuple[Flight, ...]
    price: Price | None = None
    locale: str | None = None
    note: str | None = None
    sequence: int = 0
    before: tuple[Flight, ...] = ()
    leaves_soon: bool = False
    thread: str | None = None


class PlainContent(Struct, frozen=True, tag="letter"):
    """The content of a notification: the text, and perhaps HTML, that its publisher wrote."""

    text: str
    html: str | None = None


class Withdrawn(Struct, frozen=True, tag="withdrawn"):
    """An amendment: the mail must not be sent any more, for a `reason` that its `error` will show."""

    reason: str


class Rewritten(Struct, frozen=True, tag="rewritten"):
    """An amendment: the mail says something else now."""

    subject: str
    content: Itinerary
    flight: Flight | None
    expires_at: datetime | None


Amendment = Withdrawn | Rewritten
"""What a newer message of its booking or request makes of a mail.

A waiting mail is amended at once. For one that is being sent, has failed or is uncertain,
the amendment is stored beside it and takes effect if the mail ever becomes pending again.
"""


class Mail(Struct, frozen=True, kw_only=True):
    """One mail to one address, from the message that caused it to its end.

    All times are UTC. `aggregate` names what it belongs to (a booking or a request);
    `content` stays inside the service and is rendered when the mail is sent.
    `first_attempt_at` is the `Date` of every attempt; `past_data` says that the
    attempt under way may have got as far as the message itself. A mail that is
    `maybe_sent` had an attempt whose outcome is unknown: whoever may have it must get
    the same bytes again. `counted_since` is when the first attempt that counts ended.
    """

    id: str
    rev: int = 1
    aggregate: str
    kind: Kind
    status: Status = Status.PENDING
    to: str
    subject: str
    content: Itinerary | PlainContent
    booking: str | None = None
    flight: Flight | None = None
    event: str
    correlation: str | None = None
    traceparent: str | None = None
    message_id: str
    attempt: int = 0
    created_at: datetime
    send_at: datetime
    expires_at: datetime | None = None
    next_attempt_at: datetime | None = None
    first_attempt_at: datetime | None = None
    sent_at: datetime | None = None
    smtp: Reply | None = None
    error: str | None = None
    past_data: bool = False
    maybe_sent: bool = False
    counted_since: datetime | None = None

    @property
    def due_at(self) -> datetime:
        """The moment from which it may be claimed."""
        return self.next_attempt_at or self.send_at

    def become(self, status: Status, **changes: object) -> Self:
        """Take one step of the life of a mail; ValueError where `NEXT` has no such step."""
        if status not in NEXT[self.status]:
            raise ValueError(f"mail {self.id}: {self.status} cannot become {status}")
        return replace(self, status=status, rev=self.rev + 1, **changes)


class RetryPolicy(Struct, frozen=True):
    """When a refused mail is tried again: the n-th refusal waits `delays[n-1]`, the last delay repeats.

    `give_up_after` counts from `send_at` or from the first attempt that counted, whichever is
    later, and holds for mails without an expiry of their own.
    With `hold_uncertain` a mail that may have been sent waits for an operator instead.
    """

    delays: tuple[timedelta, ...]
    give_up_after: timedelta
    hold_uncertain: bool = False

    def next_attempt(self, attempt: int, now: datetime) -> datetime:
        """When to try again after the refusal of attempt number `attempt` (from 1)."""
        return now + self.delays[min(attempt, len(self.delays)) - 1]


def mail_id(*what: str) -> str:
    """Name a mail by what it is, so that the same message twice means the same mail (UUIDv5)."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(what)))


def claimed(mail: Mail, now: datetime) -> Mail:
    """Begin an attempt."""
    return mail.become(
        Status.SENDING,
        attempt=mail.attempt + 1,
        next_attempt_at=None,
        first_attempt_at=mail.first_attempt_at or now,
        past_data=False,
    )


def sent(mail: Mail, reply: Reply, now: datetime) -> Mail:
    """Close an attempt that the SMTP server accepted."""
    return mail.become(Status.SENT, smtp=reply, error=standing_note(mail), sent_at=now)


def refused(
    mail: Mail,
    reply: Reply | None,
    error: str | None,
    policy: RetryPolicy,
    now: datetime,
    *,
    asked: timedelta = timedelta(0),
) -> Mail:
    """Close an attempt that was refused for now or whose outcome is unknown: try later, or give up.

    The next attempt is not before the time that the server `asked` for.
    """
    since = mail.counted_since or now
    again = max(policy.next_attempt(mail.attempt, now), now + asked)
    # The difference of two times cannot overflow; `send_at` plus a duration could.
    if mail.expires_at is None and again - max(mail.send_at, since) > policy.give_up_after:
        why = f"given up after {mail.attempt} attempts"
        return failed(mail, reply, f"{why}: {error}" if error else why)
    return mail.become(Status.PENDING, smtp=reply or mail.smtp, error=error, next_attempt_at=again, counted_since=since)


def unknown(mail: Mail, why: str, policy: RetryPolicy, now: datetime) -> Mail:
    """Close an attempt of which nobody knows how it ended."""
    error = f"outcome unknown: {why}"
    if not policy.hold_uncertain:
        return refused(replace(mail, maybe_sent=True), None, error, policy, now)
    # The mark is on disk before DATA is said: without it the message cannot have gone.
    return uncertain(mail, error) if mail.past_data else handed_back(mail)


def handed_back(mail: Mail, until: datetime | None = None) -> Mail:
    """Undo a claim whose failure concerned the transport and not the mail: the attempt does not count.

    With `until` it lets others go first from then on.
    """
    return mail.become(Status.PENDING, attempt=mail.attempt - 1, next_attempt_at=until)


def failed(mail: Mail, reply: Reply | None, error: str | None) -> Mail:
    """Close a mail that was refused for good."""
    return mail.become(Status.FAILED, smtp=reply or mail.smtp, error=error)


def uncertain(mail: Mail, error: str) -> Mail:
    """Hold a mail that may have been sent, until an operator has found out."""
    return mail.become(Status.UNCERTAIN, error=error, maybe_sent=True)


def found_sent(mail: Mail, now: datetime) -> Mail:
    """Close an uncertain mail that was sent after all."""
    return mail.become(Status.SENT, sent_at=now)


def due_again(mail: Mail, at: datetime | None = None) -> Mail:
    """Give a failed or uncertain mail another chance, `at` a time or at once, and as much time as a new one."""
    return mail.become(Status.PENDING, next_attempt_at=at, counted_since=None)


def due_now(mail: Mail) -> Mail:
    """Let a pending mail that waits for its next attempt be tried at once; its attempts still count."""
    return replace(mail, rev=mail.rev + 1, next_attempt_at=None)


def cancelled(mail: Mail, reason: str) -> Mail:
    """Withdraw a mail that was not sent."""
    return mail.become(Status.CANCELLED, error=reason, next_attempt_at=None)


def rewritten(mail: Mail, amendment: Rewritten) -> Mail:
    """Let a waiting mail say something else; it keeps its status, and `rev` is raised so that watchers see it."""
    return replace(_saying(mail, amendment), rev=mail.rev + 1)


def amended(mail: Mail, amendment: Amendment | None) -> tuple[Mail, ...]:
    """Decide again about a mail that has just become pending: return its steps from there, itself first.

    One that was withdrawn meanwhile is cancelled. One that was rewritten says what holds now,
    unless somebody may have it already: then it stays as it is, to the byte.
    """
    match amendment:
        case Withdrawn(reason):
            return mail, cancelled(mail, reason)
        case Rewritten() if not mail.maybe_sent:
            return (_saying(mail, amendment),)
    return (mail,)


def _saying(mail: Mail, amendment: Rewritten) -> Mail:
    # What the latest attempt met stays visible; otherwise the error is what is wrong with the booking itself.
    of_an_attempt = mail.error not in (None, standing_note(mail))
    return replace(
        mail,
        subject=amendment.subject,
        content=amendment.content,
        flight=amendment.flight,
        expires_at=amendment.expires_at,
        error=mail.error if of_an_attempt else amendment.content.note,
    )


def expired(mail: Mail) -> Mail:
    """End a mail whose time passed before it could be sent."""
    return mail.become(Status.EXPIRED, next_attempt_at=None)


def erased(mail: Mail) -> Mail:
    """Strip a mail of everything personal; no change of its status. Without an address it can never be sent again."""
    return replace(
        mail,
        to="",
        subject="",
        content=PlainContent(""),
        flight=replace(mail.flight, seat=None, gate=None) if mail.flight else None,
        smtp=Reply(mail.smtp.code, "") if mail.smtp else None,
        error=ERASED,
    )


def standing_note(mail: Mail) -> str | None:
    """What was wrong with the booking itself, which no attempt can mend."""
    return mail.content.note if isinstance(mail.content, Itinerary) else None
