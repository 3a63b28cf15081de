"""A mail, its statuses, and every step from one status to the next. Pure: the time is an argument.

A mail is immutable: each function here returns the mail as it is after a step, with `rev` raised by one. The store
writes it only if the stored `rev` is still the one before, so of two writers one wins and the other changes nothing.
"""

import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

_NAMESPACE = uuid.UUID("7f1c1f0e-6f0b-5a55-9f0e-3c1b7d4f2a10").bytes


class Kind(StrEnum):
    """What a mail is about."""

    CONFIRMATION = "booking.confirmation"
    """The first mail to an address of a booking."""
    CHANGE = "booking.change"
    """A notice that a booking has changed."""
    CANCELLATION = "booking.cancellation"
    """A notice that a booking was cancelled, or that the address is no longer part of it."""
    REMINDER = "flight.reminder"
    """A mail some hours before one flight departs."""
    NOTIFICATION = "notification"
    """A mail that a publisher wrote itself."""


class Status(StrEnum):
    """Where a mail is in its life."""

    PENDING = "pending"
    """It waits for `send_at`, or for its next attempt.

    A claim of the sender moves it on (sending), its expiry (expired), or a newer message or an operator (cancelled).
    """
    SENDING = "sending"
    """It is being handed over to an SMTP server.

    The sender moves it on when it records the outcome: sent, failed, pending again, or uncertain. After a crash the
    next process does so.
    """
    SENT = "sent"
    """An SMTP server has accepted it, which does not mean that it was delivered. Nobody moves it on."""
    FAILED = "failed"
    """It was rejected permanently, or given up. An operator can retry it (pending)."""
    CANCELLED = "cancelled"
    """A newer message or an operator has withdrawn it, or its address was erased. Nobody moves it on."""
    EXPIRED = "expired"
    """Its time passed before it could be sent. Nobody moves it on."""
    UNCERTAIN = "uncertain"
    """The outcome of an attempt is unknown, and uncertain mails are held (NOTIFIER_ON_UNCERTAIN).

    An operator resolves it as sent, or to be sent again (pending).
    """


NEXT: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.SENDING, Status.CANCELLED, Status.EXPIRED}),
    Status.SENDING: frozenset({Status.SENT, Status.PENDING, Status.FAILED, Status.UNCERTAIN}),
    Status.SENT: frozenset(),
    Status.FAILED: frozenset({Status.PENDING}),
    Status.CANCELLED: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.UNCERTAIN: frozenset({Status.SENT, Status.PENDING}),
}
"""The statuses that a mail can have after each one."""

_WESTERNMOST = timedelta(hours=12)
"""How far the clocks of the westernmost time zone (UTC-12) are behind UTC."""

ERASED = "the address was erased"
"""The error of a mail whose address was erased."""

FINISHED = frozenset({Status.SENT, Status.FAILED, Status.CANCELLED, Status.EXPIRED})
"""Statuses that only an operator can change, if anybody; such mails are purged after the retention."""


class Reply(Struct, frozen=True):
    """A reply of an SMTP server."""

    code: int
    """The reply code, three digits (RFC 5321 section 4.2)."""
    text: str
    """The text after it, with the enhanced status code if there is one."""


class AirportTime(Struct, frozen=True):
    """A time at an airport."""

    at: datetime | None
    """The time in UTC; None if the airport's time zone is unknown."""
    clock: datetime
    """What the clocks there show, without a time zone."""
    zone: str | None = None
    """The abbreviation of the time zone, if it has one."""


class Flight(Struct, frozen=True, rename={"origin": "from", "destination": "to"}):
    """One flight as a passenger sees it."""

    number: str
    """The flight number, such as AI101."""
    origin: str
    """The IATA code of the airport of departure."""
    destination: str
    """The IATA code of the airport of arrival."""
    departs: AirportTime
    """When it departs, at the airport of departure."""
    arrives: AirportTime | None = None
    """When it arrives, at the airport of arrival."""
    seat: str | None = None
    """The passengers' seat or seats, as text."""
    gate: str | None = None
    """The gate of departure."""

    @property
    def departs_at(self) -> datetime | None:
        """The departure in UTC; None if the airport's time zone is unknown."""
        return self.departs.at

    @property
    def departs_by(self) -> datetime:
        """The latest possible departure in UTC: if the time zone is unknown, that in the westernmost one."""
        return self.departs.at or self.departs.clock.replace(tzinfo=UTC) + _WESTERNMOST


class Price(Struct, frozen=True):
    """The price of a booking."""

    amount: str
    """A decimal number as text."""
    currency: str
    """The ISO 4217 code of the currency."""


