"""Clients read mails and events as the service writes them."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.any_mail import MAILS
from support.frames import AT
from support.samples import NOW, flight, mail
from support.structs import structs_of, takes_positions, undescribed

from notifier.domain.events import encode_event, event_id, event_type
from notifier.domain.mail import Mail, Status
from notifier.feed.protocol import PublicEvent, mails, public_mail
from notifier.feed.protocol.mails import WholeMail


@given(MAILS, st.none() | st.sampled_from(Status))
def test_an_event_is_read_as_it_was_stored(stored: Mail, prev: Status | None) -> None:
    """For any mail, the structs have every field that is written, and no other."""
    type_ = event_type(prev, stored)
    body = encode_event(type_, prev, stored, NOW)
    event = msgspec.json.decode(body, type=PublicEvent)
    assert json.loads(msgspec.json.encode(event)) == json.loads(body)
    assert event.data.mail == public_mail(stored)
    assert (event.id, event.type, event.data.prev) == (event_id(stored), type_, prev)


def test_a_flight_has_the_names_of_a_booking_message() -> None:
    """Its airports are `from` and `to`, and its departure is in UTC."""
    shown = public_mail(mail(flight=flight())).flight
    assert msgspec.to_builtins(shown) == {
        "number": "AI101",
        "from": "DEL",
        "to": "BLR",
        "departs_at": "2026-12-01T04:00:00.000Z",
    }


def test_a_recipient_is_masked_and_the_content_left_out() -> None:
    """A public mail shows the first letter and the domain of its address, and nothing of its text."""
    shown = public_mail(mail())
    assert shown.to == "a•••@example.com"
    assert "It is ready." not in repr(shown)


@pytest.mark.parametrize("shape", structs_of(mails))
def test_every_field_is_given_by_name_and_described(shape: type[msgspec.Struct]) -> None:
    """Two fields of one type cannot be mixed up, and the document says what each one is."""
    assert not takes_positions(shape)
    assert undescribed(shape) == []


def test_a_whole_mail_has_its_history_and_its_parts() -> None:
    """Every field is read and written under its name, and a header is a pair."""
    step = {"at": AT, "type": "mail.retry", "status": "pending", "attempt": 1, "next_attempt_at": AT}
    whole = {
        **msgspec.to_builtins(public_mail(mail())),
        "timeline": [{**step, "smtp": {"code": 451, "text": "later"}, "error": "greylisted"}],
        "headers": [["To", "asha@example.com"]],
        "text": "It is ready.",
        "html": None,
        "calendars": [{"name": "flight.ics", "text": "BEGIN:VCALENDAR"}],
        "preview": "/preview/1",
    }
    assert msgspec.to_builtins(msgspec.convert(whole, WholeMail)) == whole
    del whole["preview"]
    assert msgspec.to_builtins(msgspec.convert(whole, WholeMail)) == whole
    for header in (["To"], ["To", "a", "b"]):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**whole, "headers": [header]}, WholeMail)
