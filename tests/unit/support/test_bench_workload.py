"""The messages of the benchmark."""

import msgspec
from support.benchmarks.workload import LOCALES, address, bookings, requests, scheduled
from support.samples import NOW, RULES

from notifier.domain.booking import BookingMessage
from notifier.domain.mail import Kind
from notifier.domain.messages import Origin, decode

COUNT = 60


def test_each_booking_makes_a_confirmation_now_and_a_reminder_later() -> None:
    """So the number of mails and events of a run is known."""
    for message in bookings(COUNT, "a", NOW):
        plan = decode(msgspec.json.encode(message), Origin(NOW)).plan(None, (), RULES, NOW)
        assert [(mail.kind, mail.send_at <= NOW) for mail in plan.added] == [
            (Kind.CONFIRMATION, True),
            (Kind.REMINDER, False),
        ]


def test_each_request_makes_one_mail_for_each_address() -> None:
    """Addresses and texts differ, so nothing is merged."""
    mails = [
        mail
        for message in requests(COUNT, "a", addresses=3)
        for mail in decode(msgspec.json.encode(message), Origin(NOW)).plan(None, (), RULES, NOW).added
    ]
    assert len({mail.id for mail in mails}) == len({mail.to for mail in mails}) == 3 * COUNT


def test_no_cache_can_always_hit() -> None:
    """Flights, names, languages and domains vary, and some addresses are not ASCII."""
    found = [decode(msgspec.json.encode(message), Origin(NOW)) for message in bookings(COUNT, "a", NOW)]
    assert all(isinstance(message, BookingMessage) for message in found)
    data = [message["data"] for message in bookings(COUNT, "a", NOW)]
    assert len({each["flights"][0]["departs_at"] for each in data}) > COUNT / 2
    assert len({each["passengers"][0]["name"] for each in data}) > COUNT / 4
    assert {each["passengers"][0]["locale"] for each in data} == set(LOCALES)
    assert sum(not address(n, "a").isascii() for n in range(COUNT)) == COUNT / 20


def test_scheduled_mails_are_due_from_tomorrow_on() -> None:
    """Their times are spread and not in the order of their messages."""
    times = [message["data"]["send_at"] for message in scheduled(COUNT, "a", NOW, 4)]
    assert len(set(times)) == COUNT
    assert times != sorted(times)
    assert min(times) > NOW.isoformat()
