"""What becomes of a booking's mails, message by message and in any order."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.bookings import (
    ASHA,
    CHOICES,
    EVENING,
    MORNING,
    NOTICES,
    RAVI,
    Shelf,
    about,
    addresses_of,
    changed,
    confirmed,
    ended,
    expected_reminders,
    kinds,
    names,
)
from support.samples import DEPARTURE, NOW, RULES, flight

from notifier.domain.addresses import identity
from notifier.domain.booking import BookingMessage, Change, Passenger
from notifier.domain.mail import (
    Itinerary,
    Kind,
    Mail,
    Price,
    Reply,
    RetryPolicy,
    Status,
    cancelled,
    claimed,
    failed,
    handed_back,
    mail_id,
    refused,
    retried,
    sent,
    unknown,
)
from notifier.domain.planning import BookingState, Plan, forgetting, recognising

# --- What one message does -------------------------------------------------------------------------------------------


def test_a_confirmed_booking_is_confirmed_at_once_and_reminded_later() -> None:
    """Each passenger gets a confirmation now and one reminder for each flight."""
    plan = Shelf().deliver(confirmed(passengers=(ASHA, RAVI), flights=(MORNING, EVENING), price=Price("1", "INR")))
    confirmation = plan.added[0]
    assert kinds(plan.added) == [Kind.CONFIRMATION] * 2 + [Kind.REMINDER] * 4
    assert (confirmation.to, confirmation.send_at, confirmation.event) == ("asha@example.com", NOW, "m1")
    expected_content = Itinerary(("Asha Rao",), (MORNING, EVENING), Price("1", "INR"), "en", thread=confirmation.id)
    assert confirmation.content == expected_content
    assert (confirmation.expires_at, confirmation.flight) == (EVENING.departs_at, None)
    assert confirmation.message_id == f"<{confirmation.id}@mail.example.com>"
    assert len({mail.id for mail in plan.added}) == 6
    assert {about(mail) for mail in plan.added[2:]} == {
        (passenger.email, "AI101", each.departs_at) for passenger in (ASHA, RAVI) for each in (MORNING, EVENING)
    }
    assert EVENING.departs_at
    assert plan.forget_at == EVENING.departs_at + RULES.remember


def test_a_first_message_makes_a_confirmation_whatever_it_is_called() -> None:
    """If a change arrives first, its passengers get a confirmation."""
    assert kinds(Shelf().deliver(changed()).added) == [Kind.CONFIRMATION, Kind.REMINDER]


def test_a_repeat_plans_nothing() -> None:
    """The same state again, under the same id or a new one, makes no mail and changes nothing."""
    shelf = Shelf(confirmed())
    assert shelf.deliver(confirmed()) == Plan()
    assert shelf.deliver(confirmed(id="again")) == Plan()


def test_an_outdated_message_concerns_no_mails() -> None:
    """A store need not read the mails of a booking for a message that changes none of them."""
    shelf = Shelf(changed(5))
    late, newer = confirmed(4), changed(6)
    assert not late.concerns_mails(shelf.state)
    assert newer.concerns_mails(shelf.state)
    assert late.concerns_mails(None)


def test_an_outdated_version_is_remembered_although_it_makes_no_mail() -> None:
    """A version from before the message in force changes no mail, and no lower version comes into force after it."""
    hour = [NOW + timedelta(hours=number) for number in range(4)]
    shelf = Shelf(changed(None, time=hour[2]))
    plan = shelf.deliver(changed(5, time=hour[1], flights=(EVENING,)))
    assert (plan.added, plan.changed, plan.amended) == ((), (), ())
    assert plan.forget_at == DEPARTURE + RULES.remember
    assert shelf.deliver(changed(4, time=hour[3], flights=(EVENING,))) == Plan()


def test_no_new_mail_has_the_id_of_one_that_exists() -> None:
    """An id that is free follows from the booking's first message and the address; one that is taken is replaced."""
    first = confirmed().plan(None, (), RULES, NOW).added
    ids = {mail.id for mail in first}
    what = ("RXJ34P", "/booking-service", "m1", NOW.isoformat(), "confirmation", "asha@example.com")
    assert first[0].id == mail_id(*what)
    for existing, stored in ((first, ()), ((), ids)):
        plan = confirmed().plan(None, existing, RULES, NOW, stored)
        assert kinds(plan.added)[0] is Kind.CONFIRMATION
        assert not ids & {mail.id for mail in plan.added}


def test_passengers_who_share_an_address_get_one_mail() -> None:
    """Letter case is ignored: one confirmation and one reminder name both passengers."""
    second = Passenger("Ravi Rao", "ASHA@example.com")
    added = Shelf().deliver(confirmed(passengers=(ASHA, second))).added
    assert kinds(added) == [Kind.CONFIRMATION, Kind.REMINDER]
    assert [names(mail) for mail in added] == [("Asha Rao", "Ravi Rao")] * 2


def test_a_removed_address_gets_a_cancellation_notice_and_loses_its_reminder() -> None:
    """A passenger who was removed gets a cancellation notice; the mails of the others stay as they were."""
    shelf = Shelf(confirmed(passengers=(ASHA, RAVI)))
    plan = shelf.deliver(changed(passengers=(ASHA,)))
    assert [(mail.kind, mail.to) for mail in plan.added] == [(Kind.CANCELLATION, "ravi@example.com")]
    assert [(mail.kind, mail.to, mail.status) for mail in plan.changed] == [
        (Kind.CONFIRMATION, "ravi@example.com", Status.CANCELLED),
        (Kind.REMINDER, "ravi@example.com", Status.CANCELLED),
    ]
    assert shelf.reminders() == [("asha@example.com", "AI101", DEPARTURE)]


