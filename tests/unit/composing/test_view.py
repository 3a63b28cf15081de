from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.english import ENGLISH
from support.samples import DEPARTURE, flight, in_delhi, mail

from notifier.composing.view import FlightView, Place, Time, mail_view, subject_view
from notifier.domain.mail import Flight, Itinerary, Kind, Price

MORNING = flight(arrives=in_delhi(DEPARTURE + timedelta(hours=2, minutes=50)), gate="4")
FLIGHTS = st.lists(
    st.builds(flight, number=st.sampled_from(["AI101", "AI202"]), seat=st.sampled_from(["1A", "2B"])), max_size=4
)


def seen(each: Flight) -> FlightView:
    """Return a flight as a subject has it."""
    (found,) = subject_view("RXJ34P", (each,), ENGLISH)["flights"]
    assert isinstance(found, FlightView)
    return found


def changed(before: list[Flight], now: list[Flight]) -> tuple[list[FlightView], list[FlightView]]:
    """Return the flights of a change notice, and those that it says are removed."""
    content = Itinerary((), tuple(now), before=tuple(before))
    found = mail_view(mail(kind=Kind.CHANGE, content=content), content, ENGLISH)
    return found["flights"], found["removed"]


def test_a_flight_is_in_words() -> None:
    """Cities, local dates and times, zones, the duration, seat and gate are ready to be written."""
    assert seen(MORNING) == FlightView(
        "AI101",
        Place("DEL", "New Delhi"),
        Place("BLR", "Bangalore"),
        Time("Tue 1 Dec 2026", "09:30", "IST, UTC+05:30"),
        Time("Tue 1 Dec 2026", "12:20", "IST, UTC+05:30"),
        0,
        "2 h 50 min",
        "12A",
        "4",
    )


def test_a_subject_has_its_booking_its_flights_and_the_words() -> None:
    """A template of a subject needs no other variables."""
    found = subject_view("RXJ34P", (MORNING,), ENGLISH)
    assert found == {"booking": "RXJ34P", "flights": [seen(MORNING)], "words": ENGLISH.labels}


def test_unknown_details_are_empty() -> None:
    """A template can write every detail without asking whether it is known."""
    found = seen(flight(departs_at=None, origin="ZZZ", seat=None))
    assert (found.arrives, found.days_later, found.duration, found.seat, found.gate) == (None, 0, "", "", "")
    assert (found.departs.time, found.departs.zone) == ("09:30", "local time")
    assert (str(found.origin), str(found.destination)) == ("ZZZ", "Bangalore (BLR)")


@pytest.mark.parametrize(
    ("minutes", "says"),
    [(-1, ""), (0, ""), (1, "0 h 01 min"), (24 * 60 - 1, "23 h 59 min"), (24 * 60, "")],
)
def test_an_impossible_duration_is_left_out(minutes: int, says: str) -> None:
    """A flight takes at least a minute and less than a day; otherwise its times must be wrong."""
    assert seen(flight(arrives=in_delhi(DEPARTURE + timedelta(minutes=minutes)))).duration == says


@pytest.mark.parametrize(("hours", "days"), [(-10, -1), (14, 0), (15, 1), (39, 2)])
def test_the_days_until_the_arrival_are_those_of_the_calendar(hours: int, days: int) -> None:
    """A flight at 09:30 arrives on the next day after 14 and a half hours, and can arrive on the day before."""
    assert seen(flight(arrives=in_delhi(DEPARTURE + timedelta(hours=hours)))).days_later == days


def test_a_mail_has_its_booking_and_whom_it_greets() -> None:
    """The view has the names, the price and the booking; a mail without a reference has an empty one."""
    content = Itinerary(("Asha Rao",), (MORNING,), Price("5400.00", "INR"), leaves_soon=True)
    found = mail_view(mail(kind=Kind.CONFIRMATION, booking="RXJ34P", subject="S", content=content), content, ENGLISH)
    assert (found["kind"], found["subject"], found["booking"]) == ("booking.confirmation", "S", "RXJ34P")
    assert (found["names"], found["price"], found["leaves_soon"]) == (("Asha Rao",), content.price, True)
    assert (found["words"], found["removed"]) == (ENGLISH.labels, [])
    assert mail_view(mail(), content, ENGLISH)["booking"] == ""


def test_a_change_is_shown_beside_what_was_before() -> None:
    """A changed flight has its former one, a new flight is marked, and a removed one is listed."""
    later, gone, new = flight(seat="14C"), flight(number="AI303"), flight(number="AI202")
    flights, removed = changed([flight(), gone], [later, new])
    assert [(each.was, each.is_new) for each in flights] == [(seen(flight()), False), (None, True)]
    assert removed == [seen(gone)]


def test_flights_of_one_number_are_compared_in_their_order() -> None:
    """The same number twice is an outbound and a later flight, each of which is compared with its own former one."""
    first, second = flight(), flight(departs_at=DEPARTURE + timedelta(days=7))
    moved = flight(departs_at=DEPARTURE + timedelta(days=8))
    flights, removed = changed([first, second], [first, moved])
    assert [each.was for each in flights] == [None, seen(second)]
    assert removed == []
    assert changed([first, second], [first]) == ([seen(first)], [seen(second)])


@pytest.mark.parametrize("kind", [Kind.CONFIRMATION, Kind.CANCELLATION, Kind.REMINDER])
def test_only_a_change_notice_compares(kind: Kind) -> None:
    """Mails of any other kind show their flights alone."""
    content = Itinerary((), (flight(),), before=(flight(seat="1F"), flight(number="AI303")))
    found = mail_view(mail(kind=kind, content=content), content, ENGLISH)
    assert (found["flights"], found["removed"]) == ([seen(flight())], [])


@given(FLIGHTS.filter(bool), FLIGHTS)
def test_a_change_leaves_no_flight_out(before: list[Flight], now: list[Flight]) -> None:
    """Each former flight is either still there or removed, and every flight is shown in its order."""
    flights, removed = changed(before, now)
    assert [each._replace(was=None, is_new=False) for each in flights] == [seen(each) for each in now]
    assert len(removed) + sum(not each.is_new for each in flights) == len(before)
    assert all(each.was is None for each in flights if each.is_new)
