"""The content of a booking message."""

from typing import Any

from msgspec.structs import replace
from support.bookings import ASHA, LOST, MORNING, RAVI, Shelf, changed, confirmed, ended
from support.samples import NOW, RULES

from notifier.domain.booking import Change, Passenger
from notifier.domain.mail import Kind
from notifier.domain.planning import Subjects


def test_every_booking_is_an_aggregate_of_its_own() -> None:
    """The same flight of the same passenger in two bookings is two sets of mails."""
    one, other = confirmed(), confirmed(booking="OTHER1")
    assert one.aggregate == "booking:RXJ34P" != other.aggregate
    ids = [{mail.id for mail in Shelf().deliver(message).added} for message in (one, other)]
    assert not ids[0] & ids[1]


def test_a_message_estimates_the_mails_that_it_writes() -> None:
    """Each passenger has a confirmation and a reminder of each flight; a change can withdraw as many as it adds."""
    passengers = tuple(Passenger(f"P {n}", f"p{n}@example.com") for n in range(100))
    large: dict[str, Any] = {"passengers": passengers, "flights": (MORNING,) * 20}
    assert [message.rows for message in (confirmed(), confirmed(**large), changed(**large))] == [2, 2100, 4200]
    assert ended().rows > 1


def test_the_subjects_of_a_first_message_are_all_expected() -> None:
    """Planning it asks for no other, so its transaction need not be repeated."""
    for message in (confirmed(passengers=(ASHA, RAVI), flights=(MORNING, LOST)), changed(), ended(passengers=(ASHA,))):
        subjects = Subjects(RULES.subject)
        subjects.expect(message.subjects())
        subjects.render(99)
        assert message.plan(None, (), replace(RULES, subject=subjects), NOW).added
        assert not subjects.lacks


def test_the_subjects_of_a_cancellation_are_only_those_of_notices() -> None:
    """It reminds nobody, although it can name flights."""
    expected = ended(passengers=(ASHA, RAVI), flights=(MORNING,)).subjects()
    assert [(kind, flights, locale) for kind, _, flights, locale in expected] == [
        (Kind.CANCELLATION, (MORNING,), "en"),
        (Kind.CANCELLATION, (MORNING,), None),
    ]


def test_a_message_names_the_identities_of_its_addresses() -> None:
    """The store finds erased addresses by them, whatever their letter case in the message."""
    message = confirmed(passengers=(ASHA, Passenger("Ravi Rao", "Ravi@Example.com")))
    assert message.named == {"asha@example.com", "ravi@example.com"}


def test_the_types_of_booking_messages_are_promised() -> None:
    """Publishers write them, so none is renamed."""
    assert [str(change) for change in (Change.CONFIRMED, Change.CHANGED, Change.CANCELLED)] == [
        "booking.confirmed",
        "booking.changed",
        "booking.cancelled",
    ]
