"""The mails that a booking message calls for: content, times and ids."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.bookings import ASHA, EVENING, LATER_ON, MORNING, RAVI, Shelf, changed, confirmed, ended, kinds
from support.samples import DEPARTURE, NOW, RULES, TRACE, flight

from notifier.domain.booking import Change, Passenger
from notifier.domain.drafts import confirmation_id, last_departure, reminder_key
from notifier.domain.mail import (
    Flight,
    Itinerary,
    Kind,
    Price,
    Status,
    mail_id,
)
from notifier.domain.planning import AddressState, BookingState
from notifier.domain.reminder_time import reminder_time
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


def test_a_mail_carries_what_its_message_and_the_settings_say() -> None:
    """Its events have the correlation id and the trace, and its Message-ID the domain of the service."""
    shelf = Shelf(confirmed(correlation="c-1", traceparent=TRACE))
    later = NOW + timedelta(minutes=1)
    shelf.deliver(changed(flights=(EVENING,), correlation="c-2"), later)
    found = [
        (mail.event, mail.correlation, mail.traceparent, mail.created_at, mail.aggregate, mail.booking, mail.rev)
        for mail in shelf.mails.values()
    ]
    assert set(found) == {
        ("m1", "c-1", TRACE, NOW, "booking:RXJ34P", "RXJ34P", 2),
        ("m2", "c-2", None, later, "booking:RXJ34P", "RXJ34P", 1),
    }
    assert all(mail.message_id == f"<{mail.id}@mail.example.com>" for mail in shelf.mails.values())
    threads = {mail.content.thread for mail in shelf.mails.values() if isinstance(mail.content, Itinerary)}
    assert threads == {next(iter(shelf.mails))}


def test_a_reminder_has_one_flight_and_a_time_of_its_own() -> None:
    """It shows its flight only, and its time stays the same when the departure moves and moves back."""
    price = Price("9", "INR")
    shelf = Shelf(confirmed(flights=(MORNING, LATER_ON), price=price, note="the gate is left out"))
    confirmation, reminder, other = shelf.mails.values()
    assert reminder.content == Itinerary(("Asha Rao",), (MORNING,), price, "en", thread=confirmation.id)
    assert (reminder.flight, other.flight, confirmation.flight) == (MORNING, LATER_ON, None)
    assert isinstance(shelf.state, BookingState)
    assert (shelf.state.price, shelf.state.flights) == (price, (MORNING, LATER_ON))
    what = ("RXJ34P", "reminder", "AI101", DEPARTURE.isoformat(), "asha@example.com")
    assert reminder.send_at == reminder_time(DEPARTURE, RULES.remind_before, *what)
    shelf.deliver(changed(2, flights=(LATER_ON,)))
    (again,) = [mail for mail in shelf.deliver(changed(3)).added if mail.kind is Kind.REMINDER]
    assert (again.id != reminder.id, again.send_at) == (True, reminder.send_at)


def test_those_who_share_an_address_are_named_in_order() -> None:
    """Mails go to the address as the first of them has it, in the first one's language."""
    shared = (Passenger("Asha Rao", "asha@example.com", "de"), Passenger("Ravi Rao", "Asha@Example.com", "en"))
    for mail in Shelf(confirmed(passengers=shared)).mails.values():
        assert isinstance(mail.content, Itinerary)
        assert (mail.to, mail.content.names, mail.content.locale) == (
            "asha@example.com",
            ("Asha Rao", "Ravi Rao"),
            "de",
        )
        assert mail.subject == RULES.subject(mail.kind, "RXJ34P", (MORNING,), "de")


def test_a_change_notice_that_still_waits_shows_the_latest_state() -> None:
    """A message that is no reason for another notice changes it, and it keeps the flights before the change."""
    shelf = Shelf(confirmed())
    shelf.send(9)
    shelf.deliver(changed(2, flights=(EVENING,)))
    plan = shelf.deliver(changed(3, flights=(EVENING,), note="the seat is left out"))
    assert plan.added == ()
    (notice,) = plan.changed
    assert isinstance(notice.content, Itinerary)
    assert (notice.kind, notice.content.before, notice.content.flights) == (Kind.CHANGE, (MORNING,), (EVENING,))
    assert (notice.content.note, notice.content.sequence, notice.expires_at) == (
        "the seat is left out",
        2,
        EVENING.departs_at,
    )
    assert notice.subject == RULES.subject(Kind.CHANGE, "RXJ34P", (EVENING,), "en")


def test_a_reminder_that_still_waits_shows_the_latest_state() -> None:
    """Its subject, its flight and its expiry are those of the flight as it is now."""
    later = replace(MORNING, seat="14C")
    shelf = Shelf(confirmed())
    shelf.send(9)
    (reminder,) = shelf.deliver(changed(flights=(later,), passengers=(replace(ASHA, locale="de"),))).changed
    assert (reminder.kind, reminder.flight, reminder.expires_at) == (Kind.REMINDER, later, DEPARTURE)
    assert reminder.subject == RULES.subject(Kind.REMINDER, "RXJ34P", (later,), "de")


