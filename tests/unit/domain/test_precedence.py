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

from notifier.domain.booking import BookingMessage, Change
from notifier.domain.mail import (
    Itinerary,
    Kind,
)
from notifier.domain.planning import Plan


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
