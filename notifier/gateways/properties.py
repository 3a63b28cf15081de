"""Properties of messages, read whatever their publisher put there, and written again byte for byte.

The broker passes on properties, headers and routing keys without validating them. If one of
them is malformed, pamqp raises inside aiormq's reader, aiormq closes the whole connection, and
the broker delivers the same message again, for ever. pamqp also needs quadratic time for a long
array. So the content header of a received message is decoded here, and its headers are not
decoded at all: `header` finds the one that is needed. Much of what pamqp can read it cannot
write: a header that is not UTF-8, a double, a name of more than 128 bytes.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from uuid import uuid4

from pamqp import decode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

MAX_SHORT_STRING = 255
"""Bytes of a property, a header's name or a routing key."""

ENCODING_ERRORS = (TypeError, ValueError, OverflowError, struct.error, RecursionError)
"""What pamqp raises if a value cannot be written; a mistake of ours, and no sign of a lost broker."""

COPY_HEADERS = (b"CC", b"BCC")
"""Headers that list more routing keys. With the default exchange each of them names a queue that gets a copy."""

_PERSISTENT = b"\x02"
_FIXED_SIZES = dict(zip(b"tbBsuIiflLdTDV", (1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 5, 0), strict=True))
"""Bytes of a header's value, by the byte that names its type."""
_UNREADABLE = (ValueError, ArithmeticError, OSError)
"""What pamqp raises if it cannot read a value."""
_COUNTED = b"SxAF"
"""Types of values whose length is written before them: text, bytes, arrays and tables."""
_MAX_DEPTH = 200
"""Levels of arrays and tables in each other that any client can read: pamqp recurses, some 400 deep."""
_MAX_HEADERS = 1000
"""Headers among which `header` looks for the one that is wanted, so that it takes microseconds."""
_MASK = 0xFFFC
"""Flags of the properties. RabbitMQ ignores the other two bits; the lowest one makes pamqp read more flags."""


def read_all() -> None:
    """Make pamqp tolerate malformed properties, and keep a content header as it was on the wire.

    Invalid UTF-8 decodes to U+FFFD, any other invalid value to None. Headers are not decoded.
    """
    decode.METHODS["shortstr"] = _short_string
    ContentHeader.unmarshal = _unmarshal  # type: ignore[method-assign]


def wire(header: ContentHeader) -> bytes:
    """Return a received content header as it was on the wire."""
    found: bytes = header.__dict__["wire"]
    return found


def header(wire: bytes, name: bytes) -> bytes | None:
    """Return the text of a message's header; None if there is none of that name, or it is not a text."""
    start = short(name) + b"S"
    # Most messages do not have it, and this is a search at the speed of memory.
    if start not in wire:
        return None
    try:
        entries = (entry for _, entry in islice(_entries(apart(wire)["headers"][4:]), _MAX_HEADERS))
        return next((entry[len(start) + 4 :] for entry in entries if entry.startswith(start)), None)
    except (KeyError, ValueError):
        return None


def apart(wire: bytes) -> dict[str, bytes]:
    """Cut a content header apart: each property that is there, as the bytes that it was on the wire.

    A property that is longer than the content header is left out with those behind it.
    """
    flags, place = int.from_bytes(wire[12:14], "big") & _MASK, 14
    found = {}
    for name in Basic.Properties.attributes():
        if flags & Basic.Properties.flags[name]:
            end = place + _size(Basic.Properties.amqp_type(name), wire[place : place + 4])
            if end > len(wire):
                break
            found[name], place = wire[place:end], end
    return found


class WireProperties(Basic.Properties):
    """Properties that are written as the bytes given for each, and persistent.

    Without a message id there is a new one: by it aiormq recognises what the broker returns.
    """

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self._parts = {**parts, "delivery_mode": _PERSISTENT}
        if len(self._parts.get("message_id", b"")) < 2:  # noqa: PLR2004 - its length and at least one byte
            self._parts["message_id"] = short(uuid4().hex.encode())
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
            _check(type_, value)
        except _UNREADABLE:
            changed.append(name)
            del found[name]
            if type_ == "shortstr":
                found[name] = short(cut(_short_string(value)[1], MAX_SHORT_STRING).encode())
    return found, changed


