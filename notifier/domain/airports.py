"""Departure times: from a text and an airport to the time in UTC and on the airport's clocks. Pure."""

import csv
import zoneinfo
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from sys import intern
from typing import NamedTuple
from zoneinfo import ZoneInfo

from notifier.domain.mail import AirportTime

# The system's zone files can be a year old; the pinned tzdata package is the same everywhere.
zoneinfo.reset_tzpath(to=())

_NO_CODE = '""'
"""How a line of the table has an empty IATA code."""
_FIRST_YEAR, LAST_YEAR = 1971, 9998
"""The first and the last year that a time in a message can have."""


class Airport(NamedTuple):
    """What notifier needs to know of an airport."""

    city: str
    """The city in Latin letters; empty if it is unknown."""
    zone: str
    """The name of its time zone in the tz database; empty if it is unknown."""


RETIRED = {
    "FRU": Airport("Bishkek", "Asia/Bishkek"),
    "SXF": Airport("Berlin", "Europe/Berlin"),
    "THF": Airport("Berlin", "Europe/Berlin"),
    "TSE": Airport("Astana", "Asia/Almaty"),
}
"""The codes that IATA has withdrawn and bookings still have."""
_UNKNOWN = Airport("", "")


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
    return _airport(airport).city or None


def load() -> None:
    """Read the table of airports before the first booking needs it."""
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
    name = _airport(airport).zone
    return ZoneInfo(name) if name else None


def _airport(code: str) -> Airport:
    code = code.upper()
    return _airports().get(code) or RETIRED.get(code, _UNKNOWN)


@cache
def _airports() -> dict[str, Airport]:
    """Return all airports by IATA code, read from the table of the package airportsdata.

    The package's own `load` takes four times as long and five times the memory, because it keeps all columns.
    """
    with (resources.files("airportsdata") / "airports.csv").open(encoding="utf-8") as file:
        columns = next(csv.reader([next(file)]))
        code, name, zone = map(columns.index, ("iata", "city", "tz"))
        rows = csv.reader(_with_code(file, code))
        return {row[code]: Airport(row[name], intern(row[zone])) for row in rows}


def _with_code(lines: Iterable[str], column: int) -> Iterator[str]:
    """Yield the lines of airports that have an IATA code: about a quarter of all, and the others are not parsed."""
    for line in lines:
        if line.split(",", column + 1)[column] != _NO_CODE:
            yield line