def test_a_removed_address_is_notified_once() -> None:
    """A further change sends no notice to those who were removed before."""
    shelf = Shelf(confirmed(passengers=(ASHA, RAVI)), changed(2, passengers=(ASHA,)))
    plan = shelf.deliver(changed(3, passengers=(ASHA,), flights=(EVENING,)))
    assert [mail.to for mail in plan.added if mail.kind is not Kind.REMINDER] == ["asha@example.com"]


def test_a_removed_address_is_shown_its_old_flights() -> None:
    """The notice does not show the flights that the others have now."""
    shelf = Shelf(confirmed(passengers=(ASHA, RAVI)))
    added = shelf.deliver(changed(passengers=(ASHA,), flights=(EVENING,))).added
    (farewell,) = [mail for mail in added if mail.kind is Kind.CANCELLATION]
    assert isinstance(farewell.content, Itinerary)
    assert farewell.content.flights == (MORNING,)


def test_an_address_that_comes_back_gets_a_change_notice() -> None:
    """Its first confirmation stays the only one, so the return is a change; the reminder is added again."""
    shelf = Shelf(confirmed(passengers=(ASHA, RAVI)), changed(2, passengers=(ASHA,)))
    plan = shelf.deliver(changed(3, passengers=(ASHA, RAVI)))
    assert [(mail.kind, mail.to) for mail in plan.added] == [
        (Kind.CHANGE, "ravi@example.com"),
        (Kind.REMINDER, "ravi@example.com"),
    ]
    assert isinstance(plan.added[0].content, Itinerary)
    assert plan.added[0].content.before == ()


def test_every_mail_to_an_address_is_in_the_thread_of_its_confirmation() -> None:
    """Mail programs show the mails of a booking together, whichever messages they come from."""
    shelf = Shelf(confirmed(passengers=(ASHA, RAVI)))
    confirmations = {mail.to: mail.id for mail in shelf.mails.values() if mail.kind is Kind.CONFIRMATION}
    shelf.send(9)
    shelf.deliver(changed(2, passengers=(ASHA, RAVI), flights=(EVENING,)))
    shelf.deliver(ended())
    found = {(mail.to, mail.content.thread) for mail in shelf.mails.values() if isinstance(mail.content, Itinerary)}
    assert found == set(confirmations.items())


def test_a_later_confirmation_counts_as_a_change() -> None:
    """There is never a second confirmation to an address."""
    plan = Shelf(confirmed(1)).deliver(confirmed(2, flights=(EVENING,)))
    assert kinds(plan.added) == [Kind.CHANGE, Kind.REMINDER]


@pytest.mark.parametrize(
    "changes",
    [
        {"flights": (flight(seat="14C"),)},
        {"flights": (flight(gate="9"),)},
        {"flights": (MORNING, flight(number="AI202", departs_at=DEPARTURE + timedelta(days=3)))},
        {"price": Price("9", "INR")},
        {"passengers": (Passenger("Asha R. Rao", "asha@example.com", "en"),)},
    ],
)
def test_a_change_that_a_passenger_sees_makes_a_notice(changes: dict[str, Any]) -> None:
    """Another seat, gate, flight, price or name makes a notice at once."""
    plan = Shelf(confirmed()).deliver(changed(**changes))
    assert [mail.kind for mail in plan.added if mail.kind is not Kind.REMINDER] == [Kind.CHANGE]
    assert plan.added[0].send_at == NOW


def test_a_new_version_without_a_change_makes_no_mail() -> None:
    """Nothing that a passenger sees is different, so there is no notice; the version still counts as handled."""
    shelf = Shelf(confirmed())
    plan = shelf.deliver(changed(7))
    assert (plan.added, plan.changed) == ((), ())
    assert shelf.deliver(changed(6, flights=(EVENING,))) == Plan()


def test_a_pending_reminder_has_the_latest_state() -> None:
    """After a change of seat, gate or name the reminder must not show the old one."""
    shelf = Shelf(confirmed(), changed(flights=(flight(seat="14C", gate="9"),)))
    (reminder,) = [mail for mail in shelf.pending() if mail.kind is Kind.REMINDER]
    assert isinstance(reminder.content, Itinerary)
    assert (reminder.content.flights[0].seat, reminder.content.flights[0].gate) == ("14C", "9")


def test_a_moved_departure_moves_the_reminder() -> None:
    """The reminder that no longer fits is cancelled with a reason, and a new one is added."""
    shelf = Shelf(confirmed())
    plan = shelf.deliver(changed(flights=(EVENING,)))
    assert [(mail.kind, mail.status, mail.error) for mail in plan.changed] == [
        (Kind.CONFIRMATION, Status.PENDING, None),
        (Kind.REMINDER, Status.CANCELLED, "no longer fits the booking"),
    ]
    assert shelf.reminders() == [("asha@example.com", "AI101", EVENING.departs_at)]


