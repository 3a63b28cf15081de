from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar, Event
from msgspec.structs import replace
from support.samples import DEPARTURE, flight, in_delhi, mail

from notifier.composing.calendar import calendars
from notifier.domain.mail import AirportTime, Flight, Itinerary, Kind, Mail

MORNING = flight(gate="4", arrives=in_delhi(DEPARTURE + timedelta(hours=2)))
EVENING = flight(number="AI202", departs_at=DEPARTURE + timedelta(hours=12))
SENDER = "größe@example.org"
HOSTILE = st.text(st.characters(codec="utf-8"), max_size=200) | st.sampled_from(
    ["\r\nATTENDEE:mailto:x@y.example", "a;b,c\\d\\n", "é" * 100, "\x0b\x85\u2028END:VEVENT", "😀" * 40]
)


def booking_mail(kind: Kind = Kind.CONFIRMATION, *flights: Flight, **content: Any) -> Mail:
    shown = Itinerary(("Asha Rao",), flights, **content)
    return mail(kind=kind, booking="RXJ34P", content=shown, message_id="<m@mail.example.com>")


def events(found: Mail, method: str = "PUBLISH") -> list[Event]:
    """Read the events of a mail's calendar file, as a calendar program does."""
    files = {each.method: Calendar.from_ical(each.body) for each in calendars(found, SENDER)}
    assert all(str(file["METHOD"]) == name for name, file in files.items())
    return files[method].events if method in files else []


def test_each_flight_is_an_event() -> None:
    """An event has times in UTC, the airport of departure, a summary and the details."""
    first, second = events(booking_mail(Kind.CONFIRMATION, MORNING, EVENING, sequence=3))
    assert (first.start, first.end) == (DEPARTURE, DEPARTURE + timedelta(hours=2))
    assert (first["SUMMARY"], first["LOCATION"]) == ("AI101 New Delhi (DEL) - Bangalore (BLR)", "New Delhi (DEL)")
    assert first["DESCRIPTION"] == "Booking reference: RXJ34P\nSeat: 12A\nGate: 4"
    assert (first["SEQUENCE"], first["STATUS"], first["UID"] != second["UID"]) == (3, "CONFIRMED", True)
    assert first["ORGANIZER"] == "mailto:gr%C3%B6%C3%9Fe@example.org"
    assert second.end == second.start + timedelta(hours=2)


def test_an_event_is_described_in_the_mail_s_language() -> None:
    """A locale without a label for one of the details has the English one."""
    (file,) = calendars(
        booking_mail(Kind.CONFIRMATION, MORNING), SENDER, {"booking": "Buchungsnummer", "seat": "Sitzplatz"}
    )
    (event,) = Calendar.from_ical(file.body).events
    assert event["DESCRIPTION"] == "Buchungsnummer: RXJ34P\nSitzplatz: 12A\nGate: 4"


def test_an_event_keeps_its_uid_through_every_change() -> None:
    """A flight whose departure moves keeps its UID, and a cancellation cancels the event with that UID."""
    before = events(booking_mail(Kind.CONFIRMATION, MORNING))
    moved = replace(MORNING, departs=in_delhi(DEPARTURE + timedelta(hours=5)))
    after = events(booking_mail(Kind.CHANGE, moved, sequence=1))
    ended = events(booking_mail(Kind.CANCELLATION, moved, sequence=2), "CANCEL")
    assert [each[0]["UID"] for each in (after, ended)] == [before[0]["UID"]] * 2
    assert (ended[0]["STATUS"], ended[0]["SEQUENCE"]) == ("CANCELLED", 2)


def test_a_flight_that_a_change_takes_away_is_cancelled() -> None:
    """The cancelled flight has a file of its own, because a file has one method."""
    changed = booking_mail(Kind.CHANGE, MORNING, before=(MORNING, EVENING))
    (gone,) = events(changed, "CANCEL")
    assert [str(each["SUMMARY"])[:5] for each in (*events(changed), gone)] == ["AI101", "AI202"]


def test_a_number_that_comes_twice_is_two_events() -> None:
    """The same flight number twice in a booking is two events with different UIDs."""
    found = events(booking_mail(Kind.CONFIRMATION, MORNING, flight(departs_at=DEPARTURE + timedelta(days=7))))
    assert len({each["UID"] for each in found}) == 2


@pytest.mark.parametrize(
    "without",
    [booking_mail(Kind.REMINDER, MORNING), booking_mail(Kind.CONFIRMATION, flight(departs_at=None)), mail()],
)
def test_there_is_no_file_without_something_new_for_the_calendar(without: Mail) -> None:
    """A reminder, a notification, and a flight whose moment of departure is unknown have no event."""
    assert calendars(without, SENDER) == []


@given(HOSTILE, HOSTILE, HOSTILE, st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)))  # noqa: DTZ001 - given a zone below
def test_no_text_can_add_to_the_file(number: str, seat: str, booking: str, clock: datetime) -> None:
    """Whatever a field contains, it adds no line; each line has at most 75 octets and ends with CRLF."""
    departs = AirportTime(clock.replace(tzinfo=UTC), clock)
    odd = replace(booking_mail(Kind.CONFIRMATION, Flight(number, "DEL", "BLR", departs, seat=seat)), booking=booking)
    (file,) = calendars(odd, SENDER)
    lines = file.body.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 75 and not {b"\r", b"\n"} & {line[n : n + 1] for n in range(len(line))} for line in lines)
    assert all(line.decode() is not None for line in lines)
    names = [line.split(b":")[0] for line in lines if not line.startswith(b" ")]
    plain = calendars(booking_mail(Kind.CONFIRMATION, MORNING), SENDER)[0].body.split(b"\r\n")[:-1]
    assert names == [line.split(b":")[0] for line in plain if not line.startswith(b" ")]
    (event,) = Calendar.from_ical(file.body).events
    assert event.start == clock.replace(microsecond=0, tzinfo=UTC)


def test_the_same_flight_of_two_bookings_is_two_events() -> None:
    """Cancelling one of the bookings keeps the event of the other."""
    one = booking_mail(Kind.CONFIRMATION, MORNING)
    (mine,), (yours,) = events(one), events(replace(one, booking="OTHER1"))
    assert mine["UID"] != yours["UID"]
