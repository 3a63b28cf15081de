"""From a booking message and what is known of the booking to the mails that should exist. Pure.

Newer wins: a message that is not newer than the newest one handled plans
nothing, so messages may come late, twice and in any order.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from zlib import crc32

from msgspec import Struct
from msgspec.structs import replace

from notifier.addresses import identity
from notifier.mail import Flight, Itinerary, Kind, Mail, Price, Status, mail_id, standing_note
from notifier.planning import Known, KnownBooking, Plan, Rules, Told, withdrawn

SPREAD = timedelta(minutes=50)
"""Reminders of one flight start within this long, spread so that a full aircraft is no burst.

Their window is an hour; ten minutes of it are left for sending.
"""

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
    def matter(self) -> str:
        """What the message's mails belong to."""
        return f"booking:{self.booking}"

    @property
    def named(self) -> set[str]:
        """The identities of its addresses."""
        return {identity(passenger.email) for passenger in self.passengers}

    def plan(self, known: Known | None, existing: Sequence[Mail], rules: Rules, now: datetime) -> Plan:
        """Decide what becomes of the booking's mails (`existing`, in any status)."""
        before = known if isinstance(known, KnownBooking) else None
        if before and not _newer(self, before):
            return Plan()
        if self.change is Change.CANCELLED:
            return _end(self, before, existing, rules, now)
        return _state(self, before, existing, rules, now)


def _newer(message: BookingMessage, known: KnownBooking) -> bool:
    if message.version is not None and known.version is not None:
        return message.version > known.version
    return message.time > known.time


def _state(
    message: BookingMessage, known: KnownBooking | None, existing: Sequence[Mail], rules: Rules, now: datetime
) -> Plan:
    """Plan for a booking as it now is: news to each address, and the reminders that fit."""
    drafts = _Drafts(message, message.flights, known, rules, now)
    parties = _parties(message.passengers)
    told = dict(known.told) if known else {}
    added = [drafts.unmailable(passenger) for passenger in message.passengers if passenger.fault]
    for who, party in parties.items():
        before, told[who] = told.get(who), _told(party)
        if before is None:
            added.append(drafts.confirmation(party))
        elif known and (_seen(before), known.flights, known.price) != (
            _seen(told[who]),
            message.flights,
            message.price,
        ):
            # Who comes back is told how the booking is, not what happened to it meanwhile.
            added.append(drafts.notice(Kind.CHANGE, told[who], before=known.flights if before.included else ()))
    for who, gone in [(who, each) for who, each in told.items() if each.included and who not in parties]:
        told[who] = replace(gone, included=False)
        if gone.address:
            added.append(drafts.notice(Kind.CANCELLATION, gone, flights=known.flights if known else None))
    cancelled = {mail.id for mail in existing if mail.status is Status.CANCELLED}
    wanted = {_about(mail): mail for mail in drafts.reminders(parties, cancelled)}
    there = {_about(mail): mail for mail in existing if _is_live_reminder(mail)}
    settled = there.keys() | _reminded_before(known)
    return Plan(
        added=(*added, *(mail for about, mail in wanted.items() if about not in settled and drafts.in_time(mail))),
        changed=withdrawn((mail for about, mail in there.items() if about not in wanted), "no longer fits the booking"),
        rewritten=(*_rewritten(there, wanted), *drafts.updated(existing, told)),
        known=KnownBooking(message.version, message.time, drafts.sequence, message.flights, message.price, told),
        forget_at=_forget_at(message.flights, rules, now),
    )