def test_a_departure_that_moves_and_moves_back_is_reminded() -> None:
    """A cancelled reminder stays cancelled; a new pending one takes its place, however often that happens."""
    shelf = Shelf(confirmed())
    for version in range(2, 7):
        shelf.deliver(changed(version, flights=(EVENING if version % 2 == 0 else MORNING,)))
        assert len(shelf.reminders()) == 1
    assert shelf.reminders() == [("asha@example.com", "AI101", EVENING.departs_at)]
    shelf.deliver(changed(7))
    assert shelf.reminders() == [("asha@example.com", "AI101", DEPARTURE)]


def test_it_makes_no_difference_whether_finished_mails_are_given() -> None:
    """A store can leave them out: a cancelled reminder takes no place, and a sent one is not sent again."""
    shelf = Shelf(confirmed(), changed(2, flights=(EVENING,)))
    shelf.send(9)
    message = changed(3, flights=(MORNING, EVENING))
    plans = [
        message.plan(shelf.state, given, RULES, NOW, shelf.mails) for given in (shelf.open(), [*shelf.mails.values()])
    ]
    assert kinds(plans[0].added) == [Kind.CHANGE, Kind.REMINDER]
    assert plans[0] == plans[1]


def test_a_reminder_that_an_operator_cancelled_stays_so() -> None:
    """A change that leaves the departure where it is does not bring the reminder back."""
    shelf = Shelf(confirmed())
    (reminder,) = [mail for mail in shelf.pending() if mail.kind is Kind.REMINDER]
    shelf.put(cancelled(reminder, "by an operator"))
    shelf.deliver(changed(flights=(flight(seat="14C"),)))
    assert shelf.reminders() == []


def test_a_reminder_that_was_sent_is_not_sent_again() -> None:
    """A change after the reminder makes a notice and no second reminder."""
    shelf = Shelf(confirmed())
    (reminder,) = [mail for mail in shelf.pending() if mail.kind is Kind.REMINDER]
    shelf.put(claimed(reminder, NOW))
    shelf.put(sent(shelf.mails[reminder.id], Reply(250, "ok"), NOW))
    assert kinds(shelf.deliver(changed(flights=(flight(seat="14C"),))).added) == [Kind.CHANGE]


def test_a_waiting_reminder_survives_a_message_inside_its_window() -> None:
    """A new version without a visible change must not withdraw the reminder that still waits."""
    inside = DEPARTURE - timedelta(hours=3) + timedelta(seconds=1)
    shelf = Shelf(confirmed())
    plan = shelf.deliver(changed(), inside)
    assert plan.added == ()
    assert shelf.reminders() == [("asha@example.com", "AI101", DEPARTURE)]


def test_a_bad_address_is_reported_and_the_others_get_theirs() -> None:
    """An address that no mail can reach has one failed confirmation, which says why."""
    nobody = Passenger("No One", "nobody", fault="it has no @")
    shelf = Shelf()
    added = shelf.deliver(confirmed(passengers=(nobody, ASHA))).added
    assert [(mail.kind, mail.status, mail.to) for mail in added] == [
        (Kind.CONFIRMATION, Status.FAILED, "nobody"),
        (Kind.CONFIRMATION, Status.PENDING, "asha@example.com"),
        (Kind.REMINDER, Status.PENDING, "asha@example.com"),
    ]
    assert added[0].error == "'nobody' is not a valid address: it has no @"
    shelf.deliver(changed(passengers=(nobody, ASHA), flights=(EVENING,)))
    assert len([mail for mail in shelf.mails.values() if mail.status is Status.FAILED]) == 1


def test_a_bad_address_that_an_earlier_version_reported_is_not_reported_again() -> None:
    """That version did not keep the address in the booking's state, but its failed confirmation is stored."""
    nobody = Passenger("No One", "nobody", fault="it has no @")
    shelf = Shelf(confirmed(passengers=(nobody, ASHA)))
    assert isinstance(shelf.state, BookingState)
    shelf.state = replace(
        shelf.state, addresses={who: each for who, each in shelf.state.addresses.items() if "@" in who}
    )
    assert "nobody" not in {
        mail.to for mail in shelf.deliver(changed(passengers=(nobody, ASHA), flights=(EVENING,))).added
    }


def test_a_bad_address_is_reported_once_also_after_its_report_was_purged() -> None:
    """The booking's state has it as an address that is not included."""
    nobody = Passenger("No One", "nobody", fault="it has no @")
    shelf = Shelf(confirmed(passengers=(nobody, ASHA)))
    shelf.mails.clear()
    added = shelf.deliver(changed(passengers=(nobody, ASHA), flights=(EVENING,))).added
    assert [(mail.kind, mail.to) for mail in added] == [
        (Kind.CHANGE, "asha@example.com"),
        (Kind.REMINDER, "asha@example.com"),
    ]
    assert [mail.to for mail in shelf.deliver(ended()).added] == ["asha@example.com"]


def test_a_cancelled_booking_sends_nothing_but_cancellation_notices() -> None:
    """Everything unsent is cancelled, and every included address gets a notice with the old flights."""
    shelf = Shelf(confirmed(passengers=(ASHA, RAVI)))
    plan = shelf.deliver(ended())
    assert {mail.status for mail in plan.changed} == {Status.CANCELLED}
    assert len(plan.changed) == 4
    assert {mail.error for mail in plan.changed} == {"the booking was cancelled"}
    assert [(mail.kind, mail.to) for mail in shelf.pending()] == [
        (Kind.CANCELLATION, "asha@example.com"),
        (Kind.CANCELLATION, "ravi@example.com"),
    ]
    assert isinstance(plan.added[0].content, Itinerary)
    assert plan.added[0].content.flights == (MORNING,)
    assert plan.forget_at == DEPARTURE + RULES.remember


