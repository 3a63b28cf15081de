"""A booking as schema.org FlightReservation, from which mail programs make a card of their own. Pure."""

import re
from collections.abc import Iterator
from datetime import timedelta, timezone
from typing import Any

import msgspec

from notifier.domain.airports import city
from notifier.domain.mail import AirportTime, Flight, Itinerary, Kind, Mail

MAX_RESERVATIONS = 40
"""Reservations in one mail. Beyond that the mail has none, because they would be most of it."""
_DAY = timedelta(days=1)
_AIRLINE = re.compile(r"([A-Z0-9]{2})\s?\d{1,4}[A-Z]?")
_IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def reservations(mail: Mail) -> str:
    """Return JSON-LD with one reservation for each passenger and flight; or an empty text.

    It is empty if there is no reservation, or more than MAX_RESERVATIONS. It is safe inside a script
    element, because it contains no `<` (schema.org/FlightReservation;
    developers.google.com/gmail/markup/reference/flight-reservation).
    """
    content = mail.content
    if not isinstance(content, Itinerary):
        return ""
    status = "Cancelled" if mail.kind is Kind.CANCELLATION else "Confirmed"
    found = [
        _reservation(mail.booking or "", status, name, flight, dict(_flight(flight)))
        for flight in content.flights
        if flight.departs.at
        for name in content.names or ("",)
    ]
    return _escaped(msgspec.json.encode(found).decode()) if 0 < len(found) <= MAX_RESERVATIONS else ""


def _escaped(text: str) -> str:
    # Five times as fast as str.translate(), because hardly any text contains one of them.
    for char, escape in _IN_SCRIPT.items():
        text = text.replace(char, escape)
    return text


def _reservation(booking: str, status: str, name: str, flight: Flight, described: dict[str, Any]) -> dict[str, Any]:
    return {
        "@context": "http://schema.org",
        "@type": "FlightReservation",
        "reservationNumber": booking,
        "reservationStatus": f"http://schema.org/Reservation{status}",
        "underName": {"@type": "Person", "name": name},
        "reservationFor": described,
        **({"airplaneSeat": flight.seat} if flight.seat else {}),
    }


def _flight(flight: Flight) -> Iterator[tuple[str, Any]]:
    yield "@type", "Flight"
    yield "flightNumber", flight.number
    if airline := _AIRLINE.fullmatch(flight.number):
        yield "airline", {"@type": "Airline", "name": airline[1], "iataCode": airline[1]}
    yield "departureAirport", _airport(flight.origin)
    yield "departureTime", _time(flight.departs)
    yield "arrivalAirport", _airport(flight.destination)
    if flight.arrives:
        yield "arrivalTime", _time(flight.arrives)
    if flight.gate:
        yield "departureGate", flight.gate


def _airport(code: str) -> dict[str, str]:
    return {"@type": "Airport", "iataCode": code, "name": city(code) or code}


def _time(time: AirportTime) -> str:
    """Return a time with its offset, or without one if the time zone is not known."""
    if time.at is None:
        return time.clock.isoformat()
    offset = time.clock - time.at.replace(tzinfo=None)
    if abs(offset) < _DAY:
        return time.clock.replace(tzinfo=timezone(offset)).isoformat()
    return time.at.isoformat()