class Itinerary(Struct, frozen=True, tag="itinerary"):
    """The content of a booking's mail, which templates turn into text and HTML when the mail is sent."""

    names: tuple[str, ...]
    """The passengers whom the mail greets."""
    flights: tuple[Flight, ...]
    """The flights that the mail is about."""
    price: Price | None = None
    """The price of the booking."""
    locale: str | None = None
    """The language that the mail should have, as a BCP 47 tag (RFC 5646); None: the default."""
    note: str | None = None
    """What is wrong with the booking without being a reason not to send the mail."""
    sequence: int = 0
    """The number of the booking's message that the mail is from; the first has 0."""
    before: tuple[Flight, ...] = ()
    """The flights that a change has replaced."""
    leaves_soon: bool = False
    """Whether the mail was written inside the window of a reminder, and so takes its place."""
    thread: str | None = None
    """The id of the confirmation that the mail refers to; None in mails of earlier versions."""


class PlainContent(Struct, frozen=True, tag="letter"):
    """The content of a notification, as its publisher wrote it."""

    text: str
    """The plain text."""
    html: str | None = None
    """The same as HTML."""


class Withdrawn(Struct, frozen=True, tag="withdrawn"):
    """An amendment: the mail must not be sent any more."""

    reason: str
    """Why; it becomes the mail's `error`."""


class Rewritten(Struct, frozen=True, tag="rewritten"):
    """An amendment: the mail has a new content. The fields are those of `Mail`."""

    subject: str
    """The new subject."""
    content: Itinerary
    """The new content."""
    flight: Flight | None
    """The new flight."""
    expires_at: datetime | None
    """The new expiry (UTC)."""


Amendment = Withdrawn | Rewritten
"""What a newer message of its booking or request makes of a mail.

A mail that waits is amended at once. If it is being sent, has failed or is uncertain, the amendment is stored with it
and takes effect if it ever becomes pending again.
"""


class Mail(Struct, frozen=True, kw_only=True):
    """One mail to one address. All times are UTC."""

    id: str
    """A UUIDv5, see `mail_id`."""
    rev: int = 1
    """The revision, raised by each step."""
    aggregate: str
    """The name of the booking or the request that it belongs to."""
    kind: Kind
    """What it is about."""
    status: Status = Status.PENDING
    """Where it is in its life."""
    to: str
    """The recipient's address; empty if it was erased."""
    subject: str
    """The subject, in one line."""
    content: Itinerary | PlainContent
    """What it says. It never leaves the service, and is rendered when the mail is sent."""
    booking: str | None = None
    """The reference of its booking; None for notifications."""
    flight: Flight | None = None
    """The flight of a reminder."""
    event: str
    """The id of the message that caused it."""
    correlation: str | None = None
    """The AMQP correlation id of that message."""
    traceparent: str | None = None
    """The W3C trace of that message."""
    message_id: str
    """The Message-ID header, the same in every attempt."""
    attempt: int = 0
    """The number of attempts that count, with the one under way."""
    created_at: datetime
    """When it was stored first."""
    send_at: datetime
    """When it is sent at the earliest; it never changes."""
    expires_at: datetime | None = None
    """When it becomes useless: it is not started after that. None: never."""
    next_attempt_at: datetime | None = None
    """When it is tried again; None if it waits for `send_at` or does not wait."""
    first_attempt_at: datetime | None = None
    """When its first attempt started: the Date header, the same in every attempt."""
    sent_at: datetime | None = None
    """When an SMTP server accepted it."""
    smtp: Reply | None = None
    """The last reply of an SMTP server that concerned it."""
    error: str | None = None
    """What is wrong with it, or with its booking, in words for operators."""
    past_data: bool = False
    """Whether the attempt under way may have transferred the message."""
    maybe_sent: bool = False
    """Whether an attempt had an unknown outcome: its reader may have it, so later attempts send the same bytes."""
    counted_since: datetime | None = None
    """When the first attempt that counts ended; giving up is counted from there."""

    @property
    def due_at(self) -> datetime:
        """The time from which it can be claimed."""
        return self.next_attempt_at or self.send_at

    def become(self, status: Status, **changes: object) -> Self:
        """Return the mail after a step to `status` with `changes`. Raises ValueError if `NEXT` has no such step."""
        if status not in NEXT[self.status]:
            raise ValueError(f"mail {self.id}: {self.status} cannot become {status}")
        return replace(self, status=status, rev=self.rev + 1, **changes)


class RetryPolicy(Struct, frozen=True):
    """When a mail that was not accepted is tried again."""

    delays: tuple[timedelta, ...]
    """How long it waits after its first, second, … attempt; the last delay repeats."""
    give_up_after: timedelta
    """How long a mail without an expiry of its own is retried.

    It is counted from `send_at` or from the end of the first attempt that counts, whichever is later.
    """
    hold_uncertain: bool = False
    """Whether a mail that may have been sent waits for an operator (uncertain) instead of being tried again."""

    def next_attempt(self, attempt: int, now: datetime) -> datetime:
        """Return when to try again after attempt number `attempt`; the first one is 1."""
        return now + self.delays[min(attempt, len(self.delays)) - 1]


