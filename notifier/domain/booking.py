"""From a booking message and what is known of the booking to the mails that should exist. Pure.

Newer wins: a message that is not newer than the newest one handled plans
nothing, so messages may come late, twice and in any order. Every message
decides about every mail of the booking, also about those that do not wait: what
it means for them takes effect if they ever wait again.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

from msgspec import Struct
from msgspec.structs import replace

from notifier.domain.addresses import identity
from notifier.domain.mail import (
    Amendment,
    Flight,
    Itinerary,
    Kind,
    Mail,
    PlainContent,
    Price,
    Rewritten,
    Status,
    Withdrawn,
    mail_id,
)
from notifier.domain.planning import (
    SUPERSEDED,
    AddressState,
    AggregateState,
    BookingState,
    Outdone,
    Plan,
    PlanningPolicy,
    amendments,
)

SPREAD = timedelta(minutes=50)
"""Reminders of one flight start within this long, spread so that a full aircraft is no burst.

Their window is an hour; ten minutes of it are left for sending.
"""

_FAR = datetime(9000, 1, 1, tzinfo=UTC)
"""Later departures count as this one for how long a booking is remembered: the sum must stay inside the calendar."""
CANCELLATION_NOTICE_LIFETIME = timedelta(hours=24)
"""How long a cancellation notice can be sent at least, also after the departure."""

NO_LONGER_FITS = Withdrawn("no longer fits the booking")
CANCELLED = Withdrawn("the booking was cancelled")
UNNAMED = 10
"""Mails that a change or a cancellation may concern without naming them, as an estimate."""

Reminded = tuple[str, str, datetime | None]
"""What one reminder is about: the address's identity, the flight's number, its departure."""


class Change(StrEnum):
    """What a booking message says has happened."""

    CONFIRMED = "booking.confirmed"
    CHANGED = "booking.changed"
    CANCELLED = "booking.cancelled"


class Passenger(Struct, frozen=True):
    """One traveller; `fault` says why nothing can be mailed to `email`."""

    name: str
    email: str
    locale: str | None = None
    fault: str | None = None


class BookingMessage(Struct, frozen=True, kw_only=True):
    """A booking's whole new state, or its end.

    `note` is what was wrong with the message and yet must not lose the booking.
    """

    id: str
    source: str
    correlation: str | None = None
    traceparent: str | None = None
    change: Change
    booking: str
    version: int | None = None
    time: datetime
    passengers: tuple[Passenger, ...] = ()
    flights: tuple[Flight, ...] = ()
    price: Price | None = None
    note: str | None = None

    @property
    def aggregate(self) -> str:
        """What the message's mails belong to."""
        return f"booking:{self.booking}"

    @property
    def rows(self) -> int:
        """How many mails it may add or change, as a rough estimate: a transaction is bounded by that."""
        mails = max(1, len(self.passengers)) * (max(1, len(self.flights)) + 1)
        return mails if self.change is Change.CONFIRMED else max(UNNAMED, 2 * mails)

    @property
    def named(self) -> set[str]:
        """The identities of its addresses."""
        return {identity(passenger.email) for passenger in self.passengers}

    def concerns_mails(self, known: AggregateState | None) -> bool:
        """Return whether planning it needs the mails that exist: an outdated message has nothing to do with them."""
        before = known if isinstance(known, BookingState) else None
        return not isinstance(_in_force(self, before), BookingState)

    def plan(
        self,
        known: AggregateState | None,
        existing: Sequence[Mail],
        rules: PlanningPolicy,
        now: datetime,
        stored: Container[str] = frozenset(),
    ) -> Plan:
        """Decide what becomes of the booking's mails.

        `existing` are its mails in the order in which they were added. Those that are sent,
        cancelled or expired may be left out, for nothing can become of them. `stored` are the
        ids of all mails that are stored.
        """
        before = known if isinstance(known, BookingState) else None
        found = _in_force(self, before)
        if isinstance(found, BookingState):
            return Plan(known=found, forget_at=_forget_at(found.flights, rules, now)) if found is not before else Plan()
        drafts = _Drafts(found, before, _Ids(existing, stored), rules=rules, now=now)
        decide = _end if found.message.change is Change.CANCELLED else _state
        return decide(found, before, existing, drafts)


class _InForce(NamedTuple):
    """The message that a booking follows from now on, and what must be kept for later comparisons.

    A `restored` one was in force before or arrived earlier.
    """

    message: BookingMessage
    version: int | None
    version_time: datetime | None
    outdone: Outdone | None = None
    restored: bool = False