POLICY = RetryPolicy((timedelta(seconds=10),), timedelta(hours=48))


def with_unknown_outcome(mail: Mail) -> Mail:
    """End an attempt with an unknown outcome."""
    return unknown(mail, "connection lost", POLICY, NOW)


def put_off(mail: Mail) -> Mail:
    """End an attempt with a temporary rejection."""
    return refused(mail, Reply(451, "greylisted"), None, POLICY, NOW)


def broken_off(mail: Mail) -> Mail:
    """End an attempt whose dialogue broke before the message was sent."""
    return refused(mail, None, "connection lost (in RCPT)", POLICY, NOW)


def sending(shelf: Shelf, kind: Kind) -> Mail:
    """Claim the only mail of a kind."""
    (mail,) = [mail for mail in shelf.pending() if mail.kind is kind]
    shelf.put(claimed(mail, NOW))
    return shelf.mails[mail.id]


def end(shelf: Shelf, mail: Mail, *steps: Callable[[Mail], Mail]) -> Mail:
    """Store the outcome of an attempt, one step after the other; return the mail after it."""
    for step in steps:
        shelf.put(step(shelf.mails[mail.id]))
    return shelf.mails[mail.id]


def rejected(mail: Mail) -> Mail:
    """End an attempt with a permanent rejection."""
    return failed(mail, Reply(550, "no such user"), None)


Steps = tuple[Callable[[Mail], Mail], ...]


ENDINGS: list[Steps] = [(put_off,), (broken_off,), (handed_back,), (with_unknown_outcome,), (rejected, retried)]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", [Kind.CONFIRMATION, Kind.REMINDER])
def test_a_mail_that_was_being_sent_when_its_booking_was_cancelled_is_not_sent_again(kind: Kind, ending: Steps) -> None:
    """A cancellation cannot stop a mail that is being sent, but there is no further attempt whatever its outcome."""
    shelf = Shelf(confirmed())
    mail = sending(shelf, kind)
    shelf.deliver(ended())
    assert shelf.mails[mail.id] == mail
    found = end(shelf, mail, *ending)
    assert (found.status, found.error) == (Status.CANCELLED, "the booking was cancelled")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_reminder_that_was_being_sent_when_its_departure_moved_is_not_sent_again(
    ending: Steps,
) -> None:
    """It would remind of a departure that no longer exists; the new departure has a reminder of its own."""
    shelf = Shelf(confirmed())
    mail = sending(shelf, Kind.REMINDER)
    shelf.deliver(changed(flights=(EVENING,)))
    assert end(shelf, mail, *ending).status is Status.CANCELLED
    assert shelf.reminders() == [("asha@example.com", "AI101", EVENING.departs_at)]


@pytest.mark.parametrize("ending", [steps for steps in ENDINGS if steps != (with_unknown_outcome,)])
def test_a_mail_that_was_being_sent_when_its_booking_changed_gets_the_new_content(
    ending: Steps,
) -> None:
    """Its reader does not have it yet, so the next attempt has the latest state."""
    shelf = Shelf(confirmed())
    mail = sending(shelf, Kind.CONFIRMATION)
    shelf.deliver(changed(2, flights=(EVENING,)))
    shelf.deliver(changed(3, flights=(replace(EVENING, seat="30F"),)))
    found = end(shelf, mail, *ending)
    assert isinstance(found.content, Itinerary)
    assert (found.status, found.content.flights) == (Status.PENDING, (replace(EVENING, seat="30F"),))
    assert found.expires_at == EVENING.departs_at
    assert "21:30" in found.subject


def test_a_mail_of_unknown_outcome_keeps_its_bytes_whatever_the_booking_says() -> None:
    """Its reader may have it, so it is sent again unchanged, also after a later attempt was rejected."""
    shelf = Shelf(confirmed())
    mail = end(shelf, sending(shelf, Kind.CONFIRMATION), with_unknown_outcome)
    shelf.deliver(changed(2, flights=(EVENING,)))
    again = end(shelf, sending(shelf, Kind.CONFIRMATION), put_off)
    shelf.deliver(changed(3, flights=(MORNING, EVENING)))
    for found in (again, shelf.mails[mail.id]):
        assert (found.content, found.subject, found.expires_at) == (mail.content, mail.subject, mail.expires_at)


def test_a_change_that_is_reverted_while_a_mail_is_being_sent_leaves_it_as_it_was() -> None:
    """The state when the mail becomes pending again decides, not the states in between."""
    shelf = Shelf(confirmed())
    reminder, confirmation = sending(shelf, Kind.REMINDER), sending(shelf, Kind.CONFIRMATION)
    shelf.deliver(changed(2, flights=(EVENING,)))
    shelf.deliver(changed(3, flights=(MORNING,)))
    for mail in (reminder, confirmation):
        found = end(shelf, mail, put_off)
        assert (found.status, found.content) == (Status.PENDING, mail.content)
    assert shelf.reminders() == [("asha@example.com", "AI101", DEPARTURE)]


