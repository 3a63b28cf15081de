"""What a booking message says: the whole new state of a booking, or its end. Pure."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from notifier.domain.addresses import identity
from notifier.domain.mail import Flight, Kind, Price
from notifier.domain.planning import SubjectKey

UNNAMED = 10
"""Estimate of the mails that a change or a cancellation concerns without naming their addresses."""


class Change(StrEnum):
    """What a booking message says has happened."""

    CONFIRMED = "booking.confirmed"
    CHANGED = "booking.changed"
    CANCELLED = "booking.cancelled"


class Passenger(Struct, frozen=True):
    """One traveller."""

    name: str
    email: str
    """The normalised address; as it came in the message if there is a `fault`."""
    locale: str | None = None
    """The language of the mails, as a BCP 47 tag (RFC 5646); None: the default."""
    fault: str | None = None
    """Why no mail can be sent to `email`; None if it can."""


_NOTICES = {
    # A confirmation that still waits is rewritten by a change.
    Change.CONFIRMED: (Kind.CONFIRMATION,),
    Change.CHANGED: (Kind.CHANGE, Kind.CONFIRMATION),
    Change.CANCELLED: (Kind.CANCELLATION,),
}


class BookingUpdate(Struct, frozen=True, kw_only=True):
    """The content of a booking message. All times are UTC."""

    id: str
    """The message's id, unique within its source."""
    source: str
    """Who published the message."""
    correlation: str | None = None
    """The AMQP correlation id, which the events of its mails carry on."""
    traceparent: str | None = None
    """The W3C trace of the message, which the events of its mails carry on."""
    change: Change
    """What has happened to the booking."""
    booking: str
    """The booking's reference."""
    version: int | None = None
    """Its number among the booking's messages, the highest of which wins; None if the publisher counts none."""
    time: datetime
    """When the message was written. It decides which message wins if one of them has no version."""
    passengers: tuple[Passenger, ...] = ()
    """All travellers; a cancellation can leave them out."""
    flights: tuple[Flight, ...] = ()
    """All flights in order; a cancellation can leave them out."""
    price: Price | None = None
    """What the booking costs."""
    note: str | None = None
    """What is wrong with the message without being a reason to reject it."""

    @property
    def aggregate(self) -> str:
        """The aggregate that its mails belong to."""
        return f"booking:{self.booking}"

    @property
    def rows(self) -> int:
        """A rough estimate of the mails that it adds or changes, by which transactions are bounded."""
        mails = max(1, len(self.passengers)) * (max(1, len(self.flights)) + 1)
        return mails if self.change is Change.CONFIRMED else max(UNNAMED, 2 * mails)

    @property
    def named(self) -> set[str]:
        """The identities of its addresses."""
        return {identity(passenger.email) for passenger in self.passengers}

    def subjects(self) -> Iterator[SubjectKey]:
        """List the subjects that planning it is likely to need; the others depend on earlier messages."""
        reminded = [] if self.change is Change.CANCELLED else [flight for flight in self.flights if flight.departs_at]
        for locale in dict.fromkeys(passenger.locale for passenger in self.passengers):
            for kind in _NOTICES[self.change]:
                yield kind, self.booking, self.flights, locale
            for flight in reminded:
                yield Kind.REMINDER, self.booking, (flight,), locale
