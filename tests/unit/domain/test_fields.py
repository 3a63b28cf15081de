"""Checks of the parts of a message, and what they say of a wrong one."""

from typing import Any

import pytest
from support.incoming import legacy_mail
from support.samples import flight_data

from notifier.domain import fields
from notifier.domain.legacy_messages import LegacyMail
from notifier.domain.message_shapes import BookingData, RequestData
from notifier.errors import Refused

PASSENGER = {"name": "Asha Rao", "email": "asha@example.com"}
LINE = "a text of 1 to 200 characters, on one line"
SEND_AT = "a time (UTC if it has no offset), or an integer of seconds or milliseconds since 1970"
REQUEST = {"to": "asha@example.com", "subject": "Ticket", "text": "Ready"}


@pytest.mark.parametrize(
    ("shape", "found", "reason"),
    [
        (BookingData, {}, "invalid: data.booking: missing"),
        (BookingData, {"booking": ""}, f"invalid: data.booking: must be {LINE}"),
        (BookingData, {"booking": 5}, f"invalid: data.booking: must be {LINE}"),
        (BookingData, {"booking": "x" * 201}, f"invalid: data.booking: must be {LINE}"),
        (
            BookingData,
            {"booking": "R", "version": "1"},
            "invalid: data.version: must be an integer from 0 to 9007199254740992",
        ),
        (BookingData, {"booking": "R", "price": 5}, "invalid: data.price: must be an object"),
        (
            BookingData,
            {"booking": "R", "price": {"amount": [], "currency": "INR"}},
            "invalid: data.price.amount: must be a number, or a text of 1 to 200 characters on one line",
        ),
        (BookingData, {"booking": "R", "passengers": [PASSENGER, 5]}, "invalid: data.passengers[1]: must be an object"),
        (
            BookingData,
            {"booking": "R", "passengers": [PASSENGER, {"name": "Ravi Rao"}]},
            "invalid: data.passengers[1].email: missing",
        ),
        (
            BookingData,
            {"booking": "R", "passengers": {}},
            "invalid: data.passengers: must be a list of at most 100 passengers",
        ),
        (
            BookingData,
            {"booking": "R", "passengers": [PASSENGER] * 101},
            "too_large: data.passengers: 101 entries; at most 100 are allowed",
        ),
        (
            BookingData,
            {"booking": "R", "flights": [flight_data(from_=7)]},
            f"invalid: data.flights[0].from: must be {LINE}",
        ),
        (
            RequestData,
            {**REQUEST, "to": []},
            "invalid: data.to: must be an e-mail address, or a list of 1 to 100 of them",
        ),
        (RequestData, {**REQUEST, "to": ["a@example.com", 5]}, "invalid: data.to[1]: must be an e-mail address"),
        (
            LegacyMail,
            legacy_mail(notificationTime=1.5),
            f"invalid: data.notificationTime: must be {SEND_AT}",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_rule(shape: type, found: dict[str, Any], reason: str) -> None:
    """The detail has the path of the field and what it must be; only too many entries are `too_large`."""
    with pytest.raises(Refused) as refused:
        fields.shaped(found, shape, "data")
    assert str(refused.value) == reason