def test_a_rewritten_mail_raises_its_revision() -> None:
    """Watchers must see that a waiting mail has a new content."""
    shelf = Shelf(confirmed())
    before = {mail.kind: mail for mail in shelf.pending()}
    plan = shelf.deliver(changed(flights=(replace(MORNING, seat="30F"),)))
    assert {(mail.id, mail.rev, mail.status) for mail in plan.changed} == {
        (mail.id, mail.rev + 1, Status.PENDING) for mail in before.values()
    }


def test_a_mail_whose_attempt_broke_before_the_message_is_rewritten() -> None:
    """Its reader cannot have it, and the error of the attempt stays visible."""
    shelf = Shelf(confirmed())
    mail = end(shelf, sending(shelf, Kind.CONFIRMATION), broken_off)
    shelf.deliver(changed(flights=(EVENING,)))
    found = shelf.mails[mail.id]
    assert isinstance(found.content, Itinerary)
    assert (found.content.flights, found.error) == ((EVENING,), "connection lost (in RCPT)")


def test_an_address_that_comes_back_is_sent_no_cancellation_notice() -> None:
    """A cancellation notice that still waits, or that becomes pending again, would be their last mail."""
    for claim_it in (False, True):
        shelf = Shelf(confirmed(passengers=(ASHA, RAVI)), changed(2, passengers=(ASHA,)))
        if claim_it:
            notice = sending(shelf, Kind.CANCELLATION)
        else:
            (notice,) = [mail for mail in shelf.pending() if mail.kind is Kind.CANCELLATION]
        shelf.deliver(changed(3, passengers=(ASHA, RAVI)))
        if claim_it:
            end(shelf, notice, put_off)
        assert shelf.mails[notice.id].status is Status.CANCELLED


def test_a_removed_address_is_not_confirmed_any_more() -> None:
    """A confirmation that still waits, or becomes pending again, must not follow the cancellation notice."""
    for claim_it in (False, True):
        shelf = Shelf(confirmed(passengers=(RAVI,)))
        if claim_it:
            mail = sending(shelf, Kind.CONFIRMATION)
        else:
            (mail,) = [mail for mail in shelf.pending() if mail.kind is Kind.CONFIRMATION]
        shelf.deliver(changed(2, passengers=(ASHA,)))
        if claim_it:
            end(shelf, mail, put_off)
        assert shelf.mails[mail.id].status is Status.CANCELLED


def test_a_cancellation_notice_on_its_way_survives_a_second_cancellation() -> None:
    """There is no second notice, so the first one must still be sent if the server rejects it temporarily."""
    shelf = Shelf(confirmed(), ended(2))
    notice = sending(shelf, Kind.CANCELLATION)
    shelf.deliver(ended(3))
    assert end(shelf, notice, put_off).status is Status.PENDING
    assert len([mail for mail in shelf.mails.values() if mail.kind is Kind.CANCELLATION]) == 1


def test_a_booking_that_was_forgotten_is_confirmed_although_its_old_mails_are_there() -> None:
    """With a long retention, a reference that is used again must not be taken for the earlier booking."""
    shelf = Shelf(confirmed())
    for kind in (Kind.CONFIRMATION, Kind.REMINDER):
        mail = sending(shelf, kind)
        shelf.put(sent(mail, Reply(250, "ok"), NOW))
    shelf.state = None
    later = flight(departs_at=DEPARTURE + timedelta(days=60))
    added = shelf.deliver(confirmed(1, id="next", flights=(later,)), NOW + timedelta(days=60)).added
    assert kinds(added) == [Kind.CONFIRMATION, Kind.REMINDER]


def test_a_cancellation_that_arrives_first_notifies_its_passengers() -> None:
    """The addresses that it names get a notice, and a confirmation that arrives later adds nothing."""
    shelf = Shelf()
    plan = shelf.deliver(ended(passengers=(ASHA, RAVI), flights=(MORNING,)))
    assert [(mail.kind, mail.to) for mail in plan.added] == [
        (Kind.CANCELLATION, "asha@example.com"),
        (Kind.CANCELLATION, "ravi@example.com"),
    ]
    assert shelf.deliver(confirmed(passengers=(ASHA, RAVI))) == Plan()


def test_a_cancellation_notifies_named_and_unnamed_addresses() -> None:
    """A passenger of the booking and one whom only the cancellation names get one notice each."""
    plan = Shelf(confirmed(passengers=(ASHA,))).deliver(ended(passengers=(RAVI, ASHA)))
    assert sorted(mail.to for mail in plan.added) == ["asha@example.com", "ravi@example.com"]


def test_an_address_that_was_removed_before_is_not_notified_again() -> None:
    """An address that had its cancellation notice gets no second one, even if the cancellation names it."""
    shelf = Shelf(confirmed(passengers=(ASHA, RAVI)), changed(2, passengers=(ASHA,)))
    shelf.send(9)
    assert [mail.to for mail in shelf.deliver(ended(passengers=(ASHA, RAVI))).added] == ["asha@example.com"]


def erased(shelf: Shelf, who: str, *, named: bool) -> Shelf:
    """Erase an address, as a store does, before a message that names it again or not."""
    assert isinstance(shelf.state, BookingState)
    shelf.mails.clear()
    shelf.state = recognising(forgetting(shelf.state, who, b"salt"), [who] if named else [], b"salt")
    return shelf


