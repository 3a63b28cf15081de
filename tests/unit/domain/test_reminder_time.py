"""When a reminder is sent, and when another mail replaces it."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bookings import Shelf, changed, confirmed, kinds
from support.samples import DEPARTURE, NOW, flight

from notifier.domain.booking import Passenger
from notifier.domain.mail import Itinerary, Kind
from notifier.domain.reminder_time import SPREAD, is_before_window, is_in_window, reminder_time


@given(
    st.integers(0, 7000 * 365).map(lambda days: NOW + timedelta(days=days)),
    st.timedeltas(timedelta(0), timedelta(days=999)),
    st.text(),
)
def test_a_time_lies_in_the_first_fifty_minutes_of_the_window(
    departs_at: datetime, remind_before: timedelta, what: str
) -> None:
    """Every identity has one time, which never changes, and leaves ten minutes of the hour for sending."""
    time = reminder_time(departs_at, remind_before, what)
    assert timedelta(0) <= time - (departs_at - remind_before) < SPREAD == timedelta(minutes=50)
    assert reminder_time(departs_at, remind_before, what) == time


def test_a_reminder_has_the_same_time_after_an_upgrade() -> None:
    """Its time follows from the parts of its identity, kept apart, and never changes."""
    before = timedelta(hours=3)
    found = [reminder_time(NOW, before, *what) - NOW + before for what in (("ab", "c"), ("a", "bc"), ())]
    assert [offset.seconds for offset in found] == [2960, 1912, 0]


def test_the_window_begins_exactly_so_long_before_the_departure() -> None:
    """A reminder is planned before its window; inside the window another mail replaces it, until the departure."""
    before, second = timedelta(hours=3), timedelta(seconds=1)
    moments = (NOW - before - second, NOW - before, NOW - second, NOW)
    assert [is_before_window(NOW, before, each) for each in moments] == [True, False, False, False]
    assert [is_in_window(NOW, before, each) for each in moments] == [False, True, True, False]


@given(st.text("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=5, max_size=6), st.integers(1, 10**7), st.emails())
def test_a_reminder_goes_out_in_its_window(booking: str, ahead: int, address: str) -> None:
    """Every reminder is sent between three and two hours before departure, and expires with the departure."""
    departs = NOW + timedelta(hours=3, seconds=ahead)
    message = confirmed(booking=booking, passengers=(Passenger("A", address),), flights=(flight(departs_at=departs),))
    reminder = Shelf().deliver(message).added[1]
    assert departs - timedelta(hours=3) <= reminder.send_at <= departs - timedelta(hours=2)
    assert (reminder.expires_at, reminder.flight) == (departs, message.flights[0])


def test_reminders_of_one_flight_are_spread() -> None:
    """The reminders of a full aircraft are no burst: they are sent at many different times."""
    crowd = tuple(Passenger(f"P{n}", f"p{n}@example.com") for n in range(100))
    added = Shelf().deliver(confirmed(passengers=crowd)).added
    assert len({mail.send_at for mail in added if mail.kind is Kind.REMINDER}) > 80


@pytest.mark.parametrize("ahead", [timedelta(hours=3), timedelta(hours=2), timedelta(minutes=1), timedelta(0)])
def test_inside_the_window_there_is_no_reminder(ahead: timedelta) -> None:
    """The notice of such a late booking or change says itself when the flight leaves."""
    late = confirmed(flights=(flight(departs_at=NOW + ahead),))
    assert kinds(Shelf().deliver(late).added) == [Kind.CONFIRMATION]
    assert kinds(Shelf(confirmed()).deliver(changed(flights=late.flights)).added) == [Kind.CHANGE]


@pytest.mark.parametrize(
    ("ahead", "soon"),
    [(timedelta(hours=3, seconds=1), False), (timedelta(hours=3), True), (timedelta(minutes=1), True)],
)
def test_a_confirmation_inside_the_window_of_the_reminder_says_so(ahead: timedelta, soon: bool) -> None:  # noqa: FBT001 - a column of the table
    """The confirmation itself says that the flight leaves soon."""
    content = Shelf().deliver(confirmed(), DEPARTURE - ahead).added[0].content
    assert isinstance(content, Itinerary)
    assert content.leaves_soon is soon