def _in_force(message: BookingMessage, known: BookingState | None) -> _InForce | BookingState:
    """Compare a message with those before it: return what is in force now, or what is known if that does not change.

    Versions are compared if both messages have one, otherwise times. That alone is no order
    (version 5 at 1 o'clock, none at 2, version 3 at 3), so the message with the highest version
    and the latest one without a version are compared with each other, by time. Both must be kept
    for that, because the next version may be from an earlier time.
    """
    if known is None:
        return _InForce(message, message.version, message.time if message.version is not None else None)
    version_time = known.time if known.version is not None and known.version_time is None else known.version_time
    follows_version = known.version is not None and known.time == version_time
    unversioned = known.outdone if follows_version else _outdone(known)
    if message.version is None:
        return _without_version(message, known, version_time, unversioned)
    if known.version is not None and message.version <= known.version:
        return known
    if unversioned is None or message.time >= unversioned.time:
        return _InForce(message, message.version, message.time, unversioned)
    if follows_version:
        return _InForce(_restored(message, unversioned), message.version, message.time, restored=True)
    return replace(known, version=message.version, version_time=message.time)


def _without_version(
    message: BookingMessage, known: BookingState, version_time: datetime | None, latest: Outdone | None
) -> _InForce | BookingState:
    if latest and message.time <= latest.time:
        return known
    if version_time and message.time <= version_time:
        passengers = [(each.name, each.email, each.locale) for each in message.passengers if not each.fault]
        cancelled = message.change is Change.CANCELLED
        return replace(
            known, outdone=Outdone(message.time, cancelled, message.flights, message.price, tuple(passengers))
        )
    return _InForce(message, known.version, version_time)


def _restored(message: BookingMessage, outdone: Outdone) -> BookingMessage:
    """Return the outdone message as it comes into force again, caused by a message with a version from before it."""
    return replace(
        message,
        change=Change.CANCELLED if outdone.cancelled else Change.CHANGED,
        version=None,
        time=outdone.time,
        passengers=tuple(Passenger(*each) for each in outdone.passengers),
        flights=outdone.flights,
        price=outdone.price,
        note=None,
    )


def _outdone(known: BookingState) -> Outdone:
    """Return what a booking follows now, as it is kept while it is outdone."""
    passengers = [
        (name, told.address, told.locale)
        for told in known.told.values()
        if told.included and told.address
        for name in told.names
    ]
    cancelled = not any(told.included for told in known.told.values())
    return Outdone(known.time, cancelled, known.flights, known.price, tuple(passengers))


class _Ids:
    """The ids that mails have already."""

    def __init__(self, existing: Iterable[Mail], stored: Container[str]) -> None:
        self._existing = {mail.id for mail in existing}
        self._stored = stored

    def __contains__(self, id_: object) -> bool:
        return id_ in self._existing or id_ in self._stored


def _state(found: _InForce, known: BookingState | None, existing: Sequence[Mail], drafts: "_Drafts") -> Plan:
    """Plan for a booking as it now is: a notice to each address, and the reminders that fit."""
    message = found.message
    notices = _Notices(existing)
    parties = _parties(message.passengers)
    told = dict(known.told) if known else {}
    reported = {identity(mail.to) for mail in existing if mail.kind is Kind.CONFIRMATION}
    unmailable = {identity(each.email): each for each in message.passengers if each.fault}
    reported |= told.keys()
    added = [drafts.unmailable(each) for who, each in unmailable.items() if who not in reported]
    # Remembered as an address that has no mail, so that it is reported once and not again after a purge.
    told |= {who: drafts.never_told(each) for who, each in unmailable.items() if who not in told}
    for who, party in parties.items():
        before = told.get(who)
        told[who] = drafts.told(party, before)
        if before is None or not before.confirmed:
            added.append(drafts.confirmation(told[who]))
        elif known and (_seen(before), known.flights, known.price) != (
            _seen(told[who]),
            message.flights,
            message.price,
        ):
            # An address that comes back learns how the booking is, not what happened to it meanwhile.
            notice = drafts.notice(Kind.CHANGE, told[who], before=known.flights if before.included else ())
            added.append(notices.superseding(notice))
    for who, gone in [(who, each) for who, each in told.items() if each.included and who not in parties]:
        told[who] = replace(gone, included=False)
        if gone.address:
            added.append(drafts.notice(Kind.CANCELLATION, gone, flights=known.flights if known else None))
    wanted = {_about(mail): mail for who in parties for mail in drafts.reminders(told[who])}
    settled = {_about(mail) for mail in existing if _is_live_reminder(mail)} | _reminded_before(known)
    changed, amended = amendments(
        (mail, SUPERSEDED if notices.is_superseded(mail) else drafts.amendment(mail, wanted, told)) for mail in existing
    )
    return Plan(
        added=(*added, *(mail for about, mail in wanted.items() if about not in settled and drafts.in_time(mail))),
        changed=changed,
        amended=amended,
        known=drafts.known(found, told),
        forget_at=drafts.forget_at(),
    )


