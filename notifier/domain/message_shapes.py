"""The shapes of incoming messages, with their limits. Pure.

These structs are the one source of what a message may contain: `messages` decodes
with them, and the AsyncAPI document is generated from them. Each field's description
completes the sentence "the field must be …", which is also the text of a dead letter.
Unknown fields are ignored.
"""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct, field

MAX_BYTES = 256 * 1024
"""Bytes of a message's body."""
MAX_ADDRESSES = 100
"""Passengers of a booking, or addresses of a request."""
MAX_FLIGHTS = 20
MAX_SUBJECT = 200
"""Characters of a notification's subject."""
MAX_WORD = 200
"""Characters of a name or a reference: far more than any real one has."""
MAX_ID_BYTES = 200
"""Bytes of UTF-8 in an id or a source. An id comes back as a correlation id, for which AMQP has 255."""
MAX_VERSION = 2**53
"""The largest version of a booking: the largest integer that every JSON library can represent."""

LINE_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Characters that a line must not contain, as the inside of a regular expression's brackets."""
TEXT_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
"""Characters that a text of several lines must not contain, written likewise."""

# msgspec must not check these patterns: in Python `$` also matches before a final line feed. `fields` checks them.
_ONE_LINE = {"pattern": f"^[^{LINE_CONTROLS}]*$"}
_SEVERAL_LINES = {"pattern": f"^[^{TEXT_CONTROLS}]*$"}
_MOMENT = "an RFC 3339 time with an offset or Z, such as 2026-12-01T09:30:00Z"
_LOCAL_TIME = "an RFC 3339 time; without an offset or Z it is the local time at the airport"

Word = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_WORD,
        description=f"a text of 1 to {MAX_WORD} characters, on one line",
        extra_json_schema=_ONE_LINE,
    ),
]
OptionalWord = Annotated[
    str,
    Meta(
        max_length=MAX_WORD,
        description=f"a text of at most {MAX_WORD} characters, on one line; an empty one counts as missing",
        extra_json_schema=_ONE_LINE,
    ),
]
Subject = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_SUBJECT,
        description=f"a text of 1 to {MAX_SUBJECT} characters, on one line",
        extra_json_schema=_ONE_LINE,
    ),
]
Identifier = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ID_BYTES,
        description=f"a text of 1 to {MAX_ID_BYTES} bytes in UTF-8, on one line",
        extra_json_schema=_ONE_LINE,
    ),
]
Text = Annotated[
    str,
    Meta(description="a text without control characters except tabs and line ends", extra_json_schema=_SEVERAL_LINES),
]
Address = Annotated[str, Meta(description="an e-mail address")]
Moment = Annotated[str, Meta(description=_MOMENT)]
LocalTime = Annotated[str, Meta(description=_LOCAL_TIME)]


class Origin(Struct, frozen=True):
    """What arrived beside a message's body: the time of arrival, and AMQP properties, all of them optional."""

    received_at: datetime
    """When it arrived (UTC)."""
    message_id: str | None = None
    """The id of a message that has none in its body."""
    correlation_id: str | None = None
    """The correlation id of every event that the message causes; without one that is the message's id."""
    traceparent: str | None = None
    """The W3C trace context of the headers, if it is valid."""
    timestamp: datetime | None = None
    """When it was published (UTC)."""
    size: int | None = None
    """Bytes of the body, if only its beginning was kept because it is too large."""


