"""The broker's side of the AsyncAPI document: it accepts exactly the messages that the decoder accepts."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.described import WHOLE, referenced, validator
from support.samples import NOW, booking_event, flight_data

from notifier.domain.messages import Origin, decode
from notifier.errors import DeadLetterCode, Refused


def event(type_: str, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "7f0c",
        "source": "/b",
        "type": type_,
        "time": "2026-11-24T10:00:00Z",
        "data": data,
    }


BOOKING = {
    "booking": "RXJ34P",
    "version": 1,
    "passengers": [{"name": "Asha", "email": "asha@example.com", "locale": "en"}],
    "flights": [flight_data(arrives_at="2026-12-01T12:20:00+05:30")],
    "price": {"amount": "1", "currency": "INR"},
}
REQUEST = {
    "to": ["a@example.com"],
    "subject": "s",
    "text": "t",
    "html": "<p>",
    "send_at": "2026-12-01T09:30:00Z",
    "expires_at": "2026-12-02T09:30:00Z",
}
OLDER = {"subject": "s", "content": "c", "recepientEmail": "a@example.com", "notificationTime": "2026-12-01T09:30:00Z"}
TAKEN = {
    "booking_confirmed": event("booking.confirmed", **BOOKING),
    "booking_changed": event("booking.changed", **BOOKING),
    "booking_cancelled": event("booking.cancelled", **BOOKING),
    "notification_requested": event("notification.requested", **REQUEST),
    "notification_cancelled": event("notification.cancelled", id="x"),
    "older": {"service": "CREATE_TICKET", "data": OLDER},
}
ODD: tuple[Any, ...] = (
    None,
    "",
    0,
    1,
    -1,
    1.5,
    True,
    [],
    {},
    "x" * 200,
    "x" * 201,
    ["a@example.com"],
    2**60,
    "1",
    "a\0",
    "a\n",
    "\u2028",
)


# What JSON Schema does not say of a text: whether it is a time or an address.
NOT_IN_A_SCHEMA = re.compile(r"is no(t a)? time|needs an offset|email address")


def changed(part: Any) -> Iterator[Any]:
    """Change one value of a message, or leave it out, in every way and place."""
    if isinstance(part, dict):
        for name, value in part.items():
            yield {other: each for other, each in part.items() if other != name}
            yield from ({**part, name: each} for each in (*ODD, *changed(value)))
    elif isinstance(part, list):
        yield from ([each] for value in part for each in (*ODD, *changed(value)))


@pytest.mark.parametrize("name", TAKEN)
def test_the_document_takes_what_the_decoder_takes(name: str) -> None:
    """Each single change of a message is valid by the document if it can be decoded, and only then."""
    payload = {**referenced(f"#/components/messages/{name}/payload"), "components": WHOLE["components"]}
    document_takes = jsonschema_rs.Draft7Validator(payload).is_valid
    assert document_takes(TAKEN[name])
    differing = []
    for message in changed(TAKEN[name]):
        reason = ""
        try:
            decode(msgspec.json.encode(message), Origin(received_at=NOW, message_id="m"))
        except Refused as refused:
            reason = str(refused)
        if document_takes(message) is bool(reason) and not NOT_IN_A_SCHEMA.search(reason):
            differing.append((message, reason))
    assert differing == []


@given(
    flights=st.lists(
        st.sampled_from([flight_data(), flight_data(seat=None), {**flight_data(), "number": 7}]), max_size=22
    ),
    version=st.one_of(st.none(), st.integers(-2, 5), st.just("1")),
    email=st.sampled_from(["asha@example.com", 5, None]),
    price=st.sampled_from(
        [None, {"amount": "1", "currency": "EUR"}, {"amount": 1.5, "currency": "EUR"}, {"amount": []}]
    ),
)
def test_what_a_reader_takes_the_document_takes(flights: Any, version: Any, email: Any, price: Any) -> None:
    """Whatever decodes is valid by the document; what the document refuses does not decode."""
    event = booking_event(flights=flights, passengers=[{"name": "A", "email": email}])
    event["data"] |= {"version": version, "price": price}
    try:
        decode(msgspec.json.encode(event), Origin(received_at=NOW))
    except Refused:
        return
    assert validator("booking_confirmed").is_valid(json.loads(json.dumps(event)))


def test_the_document_knows_every_code_of_a_dead_letter() -> None:
    """The headers of each dead letter are valid by the document, and those with another code are not."""
    headers = jsonschema_rs.Draft7Validator(WHOLE["components"]["messages"]["dead_letter"]["headers"])
    for code in get_args(DeadLetterCode):
        headers.validate({"x-notifier-error": code, "x-notifier-detail": "why", "colour": "blue"})
    assert not headers.is_valid({"x-notifier-error": "anything", "x-notifier-detail": "why"})
