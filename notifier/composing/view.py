"""What a template sees of a booking's mail: every time, place and change in words. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from notifier.composing.words import LocaleStrings
from notifier.domain.airports import city
from notifier.domain.mail import AirportTime, Flight, Itinerary, Kind, Mail

_DAY = timedelta(days=1)


class Time(NamedTuple):
    """A time on an airport's clock: `time` is 09:30, `zone` tells it from the reader's own."""

    date: str
    time: str
    zone: str


class Place(NamedTuple):
    """An airport: its code and, where it is known, its city."""

    code: str
    city: str

    def __str__(self) -> str:
        return f"{self.city} ({self.code})" if self.city else self.code


class FlightView(NamedTuple):
    """A flight in words; what is not known is empty.

    `days_later` is how many days after the departure's date it arrives. `was` is the
    flight before a change, None where it is as it was; `is_new` that it was added.
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
    """Give what a subject may say."""
    return {"booking": booking, "flights": [_flight(each, words) for each in flights], "words": words.labels}


def mail_view(mail: Mail, content: Itinerary, words: LocaleStrings) -> dict[str, Any]:
    """Give what the text and the page of a mail may say."""
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
    """Tell flights apart by number and, where a booking has one number several times, by their order."""
    numbers = [flight.number for flight in flights]
    return [(number, numbers[:place].count(number)) for place, number in enumerate(numbers)]


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
