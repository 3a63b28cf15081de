"""The shapes of messages: each field has a rule in words, which dead letters and the AsyncAPI document show."""

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import Struct, inspect
from support.samples import NOW, booking_event, flight_data

from notifier.domain.legacy_messages import LegacyMail
from notifier.domain.message_shapes import (
    SHAPES,
    BookingData,
    Event,
    RequestData,
    WithdrawalData,
)
from notifier.domain.messages import MAX_BYTES, Origin, decode
from notifier.errors import Refused


def undescribed(kind: inspect.Type, where: str = "") -> Iterator[str]:
    """Yield the parts of a shape that have no description; an object describes itself by its fields."""
    match kind:
        case inspect.Metadata() if (kind.extra_json_schema or {}).get("description"):
            yield from undescribed_entries(kind.type, where)
        case inspect.UnionType():
            for each in kind.types:
                yield from undescribed(each, where)
        case inspect.StructType():
            for field in kind.fields:
                yield from undescribed(field.type, f"{where}.{field.encode_name}")
        case inspect.NoneType() | inspect.AnyType():
            pass
        case _:
            yield where


def undescribed_entries(kind: inspect.Type, where: str) -> Iterator[str]:
    """Yield the entries of a described list that have no description."""
    for each in kind.types if isinstance(kind, inspect.UnionType) else (kind,):
        if isinstance(each, inspect.ListType):
            yield from undescribed(each.item_type, f"{where}[]")


@pytest.mark.parametrize("shape", [*dict.fromkeys(SHAPES.values()), LegacyMail])
def test_every_field_has_a_rule_in_words(shape: type[Struct]) -> None:
    """Without a description, the detail of a dead letter could not say what the field must be."""
    assert list(undescribed(inspect.type_info(shape))) == []


def test_the_envelope_has_a_rule_for_all_but_the_data() -> None:
    """The type is checked against the known ones, and the data against the shape of its type."""
    assert list(undescribed(inspect.type_info(Event))) == [".type", ".data"]


BOOKING: dict[str, Any] = booking_event()["data"]
PASSENGER: dict[str, Any] = BOOKING["passengers"][0]
REQUEST: dict[str, Any] = {"to": "asha@example.com", "subject": "Ticket", "text": "Ready"}
EVENT: dict[str, Any] = {"type": "notification.cancelled", "data": {}}


def within(shape: type[Struct], whole: Any, **changes: Any) -> bool:
    """Return whether an object with these fields has the shape."""
    try:
        msgspec.convert({**whole, **changes}, shape)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("shape", "whole", "field", "limits"),
    [
        (BookingData, BOOKING, "booking", ("x", "x" * 200)),
        (RequestData, REQUEST, "subject", ("x", "x" * 200)),
        (WithdrawalData, {}, "id", ("x", "x" * 200)),
        (Event, EVENT, "source", ("x", "x" * 200)),
        (Event, EVENT, "id", ("", "x" * 200)),
        (SHAPES["booking.changed"], {}, "booking", ("x", "x" * 200)),
    ],
)
def test_a_text_has_a_least_and_a_greatest_length(
    shape: type[Struct], whole: Any, field: str, limits: tuple[str, str]
) -> None:
    """Both are valid; a character less or more is not."""
    assert all(within(shape, whole, **{field: text}) for text in limits)
    assert not within(shape, whole, **{field: limits[1] + "x"})
    assert not limits[0] or not within(shape, whole, **{field: ""})


def test_a_list_has_a_greatest_length() -> None:
    """A hundred passengers or addresses and twenty flights are valid, and one more is not."""
    assert within(BookingData, BOOKING, passengers=[PASSENGER] * 100, flights=[flight_data()] * 20)
    assert not within(BookingData, BOOKING, passengers=[PASSENGER] * 101)
    assert not within(BookingData, BOOKING, flights=[flight_data()] * 21)
    assert all(within(RequestData, REQUEST, to=["a@example.com"] * count) for count in (1, 100))
    assert not any(within(RequestData, REQUEST, to=["a@example.com"] * count) for count in (0, 101))


def test_an_optional_text_may_be_empty() -> None:
    """An empty locale, seat or gate counts as missing; the longest has 200 characters."""
    for length, valid in ((0, True), (200, True), (201, False)):
        text = "x" * length
        assert within(BookingData, BOOKING, passengers=[{**PASSENGER, "locale": text}]) is valid
        assert within(BookingData, BOOKING, flights=[flight_data(seat=text)]) is valid
        assert within(BookingData, BOOKING, flights=[flight_data(gate=text)]) is valid