class _Notices:
    """The change notices of a booking, of which each address needs only the newest."""

    def __init__(self, existing: Iterable[Mail]) -> None:
        self._newest: dict[str, Mail] = {}
        self._waiting: dict[str, Mail] = {}
        for mail in existing:
            if mail.kind is Kind.CHANGE:
                self._newest[identity(mail.to)] = mail
                if mail.status is Status.PENDING and not mail.maybe_sent:
                    self._waiting.setdefault(identity(mail.to), mail)

    def superseding(self, notice: Mail) -> Mail:
        """Return a new notice as it supersedes the others to its address.

        Nobody has read one that waits, so the new one takes its place in the queue and says what
        has changed since before it.
        """
        waiting = self._waiting.get(identity(notice.to))
        self._newest[identity(notice.to)] = notice
        if waiting and isinstance(waiting.content, Itinerary) and isinstance(notice.content, Itinerary):
            content = replace(notice.content, before=waiting.content.before)
            return replace(notice, content=content, send_at=min(waiting.send_at, notice.send_at))
        return notice

    def is_superseded(self, mail: Mail) -> bool:
        """Return whether there is a newer notice to the same address."""
        return mail.kind is Kind.CHANGE and self._newest[identity(mail.to)].id != mail.id


def _end(found: _InForce, known: BookingState | None, existing: Sequence[Mail], drafts: "_Drafts") -> Plan:
    """Plan for a cancelled booking: nothing unsent stays, and everyone who is still in gets one notice."""
    message = found.message
    told = dict(known.told) if known else {}
    for who, party in _parties(message.passengers).items():
        before = told.setdefault(who, replace(drafts.told(party, None), confirmed=False))
        if not before.address:
            told[who] = replace(drafts.told(party, before), included=before.included, confirmed=before.confirmed)
    # A notice that still waits is replaced by a new one, unless its reader may have it already.
    untold = {identity(mail.to) for mail in existing if _is_waiting_farewell(mail)}
    notified = {who: each for who, each in told.items() if each.address and (each.included or who in untold)}
    changed, amended = amendments(
        # A notice to an address that gets no new one stays as it is, for it may be on its way or have failed.
        (mail, None if mail.kind is Kind.CANCELLATION and identity(mail.to) not in notified else CANCELLED)
        for mail in existing
    )
    return Plan(
        added=tuple(drafts.notice(Kind.CANCELLATION, each) for each in notified.values()),
        changed=changed,
        amended=amended,
        known=drafts.known(found, {who: replace(each, included=False) for who, each in told.items()}),
        forget_at=drafts.forget_at(),
    )


def _is_live_reminder(mail: Mail) -> bool:
    return mail.kind is Kind.REMINDER and mail.status is not Status.CANCELLED


def _is_waiting_farewell(mail: Mail) -> bool:
    return mail.kind is Kind.CANCELLATION and mail.status is Status.PENDING and not mail.maybe_sent


def _seen(told: AddressState) -> tuple[list[str], bool]:
    """Reduce what an address was told to what its reader would notice."""
    return sorted(told.names), told.included


def _about(reminder: Mail) -> Reminded:
    flight = reminder.flight
    return (identity(reminder.to), flight.number, flight.departs_at) if flight else (reminder.id, "", None)


def _reminded_before(known: BookingState | None) -> set[Reminded]:
    """What the state before wanted reminders for: one that is gone since then was cancelled by an operator."""
    if known is None:
        return set()
    included = [who for who, told in known.told.items() if told.included and told.address]
    return {(who, flight.number, flight.departs_at) for who in included for flight in known.flights}


