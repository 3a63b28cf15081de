"""Messages in: from the bytes of a delivery to a message that can be planned, or the reason why not. Pure.

A message is one CloudEvents 1.0 event in structured JSON, or one of the two
shapes that older publishers send.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from notifier.domain.addresses import normalised
from notifier.domain.airports import LAST_YEAR, moment, parse
from notifier.domain.booking import BookingMessage, Change, Passenger
from notifier.domain.mail import Flight, Price
from notifier.domain.notification import NotificationCancelled, NotificationRequest, Recipient
from notifier.domain.traceparent import traceparent
from notifier.errors import Refused

MAX_BYTES = 256 * 1024
MAX_ADDRESSES = 100
MAX_FLIGHTS = 20
MAX_SUBJECT = 200
MAX_WORD = 200
"""Characters in a name or a reference: far more than any real one has."""
MAX_ID_BYTES = 200
"""Bytes of UTF-8 in an id or a source; AMQP has room for 255 where an id comes back as correlation id."""

Message = BookingMessage | NotificationRequest | NotificationCancelled

_T = TypeVar("_T")
_LINE_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_TEXT_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
_NOT_IN_A_LINE = re.compile(rf"[{_LINE_CONTROLS}\ud800-\udfff]")
_NOT_IN_A_TEXT = re.compile(rf"[{_TEXT_CONTROLS}\ud800-\udfff]")
_LONE_CR = re.compile(r"\r(?!\n)")


# The shapes below say to the AsyncAPI document what the readers demand, with an error of their own.
LINE: Mapping[str, Any] = {"maxLength": MAX_WORD, "pattern": f"^[^{_LINE_CONTROLS}]*$"}
"""JSON Schema of a line that may be empty, which means that there is none."""
WORD: Mapping[str, Any] = {"minLength": 1, **LINE}
_Line = Annotated[str, Meta(extra_json_schema=dict(LINE))]
_Word = Annotated[str, Meta(extra_json_schema=dict(WORD))]
_Text = Annotated[str, Meta(extra_json_schema={"pattern": f"^[^{_TEXT_CONTROLS}]*$"})]
_Addresses = Annotated[list[str], Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_ADDRESSES})]


class Origin(Struct, frozen=True):
    """What came beside the body: AMQP properties, all optional, and the time of arrival (UTC).

    `size` is the length of the body in bytes if only its beginning was kept.
    """

    received_at: datetime
    message_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    timestamp: datetime | None = None
    size: int | None = None


class _Event(Struct):
    type: str
    data: dict[str, Any]
    id: str | None = None
    source: str = "/"
    time: str | None = None
    traceparent: Any = None
    specversion: str = "1.0"


class _Passenger(Struct):
    name: _Word
    email: str
    locale: _Line | None = None


class _Flight(Struct, rename={"origin": "from", "destination": "to"}):
    number: _Word
    origin: _Word
    destination: _Word
    departs_at: str
    arrives_at: str | None = None
    seat: _Line | None = None
    gate: _Line | None = None


class _Price(Struct):
    amount: _Word | int | float
    currency: _Word


class _Booking(Struct):
    booking: _Word
    passengers: Annotated[list[_Passenger], Meta(extra_json_schema={"maxItems": MAX_ADDRESSES})] = field(
        default_factory=list
    )
    flights: Annotated[list[_Flight], Meta(extra_json_schema={"maxItems": MAX_FLIGHTS})] = field(default_factory=list)
    version: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    price: _Price | None = None


class _Request(Struct):
    to: str | _Addresses
    subject: _Word
    text: _Text
    html: _Text | None = None
    send_at: str | None = None
    expires_at: str | None = None


class _Cancel(Struct):
    id: _Word


class _OlderMail(Struct, rename={"to_misspelt": "recepientEmail", "to": "recipientEmail", "at": "notificationTime"}):
    subject: _Word
    to_misspelt: str | None = None
    to: str | None = None
    text: _Text | None = None
    content: _Text | None = None
    message: _Text | None = None
    at: str | int | None = None


def decode(body: bytes, origin: Origin) -> Message:
    """Read one message.

    Raises Refused with one of the codes but `internal_error`, and a detail that names the field
    and what is wrong with it; whatever the bytes are, nothing else is raised.
    """
    size = origin.size or len(body)
    if size > MAX_BYTES:
        raise Refused("too_large", f"{size} bytes; at most {MAX_BYTES} are taken")
    found = _parsed(body)
    if "type" in found:
        return _event(found, origin)
    if "service" in found:
        return _older(found, body, origin)
    if found.keys() & {"recepientEmail", "recipientEmail"}:
        return _older_mail(found, body, origin)
    raise Refused("invalid", "type: missing")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Refused("not_utf8", f"byte {error.start}: {error.reason}") from None
    try:
        found = msgspec.json.decode(body)
    except RecursionError:
        raise Refused("not_json", "nested too deeply") from None
    except msgspec.DecodeError as error:
        raise Refused("not_json", str(error)) from None
    if not isinstance(found, dict):
        raise Refused("invalid", "the message is not a JSON object")
    return found


def _event(found: Mapping[str, Any], origin: Origin) -> Message:
    type_ = found["type"]
    reader = _READERS.get(type_) if isinstance(type_, str) else None
    if reader is None:
        raise Refused("unknown_type", f"type: {str(type_)[:MAX_WORD]!r} is none of {', '.join(sorted(_READERS))}")
    event = _shaped(found, _Event)
    if not event.specversion.startswith("1."):
        raise Refused("invalid", f"specversion: {event.specversion[:20]!r} is not 1.0")
    event.id = _id("id", event.id or origin.message_id or "")
    event.source = _id("source", event.source)
    # The event's own attribute names the trace that it arose in; the header may be that of a hop.
    event.traceparent = traceparent(event.traceparent) or origin.traceparent
    return reader(event, origin)


def _booking(event: _Event, origin: Origin) -> BookingMessage:
    change = Change(event.type)
    data = _shaped(event.data, _Booking, "data")
    _limit("passengers", len(data.passengers), MAX_ADDRESSES)
    _limit("flights", len(data.flights), MAX_FLIGHTS)
    passengers = tuple(_passenger(i, each) for i, each in enumerate(data.passengers))
    found = [_flight(i, each) for i, each in enumerate(data.flights)]
    flights = tuple(flight for flight, _ in found)
    if change is not Change.CANCELLED:
        if not flights:
            raise Refused("invalid", "data.flights: at least one is needed")
        if not passengers:
            raise Refused("invalid", "data.passengers: at least one is needed")
        if all(passenger.fault for passenger in passengers):
            raise Refused("invalid", f"data.passengers[0].email: {passengers[0].fault}")
    return BookingMessage(
        id=event.id or "",
        source=event.source,
        correlation=origin.correlation_id,
        traceparent=event.traceparent,
        change=change,
        booking=_word("data.booking", data.booking),
        version=data.version,
        time=_instant("time", event.time) if event.time else origin.timestamp or origin.received_at,
        passengers=passengers,
        flights=flights,
        price=_price(data.price) if data.price else None,
        note="; ".join(note for _, note in found if note) or None,
    )


def _passenger(index: int, given: _Passenger) -> Passenger:
    at = f"data.passengers[{index}]"
    email, fault = _address(given.email)
    locale = _word(f"{at}.locale", given.locale) if given.locale else None
    return Passenger(_line(f"{at}.name", given.name), email, locale, fault)


def _flight(index: int, given: _Flight) -> tuple[Flight, str | None]:
    """Read a flight, with what is wrong with it and yet must not lose the booking."""
    at = f"data.flights[{index}]"
    departs = _read(f"{at}.departs_at", lambda: moment(given.departs_at, given.origin))
    arrives_at = given.arrives_at
    arrives = _read(f"{at}.arrives_at", lambda: moment(arrives_at, given.destination)) if arrives_at else None
    note = None
    if departs.at is None:
        note = f"no time zone is known for {given.origin!r}: no reminder for {given.number}"
    elif arrives and arrives.at and arrives.at <= departs.at:
        note, arrives = f"{given.number} would arrive before it departs: its arrival is left out", None
    flight = Flight(
        number=_word(f"{at}.number", given.number),
        origin=_word(f"{at}.from", given.origin),
        destination=_word(f"{at}.to", given.destination),
        departs=departs,
        arrives=arrives,
        seat=_word(f"{at}.seat", given.seat) if given.seat else None,
        gate=_word(f"{at}.gate", given.gate) if given.gate else None,
    )
    return flight, note


def _price(given: _Price) -> Price:
    return Price(_word("data.price.amount", str(given.amount)), _word("data.price.currency", given.currency))


def _request(event: _Event, origin: Origin) -> NotificationRequest:
    data = _shaped(event.data, _Request, "data")
    addresses = [data.to] if isinstance(data.to, str) else data.to
    _limit("to", len(addresses), MAX_ADDRESSES)
    return NotificationRequest(
        id=event.id or "",
        source=event.source,
        correlation=origin.correlation_id,
        traceparent=event.traceparent,
        recipients=_recipients("data.to", addresses),
        subject=_subject("data.subject", data.subject),
        text=_text("data.text", data.text),
        html=_text("data.html", data.html) if data.html else None,
        send_at=_instant("data.send_at", data.send_at) if data.send_at else None,
        expires_at=_instant("data.expires_at", data.expires_at) if data.expires_at else None,
    )


def _withdrawal(event: _Event, origin: Origin) -> NotificationCancelled:
    data = _shaped(event.data, _Cancel, "data")
    return NotificationCancelled(
        id=event.id or "",
        source=event.source,
        correlation=origin.correlation_id,
        traceparent=event.traceparent,
        request=_id("data.id", data.id),
    )


SHAPES: Mapping[str, type] = {
    "booking.confirmed": _Booking,
    "booking.changed": _Booking,
    "booking.cancelled": _Booking,
    "notification.requested": _Request,
    "notification.cancelled": _Cancel,
}
"""The data of each type of message; what more is demanded of it is in its reader."""
OLDER = _OlderMail
"""The data of older publishers."""
OLDER_SERVICES = ("CREATE_TICKET", "SEND_BASIC_MAIL")

_READERS: Mapping[str, Callable[[_Event, Origin], Message]] = {
    "booking.confirmed": _booking,
    "booking.changed": _booking,
    "booking.cancelled": _booking,
    "notification.requested": _request,
    "notification.cancelled": _withdrawal,
}


def _older(found: Mapping[str, Any], body: bytes, origin: Origin) -> NotificationRequest:
    service, data = found["service"], found.get("data")
    if service not in OLDER_SERVICES:
        raise Refused("unknown_type", f"service: {str(service)[:MAX_WORD]!r}")
    if not isinstance(data, dict):
        raise Refused("invalid", "data: an object is needed")
    return _older_mail(data, body, origin)


def _older_mail(found: Mapping[str, Any], body: bytes, origin: Origin) -> NotificationRequest:
    data = _shaped(found, _OlderMail)
    address = data.to_misspelt or data.to
    text = data.text or data.content or data.message
    if not address:
        raise Refused("invalid", "recepientEmail: missing")
    if not text:
        raise Refused("invalid", "text: missing")
    stamp = origin.timestamp.isoformat() if origin.timestamp else ""
    return NotificationRequest(
        id=_id("message_id", origin.message_id or hashlib.sha256(body + stamp.encode()).hexdigest()),
        source="/",
        correlation=origin.correlation_id,
        traceparent=origin.traceparent,
        recipients=_recipients("recepientEmail", [address]),
        subject=_subject("subject", data.subject),
        text=_text("text", text),
        send_at=_older_time(data.at) if data.at is not None else None,
    )


def _older_time(given: str | int) -> datetime:
    """Older publishers send seconds or milliseconds since 1970, or a time that is UTC where it has no offset."""
    if isinstance(given, str):
        found = _read("notificationTime", lambda: parse(given))
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    try:
        seconds = given / 1000 if given > 10**11 else given
        return _checked_year(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, ValueError, OSError):
        raise Refused("invalid", f"notificationTime: {str(given)[:20]} is no time") from None


def _checked_year(at: datetime) -> datetime:
    if at.year > LAST_YEAR:
        raise ValueError(f"the year is after {LAST_YEAR}")
    return at


def _shaped(found: Mapping[str, Any], shape: type[_T], at: str = "") -> _T:
    try:
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        path = f"{at}{where.rstrip('`')}".strip(".")
        raise Refused("invalid", f"{path}: {what}" if path else what) from None


def _limit(what: str, count: int, most: int) -> None:
    if count > most:
        raise Refused("too_large", f"data.{what}: {count}; at most {most} are taken")


def _word(where: str, text: str) -> str:
    if not text.strip():
        raise Refused("invalid", f"{where}: missing")
    if len(text) > MAX_WORD:
        raise Refused("invalid", f"{where}: longer than {MAX_WORD} characters")
    if _NOT_IN_A_LINE.search(text):
        raise Refused("invalid", f"{where}: has a control character or line break")
    return text


def _id(where: str, text: str) -> str:
    if len(text.encode(errors="replace")) > MAX_ID_BYTES:
        raise Refused("invalid", f"{where}: longer than {MAX_ID_BYTES} bytes")
    return _word(where, text)


def _subject(where: str, text: str) -> str:
    if len(text) > MAX_SUBJECT:
        raise Refused("invalid", f"{where}: longer than {MAX_SUBJECT} characters")
    return _line(where, text)


def _line(where: str, text: str) -> str:
    """Take words for people, whose spaces are single: a mail's headers cannot carry any other."""
    return " ".join(part for part in _word(where, text).split(" ") if part)


