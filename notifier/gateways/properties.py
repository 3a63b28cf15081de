"""Properties of messages, read whatever their publisher put there, and written again byte for byte.

The broker passes on properties and routing keys that it never looked into. Where
one of them cannot be read pamqp raises, aiormq gives the whole connection up, and
the broker delivers the same message again, for ever. What pamqp has read it often
cannot write: a header that is no UTF-8, a double, a name of more than 128 bytes.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from pamqp import decode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

MAX_SHORT_STRING = 255
"""Bytes of a property, a header's name or a routing key."""

ENCODING_ERRORS = (TypeError, ValueError, OverflowError, struct.error, RecursionError)
"""What pamqp raises if a value cannot be written; a mistake of ours, and no sign of a lost broker."""

_Read = Callable[[bytes], tuple[int, Any]]

_PERSISTENT = b"\x02"
_FIXED_SIZES = dict(zip(b"tbBsuIiflLdTDV", (1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 5, 0), strict=True))
"""Bytes of a header's value, by the byte that names its type."""
_STRICT: Mapping[str, _Read] = {
    "shortstr": decode.short_str,
    "timestamp": decode.timestamp,
    "table": decode.field_table,
}
_UNREADABLE = (ValueError, ArithmeticError, OSError, RecursionError)
"""What pamqp raises if it cannot read a value."""
_COUNTED = b"SxAF"
"""Types of values whose length is written before them: text, bytes, arrays and tables."""


def read_all() -> None:
    """Make pamqp tolerate malformed properties, and keep them as they were on the wire.

    Invalid UTF-8 decodes to U+FFFD, any other invalid value to None.
    """
    decode.METHODS["shortstr"] = _short_string
    decode.METHODS["timestamp"] = _timestamp
    decode.METHODS["table"] = _table
    ContentHeader.unmarshal = _unmarshal  # type: ignore[method-assign]


def wire(header: ContentHeader) -> bytes:
    """Return a received content header as it was on the wire."""
    found: bytes = header.__dict__["wire"]
    return found


def apart(wire: bytes) -> dict[str, bytes]:
    """Cut a content header apart: each property that is there, as the bytes that it was on the wire."""
    flags, place = int.from_bytes(wire[12:14], "big"), 14
    found = {}
    for name in Basic.Properties.attributes():
        if flags & Basic.Properties.flags[name]:
            end = place + _size(Basic.Properties.amqp_type(name), wire[place : place + 4])
            found[name], place = wire[place:end], end
    return found


class WireProperties(Basic.Properties):
    """Properties that are written as the bytes given for each, and persistent.

    Without a message id there is a new one: by it aiormq recognises what the broker returns.
    """

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self._parts = {**parts, "delivery_mode": _PERSISTENT}
        if len(self._parts.get("message_id", b"")) < 2:  # noqa: PLR2004 - its length and at least one byte
            self._parts["message_id"] = _short(uuid4().hex.encode())
        super().__init__(message_id=_short_string(self._parts["message_id"])[1])

    def marshal(self) -> bytes:
        """Write them as they are."""
        names = [name for name in Basic.Properties.attributes() if name in self._parts]
        flags = sum(Basic.Properties.flags[name] for name in names)
        return flags.to_bytes(2, "big") + b"".join(self._parts[name] for name in names)


def readable(parts: Mapping[str, bytes]) -> tuple[dict[str, bytes], list[str]]:
    """Make properties such that any client can read them; returns also the names of those that were changed.

    Invalid UTF-8 becomes U+FFFD, any other invalid value is left out.
    """
    found, changed = dict(parts), []
    for name, value in parts.items():
        type_ = Basic.Properties.amqp_type(name)
        try:
            _STRICT.get(type_, decode.octet)(value)
        except _UNREADABLE:
            changed.append(name)
            del found[name]
            if type_ == "shortstr":
                found[name] = _short(cut(_short_string(value)[1], MAX_SHORT_STRING).encode())
    return found, changed


def with_headers(table: bytes, added: Mapping[str, bytes]) -> bytes:
    """Return a table of headers with some text headers added, each in place of one of the same name.

    Raises ValueError if the table makes no sense.
    """
    kept = [entry for name, entry in _entries(table[4:]) if name.decode(errors="replace") not in added]
    new = [_short(name.encode()) + b"S" + struct.pack(">I", len(value)) + value for name, value in added.items()]
    entries = b"".join((*kept, *new))
    return struct.pack(">I", len(entries)) + entries


def writable(properties: Basic.Properties) -> tuple[Basic.Properties, list[str]]:
    """Leave out the properties that cannot be written; returns what is left, and the names of those left out."""
    try:
        properties.marshal()
    except ENCODING_ERRORS:
        given: dict[str, Any] = {name: value for name, value in properties if value is not None}
        left_out = [name for name, value in given.items() if not _can_be_written(properties, name, value)]
        kept = {name: value for name, value in given.items() if name not in left_out}
        return Basic.Properties(**kept), left_out
    return properties, []


def cut(text: str, most: int) -> str:
    """Shorten a text to at most so many bytes of UTF-8, between two characters."""
    return text.encode(errors="replace")[:most].decode(errors="ignore")


def _can_be_written(properties: Basic.Properties, name: str, value: Any) -> bool:
    try:
        properties.encode_property(name, value)
    except ENCODING_ERRORS:
        return False
    return True


def _short(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def _size(type_: str, start: bytes) -> int:
    match type_:
        case "shortstr":
            return 1 + start[0]
        case "table":
            return 4 + int.from_bytes(start, "big")
        case "timestamp":
            return 8
        case _:
            return 1


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Cut a table apart: the name of each header, and all its bytes."""
    place = 0
    while place < len(table):
        at = place + 1 + table[place]
        type_, size = table[at : at + 1], table[at + 1 : at + 5]
        if not type_ or (type_[0] not in _FIXED_SIZES and type_ not in _COUNTED):
            raise ValueError(f"unknown type of header: {type_!r}")
        end = at + 1 + (4 + int.from_bytes(size, "big") if type_ in _COUNTED else _FIXED_SIZES[type_[0]])
        if end > len(table):
            raise ValueError("a header is longer than its table")
        yield table[place + 1 : at], table[place:end]
        place = end


_decoded = ContentHeader.unmarshal


def _unmarshal(self: ContentHeader, data: bytes) -> None:
    self.__dict__["wire"] = data
    _decoded(self, data)


def _short_string(value: bytes) -> tuple[int, str]:
    end = value[0] + 1
    return end, value[1:end].decode(errors="replace")


def _timestamp(value: bytes) -> tuple[int, Any]:
    return _readable(decode.timestamp, value, 8)


def _table(value: bytes) -> tuple[int, Any]:
    return _readable(decode.field_table, value, 4 + int.from_bytes(value[:4], "big"))


def _readable(read: _Read, value: bytes, size: int) -> tuple[int, Any]:
    try:
        return read(value)
    except _UNREADABLE:
        return size, None
