"""Which of a booking's messages is in force."""

from datetime import timedelta
from itertools import permutations
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.bookings import (
    ASHA,
    CHOICES,
    EVENING,
    LOST,
    MORNING,
    RAVI,
    Shelf,
    addresses_of,
    changed,
    confirmed,
    ended,
    expected_reminders,
)
from support.samples import NOW

from notifier.domain.booking import BookingMessage, Change, Passenger
from notifier.domain.mail import (
    Itinerary,
    Kind,
    Price,
)
from notifier.domain.planning import BookingState, Outdone, Plan
from notifier.domain.precedence import InForce, in_force

HOUR = [NOW + timedelta(hours=number) for number in range(5)]


def state_of(*messages: BookingMessage) -> BookingState:
    """Return the state of a booking after some messages."""
    state = Shelf(*messages).state
    assert isinstance(state, BookingState)
    return state


def test_newer_wins_by_version() -> None:
    """A version that is not higher is ignored, even if its time is later."""
    shelf = Shelf(changed(5))
    assert shelf.deliver(confirmed(4, time=NOW + timedelta(days=9), flights=(EVENING,))) == Plan()
    assert shelf.deliver(ended(5, id="x", time=NOW + timedelta(days=9))) == Plan()
    assert shelf.deliver(changed(6, time=NOW - timedelta(days=9), flights=(EVENING,))).added


def test_newer_wins_by_time_if_there_are_no_versions() -> None:
    """Without versions a message that is not later is ignored."""
    shelf = Shelf(confirmed(None, id="a", time=NOW))
    assert shelf.deliver(changed(None, id="b", time=NOW, flights=(EVENING,))) == Plan()
    assert shelf.deliver(changed(None, id="c", time=NOW - timedelta(seconds=1), flights=(EVENING,))) == Plan()
    assert shelf.deliver(changed(None, id="d", time=NOW + timedelta(milliseconds=1), flights=(EVENING,))).added


def test_the_first_message_of_a_booking_is_in_force() -> None:
    """Its version and the time of that version are kept; a message without a version has neither."""
    for first in (changed(4, time=HOUR[1]), ended(4, time=HOUR[1])):
        assert in_force(first, None) == InForce(first, 4, HOUR[1], restored=False)
    plain = changed(None, time=HOUR[1])
    assert in_force(plain, None) == InForce(plain, None, None)


def test_a_version_of_zero_is_a_version() -> None:
    """It is compared with the others like any number."""
    first, newer = changed(0, time=HOUR[2]), changed(1, time=HOUR[1])
    state = state_of(first)
    assert in_force(first, None) == InForce(first, 0, HOUR[2])
    assert in_force(newer, state) == InForce(newer, 1, HOUR[1])
    assert in_force(changed(0, id="again", time=HOUR[3]), state) is state


def test_an_outdone_message_keeps_all_that_its_mails_need() -> None:
    """When it comes into force again, it has its passengers, flights and price, and nothing of the message after it."""
    unreachable = Passenger("No One", "nobody", fault="it has no @")
    price = Price("9", "INR")
    kept = Outdone(
        HOUR[2],
        False,  # noqa: FBT003 - a struct's field
        (EVENING,),
        price,
        (("Asha Rao", "asha@example.com", "en"), ("Ravi Rao", "ravi@example.com", None)),
    )
    plain = changed(None, time=HOUR[2], flights=(EVENING,), price=price, passengers=(ASHA, unreachable, RAVI))
    newest, late = changed(3, time=HOUR[3]), changed(4, time=HOUR[1], price=Price("1", "INR"), note="the gate is wrong")
    for order in ((newest, plain), (plain, newest)):
        state = state_of(*order)
        assert (state.time, state.version, state.version_time, state.outdone) == (HOUR[3], 3, HOUR[3], kept)
        restored = replace(
            late, version=None, time=HOUR[2], passengers=(ASHA, RAVI), flights=(EVENING,), price=price, note=None
        )
        assert in_force(late, state) == InForce(restored, 4, HOUR[1], restored=True)


def test_an_outdone_cancellation_is_a_cancellation_when_it_comes_into_force_again() -> None:
    """It is not taken for a change, whichever message arrived first."""
    end = ended(None, time=HOUR[2], passengers=(ASHA,))
    for order in ((changed(3, time=HOUR[3]), end), (end, changed(3, time=HOUR[3]))):
        found = in_force(changed(4, time=HOUR[1]), state_of(*order))
        assert isinstance(found, InForce)
        assert (found.message.change, found.message.time) == (Change.CANCELLED, HOUR[2])


