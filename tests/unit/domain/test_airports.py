import zoneinfo
from datetime import UTC, datetime

import airportsdata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain import airports
from notifier.domain.airports import city, moment, parse
from notifier.domain.mail import AirportTime


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(at: str | None, clock: str, zone: str | None = None) -> AirportTime:
    return AirportTime(utc(at) if at else None, datetime.fromisoformat(clock), zone)


@pytest.mark.parametrize("text", ["2026-12-01T09:30:00+05:30", "2026-12-01T04:00:00Z", "2026-12-01T09:30"])
def test_the_same_departure_in_three_spellings_is_one_moment(text: str) -> None:
    """With an offset, with Z or on the airport's clock: the same time in UTC, shown on the airport's clock."""
    found = moment(text, "DEL")
    assert found == shown("2026-12-01T04:00", "2026-12-01T09:30", "IST")
    assert found.at
    assert found.at.tzinfo is UTC


def test_an_airport_s_code_is_read_in_any_case() -> None:
    """The letter case of a code is ignored."""
    assert moment("2026-12-01T09:30", "del").at == utc("2026-12-01T04:00")


@pytest.mark.parametrize(
    ("local", "airport", "at", "clock", "zone"),
    [
        ("2026-03-08T01:59", "JFK", "2026-03-08T06:59", "2026-03-08T01:59", "EST"),
        ("2026-03-08T02:30", "JFK", "2026-03-08T07:30", "2026-03-08T03:30", "EDT"),
        ("2026-03-08T03:00", "JFK", "2026-03-08T07:00", "2026-03-08T03:00", "EDT"),
        ("2026-03-29T02:15", "BER", "2026-03-29T01:15", "2026-03-29T03:15", "CEST"),
    ],
)
def test_a_time_that_a_clock_change_skips_is_read_as_if_the_clock_had_not_changed(
    local: str, airport: str, at: str, clock: str, zone: str
) -> None:
    """In the skipped hour the old offset applies; the clock shows the time with the new one."""
    assert moment(local, airport) == shown(at, clock, zone)


@pytest.mark.parametrize(
    ("local", "airport", "at", "clock", "zone"),
    [
        ("2026-11-01T01:30", "JFK", "2026-11-01T05:30", "2026-11-01T01:30", "EDT"),
        ("2026-11-01T02:00", "JFK", "2026-11-01T07:00", "2026-11-01T02:00", "EST"),
        ("2026-10-25T02:59", "BER", "2026-10-25T00:59", "2026-10-25T02:59", "CEST"),
    ],
)
def test_a_time_that_a_clock_change_repeats_is_the_first_one(
    local: str, airport: str, at: str, clock: str, zone: str
) -> None:
    """In the repeated hour the offset from before the change applies."""
    assert moment(local, airport) == shown(at, clock, zone)


def test_an_offset_tells_the_second_of_two_equal_times() -> None:
    """In the repeated hour a time with an offset keeps it."""
    found = moment("2026-11-01T01:30:00-05:00", "JFK")
    assert found == shown("2026-11-01T06:30", "2026-11-01T01:30", "EST")


def test_an_unknown_airport_keeps_a_time_with_an_offset() -> None:
    """An offset is enough to know the time in UTC; the clock shows the time as given."""
    found = moment("2026-12-01T09:30:00+05:30", "ZZZ9")
    assert found == shown("2026-12-01T04:00", "2026-12-01T09:30")


def test_an_unknown_airport_leaves_a_local_time_in_words() -> None:
    """Without offset and time zone the time in UTC is unknown, and the clock still shows the time as given."""
    assert moment("2026-12-01T09:30", "ZZZ9") == shown(None, "2026-12-01T09:30")


@pytest.mark.parametrize(
    ("code", "at", "name"),
    [
        ("TXL", "2026-07-01T10:00", "Berlin"),
        ("SXF", "2026-07-01T10:00", "Berlin"),
        ("THF", "2026-07-01T10:00", "Berlin"),
        ("FRU", "2026-07-01T06:00", "Bishkek"),
        ("TSE", "2026-07-01T07:00", "Astana"),
    ],
)
def test_a_retired_code_still_has_its_clock(code: str, at: str, name: str) -> None:
    """Berlin Tegel closed in 2020, and its code is still known."""
    assert moment("2026-07-01T12:00", code).at == utc(at)
    assert city(code.lower()) == name


def test_a_city_is_known_by_its_airport_or_not() -> None:
    """An unknown code has no city."""
    assert city("BLR") is not None
    assert city("ZZZ9") is None