class Event(Struct):
    """The envelope of a message: a CloudEvents 1.0 event in structured JSON."""

    type: str
    """What the message asks for; a key of `SHAPES`."""
    data: dict[str, Any]
    """What the type's shape describes."""
    id: (
        Annotated[
            str,
            Meta(
                max_length=MAX_ID_BYTES,
                description=f"a text of at most {MAX_ID_BYTES} bytes in UTF-8, on one line; "
                "falls back to the AMQP property message_id",
                extra_json_schema=_ONE_LINE,
            ),
        ]
        | None
    ) = None
    """Identifies the message together with `source`."""
    source: Identifier = "/"
    """Who published it."""
    time: Annotated[str, Meta(description=f"{_MOMENT}; falls back to the AMQP property timestamp")] | None = None
    """When it happened; orders the messages of a booking that have no versions."""
    traceparent: Any = None
    """The W3C trace context in which the event arose; ignored if it is invalid."""
    specversion: Annotated[str, Meta(pattern=r"^1\.", description="1.0 or a later 1.x")] = "1.0"
    """The version of CloudEvents."""


class PassengerData(Struct):
    """A passenger of a booking."""

    name: Word
    """The name by which mails address the passenger."""
    email: Address
    """Where the passenger's mails go. An invalid one costs only this passenger the mails."""
    locale: OptionalWord | None = None
    """The language of the mails as a BCP 47 tag, such as `de` or `pt-BR`; the default is English."""


class FlightData(Struct, rename={"origin": "from", "destination": "to"}):
    """A flight of a booking."""

    number: Word
    """Airline and number, such as `AI101`."""
    origin: Word
    """IATA code of the airport of departure."""
    destination: Word
    """IATA code of the airport of arrival."""
    departs_at: LocalTime
    """When it departs; `origin` decides the local time."""
    arrives_at: LocalTime | None = None
    """When it arrives; `destination` decides the local time."""
    seat: OptionalWord | None = None
    """The seat of every passenger of the booking."""
    gate: OptionalWord | None = None
    """The gate of departure."""


class PriceData(Struct):
    """The price of a booking; mails show it as it is written."""

    amount: Annotated[
        Word | int | float, Meta(description=f"a number, or a text of 1 to {MAX_WORD} characters on one line")
    ]
    """The total."""
    currency: Word
    """The currency, such as `INR`."""


class BookingData(Struct):
    """The complete state of a booking; a cancellation needs only the reference."""

    booking: Word
    """The booking's reference, which passengers see in their mails."""
    passengers: Annotated[
        list[PassengerData], Meta(max_length=MAX_ADDRESSES, description=f"a list of at most {MAX_ADDRESSES} passengers")
    ] = field(default_factory=list)
    """Everyone who gets mails about the booking."""
    flights: Annotated[
        list[FlightData], Meta(max_length=MAX_FLIGHTS, description=f"a list of at most {MAX_FLIGHTS} flights")
    ] = field(default_factory=list)
    """The flights in the order in which mails show them."""
    version: Annotated[int, Meta(ge=0, le=MAX_VERSION, description=f"an integer from 0 to {MAX_VERSION}")] | None = None
    """Orders the messages of the booking: a message that is not newer than one already handled changes nothing."""
    price: PriceData | None = None
    """The total price, which confirmations and change notices show."""


class RequestData(Struct):
    """A request for a notification: one mail to each address."""

    to: Annotated[
        Address | Annotated[list[Address], Meta(min_length=1, max_length=MAX_ADDRESSES)],
        Meta(description=f"an e-mail address, or a list of 1 to {MAX_ADDRESSES} of them"),
    ]
    """Who gets the mail."""
    subject: Subject
    text: Text
    """The mail's text part."""
    html: Text | None = None
    """The mail's HTML part, if it has one."""
    send_at: Moment | None = None
    """When to send it; the default is immediately."""
    expires_at: Moment | None = None
    """The time after which it must not be sent any more."""


class WithdrawalData(Struct):
    """The withdrawal of a request from the same source."""

    id: Identifier
    """The id of the request."""


SHAPES: dict[str, type[Struct]] = {
    "booking.confirmed": BookingData,
    "booking.changed": BookingData,
    "booking.cancelled": BookingData,
    "notification.requested": RequestData,
    "notification.cancelled": WithdrawalData,
}
"""The shape of `data` for each type of message."""