def with_headers(table: bytes, added: Mapping[str, bytes]) -> bytes:
    """Return a table of headers with some text headers added, each in place of one of the same name.

    Raises ValueError if the table makes no sense.
    """
    kept = [entry for name, entry in _entries(table[4:]) if name.decode(errors="replace") not in added]
    new = [short(name.encode()) + b"S" + struct.pack(">I", len(value)) + value for name, value in added.items()]
    return _table((*kept, *new))


def without_headers(properties: Basic.Properties, names: Collection[bytes]) -> WireProperties:
    """Return properties without the headers of these names. Raises ValueError if their headers make no sense."""
    parts = apart(bytes(12) + properties.marshal())  # what is before them in a content header does not matter
    if table := parts.get("headers"):
        parts["headers"] = _table([entry for name, entry in _entries(table[4:]) if name not in names])
    return WireProperties(parts)


def _table(entries: Iterable[bytes]) -> bytes:
    joined = b"".join(entries)
    return struct.pack(">I", len(joined)) + joined


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


def short(value: bytes) -> bytes:
    """Write a short string: its length and its bytes."""
    return bytes([len(value)]) + value


def _size(type_: str, start: bytes) -> int:
    match type_:
        case "shortstr":
            return 1 + int.from_bytes(start[:1], "big")
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
        end, _ = _value(table, at, len(table))
        yield table[place + 1 : at], table[place:end]
        place = end


def _value(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """Find a value whose type is at `at`: where it ends, and where its content begins. No byte of it is copied."""
    if at >= limit:
        raise ValueError("a header is longer than its table")
    type_ = data[at]
    if type_ in _COUNTED:
        content = at + 5
        end = content + int.from_bytes(data[at + 1 : content], "big")
    elif type_ in _FIXED_SIZES:
        content = at + 1
        end = content + _FIXED_SIZES[type_]
    else:
        raise ValueError(f"unknown type of header: {data[at : at + 1]!r}")
    if end > limit or content > limit:
        raise ValueError("a header is longer than its table")
    return end, content


def _check(type_: str, value: bytes) -> None:
    """Raise one of _UNREADABLE if a property cannot be read by any client."""
    match type_:
        case "shortstr":
            value[1:].decode()
        case "timestamp":
            decode.timestamp(value)
        case "table":
            _check_table(value)


def _check_table(value: bytes) -> None:
    """Check a table of headers with all that is nested in it, in linear time and without recursion."""
    ends = [(len(value), True)]
    place = 4
    while ends:
        end, named = ends[-1]
        if place == end:
            ends.pop()
            continue
        if named:
            at = place + 1 + value[place]
            value[place + 1 : at].decode()
            place = at
        after, content = _value(value, place, end)
        if value[place] in b"AF":
            if len(ends) == _MAX_DEPTH:
                raise ValueError(f"headers are nested more than {_MAX_DEPTH} levels deep")
            ends.append((after, value[place] == ord("F")))
            place = content
        else:
            if value[place] == ord("T"):
                decode.timestamp(value[content:after])
            place = after


def _unmarshal(self: ContentHeader, data: bytes) -> None:
    """Decode a content header; whatever its bytes are, nothing is raised, for that would end the connection."""
    self.__dict__["wire"] = data
    self.class_id, self.weight, self.body_size = struct.unpack(">HHQ", data[:12].ljust(12, b"\0"))
    self.properties = Basic.Properties()
    for name, value in apart(data).items():
        setattr(self.properties, name, _decoded(Basic.Properties.amqp_type(name), value))


def _decoded(type_: str, value: bytes) -> Any:
    match type_:
        case "shortstr":
            return _short_string(value)[1]
        case "timestamp":
            return _timestamp(value)
        case "table":
            return None
        case _:
            return value[0]


def _short_string(value: bytes) -> tuple[int, str]:
    end = value[0] + 1
    return end, value[1:end].decode(errors="replace")


def _timestamp(value: bytes) -> Any:
    try:
        return decode.timestamp(value)[1]
    except _UNREADABLE:
        return None