def _end(
    message: BookingMessage, known: KnownBooking | None, existing: Sequence[Mail], rules: Rules, now: datetime
) -> Plan:
    """Plan for a cancelled booking: nothing unsent stays, and everyone who is still in is told once."""
    flights = message.flights or (known.flights if known else ())
    drafts = _Drafts(message, flights, known, rules, now)
    told = dict(known.told) if known else {}
    for who, party in _parties(message.passengers).items():
        before = told.setdefault(who, _told(party))
        if not before.address:
            told[who] = replace(_told(party), included=before.included)
    # Who was told before and has not got it yet is told again: that notice is withdrawn with all the rest.
    untold = {identity(mail.to) for mail in existing if _is_waiting_farewell(mail)}
    return Plan(
        added=tuple(
            drafts.notice(Kind.CANCELLATION, each)
            for who, each in told.items()
            if each.address and (each.included or who in untold)
        ),
        changed=withdrawn(existing, "the booking was cancelled"),
        known=KnownBooking(
            message.version,
            message.time,
            drafts.sequence,
            flights,
            message.price,
            {who: replace(each, included=False) for who, each in told.items()},
        ),
        forget_at=_forget_at(flights, rules, now),
    )


def _is_live_reminder(mail: Mail) -> bool:
    return mail.kind is Kind.REMINDER and mail.status is not Status.CANCELLED


def _is_waiting_farewell(mail: Mail) -> bool:
    return mail.kind is Kind.CANCELLATION and mail.status is Status.PENDING


def _rewritten(there: Mapping[Reminded, Mail], wanted: Mapping[Reminded, Mail]) -> Iterator[Mail]:
    """Let reminders that stay say what holds now: another seat, another gate, another name."""
    for about in there.keys() & wanted.keys():
        old, new = there[about], wanted[about]
        if _can_be_rewritten(old) and old.content != new.content:
            yield replace(old, subject=new.subject, content=new.content, flight=new.flight, error=new.error)


def _can_be_rewritten(mail: Mail) -> bool:
    """Say whether a mail waits and nobody can have it: one whose outcome is unknown must be repeated as it was."""
    return mail.status is Status.PENDING and mail.error in (None, standing_note(mail))


def _seen(told: Told) -> tuple[list[str], bool]:
    """Reduce what an address was told to what its reader would notice."""
    return sorted(told.names), told.included


def _about(reminder: Mail) -> Reminded:
    flight = reminder.flight
    return (identity(reminder.to), flight.number, flight.departs_at) if flight else (reminder.id, "", None)


def _reminded_before(known: KnownBooking | None) -> set[Reminded]:
    """What the state before wanted reminders for: one that is gone since then was cancelled by an operator."""
    if known is None:
        return set()
    included = [who for who, told in known.told.items() if told.included and told.address]
    return {(who, flight.number, flight.departs_at) for who in included for flight in known.flights}


def _told(party: Sequence[Passenger]) -> Told:
    return Told(party[0].email, tuple(passenger.name for passenger in party), party[0].locale, included=True)


def _parties(passengers: Iterable[Passenger]) -> dict[str, list[Passenger]]:
    """Group those whom mail can reach by address: who shares one gets one mail that names them all."""
    parties: dict[str, list[Passenger]] = {}
    for passenger in passengers:
        if not passenger.fault:
            parties.setdefault(identity(passenger.email), []).append(passenger)
    return parties


def _last_departure(flights: Iterable[Flight]) -> datetime | None:
    return max((flight.departs_at for flight in flights if flight.departs_at), default=None)


def _forget_at(flights: Iterable[Flight], rules: Rules, now: datetime) -> datetime:
    return max(now, _last_departure(flights) or now) + rules.remember