def _text(where: str, text: str) -> str:
    if _NOT_IN_A_TEXT.search(text):
        raise Refused("invalid", f"{where}: has a control character")
    # A line end is one thing here and CRLF on the wire; a lone CR must never get there.
    return _LONE_CR.sub("\n", text).replace("\r\n", "\n")


def _address(text: str) -> tuple[str, str | None]:
    """Give the address as it is mailed, or as it came with the reason why it cannot be."""
    try:
        return normalised(text), None
    except ValueError as error:
        return _NOT_IN_A_LINE.sub("?", text[:MAX_WORD]), str(error)


def _recipients(where: str, addresses: list[str]) -> tuple[Recipient, ...]:
    found = tuple(Recipient(*_address(address)) for address in addresses)
    if not found:
        raise Refused("invalid", f"{where}: at least one address is needed")
    if all(recipient.fault for recipient in found):
        raise Refused("invalid", f"{where}: {found[0].fault}")
    return found


def _instant(where: str, text: str) -> datetime:
    given = _read(where, lambda: parse(text))
    if given.tzinfo is None:
        raise Refused("invalid", f"{where}: needs an offset or Z")
    return given.astimezone(UTC)


def _read(where: str, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except ValueError as error:
        raise Refused("invalid", f"{where}: {error}") from None
