"""The mails that a booking message calls for: what they say, when they are sent, and which ids they have. Pure."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from notifier.domain.addresses import identity
from notifier.domain.booking_update import Passenger
from notifier.domain.mail import (
    Amendment,
    Flight,
    Itinerary,
    Kind,
    Mail,
    PlainContent,
    Rewritten,
    Status,
    Withdrawn,
    mail_id,
)
from notifier.domain.planning import AddressState, BookingState, PlanningPolicy
from notifier.domain.precedence import InForce
from notifier.domain.reminder_time import is_before_window, is_in_window, reminder_time

CANCELLATION_NOTICE_LIFETIME = timedelta(hours=24)
"""How long a cancellation notice can be sent at least, also after the departure."""
NO_LONGER_FITS = Withdrawn("no longer fits the booking")

_FAR = datetime(9000, 1, 1, tzinfo=UTC)
"""Later departures count as this one when a booking is forgotten, so that the sum stays inside the calendar."""

ReminderKey = tuple[str, str, datetime | None]
"""What one reminder is about: the identity of its address, the flight's number, the departure (UTC)."""


def reminder_key(reminder: Mail) -> ReminderKey:
    """Return what a reminder is about."""
    flight = reminder.flight
    return (identity(reminder.to), flight.number, flight.departs_at) if flight else (reminder.id, "", None)


def last_departure(flights: Iterable[Flight]) -> datetime | None:
    """Return when the last flight departs (UTC) at the latest; the time zone of an airport can be unknown."""
    return max((flight.departs_by for flight in flights), default=None)


def forget_at(flights: Iterable[Flight], policy: PlanningPolicy, now: datetime) -> datetime:
    """Return when the state of a booking with these flights can be deleted."""
    return min(max(now, last_departure(flights) or now), _FAR) + policy.remember


def confirmation_id(booking: str, address: str) -> str:
    """Return the id of a confirmation as versions computed it that kept no `thread` in a mail."""
    return mail_id(booking, "confirmation", identity(address))


