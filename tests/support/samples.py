"""Builders of objects that many tests need, each with sensible defaults."""

from datetime import UTC, datetime, timedelta
from typing import Any

from notifier.composing.templates import MailTemplates
from notifier.domain.mail import AirportTime, Flight, Kind, Mail, PlainContent
from notifier.domain.planning import PlanningPolicy

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
DEPARTURE = datetime(2026, 12, 1, 4, 0, tzinfo=UTC)
WORDING = MailTemplates()
RULES = PlanningPolicy("mail.example.com", timedelta(hours=3), timedelta(days=7), WORDING.subject)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
IST = timedelta(hours=5, minutes=30)

_ENVELOPE = ("specversion", "id", "source", "type", "time", "traceparent", "data")


def booking_event(**changes: Any) -> dict[str, Any]:
    """Build the CloudEvent of a booking.

    A change replaces a field of the envelope, or else of its data; None removes it.
    """
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": "7f0c",
        "source": "/booking-service",
        "type": "booking.confirmed",
        "time": "2026-11-24T10:00:00Z",
        "data": {
            "booking": "RXJ34P",
            "version": 1,
            "passengers": [{"name": "Asha Rao", "email": "asha@example.com", "locale": "en"}],
            "flights": [flight_data()],
            "price": {"amount": "5400.00", "currency": "INR"},
        },
    }
    for name, value in changes.items():
        part = event if name in _ENVELOPE else event["data"]
        if value is None:
            del part[name]
        else:
            part[name] = value
    return event


def upcoming_booking(**changes: Any) -> dict[str, Any]:
    """Build the same with a departure in a hundred years, for tests on the real clock: its reminder must not be due."""
    flights = [flight_data(departs_at="2126-12-01T09:30:00+05:30", arrives_at="2126-12-01T12:20:00+05:30")]
    return booking_event(**{"flights": flights, **changes})


def flight_data(**changes: Any) -> dict[str, Any]:
    """Build a flight as in a booking message; `from_` stands for `from`."""
    data = {
        "number": "AI101",
        "from": "DEL",
        "to": "BLR",
        "departs_at": "2026-12-01T09:30:00+05:30",
        "arrives_at": "2026-12-01T12:20:00+05:30",
        "seat": "12A",
        "gate": "4",
    }
    return {**data, **{name.rstrip("_"): value for name, value in changes.items()}}


def in_delhi(at: datetime) -> AirportTime:
    """Return a moment with the local time in Delhi."""
    return AirportTime(at, (at + IST).replace(tzinfo=None), "IST")


def flight(departs_at: datetime | None = DEPARTURE, **changes: Any) -> Flight:
    """Build a flight as a passenger sees it; if `departs_at` is None, only its local time is known."""
    departs = in_delhi(departs_at) if departs_at else AirportTime(None, (DEPARTURE + IST).replace(tzinfo=None))
    fields: dict[str, Any] = {"number": "AI101", "origin": "DEL", "destination": "BLR", "seat": "12A"}
    return Flight(**{**fields, "departs": departs, **changes})


def mail(**changes: Any) -> Mail:
    """Build a pending notification that is due now."""
    fields: dict[str, Any] = {
        "id": "3f2c1b0a-0000-5000-8000-000000000001",
        "aggregate": "request:/ticket-service r1",
        "kind": Kind.NOTIFICATION,
        "to": "asha@example.com",
        "subject": "Your ticket",
        "content": PlainContent("It is ready."),
        "event": "r1",
        "message_id": "<3f2c1b0a-0000-5000-8000-000000000001@mail.example.com>",
        "created_at": NOW,
        "send_at": NOW,
    }
    return Mail(**{**fields, **changes})