def _parties(passengers: Iterable[Passenger]) -> dict[str, list[Passenger]]:
    """Group those whom mail can reach by address: who shares one gets one mail that names them all."""
    parties: dict[str, list[Passenger]] = {}
    for passenger in passengers:
        if not passenger.fault:
            parties.setdefault(identity(passenger.email), []).append(passenger)
    return parties


def _last_departure(flights: Iterable[Flight]) -> datetime | None:
    """Return when the last flight departs, at the latest, for some may depart at airports of an unknown time zone."""
    return max((flight.departs_by for flight in flights), default=None)


def _forget_at(flights: Iterable[Flight], rules: PlanningPolicy, now: datetime) -> datetime:
    return min(max(now, _last_departure(flights) or now), _FAR) + rules.remember


class _Drafts:
    """Writes the mails that one message calls for, and decides about those that are there."""

    def __init__(
        self,
        found: _InForce,
        known: BookingState | None,
        taken: Container[str],
        *,
        rules: PlanningPolicy,
        now: datetime,
    ) -> None:
        message = found.message
        self._sequence = known.sequence + 1 if known else 0
        self._founder = known.founder if known else (message.source, message.id, now.isoformat())
        self._message = message
        self._flights = message.flights or (known.flights if known else ())
        self._taken = taken
        self._rules = rules
        self._now = now
        self._subjects: dict[tuple[Kind, tuple[Flight, ...], str | None], str] = {}
        # Without versions the time tells one state of a booking from the next.
        self._state = str(message.version) if message.version is not None else message.time.isoformat()
        if found.restored:
            # Notices of this state may have been sent before, and purged.
            self._state += f"#{self._sequence}"

    def told(self, party: Sequence[Passenger], before: AddressState | None) -> AddressState:
        """Return what a party is told now; an address that is new gets a confirmation, whose id is kept."""
        first = party[0]
        known = before is not None and before.confirmed
        id_ = before.confirmation if before and known else self._id("confirmation", identity(first.email))
        return AddressState(
            first.email, tuple(each.name for each in party), first.locale, included=True, confirmation=id_
        )

    def never_told(self, passenger: Passenger) -> AddressState:
        """Return what is kept of an address that gets no mail."""
        return replace(self.told([passenger], None), included=False, confirmed=False)

    def known(self, found: _InForce, told: dict[str, AddressState]) -> BookingState:
        """Return what is to be known of the booking from now on."""
        return BookingState(
            version=found.version,
            time=found.message.time,
            sequence=self._sequence,
            flights=self._flights,
            price=self._message.price,
            told=told,
            version_time=found.version_time,
            outdone=found.outdone,
            founder=self._founder,
        )

    def forget_at(self) -> datetime:
        """Return when the booking can be forgotten."""
        return _forget_at(self._flights, self._rules, self._now)

    def confirmation(self, told: AddressState) -> Mail:
        return self._mail(Kind.CONFIRMATION, told, "confirmation", identity(told.address), content=self._news(told))

    def unmailable(self, passenger: Passenger) -> Mail:
        """Report an address that no mail can go to: a confirmation that failed before its first attempt."""
        told = self.told([passenger], None)
        what = ("unmailable", f"#{self._sequence}", identity(told.address))
        mail = self._mail(Kind.CONFIRMATION, told, *what, content=self._news(told))
        return replace(mail, status=Status.FAILED, error=f"{passenger.email!r} is no address: {passenger.fault}")

    def notice(
        self,
        kind: Kind,
        told: AddressState,
        *,
        flights: tuple[Flight, ...] | None = None,
        before: tuple[Flight, ...] = (),
    ) -> Mail:
        what = (kind, self._state, identity(told.address))
        shown = self._flights if flights is None else flights
        content = replace(self._news(told), before=before, flights=shown)
        last = _last_departure((*shown, *self._flights))
        # A flight is often cancelled when it should have left, and a removed passenger may know the old times only.
        expires_at = max(last, self._now + CANCELLATION_NOTICE_LIFETIME) if last and kind is Kind.CANCELLATION else None
        return self._mail(kind, told, *what, content=content, expires_at=expires_at)

    def amendment(
        self, mail: Mail, wanted: Mapping[Reminded, Mail], told: Mapping[str, AddressState]
    ) -> Amendment | None:
        """Decide what a mail becomes by this message, None if it is right as it is."""
        if mail.kind is Kind.REMINDER:
            draft = wanted.get(_about(mail))
            if draft is None:
                return NO_LONGER_FITS
            return _rewriting(mail, draft.content, draft.subject, draft.flight, draft.expires_at)
        addressee = told.get(identity(mail.to))
        if addressee is None or not addressee.confirmed or not isinstance(mail.content, Itinerary):
            return None
        if addressee.included is (mail.kind is Kind.CANCELLATION):
            return NO_LONGER_FITS
        if not addressee.included:
            return None
        content = replace(self._news(addressee), before=mail.content.before)
        subject = self._subject(mail.kind, self._flights, addressee)
        return _rewriting(mail, content, subject, None, _last_departure(self._flights))

    def reminders(self, told: AddressState) -> Iterator[Mail]:
        """One for each flight of an address, also those whose window has begun."""
        for flight in self._flights:
            if flight.departs_at:
                yield self._reminder(told, flight, flight.departs_at)

    def in_time(self, reminder: Mail) -> bool:
        """Say whether a reminder's window is still to come: inside it, the notice itself reminds."""
        departs_at = reminder.expires_at
        return departs_at is not None and self._now < departs_at - self._rules.remind_before

    def _reminder(self, told: AddressState, flight: Flight, departs_at: datetime) -> Mail:
        what: tuple[str, ...] = ("reminder", flight.number, departs_at.isoformat(), identity(told.address))
        late = timedelta(seconds=crc32("\x1f".join((self._message.booking, *what)).encode()) % SPREAD.seconds)
        if self._sequence:
            # The departure may have moved away and come back, and what was cancelled may be purged by now.
            what = (*what, f"#{self._sequence}")
        opens = departs_at - self._rules.remind_before
        content = Itinerary(told.names, (flight,), self._message.price, told.locale, thread=told.confirmation)
        return self._mail(Kind.REMINDER, told, *what, content=content, send_at=opens + late, expires_at=departs_at)

    def _news(self, told: AddressState) -> Itinerary:
        message, flights = self._message, self._flights
        return Itinerary(
            told.names,
            flights,
            message.price,
            told.locale,
            message.note,
            sequence=self._sequence,
            leaves_soon=any(map(self._leaves_soon, flights)),
            thread=told.confirmation,
        )

    def _leaves_soon(self, flight: Flight) -> bool:
        departs_at = flight.departs_at
        return departs_at is not None and departs_at - self._rules.remind_before <= self._now < departs_at

    def _subject(self, kind: Kind, flights: tuple[Flight, ...], told: AddressState) -> str:
        """Write a subject; those of one flight's reminders are all the same."""
        key = (kind, flights, told.locale)
        if key not in self._subjects:
            self._subjects[key] = self._rules.subject(kind, self._message.booking, flights, told.locale)
        return self._subjects[key]

    def _id(self, *what: str) -> str:
        """Name a mail by what it is; what was there before, and is still stored, keeps its name for itself."""
        message, named = self._message, (*self._founder, *what)
        id_ = mail_id(message.booking, *named)
        return mail_id(message.booking, *named, message.source, message.id) if id_ in self._taken else id_

    def _mail(
        self,
        kind: Kind,
        told: AddressState,
        *what: str,
        content: Itinerary,
        send_at: datetime | None = None,
        expires_at: datetime | None = None,
    ) -> Mail:
        message = self._message
        shown = content.flights
        id_ = self._id(*what)
        return Mail(
            id=id_,
            aggregate=message.aggregate,
            kind=kind,
            to=told.address,
            subject=self._subject(kind, shown, told),
            content=content,
            booking=message.booking,
            flight=shown[0] if kind is Kind.REMINDER else None,
            event=message.id,
            correlation=message.correlation,
            traceparent=message.traceparent,
            message_id=f"<{id_}@{self._rules.domain}>",
            created_at=self._now,
            send_at=send_at or self._now,
            expires_at=expires_at or _last_departure(shown),
            error=content.note,
        )


def _rewriting(
    mail: Mail, content: Itinerary | PlainContent, subject: str, flight: Flight | None, expires_at: datetime | None
) -> Rewritten | None:
    """Say what a mail should say instead, None if its reader would see no difference."""
    if not (isinstance(content, Itinerary) and isinstance(mail.content, Itinerary)):
        return None
    seen = replace(content, sequence=mail.content.sequence, thread=mail.content.thread)
    return None if seen == mail.content else Rewritten(subject, content, flight, expires_at)


def confirmation_id(booking: str, address: str) -> str:
    """Name the confirmation of a booking to an address as versions did that kept no `thread` in a mail."""
    return mail_id(booking, "confirmation", identity(address))