def test_a_message_that_names_an_erased_address_can_be_mailed_to_it() -> None:
    """A cancellation has the address again, which keeps the confirmation that it had; others do not reach it."""
    both = (ASHA, RAVI)
    for named in (False, True):
        shelf = erased(Shelf(confirmed(passengers=both)), "ravi@example.com", named=named)
        plan = shelf.deliver(ended(passengers=both if named else (ASHA,)))
        reached = [("asha@example.com", ("Asha Rao",)), ("ravi@example.com", ("Ravi Rao",))]
        assert [(mail.to, names(mail)) for mail in plan.added] == reached[: 1 + named]
        threads = [mail.content.thread for mail in plan.added if isinstance(mail.content, Itinerary)]
        # The id of the confirmation was erased with the address.
        assert [thread is not None for thread in threads] == [True, False][: 1 + named]
        shelf.mails.clear()
        assert isinstance(shelf.state, BookingState)
        shelf.state = recognising(shelf.state, ["ravi@example.com"], b"salt")
        added = shelf.deliver(changed(4, passengers=both)).added
        assert kinds(added) == [Kind.CHANGE, Kind.CHANGE, Kind.REMINDER, Kind.REMINDER]


def test_an_erased_address_that_was_removed_before_is_not_notified_again() -> None:
    """It had its notice, and is only confirmed later if it never was."""
    removed = Shelf(confirmed(passengers=(ASHA, RAVI)), changed(2, passengers=(ASHA,)))
    removed = erased(removed, "ravi@example.com", named=True)
    assert [mail.to for mail in removed.deliver(ended(passengers=(ASHA, RAVI))).added] == ["asha@example.com"]
    unconfirmed = erased(Shelf(ended(2, passengers=(RAVI,))), "ravi@example.com", named=True)
    assert unconfirmed.deliver(ended(passengers=(RAVI,))).added == ()
    assert kinds(unconfirmed.deliver(changed(4, passengers=(RAVI,))).added) == [Kind.CONFIRMATION, Kind.REMINDER]


def test_an_erased_address_that_is_removed_gets_no_notice() -> None:
    """It is not known any more."""
    shelf = erased(Shelf(confirmed(passengers=(ASHA, RAVI))), "ravi@example.com", named=False)
    assert shelf.deliver(changed(passengers=(ASHA,))).added == ()


def test_a_second_cancellation_keeps_the_notice() -> None:
    """A cancellation notice that still waits is replaced by a new one when the booking is cancelled again."""
    shelf = Shelf(confirmed(passengers=(ASHA, RAVI)), changed(2, passengers=(ASHA,)), ended(3), ended(4))
    for who in ("asha@example.com", "ravi@example.com"):
        latest = shelf.notices(who)[-1]
        assert (latest.kind, latest.event) == (Kind.CANCELLATION, "m4")


def test_a_confirmation_that_still_waits_has_the_latest_state() -> None:
    """If it is rejected temporarily, it can arrive after a change notice: neither of them then shows the old state."""
    shelf = Shelf(confirmed())
    (waiting,) = [mail for mail in shelf.pending() if mail.kind is Kind.CONFIRMATION]
    shelf.deliver(changed(flights=(EVENING,)))
    content = shelf.mails[waiting.id].content
    assert isinstance(content, Itinerary)
    assert content.flights == (EVENING,)
    assert shelf.mails[waiting.id].expires_at == EVENING.departs_at
    assert "21:30" in shelf.mails[waiting.id].subject


@pytest.mark.parametrize("kind", [Kind.CONFIRMATION, Kind.REMINDER])
def test_a_mail_that_may_have_been_sent_is_not_rewritten(kind: Kind) -> None:
    """An attempt whose outcome is unknown is repeated with the same bytes."""
    shelf = Shelf(confirmed())
    (first,) = [mail for mail in shelf.pending() if mail.kind is kind]
    shelf.put(claimed(first, NOW))
    shelf.put(with_unknown_outcome(shelf.mails[first.id]))
    shelf.deliver(changed(flights=(replace(MORNING, seat="30F"),)))
    assert shelf.mails[first.id].content == first.content


def test_a_cancellation_notice_that_may_have_been_sent_stays_the_only_one() -> None:
    """A second cancellation makes no notice with another id, which a mailbox could not recognise as the same one."""
    shelf = Shelf(confirmed())
    shelf.send(9)
    shelf.deliver(ended(2))
    notice = end(shelf, sending(shelf, Kind.CANCELLATION), with_unknown_outcome)
    assert shelf.deliver(ended(3)).added == ()
    assert shelf.mails[notice.id] == notice


def test_an_address_that_only_a_cancellation_named_is_confirmed_later() -> None:
    """The first confirmation or change that names it makes its confirmation, to which its other mails refer."""
    shelf = Shelf(ended(2, passengers=(ASHA,), flights=(MORNING,)))
    shelf.send(9)
    shelf.deliver(ended(3, passengers=(ASHA,)))
    plan = shelf.deliver(changed(4))
    assert kinds(plan.added) == [Kind.CONFIRMATION, Kind.REMINDER]
    assert isinstance(plan.added[1].content, Itinerary)
    assert plan.added[1].content.thread == plan.added[0].id
    assert kinds(shelf.deliver(changed(5, flights=(EVENING,))).added) == [Kind.CHANGE, Kind.REMINDER]


