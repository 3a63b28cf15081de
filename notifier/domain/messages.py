"""Decoding of messages: from the body of a delivery to a message that can be planned, or the reason why not. Pure.

A message is one CloudEvents 1.0 event in structured JSON (`message_shapes`), or has one of the two
shapes that older publishers send (`legacy_messages`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from notifier.domain import fields, legacy_messages
from notifier.domain.airports import moment
from notifier.domain.booking import BookingMessage, Change, Passenger
from notifier.domain.mail import Flight, Price
from notifier.domain.message_shapes import (
    MAX_BYTES,
    BookingData,
    Event,
    FlightData,
    Origin,
    PassengerData,
    PriceData,
    RequestData,
    WithdrawalData,
)
from notifier.domain.notification import NotificationCancelled, NotificationRequest
from notifier.domain.traceparent import traceparent
from notifier.errors import Refused

__all__ = ["MAX_BYTES", "Message", "Origin", "decode"]

Message = BookingMessage | NotificationRequest | NotificationCancelled


def decode(body: bytes, origin: Origin) -> Message:
    """Read one message.

    Raises Refused with any code but `internal_error`, and a detail that names the field and what is
    wrong with it. Whatever the bytes are, nothing else is raised.
    """
    size = origin.size or len(body)
    if size > MAX_BYTES:
        raise Refused("too_large", f"the body has {size} bytes; at most {MAX_BYTES} are allowed")
    found = _object(body)
    if "type" in found:
        return _event(found, origin)
    if "service" in found:
        return legacy_messages.decode_envelope(found, body, origin)
    if found.keys() & set(legacy_messages.ADDRESS_FIELDS):
        return legacy_messages.decode_mail(found, body, origin)
    raise Refused("invalid", f"type: missing; it must be one of {_TYPES}")


def _object(body: bytes) -> dict[str, Any]:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Refused("not_utf8", f"the body is not UTF-8: byte {error.start}: {error.reason}") from None
    try:
        found = msgspec.json.decode(body)
    except RecursionError:
        raise Refused("not_json", "the body is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise Refused("not_json", f"the body is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refused("invalid", "the body must be a JSON object")
    return found


def _event(found: Mapping[str, Any], origin: Origin) -> Message:
    type_ = found["type"]
    reader = _READERS.get(type_) if isinstance(type_, str) else None
    if reader is None:
        raise Refused("unknown_type", f"type: {str(type_)[:200]!r} is unknown; it must be one of {_TYPES}")
    event = fields.shaped(found, Event)
    id_ = event.id or origin.message_id
    if not id_:
        raise Refused("invalid", "id: missing, and the AMQP property message_id is missing, too")
    event.id = fields.identifier("id", id_)
    event.source = fields.identifier("source", event.source)
    # The event's own attribute names the trace that it arose in; the header may be that of a hop.
    event.traceparent = traceparent(event.traceparent) or origin.traceparent
    return reader(event, origin)


def _booking(event: Event, origin: Origin) -> BookingMessage:
    change = Change(event.type)
    data = fields.shaped(event.data, BookingData, "data")
    passengers = tuple(_passenger(i, each) for i, each in enumerate(data.passengers))
    found = [_flight(i, each) for i, each in enumerate(data.flights)]
    flights = tuple(flight for flight, _ in found)
    if change is not Change.CANCELLED:
        if not flights:
            raise Refused("invalid", "data.flights: at least one flight is required")
        if not passengers:
            raise Refused("invalid", "data.passengers: at least one passenger is required")
        if all(passenger.fault for passenger in passengers):
            raise Refused("invalid", f"data.passengers[0].email: {passengers[0].fault}")
    return BookingMessage(
        id=event.id or "",
        source=event.source,
        correlation=origin.correlation_id,
        traceparent=event.traceparent,
        change=change,
        booking=fields.word("data.booking", data.booking),
        version=data.version,
        time=fields.instant("time", event.time) if event.time else origin.timestamp or origin.received_at,
        passengers=passengers,
        flights=flights,
        price=_price(data.price) if data.price else None,
        note="; ".join(note for _, note in found if note) or None,
    )


def _passenger(index: int, given: PassengerData) -> Passenger:
    at = f"data.passengers[{index}]"
    email, fault = fields.address(given.email)
    locale = fields.word(f"{at}.locale", given.locale) if given.locale else None
    return Passenger(fields.line(f"{at}.name", given.name), email, locale, fault)


def _flight(index: int, given: FlightData) -> tuple[Flight, str | None]:
    """Read a flight; return with it what is wrong, if that must not lose the booking."""
    at = f"data.flights[{index}]"
    departs = fields.read(f"{at}.departs_at", lambda: moment(given.departs_at, given.origin))
    arrives_at = given.arrives_at
    arrives = fields.read(f"{at}.arrives_at", lambda: moment(arrives_at, given.destination)) if arrives_at else None
    note = None
    if departs.at is None:
        note = f"no time zone is known for {given.origin!r}: no reminder for {given.number}"
    elif arrives and arrives.at and arrives.at <= departs.at:
        note, arrives = f"{given.number} would arrive before it departs: its arrival is left out", None
    flight = Flight(
        number=fields.word(f"{at}.number", given.number),
        origin=fields.word(f"{at}.from", given.origin),
        destination=fields.word(f"{at}.to", given.destination),
        departs=departs,
        arrives=arrives,
        seat=fields.word(f"{at}.seat", given.seat) if given.seat else None,
        gate=fields.word(f"{at}.gate", given.gate) if given.gate else None,
    )
    return flight, note


def _price(given: PriceData) -> Price:
    return Price(
        fields.word("data.price.amount", str(given.amount)), fields.word("data.price.currency", given.currency)
    )


def _request(event: Event, origin: Origin) -> NotificationRequest:
    data = fields.shaped(event.data, RequestData, "data")
    to, where = ([data.to], "data.to") if isinstance(data.to, str) else (data.to, "data.to[0]")
    return NotificationRequest(
        id=event.id or "",
        source=event.source,
        correlation=origin.correlation_id,
        traceparent=event.traceparent,
        recipients=fields.recipients(where, to),
        subject=fields.line("data.subject", data.subject),
        text=fields.text("data.text", data.text),
        html=fields.text("data.html", data.html) if data.html else None,
        send_at=fields.instant("data.send_at", data.send_at) if data.send_at else None,
        expires_at=fields.instant("data.expires_at", data.expires_at) if data.expires_at else None,
    )


def _withdrawal(event: Event, origin: Origin) -> NotificationCancelled:
    data = fields.shaped(event.data, WithdrawalData, "data")
    return NotificationCancelled(
        id=event.id or "",
        source=event.source,
        correlation=origin.correlation_id,
        traceparent=event.traceparent,
        request=fields.identifier("data.id", data.id),
    )


_READERS: Mapping[str, Callable[[Event, Origin], Message]] = {
    "booking.confirmed": _booking,
    "booking.changed": _booking,
    "booking.cancelled": _booking,
    "notification.requested": _request,
    "notification.cancelled": _withdrawal,
}
_TYPES = ", ".join(sorted(_READERS))
