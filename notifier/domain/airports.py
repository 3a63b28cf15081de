"""Departure times: from a text and an airport to the time in UTC and on the airport's clocks. Pure."""

import zoneinfo
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo

import airportsdata

from notifier.domain.mail import AirportTime

# The system's zone files can be a year old; the pinned tzdata package is the same everywhere.
zoneinfo.reset_tzpath(to=())

_FIRST_YEAR, LAST_YEAR = 1971, 9998
"""The first and the last year that a time in a message can have."""

RETIRED = {
    "FRU": ("Bishkek", "Asia/Bishkek"),
    "SXF": ("Berlin", "Europe/Berlin"),
    "THF": ("Berlin", "Europe/Berlin"),
    "TSE": ("Astana", "Asia/Almaty"),
}
"""City and time zone of the codes that IATA has withdrawn and bookings still have."""


def moment(text: str, airport: str) -> AirportTime:
    """Return an RFC 3339 time at the airport with this IATA code.

    Without an offset it is the airport's local time: in the hour that a clock change repeats it is the first one, and
    in the hour that a clock change skips it is as if the clock had not changed (PEP 495, fold=0). If the airport is
    unknown too, only the clock's time is known. Raises ValueError if the text is not a time.
    """
    given = parse(text)
    zone = _zone(airport)
    if given.tzinfo is None:
        if zone is None:
            return AirportTime(None, given)
        at = given.replace(tzinfo=zone).astimezone(UTC)
    else:
        at = given.astimezone(UTC)
    local = at.astimezone(zone) if zone else given
    name = local.tzname() or ""
    # Zones without an abbreviation are named by their offset, which mails show anyway.
    return AirportTime(at, local.replace(tzinfo=None), name if name.isalpha() and name != "UTC" else None)


def city(airport: str) -> str | None:
    """Return the city of the airport with this IATA code; None if it is unknown."""
    code = airport.upper()
    known = _airports().get(code)
    return known["city"] or None if known else RETIRED.get(code, (None, ""))[0]


def load() -> None:
    """Read the table of airports, which takes a while, before the first booking needs it."""
    _airports()


def parse(text: str) -> datetime:
    """Return an RFC 3339 time, with or without an offset. Raises ValueError with an example of what is expected."""
    shape_is_right = len(text) >= len("2026-12-01T09:30") and text[10:11] in "Tt "
    try:
        given = datetime.fromisoformat(text.upper()) if shape_is_right else None
    except ValueError:
        given = None
    # The years leave a day on both sides, so that no change of the time zone can leave the calendar.
    if given is None or not _FIRST_YEAR <= given.year <= LAST_YEAR:
        raise ValueError(f"{text[:40]!r} is not a time such as 2026-12-01T09:30:00+05:30")
    return given


def _zone(airport: str) -> ZoneInfo | None:
    code = airport.upper()
    known = _airports().get(code)
    name = known["tz"] if known else RETIRED.get(code, ("", ""))[1]
    return ZoneInfo(name) if name else None


@cache
def _airports() -> dict[str, airportsdata.Airport]:
    return airportsdata.load("IATA")