def test_a_cancellation_without_a_usable_address_still_cancels() -> None:
    """The passengers of the booking get their notices, and nothing else is sent any more."""
    shelf = Shelf(confirmed(), ended(2, passengers=(Passenger("Asha Rao", "", fault="it has no @"),)))
    assert [(mail.kind, mail.to) for mail in shelf.pending()] == [(Kind.CANCELLATION, "asha@example.com")]


def test_a_newer_change_notice_supersedes_those_that_wait() -> None:
    """An address gets one notice, in the place of the first, about all that has changed since it was last mailed."""
    shelf = Shelf(confirmed())
    shelf.send(1)
    shelf.deliver(changed(2, flights=(EVENING,)))
    later = NOW + timedelta(minutes=1)
    shelf.deliver(changed(3, flights=(replace(EVENING, seat="30F"),)), later)
    first, second = (mail for mail in shelf.mails.values() if mail.kind is Kind.CHANGE)
    assert (first.status, first.error) == (Status.CANCELLED, "superseded by a newer notice")
    assert (second.status, second.event, second.created_at, second.send_at) == (Status.PENDING, "m3", later, NOW)
    assert isinstance(second.content, Itinerary)
    assert (second.content.before, second.content.flights) == ((MORNING,), (replace(EVENING, seat="30F"),))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_superseded_change_notice_that_was_being_sent_is_not_sent_again(ending: Steps) -> None:
    """The newer notice, which has the changes since that one, is enough, whatever is decided meanwhile."""
    shelf = Shelf(confirmed())
    shelf.send(1)
    shelf.deliver(changed(2, flights=(EVENING,)))
    notice = sending(shelf, Kind.CHANGE)
    plan = shelf.deliver(changed(3, flights=(MORNING,)))
    assert isinstance(plan.added[0].content, Itinerary)
    assert plan.added[0].content.before == (EVENING,)
    shelf.deliver(changed(4, flights=(MORNING,)))
    found = end(shelf, notice, *ending)
    assert (found.status, found.error) == (Status.CANCELLED, "superseded by a newer notice")


# --- What any messages do, in any order ------------------------------------------------------------------------------


PEOPLE = (ASHA, RAVI, Passenger("Mira", "ASHA@Example.com"), Passenger("Tom", "tom@example.com"))
STATES = st.fixed_dictionaries(
    {
        "passengers": st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=4, unique=True).map(tuple),
        "flights": st.lists(st.sampled_from(CHOICES), min_size=1, max_size=3).map(tuple),
        "change": st.sampled_from([Change.CONFIRMED, Change.CHANGED, Change.CHANGED]),
    }
)


ENDS = st.fixed_dictionaries(
    {
        "passengers": st.lists(st.sampled_from(PEOPLE), max_size=4, unique=True).map(tuple),
        "flights": st.lists(st.sampled_from(CHOICES), max_size=1).map(tuple),
        "change": st.just(Change.CANCELLED),
    }
)


@st.composite
def histories(draw: st.DrawFn) -> list[BookingMessage]:
    """Draw the messages of a booking service about one booking over time, with versions or without."""
    states = draw(st.lists(STATES | STATES | STATES | ENDS, min_size=1, max_size=7))
    versioned = draw(st.booleans())
    return [
        confirmed(number if versioned else None, id=f"m{number}", time=NOW + timedelta(seconds=number), **state)
        for number, state in enumerate(states)
    ]


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[BookingMessage], list[tuple[BookingMessage, int]]]:
    """Draw a history, and its messages in any order with repeats, each with how many notices are sent after it."""
    history = draw(histories())
    repeats = draw(st.lists(st.sampled_from(history), max_size=4))
    new_ids = [msgspec.structs.replace(message, id=f"{message.id}'") for message in repeats[::2]]
    order = draw(st.permutations([*history, *repeats, *new_ids]))
    return history, [(message, draw(st.integers(0, 3))) for message in order]


def shuffled(order: Sequence[tuple[BookingMessage, int]], *, sending: bool) -> Shelf:
    shelf = Shelf()
    for message, notices in order:
        shelf.deliver(message)
        if sending:
            shelf.send(notices)
    return shelf


@given(deliveries(), st.booleans())
def test_the_order_of_arrival_does_not_matter_for_what_is_to_come(
    drawn: tuple[list[BookingMessage], list[tuple[BookingMessage, int]]],
    sending: bool,  # noqa: FBT001 - drawn
) -> None:
    """After every shuffling and repetition the same reminders are pending as in order, each once."""
    history, order = drawn
    found = shuffled(order, sending=sending).reminders()
    assert sorted(found) == sorted(Shelf(*history).reminders()) == sorted(expected_reminders(history[-1]))


@given(deliveries(), st.booleans())
def test_no_address_is_confirmed_twice(
    drawn: tuple[list[BookingMessage], list[tuple[BookingMessage, int]]],
    sending: bool,  # noqa: FBT001 - drawn
) -> None:
    """In any order each address has at most one confirmation."""
    shelf = shuffled(drawn[1], sending=sending)
    confirmations = [identity(mail.to) for mail in shelf.mails.values() if mail.kind is Kind.CONFIRMATION]
    assert len(confirmations) == len(set(confirmations))


