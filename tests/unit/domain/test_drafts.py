"""The mails that a booking message calls for: content, times and ids."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.bookings import ASHA, EVENING, LATER_ON, MORNING, RAVI, Shelf, changed, confirmed, ended, kinds
from support.samples import DEPARTURE, NOW, RULES, flight

from notifier.domain.booking import Change
from notifier.domain.mail import (
    Flight,
    Itinerary,
    Kind,
    mail_id,
)
from notifier.domain.planning import AddressState, BookingState
from notifier.settings import MAX_LENGTH


def test_a_flight_without_a_known_moment_has_no_reminder() -> None:
    """The confirmation shows the time as given, and its error field says why there is no reminder."""
    lost = flight(departs_at=None)
    (mail,) = Shelf().deliver(confirmed(flights=(lost,), note="no time zone is known")).added
    assert (mail.kind, mail.error) == (Kind.CONFIRMATION, "no time zone is known")
    assert "(local time)" in mail.subject


# 09:30 on the clock of an airport whose time zone is unknown: in the westernmost zone it is then 21:30 UTC.
LATEST = datetime(2026, 12, 1, 21, 30, tzinfo=UTC)


def test_an_unknown_time_zone_counts_as_the_westernmost() -> None:
    """Mails expire, and the booking's state is deleted, by the latest possible time of departure."""
    unknown_zone = flight(departs_at=None)
    for flights in ((unknown_zone,), (MORNING, unknown_zone), (unknown_zone, MORNING)):
        plan = Shelf().deliver(confirmed(flights=flights))
        assert plan.added[0].expires_at == LATEST
        assert plan.forget_at == LATEST + RULES.remember
    later = flight(departs_at=LATEST + timedelta(seconds=1))
    assert Shelf().deliver(confirmed(flights=(unknown_zone, later))).added[0].expires_at == later.departs_at


def test_a_change_of_a_return_from_an_unknown_zone_is_sent_after_the_outbound_departure() -> None:
    """The notices of a trip that is under way expire with its last flight, whose departure is only known roughly."""
    back = flight(number="AI102", departs_at=None)
    under_way = DEPARTURE + timedelta(hours=1)
    shelf = Shelf(confirmed(flights=(MORNING, back)))
    for message in (changed(flights=(MORNING, replace(back, seat="14C"))), ended(3)):
        (notice,) = shelf.deliver(message, under_way).added
        assert notice.expires_at == (LATEST if notice.kind is Kind.CHANGE else under_way + timedelta(hours=24))


def test_every_notice_keeps_what_was_wrong_with_its_message() -> None:
    """The note is in its error and in its content; a reminder has none, because the note can concern another flight."""
    shelf = Shelf(confirmed(note="the price is left out"))
    shelf.deliver(changed(flights=(EVENING,), note="the seat is left out"))
    found = [(mail.event, mail.error, getattr(mail.content, "note", None)) for mail in shelf.pending()]
    assert set(found) == {
        # What has not been sent says what the latest message says.
        ("m1", "the seat is left out", "the seat is left out"),
        ("m2", "the seat is left out", "the seat is left out"),
        ("m2", None, None),
    }
    assert {mail.kind for mail in shelf.pending() if not mail.error} == {Kind.REMINDER}


def test_no_id_is_given_out_again_after_a_purge() -> None:
    """A departure that moves and moves back, and a reference that is used again, make mails with new ids."""
    shelf, seen = Shelf(), set[str]()
    for version in range(1, 6):
        plan = shelf.deliver(changed(version, flights=(MORNING if version % 2 else EVENING,)))
        ids = {mail.id for mail in plan.added}
        assert ids
        assert not ids & seen
        seen |= ids
        shelf.mails.clear()
    shelf.state = None
    assert not {mail.id for mail in shelf.deliver(confirmed(1, id="next")).added} & seen


def test_a_booking_state_of_an_earlier_version_keeps_its_ids() -> None:
    """An upgrade sends nothing twice: ids do not depend on fields that the earlier version did not store."""
    state = BookingState(
        1,
        NOW,
        0,
        (MORNING,),
        None,
        {"asha@example.com": AddressState("asha@example.com", ("Asha Rao",), "en", included=True)},
    )
    shelf = Shelf()
    shelf.state = state
    plan = shelf.deliver(changed(flights=(EVENING,)))
    assert kinds(plan.added) == [Kind.CHANGE, Kind.REMINDER]
    assert plan.added[0].id == mail_id("RXJ34P", "booking.change", "2", "asha@example.com")