def test_a_zone_without_an_abbreviation_is_shown_by_its_offset() -> None:
    """A zone whose name is no abbreviation is left out."""
    assert moment("2026-12-01T09:30", "KTM") == shown("2026-12-01T03:45", "2026-12-01T09:30")


def test_the_zones_are_those_of_the_pinned_package() -> None:
    """The time zones of the operating system are not used, so every machine has the same ones."""
    assert zoneinfo.TZPATH == ()
    assert zoneinfo.ZoneInfo("Asia/Kolkata").key == "Asia/Kolkata"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-12-01",
        "09:30",
        "2026-13-01T09:30",
        "2026-02-30T09:30",
        "2026-12-01X09:30",
        "2026-12-01T0930",
        "20261201T093000+0530",
        "2026-12-01T25:00",
        "0001-01-01T00:00:00+23:59",
        "1970-12-31T23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-12-01T09:30:00+99:00",
        "2026-12-01T09:30" + "\n" * 50,
        "1764581400",
    ],
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    """An invalid time is a ValueError with an example of what is expected, and without the whole text."""
    with pytest.raises(ValueError, match=r"is not a time such as") as refusal:
        parse(text)
    assert str(refusal.value) == f"{text[:40]!r} is not a time such as 2026-12-01T09:30:00+05:30"


@pytest.mark.parametrize("text", ["2026-12-01t09:30:00+05:30", "2026-12-01 09:30:00+05:30", "2026-12-01T09:30+05:30"])
def test_the_looser_spellings_of_rfc_3339_are_read(text: str) -> None:
    """A small t, a space between date and time, and a time without seconds are valid."""
    assert parse(text).astimezone(UTC) == utc("2026-12-01T04:00")


def test_a_small_z_is_read() -> None:
    """RFC 3339 section 5.6: t and z may be small letters."""
    assert parse("2026-12-01t04:00:00z") == utc("2026-12-01T04:00")


@pytest.mark.parametrize("text", ["1971-01-01T00:00", "9998-12-31T23:59:59.999999"])
def test_the_first_and_the_last_time_are_read(text: str) -> None:
    """The years from 1971 to 9998 are valid, so that a day's shift stays inside the calendar."""
    assert parse(text) == datetime.fromisoformat(text)


def test_an_unknown_airport_has_no_abbreviation_of_utc() -> None:
    """Passengers are shown the clock of the place, and UTC is the clock of no place."""
    for text in ("2026-12-01T04:00:00Z", "2026-12-01T04:00:00+00:00"):
        assert moment(text, "ZZZ9") == shown("2026-12-01T04:00", "2026-12-01T04:00")
    assert moment("2026-12-01T04:00:00Z", "LHR") == shown("2026-12-01T04:00", "2026-12-01T04:00", "GMT")


def test_the_table_of_airports_can_be_read_in_advance() -> None:
    """The first booking need not wait for it, and it is read once."""
    airports._airports.cache_clear()
    airports.load()
    assert airports._airports.cache_info().misses == 1
    assert city("LHR") == "London"
    assert airports._airports.cache_info().misses == 1


AIRPORTS = st.sampled_from(["DEL", "JFK", "BER", "APIA", "APW", "LHR", "SYD", "EZE", "TXL", "ZZZ9", "", "é"])


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 12, 31)), AIRPORTS, st.timezones() | st.none())  # noqa: DTZ001 - airports are given local times
def test_no_time_at_no_airport_is_lost(local: datetime, airport: str, zone: zoneinfo.ZoneInfo | None) -> None:
    """Every time has a clock; a time with an offset is the same in UTC at every airport."""
    given_time = local.replace(tzinfo=zone)
    try:
        text = given_time.isoformat()
        parse(text)
    except ValueError:
        return
    found = moment(text, airport)
    assert found.clock.tzinfo is None
    assert found.clock == local or found.at is not None
    if zone:
        assert found.at == datetime.fromisoformat(text)


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    """Any text is either a time or a ValueError."""
    try:
        assert 1970 < parse(text).year < 9999
    except ValueError as refusal:
        assert "is not a time such as" in str(refusal)  # noqa: PT017 - both ends are allowed


def test_the_table_has_every_airport_of_the_package() -> None:
    """Reading only three columns gives the same as the package's own function, which is slower."""
    expected = {code: (each["city"], each["tz"]) for code, each in airportsdata.load("IATA").items()}
    assert airports._airports() == expected