@given(deliveries(), st.booleans())
def test_of_a_cancelled_booking_only_notices_are_pending(
    drawn: tuple[list[BookingMessage], list[tuple[BookingMessage, int]]],
    sending: bool,  # noqa: FBT001 - drawn
) -> None:
    """Once the booking was cancelled, only cancellation notices wait."""
    history, order = drawn
    last = msgspec.structs.replace(history[-1], change=Change.CANCELLED, id="end")
    order = [(last if message.id.rstrip("'") == history[-1].id else message, notices) for message, notices in order]
    assert {mail.kind for mail in shuffled(order, sending=sending).pending()} <= {Kind.CANCELLATION}


@given(deliveries(), st.booleans())
def test_the_last_mail_to_an_address_has_the_latest_state(
    drawn: tuple[list[BookingMessage], list[tuple[BookingMessage, int]]],
    sending: bool,  # noqa: FBT001 - drawn
) -> None:
    """The last mail to an included address shows the booking as it is; to a removed one it is a cancellation notice."""
    history, order = drawn
    last, shelf = history[-1], shuffled(order, sending=sending)
    included: dict[str, list[str]] = {}
    for passenger in last.passengers if last.change is not Change.CANCELLED else ():
        included.setdefault(identity(passenger.email), []).append(passenger.name)
    assert included.keys() <= addresses_of(shelf)
    for who in addresses_of(shelf):
        latest = shelf.notices(who)[-1]
        assert (latest.kind is not Kind.CANCELLATION) is (who in included)
        if who in included:
            assert isinstance(latest.content, Itinerary)
            assert (sorted(latest.content.names), latest.content.flights) == (sorted(included[who]), last.flights)


@given(deliveries())
def test_no_address_gets_two_cancellation_notices_in_a_row(
    drawn: tuple[list[BookingMessage], list[tuple[BookingMessage, int]]],
) -> None:
    """Only an address that was included again meanwhile gets a second cancellation notice."""
    shelf = shuffled(drawn[1], sending=False)
    for who in addresses_of(shelf):
        assert (Kind.CANCELLATION, Kind.CANCELLATION) not in set(pairwise(kinds(shelf.notices(who))))


@given(deliveries(), st.booleans())
def test_no_address_waits_for_two_change_notices(
    drawn: tuple[list[BookingMessage], list[tuple[BookingMessage, int]]],
    sending: bool,  # noqa: FBT001 - drawn
) -> None:
    """In any order only the newest one waits."""
    shelf = shuffled(drawn[1], sending=sending)
    waiting = [identity(mail.to) for mail in shelf.pending() if mail.kind is Kind.CHANGE]
    assert len(waiting) == len(set(waiting))


# --- What happens to mails while messages come -----------------------------------------------------------------------


@given(deliveries(), st.data())
def test_whatever_the_outcomes_the_last_mail_to_an_address_has_the_latest_state(
    drawn: tuple[list[BookingMessage], list[tuple[BookingMessage, int]]], data: st.DataObject
) -> None:
    """Messages arrive while mails are being sent, rejected, handed back and retried; no outdated mail follows.

    As the store does, no mail is claimed while another of its address is being sent.
    """
    history, order = drawn
    shelf, received = Shelf(), list[Mail]()
    for message, _ in order:
        shelf.deliver(message)
        for _ in range(data.draw(st.integers(0, 4))):
            attempt(shelf, received, data)
    for mail in tuple(shelf.mails.values()):
        if mail.status is Status.SENDING:
            accept(shelf, received, mail)
        elif mail.status is Status.FAILED:
            shelf.put(retried(mail))
    for mail in shelf.pending():
        shelf.put(claimed(mail, NOW))
        accept(shelf, received, shelf.mails[mail.id])
    last = history[-1]
    included = {identity(each.email) for each in last.passengers} if last.change is not Change.CANCELLED else set()
    for who in {identity(mail.to) for mail in received}:
        notices = [mail for mail in received if identity(mail.to) == who and mail.kind in NOTICES]
        assert (notices[-1].kind is not Kind.CANCELLATION) is (who in included)
        if who in included:
            assert isinstance(notices[-1].content, Itinerary)
            assert notices[-1].content.flights == last.flights
    confirmations = [identity(mail.to) for mail in received if mail.kind is Kind.CONFIRMATION]
    assert len(confirmations) == len(set(confirmations))


def attempt(shelf: Shelf, received: list[Mail], data: st.DataObject) -> None:
    """Start an attempt, or end one with any outcome that is known."""
    busy = {identity(mail.to) for mail in shelf.mails.values() if mail.status is Status.SENDING}
    choices = [mail for mail in shelf.pending() if identity(mail.to) not in busy]
    choices += [mail for mail in shelf.mails.values() if mail.status in (Status.SENDING, Status.FAILED)]
    if not choices:
        return
    mail = data.draw(st.sampled_from(choices))
    match mail.status:
        case Status.PENDING:
            shelf.put(claimed(mail, NOW))
        case Status.FAILED:
            shelf.put(retried(mail))
        case _:
            ending = data.draw(st.sampled_from([put_off, broken_off, handed_back, rejected, None]))
            if ending:
                shelf.put(ending(mail))
            else:
                accept(shelf, received, mail)


def accept(shelf: Shelf, received: list[Mail], mail: Mail) -> None:
    received.append(mail)
    shelf.put(sent(mail, Reply(250, "ok"), NOW))