def mail_id(*what: str) -> str:
    """Return the id of a mail, a UUIDv5 of what it is: if a message arrives twice, its mails have the same ids."""
    # What uuid.uuid5 does (RFC 9562 section 5.5), in less than half of its time: a booking needs six of them.
    digest = bytearray(hashlib.sha1(_NAMESPACE + "\x1f".join(what).encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    found = digest.hex()
    return f"{found[:8]}-{found[8:12]}-{found[12:16]}-{found[16:20]}-{found[20:]}"


def claimed(mail: Mail, now: datetime) -> Mail:
    """Start an attempt."""
    return mail.become(
        Status.SENDING,
        attempt=mail.attempt + 1,
        next_attempt_at=None,
        first_attempt_at=mail.first_attempt_at or now,
        past_data=False,
    )


def sent(mail: Mail, reply: Reply, now: datetime) -> Mail:
    """End an attempt that the SMTP server accepted."""
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
    """End an attempt that was rejected temporarily, or whose outcome is unknown: retry the mail later, or give up.

    The next attempt is not before the pause that the server `asked` for has passed.
    """
    since = mail.counted_since or now
    again = max(policy.next_attempt(mail.attempt, now), now + asked)
    # The difference of two times cannot overflow; `send_at` plus a duration could.
    if mail.expires_at is None and again - max(mail.send_at, since) > policy.give_up_after:
        why = f"given up after {mail.attempt} attempt{'s' if mail.attempt != 1 else ''}"
        return failed(mail, reply, f"{why}: {error}" if error else why)
    return mail.become(Status.PENDING, smtp=reply or mail.smtp, error=error, next_attempt_at=again, counted_since=since)


def unknown(mail: Mail, why: str, policy: RetryPolicy, now: datetime) -> Mail:
    """End an attempt whose outcome is unknown: retry the mail, or hold it, as the policy has it."""
    error = f"outcome unknown: {why}"
    if not policy.hold_uncertain:
        return refused(replace(mail, maybe_sent=True), None, error, policy, now)
    # The mark is on disk before DATA is sent: without it the message cannot have been transferred.
    return uncertain(mail, error) if mail.past_data else handed_back(mail)


def handed_back(mail: Mail, until: datetime | None = None) -> Mail:
    """Undo a claim, after a failure of the transport that does not concern the mail: the attempt does not count.

    With `until` it counts as due since that time only, so mails that have been due longer go first.
    """
    return mail.become(Status.PENDING, attempt=mail.attempt - 1, next_attempt_at=until)


def failed(mail: Mail, reply: Reply | None, error: str | None) -> Mail:
    """End a mail that was rejected permanently, or given up."""
    return mail.become(Status.FAILED, smtp=reply or mail.smtp, error=error)


def uncertain(mail: Mail, error: str) -> Mail:
    """Hold a mail that may have been sent, until an operator resolves it."""
    return mail.become(Status.UNCERTAIN, error=error, maybe_sent=True)


def found_sent(mail: Mail, now: datetime) -> Mail:
    """Resolve an uncertain mail as sent."""
    return mail.become(Status.SENT, sent_at=now)


def retried(mail: Mail, at: datetime | None = None) -> Mail:
    """Retry a failed or uncertain mail, at the time `at` or at once; it is given up no sooner than a new one."""
    return mail.become(Status.PENDING, next_attempt_at=at, counted_since=None)


def retried_now(mail: Mail) -> Mail:
    """Make a pending mail that waits for its next attempt due at once; its attempts still count."""
    return replace(mail, rev=mail.rev + 1, next_attempt_at=None)


def cancelled(mail: Mail, reason: str) -> Mail:
    """Withdraw a mail that was not sent."""
    return mail.become(Status.CANCELLED, error=reason, next_attempt_at=None)


def rewritten(mail: Mail, amendment: Rewritten) -> Mail:
    """Replace the content of a waiting mail; its status stays, and `rev` is raised so that watchers see the change."""
    return replace(_saying(mail, amendment), rev=mail.rev + 1)


def amended(mail: Mail, amendment: Amendment | None) -> tuple[Mail, ...]:
    """Apply the amendment of a mail that has just become pending; return the mail and any further steps, in order.

    If it was withdrawn, it is cancelled. If it was rewritten, it gets the new content, unless its reader may have
    received it: then it stays the same to the byte.
    """
    match amendment:
        case Withdrawn(reason):
            return mail, cancelled(mail, reason)
        case Rewritten() if not mail.maybe_sent:
            return (_saying(mail, amendment),)
    return (mail,)


def _saying(mail: Mail, amendment: Rewritten) -> Mail:
    # The error of the latest attempt stays visible; without one it is what is wrong with the booking itself.
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
    """Remove everything personal from a mail; its status stays. Without an address it can never be sent again."""
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
    """Return what is wrong with the mail's booking itself, whatever an attempt meets; None if nothing is."""
    return mail.content.note if isinstance(mail.content, Itinerary) else None
