import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import DEPARTURE, flight, in_delhi, mail

from notifier.composing.reservation import MAX_RESERVATIONS, reservations
from notifier.domain.mail import Itinerary, Kind


def test_each_passenger_and_flight_is_a_reservation() -> None:
    """A reservation has the booking's reference, the airline's code, and times with their offset."""
    flights = (flight(gate="4", arrives=in_delhi(DEPARTURE + timedelta(hours=2))), flight(number="AI202"))
    content = Itinerary(("Asha Rao", "Ravi Rao"), flights)
    found = json.loads(reservations(mail(kind=Kind.CONFIRMATION, booking="RXJ34P", content=content)))
    assert [(each["underName"]["name"], each["reservationFor"]["flightNumber"]) for each in found] == [
        ("Asha Rao", "AI101"),
        ("Ravi Rao", "AI101"),
        ("Asha Rao", "AI202"),
        ("Ravi Rao", "AI202"),
    ]
    first = found[0]["reservationFor"]
    assert (found[0]["@type"], found[0]["reservationNumber"]) == ("FlightReservation", "RXJ34P")
    assert found[0]["reservationStatus"] == "http://schema.org/ReservationConfirmed"
    assert (first["departureTime"], first["arrivalTime"]) == ("2026-12-01T09:30:00+05:30", "2026-12-01T11:30:00+05:30")
    assert (first["airline"]["iataCode"], first["departureAirport"]["iataCode"]) == ("AI", "DEL")


def test_a_cancelled_booking_says_so() -> None:
    """The status of its reservations is `ReservationCancelled`."""
    found = json.loads(reservations(mail(kind=Kind.CANCELLATION, content=Itinerary(("Asha",), (flight(),)))))
    assert found[0]["reservationStatus"] == "http://schema.org/ReservationCancelled"


def test_what_is_no_booking_or_has_no_moment_has_no_reservation() -> None:
    """A notification has no reservation, and neither has a flight whose time zone is unknown."""
    assert reservations(mail()) == ""
    assert reservations(mail(kind=Kind.CONFIRMATION, content=Itinerary(("A",), (flight(departs_at=None),)))) == ""


@pytest.mark.parametrize(("count", "there"), [(MAX_RESERVATIONS, True), (MAX_RESERVATIONS + 1, False)])
def test_a_large_group_goes_without(count: int, there: bool) -> None:  # noqa: FBT001 - a column of the table
    """Beyond MAX_RESERVATIONS a mail has none, because they would be most of it."""
    content = Itinerary(tuple(f"P {n}" for n in range(count)), (flight(),))
    assert bool(reservations(mail(kind=Kind.CONFIRMATION, content=content))) is there


@given(st.text(st.characters(codec="utf-8")) | st.sampled_from(["</script><script>alert(1)", "<!--", "]]>", "\u2028"]))
def test_no_name_ends_the_script(name: str) -> None:
    """Any name can be read back from the JSON, which contains no markup."""
    found = reservations(mail(kind=Kind.CONFIRMATION, content=Itinerary((name,), (flight(),))))
    assert not set("<>&\u2028\u2029") & set(found)
    assert json.loads(found)[0]["underName"]["name"] == name
