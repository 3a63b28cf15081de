"""The variables of templates: every time, place and change of a booking's mail, in words. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from notifier.composing.locale_strings import LocaleStrings
from notifier.domain.airports import city
from notifier.domain.mail import AirportTime, Flight, Itinerary, Kind, Mail

_DAY = timedelta(days=1)


class Time(NamedTuple):
    """A time on an airport's clock."""

    date: str
    """The date in words, such as `Tue 1 Dec 2026`."""
    time: str
    """The time of day, such as `09:30`."""
    zone: str
    """The time zone, such as `IST, UTC+05:30`."""


class Place(NamedTuple):
    """An airport: its IATA code and, if it is known, its city."""

    code: str
    city: str

    def __str__(self) -> str:
        return f"{self.city} ({self.code})" if self.city else self.code


class FlightView(NamedTuple):
    """A flight in words; unknown details are empty.

    `days_later` is how many days after the date of departure the flight arrives. `was` is the flight
    before a change, or None if it has not changed. `is_new` is whether a change added the flight.
    """

    number: str
    origin: Place
    destination: Place
    departs: Time
    arrives: Time | None
    days_later: int
    duration: str
    seat: str
    gate: str
    was: "FlightView | None" = None
    is_new: bool = False


def subject_view(booking: str, flights: Sequence[Flight], words: LocaleStrings) -> dict[str, Any]:
    """Return the variables of a subject."""
    return {"booking": booking, "flights": [_flight(each, words) for each in flights], "words": words.labels}


def mail_view(mail: Mail, content: Itinerary, words: LocaleStrings) -> dict[str, Any]:
    """Return the variables of a mail's text and HTML."""
    flights, removed = list(content.flights), []
    views = [_flight(each, words) for each in flights]
    if mail.kind is Kind.CHANGE and content.before:
        views = list(_compared(content.before, flights, words))
        kept = set(_keys(flights))
        removed = [
            _flight(flight, words)
            for key, flight in zip(_keys(content.before), content.before, strict=True)
            if key not in kept
        ]
    return {
        "kind": mail.kind.value,
        "subject": mail.subject,
        "booking": mail.booking or "",
        "names": content.names,
        "flights": views,
        "removed": removed,
        "price": content.price,
        "leaves_soon": content.leaves_soon,
        "words": words.labels,
    }


def _compared(before: Sequence[Flight], flights: Sequence[Flight], words: LocaleStrings) -> Iterator[FlightView]:
    old = dict(zip(_keys(before), before, strict=True))
    for key, flight in zip(_keys(flights), flights, strict=True):
        shown, was = _flight(flight, words), old.get(key)
        yield shown._replace(is_new=was is None, was=_flight(was, words) if was and was != flight else None)


def _keys(flights: Iterable[Flight]) -> list[tuple[str, int]]:
    """Return a key for each flight: its number, and its position among the flights with the same number."""
    numbers = [flight.number for flight in flights]
    return [(number, numbers[:place].count(number)) for place, number in enumerate(numbers)]


@lru_cache(maxsize=1024)  # the mails of a booking share their flights, and each has a subject, a text and a page
def _flight(flight: Flight, words: LocaleStrings) -> FlightView:
    arrives, departs = flight.arrives, flight.departs
    took = arrives.at - departs.at if arrives and arrives.at and departs.at else None
    return FlightView(
        flight.number,
        Place(flight.origin, city(flight.origin) or ""),
        Place(flight.destination, city(flight.destination) or ""),
        _time(departs, words),
        _time(arrives, words) if arrives else None,
        (arrives.clock.date() - departs.clock.date()) // _DAY if arrives else 0,
        words.duration_of(took) if took and timedelta(0) < took < _DAY else "",
        flight.seat or "",
        flight.gate or "",
    )


def _time(time: AirportTime, words: LocaleStrings) -> Time:
    clock = time.clock
    return Time(words.date_of(clock), f"{clock.hour:02}:{clock.minute:02}", words.zone_of(time))
