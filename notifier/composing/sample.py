"""Sample mails of each kind, for previews and to check templates with."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from notifier.domain.mail import AirportTime, Flight, Itinerary, Kind, Mail, Price, mail_id

BOOKING = "RXJ34P"
NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
_IST = timedelta(hours=5, minutes=30)
_CET = timedelta(hours=1)
_MONTH = timedelta(days=31)
"""Twelve steps from 1 December fall into twelve months, and any seven in a row on seven weekdays."""


def _at(day: int, hour: int, minute: int, east: timedelta, zone: str | None) -> AirportTime:
    clock = datetime(2026, 12, day, hour, minute)  # noqa: DTZ001 - what an airport's clock shows
    return AirportTime((clock - east).replace(tzinfo=UTC), clock, zone)


SHORT = Flight("AI101", "DEL", "BLR", _at(1, 9, 30, _IST, "IST"), _at(1, 12, 20, _IST, "IST"), "12A", "4")
LONG = Flight("LH755", "BLR", "FRA", _at(2, 23, 35, _IST, "IST"), _at(3, 4, 50, _CET, "CET"), "33K")
_EARLIER = Flight("AI101", "DEL", "BLR", _at(1, 7, 10, _IST, "IST"), _at(1, 10, 0, _IST, "IST"), "12A", "7")
_GONE = Flight("AI505", "DEL", "BLR", _at(1, 18, 0, _IST, "IST"))
_BARE = Flight("XX1", "ZZZ", "QQQ", AirportTime(None, datetime(2026, 12, 1, 9, 30)))  # noqa: DTZ001 - what an airport's clock shows


def sample_mail(kind: Kind, locale: str) -> Mail:
    """Return a mail with everything that its kind can have."""
    flights = (SHORT,) if kind is Kind.REMINDER else (SHORT, LONG)
    before = (_EARLIER, _GONE) if kind is Kind.CHANGE else ()
    content = Itinerary(
        ("Asha Rao", "Ravi Rao"), flights, Price("5400.00", "INR"), locale, sequence=len(before), before=before
    )
    return _mail(kind, content)


def sample_mails(locale: str) -> Iterator[tuple[Mail, Itinerary]]:
    """Yield mails of each kind, with everything that they can have and with as little as possible."""
    for kind in (Kind.CONFIRMATION, Kind.CHANGE, Kind.CANCELLATION, Kind.REMINDER):
        full = sample_mail(kind, locale).content
        bare = Itinerary((), (_BARE,), locale=locale, leaves_soon=True)
        for content in (full, bare, *([Itinerary((), (), locale=locale)] if kind is Kind.CANCELLATION else [])):
            if isinstance(content, Itinerary):
                yield _mail(kind, content), content


def dated_mails(locale: str) -> Iterator[tuple[Mail, Itinerary]]:
    """Yield mails of each kind that have departures on every weekday and in every month."""
    for mail, content in sample_mails(locale):
        if content.names:
            for months in range(12):
                later = _later(content, months * _MONTH)
                yield replace(mail, content=later), later


def _later(content: Itinerary, by: timedelta) -> Itinerary:
    flights, before = (
        tuple(
            replace(each, departs=_moved(each.departs, by), arrives=_moved(each.arrives, by) if each.arrives else None)
            for each in flights
        )
        for flights in (content.flights, content.before)
    )
    return replace(content, flights=flights, before=before)


def _moved(time: AirportTime, by: timedelta) -> AirportTime:
    return AirportTime(time.at + by if time.at else None, time.clock + by, time.zone)


def _mail(kind: Kind, content: Itinerary) -> Mail:
    id_ = mail_id(BOOKING, "sample", kind)
    return Mail(
        id=id_,
        aggregate=f"booking:{BOOKING}",
        kind=kind,
        to="asha@example.com",
        subject="Sample",
        content=content,
        booking=BOOKING,
        event="sample",
        message_id=f"<{id_}@example.com>",
        created_at=NOW,
        send_at=NOW,
        first_attempt_at=NOW,
    )