class Drafts:
    """Writes the mails that one message calls for, and decides about those that exist.

    `taken` has the ids that other mails have already.
    """

    def __init__(
        self,
        in_force: InForce,
        state: BookingState | None,
        taken: Container[str],
        *,
        policy: PlanningPolicy,
        now: datetime,
    ) -> None:
        message = in_force.message
        self._sequence = state.sequence + 1 if state else 0
        self._founder = state.founder if state else (message.source, message.id, now.isoformat())
        self._message = message
        self._flights = message.flights or (state.flights if state else ())
        self._taken = taken
        self._policy = policy
        self._now = now
        # Without versions the time distinguishes one state of a booking from the next.
        self._revision = str(message.version) if message.version is not None else message.time.isoformat()
        if in_force.restored:
            # Notices of this state can have been sent before, and purged.
            self._revision += f"#{self._sequence}"

    def addressee(self, party: Sequence[Passenger], before: AddressState | None) -> AddressState:
        """Return the state of an address that mails are written to; it keeps the id of its confirmation."""
        first = party[0]
        is_confirmed = before is not None and before.confirmed
        id_ = before.confirmation if before and is_confirmed else self._id("confirmation", identity(first.email))
        return AddressState(
            first.email, tuple(each.name for each in party), first.locale, included=True, confirmation=id_
        )

    def unreachable(self, passenger: Passenger) -> AddressState:
        """Return the state of an address that no mail can be sent to."""
        return replace(self.addressee([passenger], None), included=False, confirmed=False)

    def state(self, in_force: InForce, addresses: dict[str, AddressState]) -> BookingState:
        """Return the state of the booking after the message."""
        return BookingState(
            version=in_force.version,
            time=in_force.message.time,
            sequence=self._sequence,
            flights=self._flights,
            price=self._message.price,
            addresses=addresses,
            version_time=in_force.version_time,
            outdone=in_force.outdone,
            founder=self._founder,
        )

    def forget_at(self) -> datetime:
        """Return when the state of the booking can be deleted."""
        return forget_at(self._flights, self._policy, self._now)

    def confirmation(self, addressee: AddressState) -> Mail:
        """Write the confirmation to an address, which has the id that `addressee` gave it."""
        what = ("confirmation", identity(addressee.address))
        return self._mail(Kind.CONFIRMATION, addressee, *what, content=self._itinerary(addressee))

    def unmailable(self, passenger: Passenger) -> Mail:
        """Report an address that no mail can be sent to: a confirmation that has failed without an attempt."""
        addressee = self.addressee([passenger], None)
        what = ("unmailable", f"#{self._sequence}", identity(addressee.address))
        mail = self._mail(Kind.CONFIRMATION, addressee, *what, content=self._itinerary(addressee))
        return replace(
            mail, status=Status.FAILED, error=f"{passenger.email!r} is not a valid address: {passenger.fault}"
        )

    def notice(
        self,
        kind: Kind,
        addressee: AddressState,
        *,
        flights: tuple[Flight, ...] | None = None,
        before: tuple[Flight, ...] = (),
    ) -> Mail:
        """Write a notice that shows these `flights` (None: the booking's) and those `before` the change."""
        what = (kind, self._revision, identity(addressee.address))
        shown = self._flights if flights is None else flights
        content = replace(self._itinerary(addressee), before=before, flights=shown)
        last = last_departure((*shown, *self._flights))
        # A flight is often cancelled when it should have left, and a removed passenger can know the old times only.
        expires_at = max(last, self._now + CANCELLATION_NOTICE_LIFETIME) if last and kind is Kind.CANCELLATION else None
        return self._mail(kind, addressee, *what, content=content, expires_at=expires_at)

    def amendment(
        self, mail: Mail, wanted: Mapping[ReminderKey, Mail], addresses: Mapping[str, AddressState]
    ) -> Amendment | None:
        """Decide what a mail becomes by this message; None if it is right as it is.

        `wanted` has the reminders that the booking needs now.
        """
        if mail.kind is Kind.REMINDER:
            draft = wanted.get(reminder_key(mail))
            if draft is None:
                return NO_LONGER_FITS
            return _rewriting(mail, draft.content, draft.subject, draft.flight, draft.expires_at)
        addressee = addresses.get(identity(mail.to))
        if addressee is None or not addressee.confirmed or not isinstance(mail.content, Itinerary):
            return None
        if addressee.included is (mail.kind is Kind.CANCELLATION):
            return NO_LONGER_FITS
        if not addressee.included:
            return None
        content = replace(self._itinerary(addressee), before=mail.content.before)
        subject = self._subject(mail.kind, self._flights, addressee)
        return _rewriting(mail, content, subject, None, last_departure(self._flights))

    def reminders(self, addressee: AddressState) -> Iterator[Mail]:
        """Write one reminder for each flight of an address, also if its window has begun."""
        for flight in self._flights:
            if flight.departs_at:
                yield self._reminder(addressee, flight, flight.departs_at)

    def is_in_time(self, reminder: Mail) -> bool:
        """Return whether a reminder's window has not begun yet; inside it, the notice itself is the reminder."""
        departs_at = reminder.expires_at
        return departs_at is not None and is_before_window(departs_at, self._policy.remind_before, self._now)

    def _reminder(self, addressee: AddressState, flight: Flight, departs_at: datetime) -> Mail:
        what: tuple[str, ...] = ("reminder", flight.number, departs_at.isoformat(), identity(addressee.address))
        send_at = reminder_time(departs_at, self._policy.remind_before, self._message.booking, *what)
        if self._sequence:
            # The departure can have moved and come back, and the cancelled reminder can have been purged by now.
            what = (*what, f"#{self._sequence}")
        content = Itinerary(
            addressee.names, (flight,), self._message.price, addressee.locale, thread=addressee.confirmation
        )
        return self._mail(Kind.REMINDER, addressee, *what, content=content, send_at=send_at, expires_at=departs_at)

    def _itinerary(self, addressee: AddressState) -> Itinerary:
        message, flights = self._message, self._flights
        return Itinerary(
            addressee.names,
            flights,
            message.price,
            addressee.locale,
            message.note,
            sequence=self._sequence,
            leaves_soon=any(map(self._leaves_soon, flights)),
            thread=addressee.confirmation,
        )

    def _leaves_soon(self, flight: Flight) -> bool:
        departs_at = flight.departs_at
        return departs_at is not None and is_in_window(departs_at, self._policy.remind_before, self._now)

    def _subject(self, kind: Kind, flights: tuple[Flight, ...], addressee: AddressState) -> str:
        return self._policy.subject(kind, self._message.booking, flights, addressee.locale)

    def _id(self, *what: str) -> str:
        """Compute the id of a mail; if an older mail that is still stored has it, a different one."""
        message, named = self._message, (*self._founder, *what)
        id_ = mail_id(message.booking, *named)
        return mail_id(message.booking, *named, message.source, message.id) if id_ in self._taken else id_

    def _mail(
        self,
        kind: Kind,
        addressee: AddressState,
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
            to=addressee.address,
            subject=self._subject(kind, shown, addressee),
            content=content,
            booking=message.booking,
            flight=shown[0] if kind is Kind.REMINDER else None,
            event=message.id,
            correlation=message.correlation,
            traceparent=message.traceparent,
            message_id=f"<{id_}@{self._policy.domain}>",
            created_at=self._now,
            send_at=send_at or self._now,
            expires_at=expires_at or last_departure(shown),
            error=content.note,
        )


def _rewriting(
    mail: Mail, content: Itinerary | PlainContent, subject: str, flight: Flight | None, expires_at: datetime | None
) -> Rewritten | None:
    """Return the amendment that gives a mail this content; None if its reader would see no difference."""
    if not (isinstance(content, Itinerary) and isinstance(mail.content, Itinerary)):
        return None
    seen = replace(content, sequence=mail.content.sequence, thread=mail.content.thread)
    return None if seen == mail.content else Rewritten(subject, content, flight, expires_at)
