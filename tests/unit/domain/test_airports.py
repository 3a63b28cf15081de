import zoneinfo
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.airports import city, moment, parse
from notifier.domain.mail import AirportTime


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(at: str | None, clock: str, zone: str | None = None) -> AirportTime:
    return AirportTime(utc(at) if at else None, datetime.fromisoformat(clock), zone)


@pytest.mark.parametrize("text", ["2026-12-01T09:30:00+05:30", "2026-12-01T04:00:00Z", "2026-12-01T09:30"])
def test_the_same_departure_in_three_spellings_is_one_moment(text: str) -> None:
    """With an offset, with Z or on the airport's clock: one moment, and the words are the airport's."""
    assert moment(text, "DEL") == shown("2026-12-01T04:00", "2026-12-01T09:30", "IST")


def test_an_airport_s_code_is_read_in_any_case() -> None:
    """Letters of a code are letters without case."""
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
    """In the skipped hour the old offset still holds; the words show the clock as it then is."""
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
    """In the repeated hour the offset of before the change holds."""
    assert moment(local, airport) == shown(at, clock, zone)


def test_an_offset_tells_the_second_of_two_equal_times() -> None:
    """In the repeated hour a time with an offset is what it says."""
    found = moment("2026-11-01T01:30:00-05:00", "JFK")
    assert found == shown("2026-11-01T06:30", "2026-11-01T01:30", "EST")


def test_an_unknown_airport_keeps_a_time_with_an_offset() -> None:
    """An offset is enough to know the moment; the words are those that were given."""
    found = moment("2026-12-01T09:30:00+05:30", "ZZZ9")
    assert found == shown("2026-12-01T04:00", "2026-12-01T09:30")


def test_an_unknown_airport_leaves_a_local_time_in_words() -> None:
    """Without offset and zone no moment is known, and the time is still told as given."""
    assert moment("2026-12-01T09:30", "ZZZ9") == shown(None, "2026-12-01T09:30")


@pytest.mark.parametrize(
    ("code", "at", "name"),
    [
        ("TXL", "2026-07-01T10:00", "Berlin"),
        ("SXF", "2026-07-01T10:00", "Berlin"),
        ("FRU", "2026-07-01T06:00", "Bishkek"),
    ],
)
def test_a_retired_code_still_has_its_clock(code: str, at: str, name: str) -> None:
    """Berlin Tegel closed in 2020, and a booking that names it is still understood."""
    assert moment("2026-07-01T12:00", code).at == utc(at)
    assert city(code.lower()) == name


def test_a_city_is_known_by_its_airport_or_not() -> None:
    """Where the code is not known there is no city."""
    assert city("BLR") is not None
    assert city("ZZZ9") is None


def test_a_zone_without_letters_of_its_own_is_told_by_its_offset() -> None:
    """Where the zone's name is no word, the offset alone says it."""
    assert moment("2026-12-01T09:30", "KTM") == shown("2026-12-01T03:45", "2026-12-01T09:30")


def test_the_zones_are_those_of_the_pinned_package() -> None:
    """No folder of the system is searched for zones, so every machine tells the same time."""
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
    """A text that is no time is a ValueError that shows what is expected, and not the whole text."""
    with pytest.raises(ValueError, match=r"is not a time such as 2026-12-01T09:30:00\+05:30") as refusal:
        parse(text)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize("text", ["2026-12-01t09:30:00+05:30", "2026-12-01 09:30:00+05:30", "2026-12-01T09:30+05:30"])
def test_the_looser_spellings_of_rfc_3339_are_read(text: str) -> None:
    """A small t, a blank between day and time, and a time without seconds are understood."""
    assert parse(text).astimezone(UTC) == utc("2026-12-01T04:00")


def test_a_small_z_is_read() -> None:
    """RFC 3339 section 5.6: t and z may be small letters."""
    assert parse("2026-12-01t04:00:00z") == utc("2026-12-01T04:00")


AIRPORTS = st.sampled_from(["DEL", "JFK", "BER", "APIA", "APW", "LHR", "SYD", "EZE", "TXL", "ZZZ9", "", "é"])


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 12, 31)), AIRPORTS, st.timezones() | st.none())  # noqa: DTZ001 - airports are given local times
def test_no_time_at_no_airport_is_lost(local: datetime, airport: str, zone: zoneinfo.ZoneInfo | None) -> None:
    """Every time has its words; a time with an offset is the same moment at every airport."""
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
    """Whatever stands in place of a time is read or is a ValueError."""
    try:
        assert 1970 < parse(text).year < 9999
    except ValueError as refusal:
        assert "is not a time such as" in str(refusal)  # noqa: PT017 - both ends are allowed