class _Drafts:
    """Writes the mails that one message calls for."""

    def __init__(
        self,
        message: BookingMessage,
        flights: tuple[Flight, ...],
        known: KnownBooking | None,
        rules: Rules,
        now: datetime,
    ) -> None:
        self.sequence = known.sequence + 1 if known else 0
        self._message = message
        self._flights = flights
        self._rules = rules
        self._now = now
        # Without versions the time tells one state of a booking from the next.
        self._state = str(message.version) if message.version is not None else message.time.isoformat()

    def confirmation(self, party: Sequence[Passenger]) -> Mail:
        told = _told(party)
        what = _confirmation(told.address)
        return self._mail(Kind.CONFIRMATION, told, *what, content=self._news(told))

    def unmailable(self, passenger: Passenger) -> Mail:
        """Report an address that no mail can go to: a confirmation that failed before its first attempt."""
        mail = self.confirmation([passenger])
        return replace(mail, status=Status.FAILED, error=f"{passenger.email!r} is no address: {passenger.fault}")

    def notice(
        self, kind: Kind, told: Told, *, flights: tuple[Flight, ...] | None = None, before: tuple[Flight, ...] = ()
    ) -> Mail:
        what = (kind, self._state, identity(told.address))
        content = replace(self._news(told), before=before)
        return self._mail(kind, told, *what, content=content if flights is None else replace(content, flights=flights))

    def updated(self, existing: Iterable[Mail], told: Mapping[str, Told]) -> Iterator[Mail]:
        """Let confirmations and notices that still wait, perhaps behind newer ones, say what holds now."""
        for mail in existing:
            now_told = told.get(identity(mail.to))
            if not now_told or not now_told.included or mail.kind not in (Kind.CONFIRMATION, Kind.CHANGE):
                continue
            if _can_be_rewritten(mail) and isinstance(mail.content, Itinerary):
                content = replace(self._news(now_told), before=mail.content.before)
                subject = self._subject(mail.kind, self._flights, now_told)
                yield replace(mail, subject=subject, content=content, expires_at=_last_departure(self._flights))

    def reminders(self, parties: Mapping[str, Sequence[Passenger]], cancelled: Container[str]) -> Iterator[Mail]:
        """One for each address and flight, also those whose window has begun."""
        for party in parties.values():
            for flight in self._flights:
                if flight.departs_at:
                    yield self._reminder(_told(party), flight, flight.departs_at, cancelled)

    def in_time(self, reminder: Mail) -> bool:
        """Say whether a reminder's window is still to come: inside it, the notice itself reminds."""
        departs_at = reminder.expires_at
        return departs_at is not None and self._now < departs_at - self._rules.remind_before

    def _reminder(self, told: Told, flight: Flight, departs_at: datetime, cancelled: Container[str]) -> Mail:
        what: tuple[str, ...] = ("reminder", flight.number, departs_at.isoformat(), identity(told.address))
        late = timedelta(seconds=crc32("\x1f".join((self._message.booking, *what)).encode()) % SPREAD.seconds)
        if mail_id(self._message.booking, *what) in cancelled:
            # The departure moved away and is back: what was cancelled stays so, another takes its place.
            what = (*what, self._state)
        opens = departs_at - self._rules.remind_before
        content = Itinerary(told.names, (flight,), self._message.price, told.locale, self._message.note)
        return self._mail(Kind.REMINDER, told, *what, content=content, send_at=opens + late, expires_at=departs_at)

    def _news(self, told: Told) -> Itinerary:
        message, flights = self._message, self._flights
        return Itinerary(
            told.names,
            flights,
            message.price,
            told.locale,
            message.note,
            sequence=self.sequence,
            leaves_soon=any(map(self._leaves_soon, flights)),
        )

    def _leaves_soon(self, flight: Flight) -> bool:
        departs_at = flight.departs_at
        return departs_at is not None and departs_at - self._rules.remind_before <= self._now < departs_at

    def _subject(self, kind: Kind, flights: Sequence[Flight], told: Told) -> str:
        return self._rules.subject(kind, self._message.booking, flights, told.locale)

    def _mail(
        self,
        kind: Kind,
        told: Told,
        *what: str,
        content: Itinerary,
        send_at: datetime | None = None,
        expires_at: datetime | None = None,
    ) -> Mail:
        message = self._message
        shown = content.flights
        id_ = mail_id(message.booking, *what)
        return Mail(
            id=id_,
            matter=message.matter,
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
            error=message.note,
        )


def confirmation_id(booking: str, address: str) -> str:
    """Name the confirmation of a booking to an address, to which its later mails refer."""
    return mail_id(booking, *_confirmation(address))


def _confirmation(address: str) -> tuple[str, str]:
    return "confirmation", identity(address)
