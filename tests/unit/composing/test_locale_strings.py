from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support.english import ENGLISH
from support.samples import DEPARTURE

from notifier.composing.locale_strings import LocaleStrings
from notifier.domain.mail import AirportTime

CLOCKS = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1))  # noqa: DTZ001 - what an airport's clock shows
PATTERNS = st.lists(
    st.sampled_from(["{weekday}", "{day:02}", "{month[2]}", "{year}", "{hours}", "{minutes:02}", "{monat}", "{", " "])
).map("".join)


def at_offset(minutes: int, zone: str | None = None) -> AirportTime:
    """Build the time of the departure in a zone that is this many minutes east of UTC."""
    return AirportTime(DEPARTURE, (DEPARTURE + timedelta(minutes=minutes)).replace(tzinfo=None), zone)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("{weekday} {day} {month} {year}", "Tue 1 Dec 2026"),
        ("{year}-{day:02}", "2026-01"),
        ("{weekday}. {day}. {month}.", "Tue. 1. Dec."),
    ],
)
def test_a_date_is_written_with_its_pattern(pattern: str, says: str) -> None:
    """The weekday and the month are words, the day and the year are numbers."""
    clock = datetime(2026, 12, 1, 23, 59)  # noqa: DTZ001 - what an airport's clock shows
    assert replace(ENGLISH, date=pattern).date_of(clock) == says


@pytest.mark.parametrize(
    ("minutes", "zone", "says"),
    [
        (330, "IST", "IST, UTC+05:30"),
        (-300, "EST", "EST, UTC-05:00"),
        (-570, None, "UTC-09:30"),
        (0, None, "UTC+00:00"),
        (825, None, "UTC+13:45"),
    ],
)
def test_a_zone_is_its_name_and_its_offset(minutes: int, zone: str | None, says: str) -> None:
    """West of Greenwich the offset is negative, and without a name it stands alone."""
    assert ENGLISH.zone_of(at_offset(minutes, zone)) == says


def test_an_unknown_zone_is_local_time() -> None:
    """A time without a known offset says that it is the airport's."""
    assert ENGLISH.zone_of(AirportTime(None, DEPARTURE.replace(tzinfo=None), "IST")) == "local time"


@given(st.integers(-14 * 60, 14 * 60))
def test_every_offset_is_read_as_it_was_written(minutes: int) -> None:
    """Any whole minute from 14 hours west to 14 hours east has an offset of its own."""
    written = datetime.strptime(ENGLISH.zone_of(at_offset(minutes)), "UTC%z")
    assert written.utcoffset() == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("time", "says"),
    [
        (timedelta(minutes=170), "2 h 50 min"),
        (timedelta(minutes=59, seconds=59), "0 h 59 min"),
        (timedelta(hours=23, minutes=5), "23 h 05 min"),
        (timedelta(days=1, hours=1), "25 h 00 min"),
    ],
)
def test_a_duration_is_in_hours_and_whole_minutes(time: timedelta, says: str) -> None:
    """Seconds are cut off, and days are hours."""
    assert ENGLISH.duration_of(time) == says


def test_the_built_in_words_have_no_fault() -> None:
    """Every date and every duration can be written with them."""
    assert list(ENGLISH.faults()) == []


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        (replace(ENGLISH, weekdays=ENGLISH.weekdays[1:]), ["weekdays: must have 7 names, not 6"]),
        (replace(ENGLISH, months=(*ENGLISH.months, "Tre")), ["months: must have 12 names, not 13"]),
        (replace(ENGLISH, months=(*ENGLISH.months[1:], " ")), ["months: must not have empty names"]),
        (replace(ENGLISH, date="{monat}", duration=" "), ["date: KeyError: 'monat'", "duration: must not be empty"]),
        (replace(ENGLISH, weekdays=(), date="{monat}"), ["weekdays: must have 7 names, not 0"]),
    ],
)
def test_every_fault_is_named_with_its_key(words: LocaleStrings, faults: list[str]) -> None:
    """Both patterns are checked, unless there is a wrong number of names, without which no date can be written."""
    assert list(words.faults()) == faults


@given(PATTERNS, PATTERNS, CLOCKS, st.timedeltas(timedelta(minutes=1), timedelta(hours=23, minutes=59)))
@settings(max_examples=50)
def test_words_without_a_fault_write_everything(date: str, duration: str, clock: datetime, time: timedelta) -> None:
    """What passes the check writes any date of any year, and the duration of any flight of less than a day."""
    words = replace(ENGLISH, date=date, duration=duration)
    if not list(words.faults()):
        assert words.date_of(clock).strip()
        assert words.duration_of(time).strip()