def test_a_booking_is_remembered_until_after_its_last_departure() -> None:
    """The state is kept for a time that begins now or at the last departure, whichever is later."""
    plan = Shelf().deliver(confirmed(flights=(EVENING, MORNING)))
    assert plan.forget_at == DEPARTURE + timedelta(hours=12) + RULES.remember
    past = Shelf().deliver(confirmed(flights=(flight(departs_at=NOW - timedelta(days=1)),)))
    assert past.forget_at == NOW + RULES.remember
    assert Shelf(confirmed()).deliver(ended()).forget_at == DEPARTURE + RULES.remember


def test_the_mails_of_a_booking_count_its_messages() -> None:
    """Each message that comes into force raises the sequence, by which calendars recognise the newer invitation."""
    shelf = Shelf(confirmed(), changed(2, flights=(EVENING,)), changed(2), ended(3))
    notices = [mail.content for mail in shelf.mails.values() if mail.kind is not Kind.REMINDER]
    assert [content.sequence for content in notices if isinstance(content, Itinerary)][1:] == [1, 2]


def test_a_change_notice_has_the_flights_before() -> None:
    """The flights that it replaces are in it."""
    content = Shelf(confirmed()).deliver(changed(flights=(EVENING,))).added[0].content
    assert isinstance(content, Itinerary)
    assert (content.flights, content.before) == ((EVENING,), (MORNING,))


@pytest.mark.parametrize("after", [timedelta(days=-9), timedelta(minutes=5), timedelta(days=9)])
def test_a_cancellation_notice_can_be_sent_for_a_day_at_least(after: timedelta) -> None:
    """It is also sent if a flight is cancelled after its departure time; otherwise it expires with the departure."""
    at = DEPARTURE + after
    (notice,) = Shelf(confirmed(), now=DEPARTURE - timedelta(days=30)).deliver(ended(), at).added
    assert notice.expires_at == max(DEPARTURE, at + timedelta(hours=24))


@pytest.mark.parametrize(("old", "new"), [(MORNING, LATER_ON), (LATER_ON, MORNING)])
def test_a_removal_notice_expires_with_the_later_of_the_old_and_new_departures(old: Flight, new: Flight) -> None:
    """A passenger removed by the message that moves the flight can get the notice until both departures have passed."""
    shelf = Shelf(confirmed(passengers=(ASHA, RAVI), flights=(old,)))
    plan = shelf.deliver(changed(flights=(new,)), DEPARTURE - timedelta(minutes=5))
    (farewell,) = [mail for mail in plan.added if mail.kind is Kind.CANCELLATION]
    assert isinstance(farewell.content, Itinerary)
    assert (farewell.content.flights, farewell.expires_at) == ((old,), LATER_ON.departs_at)


def test_a_message_that_was_forgotten_makes_mails_with_other_ids_than_those_that_are_stored() -> None:
    """If mails are kept longer than message ids, a very late repeat still makes its mails."""
    shelf = Shelf(confirmed())
    before = set(shelf.mails)
    shelf.state = None
    shelf.handled.clear()
    added = shelf.deliver(confirmed()).added
    assert kinds(added) == [Kind.CONFIRMATION]
    assert not {mail.id for mail in added} & before


def test_no_id_of_a_restored_state_is_given_out_again_after_a_purge() -> None:
    """A message without a version that is outdone and comes into force again makes mails with new ids."""
    minute = [NOW + timedelta(minutes=n) for n in range(4)]
    seats = [(replace(MORNING, seat=f"{n}A"),) for n in range(4)]
    shelf, seen = Shelf(), list[str]()
    for message in (
        changed(1, time=minute[0], flights=seats[0]),
        changed(None, time=minute[2], flights=seats[1]),
        changed(3, time=minute[3], flights=seats[2]),
        changed(4, time=minute[1], flights=seats[3]),
    ):
        seen += [mail.id for mail in shelf.deliver(message).added]
        shelf.mails.clear()
    assert len(seen) == len(set(seen)) == 5


DEPARTURES = st.datetimes(datetime(1970, 12, 30), datetime(9999, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@given(DEPARTURES, st.timedeltas(timedelta(0), MAX_LENGTH), st.timedeltas(timedelta(0), MAX_LENGTH))
@example(datetime(9999, 1, 2, tzinfo=UTC), MAX_LENGTH, MAX_LENGTH)
@example(datetime(1970, 12, 30, tzinfo=UTC), MAX_LENGTH, MAX_LENGTH)
def test_every_departure_can_be_planned_with_every_setting(
    departs_at: datetime, remind_before: timedelta, remember: timedelta
) -> None:
    """The sum of any time in a message and any duration in the settings is a valid date."""
    rules = replace(RULES, remind_before=remind_before, remember=remember)
    first = confirmed(flights=(flight(departs_at=departs_at),)).plan(None, (), rules, NOW)
    ended = confirmed(2, change=Change.CANCELLED, flights=()).plan(first.state, first.added, rules, NOW)
    for plan in (first, ended):
        assert plan.forget_at
        assert plan.forget_at >= NOW + remember
