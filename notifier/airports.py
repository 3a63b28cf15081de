"""Departure times: a text and an airport become a moment in UTC and the words on the airport's clock."""

import zoneinfo
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import airportsdata

# The system's zone files can be a year old; the pinned tzdata package is the same everywhere.
zoneinfo.reset_tzpath(to=())


class Moment(NamedTuple):
    """A time as given: `at` in UTC (None where no zone is known) and `local`, the airport's clock in words."""

    at: datetime | None
    local: str


def moment(text: str, airport: str) -> Moment:
    """Read an RFC 3339 time at the airport with this IATA code.

    Without an offset it is the airport's local time: in the hour that a clock
    change repeats the first one, in the hour that it skips as if the clock had
    not changed (PEP 495, fold=0). At an unknown airport a time without an offset
    stays words. Raises ValueError where the text is no time.
    """
    given = parse(text)
    zone = _zone(airport)
    if given.tzinfo is None:
        if zone is None:
            return Moment(None, f"{given:%a %-d %b %Y, %H:%M} (local time)")
        at = given.replace(tzinfo=zone).astimezone(UTC)
    else:
        at = given.astimezone(UTC)
    local = at.astimezone(zone) if zone else given
    return Moment(at, f"{local:%a %-d %b %Y, %H:%M} ({_zone_words(local)})")


def load() -> None:
    """Read the table of airports now, which takes a while, and not when the first booking needs it."""
    _airports()


def parse(text: str) -> datetime:
    """Read an RFC 3339 time, with or without an offset; ValueError says what is expected."""
    shape_is_right = len(text) >= len("2026-12-01T09:30") and text[10:11] in "Tt "
    try:
        given = datetime.fromisoformat(text.upper()) if shape_is_right else None
    except ValueError:
        given = None
    # A day of room on both sides, so that no change of zone can leave the calendar.
    if given is None or not 1970 < given.year < 9999:  # noqa: PLR2004 - the calendar's own bounds
        raise ValueError(f"{text[:40]!r} is no time such as 2026-12-01T09:30:00+05:30")
    return given


def _zone_words(local: datetime) -> str:
    name, offset = local.tzname() or "", local.strftime("%z")
    utc = f"UTC{offset[:3]}:{offset[3:5]}"
    return f"{name}, {utc}" if name.isalpha() and name != "UTC" else utc


def _zone(airport: str) -> ZoneInfo | None:
    known = _airports().get(airport.upper())
    return ZoneInfo(known["tz"]) if known else None


@cache
def _airports() -> dict[str, airportsdata.Airport]:
    return airportsdata.load("IATA")
