"""Booking messages, and a minimal store of one booking's mails, for the tests of its planning."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from support.samples import DEPARTURE, NOW, RULES, flight

from notifier.domain.addresses import identity
from notifier.domain.booking import BookingMessage, Change, Passenger
from notifier.domain.mail import (
    NEXT,
    Amendment,
    Itinerary,
    Kind,
    Mail,
    Reply,
    Status,
    amended,
    claimed,
    sent,
)
from notifier.domain.planning import SUPERSEDED, AggregateState, BookingState, Plan

ASHA = Passenger("Asha Rao", "asha@example.com", "en")
RAVI = Passenger("Ravi Rao", "ravi@example.com")
MORNING = flight()
EVENING = flight(departs_at=DEPARTURE + timedelta(hours=12))
LATER_ON = flight(departs_at=DEPARTURE + timedelta(days=3))
SOON = flight(departs_at=NOW + timedelta(hours=2, minutes=30))
LOST = flight(number="XX1", departs_at=None)
CHOICES = (MORNING, EVENING, SOON, LOST, flight(seat="14C"), flight(number="AI202"))
# All kinds of mails to an address but reminders.
NOTICES = (Kind.CONFIRMATION, Kind.CHANGE, Kind.CANCELLATION)
Reminded = tuple[str, str, datetime | None]


def confirmed(version: int | None = 1, **changes: Any) -> BookingMessage:
    """Build a message that confirms a booking; the later the higher its version."""
    fields: dict[str, Any] = {
        "id": f"m{version}",
        "source": "/booking-service",
        "change": Change.CONFIRMED,
        "booking": "RXJ34P",
        "version": version,
        "time": NOW + timedelta(seconds=version or 0),
        "passengers": (ASHA,),
        "flights": (MORNING,),
    }
    return BookingMessage(**{**fields, **changes})


def changed(version: int | None = 2, **changes: Any) -> BookingMessage:
    """Build a message that changes the booking."""
    return confirmed(version, **{"change": Change.CHANGED, **changes})


def ended(version: int | None = 3, **changes: Any) -> BookingMessage:
    """Build a message that cancels the booking and names nobody."""
    return confirmed(version, **{"change": Change.CANCELLED, "passengers": (), "flights": (), **changes})


class Shelf:
    """A minimal store: the mails of one booking, its state, and the ids of handled messages."""

    def __init__(self, *messages: BookingMessage, now: datetime = NOW) -> None:
        self.mails: dict[str, Mail] = {}
        self.amendments: dict[str, Amendment | None] = {}
        self.state: AggregateState | None = None
        self.handled: set[tuple[str, str]] = set()
        for message in messages:
            self.deliver(message, now)

    def deliver(self, message: BookingMessage, now: datetime = NOW) -> Plan:
        """Handle a message once: mails are inserted by id and changed only if the rev matches."""
        if (message.source, message.id) in self.handled:
            return Plan()
        self.handled.add((message.source, message.id))
        plan = message.plan(self.state, self.open(), RULES, now, self.mails.keys())
        assert message.concerns_mails(self.state) or not (plan.added or plan.changed or plan.amended)
        for mail in plan.added:
            assert mail.id not in self.mails
            self.mails[mail.id] = mail
        for mail in plan.changed:
            self.put(mail)
        self.amendments.update(plan.amended)
        if plan.state:
            self.state = msgspec.json.decode(msgspec.json.encode(plan.state), type=BookingState)
        return plan

    def open(self) -> tuple[Mail, ...]:
        """List the mails that can still change, but for superseded ones: a store reads no others for a message."""
        return tuple(
            mail
            for mail in self.mails.values()
            if mail.status not in (Status.SENT, Status.CANCELLED, Status.EXPIRED)
            and self.amendments.get(mail.id) != SUPERSEDED
        )

    def put(self, mail: Mail) -> None:
        """Write a mail as it is after a change, unless another change came first; one that waits again is amended."""
        before = self.mails[mail.id]
        if before.rev != mail.rev - 1:
            return
        assert mail.status in NEXT[before.status] or mail.status is before.status is Status.PENDING
        returns = mail.status is Status.PENDING is not before.status
        self.mails[mail.id] = amended(mail, self.amendments.pop(mail.id, None) if returns else None)[-1]

    def send(self, how_many: int) -> None:
        """Send the oldest pending notices."""
        for mail in [mail for mail in self.pending() if mail.kind is not Kind.REMINDER][:how_many]:
            self.put(claimed(mail, NOW))
            self.put(sent(self.mails[mail.id], Reply(250, "ok"), NOW))

    def pending(self) -> list[Mail]:
        """List the mails that wait, in the order in which they were added."""
        return [mail for mail in self.mails.values() if mail.status is Status.PENDING]

    def reminders(self) -> list[Reminded]:
        """List what the pending reminders are about."""
        return [about(mail) for mail in self.pending() if mail.kind is Kind.REMINDER]

    def notices(self, who: str) -> list[Mail]:
        """List the mails that an address was sent or is going to be sent, in order, without reminders."""
        return [
            mail
            for mail in self.mails.values()
            if mail.kind in NOTICES and identity(mail.to) == who and mail.status in (Status.PENDING, Status.SENT)
        ]


def about(mail: Mail) -> Reminded:
    """Return what a reminder is about."""
    assert mail.flight
    return (identity(mail.to), mail.flight.number, mail.flight.departs_at)


def kinds(mails: Iterable[Mail]) -> list[Kind]:
    """List the kinds of mails."""
    return [mail.kind for mail in mails]


def names(mail: Mail) -> tuple[str, ...]:
    """Return the passengers whom a mail greets."""
    assert isinstance(mail.content, Itinerary)
    return mail.content.names


def expected_reminders(last: BookingMessage) -> set[Reminded]:
    """Return the reminders that the last state of a booking needs, by the contract and not by the code."""
    if last.change is Change.CANCELLED:
        return set()
    return {
        (passenger.email.lower(), each.number, each.departs_at)
        for passenger in last.passengers
        for each in last.flights
        if each.departs_at and each.departs_at - timedelta(hours=3) > NOW
    }


def addresses_of(shelf: Shelf) -> set[str]:
    """Return the identities of all addresses that have mails."""
    return {identity(mail.to) for mail in shelf.mails.values()}