@pytest.mark.parametrize(("version", "valid"), [(-1, False), (0, True), (2**53, True), (2**53 + 1, False)])
def test_a_version_is_an_integer_that_every_library_can_represent(version: int, valid: bool) -> None:  # noqa: FBT001 - a column of the table
    """Zero is the first one, and 2 to the power of 53 the last."""
    assert within(BookingData, BOOKING, version=version) is valid


@pytest.mark.parametrize(("version", "valid"), [("1.0", True), ("1.1", True), ("2.0", False), ("10", False)])
def test_an_event_is_of_the_first_major_version(version: str, valid: bool) -> None:  # noqa: FBT001 - a column of the table
    """A later minor version of CloudEvents only adds attributes."""
    assert within(Event, EVENT, specversion=version) is valid


def test_a_body_has_at_most_256_kib() -> None:
    """A body of that size is read, and one of a byte more is too large."""
    assert MAX_BYTES == 256 * 1024
    with pytest.raises(Refused, match=r"^not_json"):
        decode(b" " * 262_144, Origin(NOW))
    with pytest.raises(Refused, match=r"^too_large"):
        decode(b" " * 262_145, Origin(NOW))


@pytest.mark.parametrize("type_", SHAPES)
def test_every_type_is_decoded_with_its_own_shape(type_: str) -> None:
    """A message that lacks everything is refused for the first field that its shape requires."""
    first = {"booking": "booking", "notification": "to"}[type_.partition(".")[0]]
    with pytest.raises(Refused) as refused:
        decode(json.dumps({"type": type_, "id": "m", "data": {}}).encode(), Origin(NOW))
    field = "id" if SHAPES[type_] is WithdrawalData else first
    assert str(refused.value) == f"invalid: data.{field}: missing"
    assert SHAPES[type_].__struct_fields__[0] == field


def test_the_types_of_messages_are_promised() -> None:
    """Publishers write them, so none is renamed or removed."""
    booking, notification = ("confirmed", "changed", "cancelled"), ("requested", "cancelled")
    assert list(SHAPES) == [
        *(f"booking.{each}" for each in booking),
        *(f"notification.{each}" for each in notification),
    ]


def patterns(shape: type[Struct]) -> dict[str, str]:
    """Return the patterns of the fields of a shape, and of the shapes in it, in its JSON schema."""
    found = {}
    for schema in msgspec.json.schema(shape)["$defs"].values():
        for name, field in schema["properties"].items():
            for each in (field, *field.get("anyOf", ())):
                if "pattern" in each:
                    found[name] = each["pattern"]
    return found


def test_the_schema_has_the_patterns_that_decoding_applies() -> None:
    """A schema validator refuses what notifier refuses: line breaks in a line, and control characters in a text."""
    lines = {"name", "locale", "number", "from", "to", "seat", "gate", "amount", "currency", "booking"}
    booking, request, withdrawal = patterns(BookingData), patterns(RequestData), patterns(WithdrawalData)
    assert booking.keys() == lines
    assert request.keys() == {"subject", "text", "html"}
    assert withdrawal.keys() == {"id"}
    assert patterns(Event).keys() == {"id", "source", "specversion"}
    one_line = {*booking.values(), *withdrawal.values(), request["subject"]}
    one_line |= {patterns(Event)[name] for name in ("id", "source")}
    several_lines = {request["text"], request["html"]}
    (line_pattern,), (text_pattern,) = one_line, several_lines
    for code in (*range(0x100), 0x2027, 0x2028, 0x2029, 0x202A, 0x1F600):
        text = f"a{chr(code)}b"
        breaks_line = unicodedata.category(chr(code)) in ("Cc", "Zl", "Zp")
        assert bool(re.search(line_pattern, text)) is not breaks_line
        assert bool(re.search(text_pattern, text)) is not (code in {*range(0x20), 0x7F} - {9, 10, 13})


def test_an_event_needs_only_a_type_and_data() -> None:
    """The publisher of an event without a source is `/`, and its version is 1.0."""
    event = msgspec.convert(EVENT, Event)
    assert (event.source, event.specversion) == ("/", "1.0")
    assert (event.id, event.time, event.traceparent) == (None, None, None)
