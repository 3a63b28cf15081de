"""Checks of the parts of a message, and what they say of a wrong one."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.incoming import legacy_mail
from support.samples import flight_data

from notifier.domain import fields
from notifier.domain.addresses import normalised
from notifier.domain.legacy_messages import LegacyMail
from notifier.domain.message_shapes import BookingData, RequestData
from notifier.domain.notification import Recipient
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


def test_a_field_of_a_message_that_is_not_inside_another_object_has_no_path() -> None:
    """The detail begins with the name of the field."""
    for found, reason in (({}, "invalid: subject: missing"), ({"subject": 5}, f"invalid: subject: must be {LINE}")):
        with pytest.raises(Refused) as refused:
            fields.shaped(found, LegacyMail)
        assert str(refused.value) == reason


def test_the_second_missing_field_is_named_if_the_first_one_is_there() -> None:
    """The detail names a field that is missing, and not the first one of its object."""
    with pytest.raises(Refused, match=r"^invalid: data\.text: missing$"):
        fields.shaped({"to": "asha@example.com", "subject": "Ticket", "colour": "red"}, RequestData, "data")


@pytest.mark.parametrize("check", [fields.word, fields.identifier, fields.line])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must not be blank"),
        (" \u3000", "must not be blank"),
        ("a\tb", "contains a control character or a line break"),
        ("a\n", "contains a control character or a line break"),
        ("a\x7fb", "contains a control character or a line break"),
        ("a\x9fb", "contains a control character or a line break"),
        ("a\u2029b", "contains a control character or a line break"),
        ("a\ud800b", "contains a control character or a line break"),
    ],
)
def test_a_line_that_mails_cannot_show_is_refused(check: Any, text: str, reason: str) -> None:
    """A blank text, a control character, a line break and half a surrogate pair are refused with the field's name."""
    with pytest.raises(Refused) as refused:
        check("data.x", text)
    assert str(refused.value) == f"invalid: data.x: {reason}"


def test_a_word_has_at_most_200_characters_and_an_id_200_bytes() -> None:
    """The longest is returned unchanged; one character or byte more is refused."""
    assert fields.word("x", "票" * 200) == "票" * 200
    assert fields.identifier("x", "票" * 66 + "ab") == "票" * 66 + "ab"
    with pytest.raises(Refused, match=r"^invalid: x: longer than 200 characters$"):
        fields.word("x", "a" * 201)
    with pytest.raises(Refused, match=r"^invalid: x: longer than 200 bytes$"):
        fields.identifier("x", "票" * 66 + "abc")


@given(st.lists(st.sampled_from(["Asha", "Rao", "\u00a0", " "]), min_size=1, max_size=9).map(" ".join))
def test_a_line_has_single_spaces(text: str) -> None:
    """Spaces at its ends and repeated ones inside it are left out; any other character stays."""
    if not text.strip():
        return
    found = fields.line("x", text)
    assert found.split(" ") == [part for part in text.split(" ") if part]
    assert fields.word("x", text) == text


@pytest.mark.parametrize("char", ["\x00", "\x08", "\x0b", "\x0c", "\x0e", "\x1f", "\x7f", "\udfff"])
def test_a_text_with_a_control_character_is_refused(char: str) -> None:
    """Only tabs and line ends are allowed."""
    with pytest.raises(Refused) as refused:
        fields.text("data.text", f"a{char}b")
    assert str(refused.value) == "invalid: data.text: contains a control character other than a tab or a line end"


@given(st.text("ab\t\r\n\u2028"))
def test_the_lines_of_a_text_end_in_lf(given_text: str) -> None:
    """CRLF, a lone CR and a lone LF each end one line, and everything else stays."""
    found = fields.text("x", given_text)
    assert found == given_text.replace("\r\n", "\n").replace("\r", "\n")


def test_an_address_that_mail_can_reach_is_normalised() -> None:
    """It has no fault."""
    assert fields.address("Asha@EXAMPLE.com") == ("Asha@example.com", None)


def test_an_address_that_no_mail_can_reach_is_shown_on_one_line() -> None:
    """Its first 200 characters are kept, without line breaks and control characters, and with the reason."""
    shown, fault = fields.address("asha\r\n\x00" + "x" * 300)
    assert shown == "asha???" + "x" * 193
    with pytest.raises(ValueError, match=r"\w") as reason:
        normalised("asha\r\n\x00" + "x" * 300)
    assert fault == str(reason.value)


def test_a_request_needs_one_recipient_that_mail_can_reach() -> None:
    """The others are kept with their faults; if there is none, the first fault is the reason."""
    asha, nobody = fields.recipients("data.to", ["asha@example.com", "nobody"])
    assert asha == Recipient("asha@example.com", None)
    assert (nobody.email, bool(nobody.fault)) == ("nobody", True)
    with pytest.raises(Refused) as refused:
        fields.recipients("data.to[0]", ["nobody", "a b@example.com"])
    assert str(refused.value) == f"invalid: data.to[0]: {nobody.fault}"


def test_an_instant_is_in_utc() -> None:
    """It must have an offset, and whatever is wrong with it is the reason."""
    assert fields.instant("time", "2026-12-01T09:30:00+05:30") == datetime(2026, 12, 1, 4, 0, tzinfo=UTC)
    assert fields.instant("time", "2026-12-01T09:30:00+05:30").tzinfo is UTC
    with pytest.raises(Refused, match=r"^invalid: time: needs an offset such as \+05:30, or Z$"):
        fields.instant("time", "2026-12-01T09:30:00")
    with pytest.raises(Refused, match=r"^invalid: time: 'soon' is not a time such as "):
        fields.instant("time", "soon")