def test_a_message_as_old_as_the_one_in_force_does_not_replace_it_unless_it_has_a_version() -> None:
    """A version wins over a message of the same time that has none, in both orders."""
    versioned, plain = changed(2, time=HOUR[1]), changed(None, time=HOUR[1], flights=(EVENING,))
    first, second = in_force(versioned, state_of(plain)), in_force(plain, state_of(versioned))
    assert isinstance(first, InForce)
    assert isinstance(second, BookingState)
    assert first.message is versioned
    assert second.flights == versioned.flights
    for found in (first, second):
        assert found.outdone
        assert (found.version, found.version_time, found.outdone.flights) == (2, HOUR[1], (EVENING,))


def test_only_the_latest_message_without_a_version_is_kept() -> None:
    """An earlier one that arrives after it changes nothing."""
    state = state_of(changed(3, time=HOUR[4]), changed(None, time=HOUR[2], flights=(EVENING,)))
    for late in (HOUR[1], HOUR[2]):
        assert in_force(changed(None, id="late", time=late, flights=(LOST,)), state) is state
    found = in_force(changed(None, id="later", time=HOUR[3], flights=(LOST,)), state)
    assert isinstance(found, BookingState)
    assert found.outdone
    assert (found.outdone.time, found.outdone.flights) == (HOUR[3], (LOST,))


def test_a_state_of_an_earlier_version_has_the_time_of_its_version() -> None:
    """It kept no separate time, because the message in force was the one with the highest version."""
    state = replace(state_of(changed(3, time=HOUR[2])), version_time=None)
    plain = changed(None, time=HOUR[1], flights=(EVENING,))
    found = in_force(plain, state)
    assert isinstance(found, BookingState)
    assert found.outdone
    assert found.outdone.time == HOUR[1]
    later = changed(None, time=HOUR[3], flights=(EVENING,))
    assert in_force(later, state) == InForce(later, 3, HOUR[2])


def test_a_state_that_comes_into_force_again_is_notified_again() -> None:
    """Its notice has an id of its own while the first one is still stored."""
    hour = [NOW + timedelta(hours=number) for number in range(4)]
    shelf = Shelf(confirmed(1, time=hour[0]), changed(None, time=hour[2], flights=(EVENING,)))
    shelf.deliver(changed(3, time=hour[3], flights=(MORNING,)))
    shelf.send(9)
    plan = shelf.deliver(changed(5, time=hour[1], flights=(LOST,)))
    (notice,) = [mail for mail in plan.added if mail.kind is Kind.CHANGE]
    assert isinstance(notice.content, Itinerary)
    assert notice.content.flights == (EVENING,)


@given(
    st.lists(
        st.builds(
            confirmed,
            st.none() | st.integers(1, 3),
            time=st.integers(1, 4).map(lambda hour: NOW + timedelta(hours=hour)),
            flights=st.sampled_from(CHOICES).map(lambda each: (each,)),
            passengers=st.sampled_from([(ASHA,), (ASHA, RAVI), ()]),
        ),
        min_size=2,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_newer_wins_in_any_order_if_only_some_messages_have_a_version(
    drawn: list[BookingMessage], random: Random
) -> None:
    """The highest version and the latest message without one are compared by time, whatever arrived in between."""
    # One message for each version, and for each time without one: which of two equals wins may depend on the order.
    unique = {(each.version, each.time if each.version is None else None): each for each in drawn}
    messages = [
        replace(each, id=f"m{n}", change=Change.CHANGED if each.passengers else Change.CANCELLED)
        for n, each in enumerate(unique.values())
    ]
    versioned = max((each for each in messages if each.version), key=lambda each: each.version or 0, default=None)
    others = max((each for each in messages if not each.version), key=lambda each: each.time, default=None)
    wins = others if versioned is None or (others and others.time > versioned.time) else versioned
    assert wins
    shuffled = random.sample(messages, len(messages))
    shelf = Shelf(*shuffled)
    assert sorted(shelf.reminders()) == sorted(expected_reminders(wins))
    for passenger in wins.passengers:
        assert shelf.notices(passenger.email)[-1].kind is not Kind.CANCELLATION
    for who in addresses_of(shelf) - {passenger.email for passenger in wins.passengers}:
        assert shelf.notices(who)[-1].kind is Kind.CANCELLATION


def test_versions_and_times_mixed_end_in_one_state() -> None:
    """Version 5 at 1 o'clock, none at 2, version 3 at 3: in all six orders the one without a version is in force."""
    messages = [
        confirmed(5, time=NOW + timedelta(hours=1), flights=(MORNING,)),
        changed(None, time=NOW + timedelta(hours=2), flights=(EVENING,)),
        changed(3, time=NOW + timedelta(hours=3), flights=(LOST,)),
    ]
    for order in permutations(messages):
        assert Shelf(*order).reminders() == [("asha@example.com", "AI101", EVENING.departs_at)]
