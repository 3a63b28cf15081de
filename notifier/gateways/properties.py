"""Properties of messages as bytes, as their publishers wrote them, to publish them again in dead letters.

RabbitMQ passes on properties, headers and routing keys without validating them. So a received content header is
kept as it was on the wire, and a dead letter has the same bytes wherever a client can read them.
"""

import struct
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import uuid4

from pamqp import decode
from pamqp.commands import Basic

from notifier.gateways.header_table import check_table, entries, short, without_names

MAX_SHORT_STRING = 255
"""Bytes of a property, a header's name or a routing key."""

ENCODING_ERRORS = (TypeError, ValueError, OverflowError, struct.error, RecursionError)
"""What pamqp raises if it cannot write a value, which is a mistake of ours and no sign of a lost broker."""
DECODING_ERRORS = (ValueError, ArithmeticError, OSError)
"""What pamqp raises if it cannot read a value."""

COPY_HEADERS = (b"CC", b"BCC")
"""Headers that list more routing keys. With the default exchange each of them names a queue that gets a copy."""

_PROPERTIES = tuple(
    (name, Basic.Properties.flags[name], Basic.Properties.amqp_type(name)) for name in Basic.Properties.attributes()
)
"""Name, flag and type of each property, in the order on the wire."""
_PERSISTENT = b"\x02"
_MAX_HEADERS = 1000
"""Headers among which `find_header` searches, so that it takes microseconds."""
_FLAGS_MASK = 0xFFFC
"""The flags that name properties. RabbitMQ ignores the other two; the lowest one makes pamqp read more flags."""


def find_header(table: bytes, name: bytes) -> bytes | None:
    """Return the value of a header in a table of headers; None if there is no text header of that name."""
    start = short(name) + b"S"
    # Most messages do not have the header, and this search is much faster than splitting the table.
    if start not in table:
        return None
    try:
        found = (entry for _, entry in islice(entries(table), _MAX_HEADERS))
        return next((entry[len(start) + 4 :] for entry in found if entry.startswith(start)), None)
    except ValueError:
        return None


def split_properties(wire: bytes) -> dict[str, bytes]:
    """Return the properties of a content header, each as the bytes that it was on the wire.

    A property that ends beyond the content header is left out, together with those after it.
    """
    flags, place = int.from_bytes(wire[12:14], "big") & _FLAGS_MASK, 14
    found = {}
    for name, flag, type_ in _PROPERTIES:
        if flags & flag:
            end = place + _size(type_, wire, place)
            if end > len(wire):
                break
            found[name], place = wire[place:end], end
    return found


def as_text(short_string: bytes | None) -> str | None:
    """Return a property as text, with U+FFFD for invalid UTF-8; None if it is empty or missing."""
    return decode_short_string(short_string)[1] or None if short_string else None


def as_time(timestamp: bytes | None) -> datetime | None:
    """Return a property as a time in UTC; None if it is beyond the calendar or missing."""
    if timestamp is None:
        return None
    try:
        return decode.timestamp(timestamp)[1].astimezone(UTC)
    except DECODING_ERRORS:
        return None


class WireProperties(Basic.Properties):
    """Properties that are written as the given bytes, with the delivery mode `persistent`.

    Without a message id they get a new one, because aiormq recognises returned messages by it.
    """

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self._parts = {**parts, "delivery_mode": _PERSISTENT}
        if len(self._parts.get("message_id", b"")) < 2:  # noqa: PLR2004 - its length and at least one byte
            self._parts["message_id"] = short(uuid4().hex.encode())
        super().__init__(message_id=decode_short_string(self._parts["message_id"])[1])

    def marshal(self) -> bytes:
        """Return the flags and the properties."""
        names = [name for name in Basic.Properties.attributes() if name in self._parts]
        flags = sum(Basic.Properties.flags[name] for name in names)
        return flags.to_bytes(2, "big") + b"".join(self._parts[name] for name in names)


def made_readable(parts: Mapping[str, bytes]) -> tuple[dict[str, bytes], list[str]]:
    """Return properties that any client can read, and the names of those that were changed for that.

    Invalid UTF-8 becomes U+FFFD; any other invalid value is left out.
    """
    found, changed = dict(parts), []
    for name, value in parts.items():
        type_ = Basic.Properties.amqp_type(name)
        try:
            _check(type_, value)
        except DECODING_ERRORS:
            changed.append(name)
            del found[name]
            if type_ == "shortstr":
                found[name] = short(truncated(decode_short_string(value)[1], MAX_SHORT_STRING).encode())
    return found, changed


def without_headers(properties: Basic.Properties, names: Collection[bytes]) -> WireProperties:
    """Return properties without the headers of these names. Raises ValueError if their headers are malformed."""
    parts = split_properties(bytes(12) + properties.marshal())  # the class id and the sizes before them do not matter
    if table := parts.get("headers"):
        parts["headers"] = without_names(table, names)
    return WireProperties(parts)


def encode_properties(properties: Basic.Properties) -> tuple[bytes, list[str]]:
    """Return properties as bytes, without those that pamqp cannot write, and the names of those left out."""
    try:
        return properties.marshal(), []
    except ENCODING_ERRORS:
        given: dict[str, Any] = {name: value for name, value in properties if value is not None}
        left_out = [name for name, value in given.items() if not _can_be_written(properties, name, value)]
        kept = {name: value for name, value in given.items() if name not in left_out}
        return Basic.Properties(**kept).marshal(), left_out


def truncated(text: str, most: int) -> str:
    """Return a text shortened to at most `most` bytes of UTF-8, between two characters."""
    return text.encode(errors="replace")[:most].decode(errors="ignore")


def _can_be_written(properties: Basic.Properties, name: str, value: Any) -> bool:
    try:
        properties.encode_property(name, value)
    except ENCODING_ERRORS:
        return False
    return True


def decode_short_string(value: bytes) -> tuple[int, str]:
    """Return where a short string ends and its text, with U+FFFD for invalid UTF-8."""
    end = value[0] + 1
    return end, value[1:end].decode(errors="replace")


def _size(type_: str, wire: bytes, place: int) -> int:
    match type_:
        case "shortstr":
            return 1 + int.from_bytes(wire[place : place + 1], "big")
        case "table":
            return 4 + int.from_bytes(wire[place : place + 4], "big")
        case "timestamp":
            return 8
        case _:
            return 1


def _check(type_: str, value: bytes) -> None:
    """Raise an error of DECODING_ERRORS if some client could not read a property."""
    match type_:
        case "shortstr":
            value[1:].decode()
        case "timestamp":
            decode.timestamp(value)
        case "table":
            check_table(value)