def test_an_id_that_is_taken_is_replaced_by_one_with_the_message_in_it() -> None:
    """So each message makes a different one, whatever is stored."""
    what = ("RXJ34P", "/booking-service", "m1", NOW.isoformat(), "confirmation", "asha@example.com")
    (mail, _) = confirmed().plan(None, (), RULES, NOW, {mail_id(*what)}).added
    assert mail.id == mail_id(*what, "/booking-service", "m1")


def test_a_report_of_a_bad_address_stays_as_it_is() -> None:
    """A later message decides nothing about it, because its address was never part of the booking."""
    nobody = Passenger("No One", "nobody", fault="it has no @")
    shelf = Shelf(confirmed(passengers=(nobody, ASHA)))
    (report,) = [mail for mail in shelf.mails.values() if mail.status is Status.FAILED]
    assert (report.to, report.error) == ("nobody", "'nobody' is not a valid address: it has no @")
    assert (report.id, None) in shelf.deliver(changed(passengers=(nobody, ASHA), flights=(EVENING,))).amended


def test_two_reports_of_bad_addresses_have_ids_of_their_own() -> None:
    """Also if the second one comes with a later message, which does not report the first one again."""
    nobody, other = (Passenger("No One", name, fault="it has no @") for name in ("nobody", "no-one"))
    shelf = Shelf(confirmed(passengers=(nobody, ASHA)))
    added = shelf.deliver(changed(passengers=(nobody, other, ASHA))).added
    assert [(mail.to, mail.status) for mail in added] == [("no-one", Status.FAILED)]
    what = ("RXJ34P", "/booking-service", "m1", NOW.isoformat(), "unmailable")
    reports = [mail.id for mail in shelf.mails.values() if mail.status is Status.FAILED]
    assert reports == [mail_id(*what, "#0", "nobody"), mail_id(*what, "#1", "no-one")]


def test_a_mail_to_an_address_of_an_earlier_booking_stays() -> None:
    """A reference that is used again says nothing about the passengers of the booking that had it before."""
    shelf = Shelf(confirmed(passengers=(RAVI,)))
    (confirmation,) = [mail for mail in shelf.pending() if mail.kind is Kind.CONFIRMATION]
    shelf.state = None
    shelf.deliver(confirmed(1, id="next"))
    assert shelf.mails[confirmation.id] == confirmation


def test_a_notice_of_a_booking_without_flights_does_not_expire() -> None:
    """Nothing says when it becomes useless, and the booking is remembered from now on."""
    plan = Shelf().deliver(ended(passengers=(ASHA,)))
    assert [(mail.kind, mail.expires_at, mail.send_at) for mail in plan.added] == [(Kind.CANCELLATION, None, NOW)]
    assert plan.forget_at == NOW + RULES.remember
    assert last_departure(()) is None


def test_a_cancellation_without_flights_shows_those_of_the_booking() -> None:
    """Its passengers recognise the booking by them; a price that it does not name is left out."""
    shelf = Shelf(confirmed(flights=(EVENING, MORNING), price=Price("9", "INR")))
    (notice,) = shelf.deliver(ended(note="the gate is left out")).added
    assert notice.content == Itinerary(
        ("Asha Rao",),
        (EVENING, MORNING),
        None,
        "en",
        "the gate is left out",
        sequence=1,
        thread=next(iter(shelf.mails)),
    )
    assert isinstance(shelf.state, BookingState)
    assert (shelf.state.flights, shelf.state.price, shelf.state.sequence) == ((EVENING, MORNING), None, 1)
    assert (shelf.state.version, shelf.state.version_time) == (3, shelf.state.time)


def test_a_mail_says_that_any_of_its_flights_leaves_soon() -> None:
    """In the time in which a reminder would be sent; a flight that has left leaves no more."""
    for flights, at, soon in (
        ((MORNING, LATER_ON), DEPARTURE - timedelta(hours=1), True),
        ((LATER_ON, MORNING), DEPARTURE - timedelta(hours=1), True),
        ((MORNING, LATER_ON), DEPARTURE + timedelta(hours=1), False),
        ((LATER_ON,), DEPARTURE - timedelta(hours=1), False),
        ((flight(departs_at=None),), DEPARTURE - timedelta(hours=1), False),
    ):
        content = Shelf().deliver(confirmed(flights=flights), at).added[0].content
        assert isinstance(content, Itinerary)
        assert content.leaves_soon is soon


def test_the_id_of_a_confirmation_of_an_earlier_version_can_be_computed() -> None:
    """That version kept no thread in its mails, and the mails of a booking stay together after an upgrade."""
    assert confirmation_id("RXJ34P", "Asha@Example.com") == mail_id("RXJ34P", "confirmation", "asha@example.com")


def test_a_reminder_is_about_an_address_and_a_departure() -> None:
    """An erased one has no flight any more, and is about nothing that another one is about."""
    (reminder,) = [mail for mail in Shelf(confirmed()).pending() if mail.kind is Kind.REMINDER]
    assert reminder_key(replace(reminder, to="Asha@Example.com")) == ("asha@example.com", "AI101", DEPARTURE)
    assert reminder_key(replace(reminder, flight=None)) == (reminder.id, "", None)


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
