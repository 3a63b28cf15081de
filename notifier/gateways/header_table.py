"""Tables of headers as bytes (AMQP 0-9-1 section 4.2.5.5): found, checked and changed without decoding their values.

pamqp would need quadratic time for a long array and a level of recursion for each nested table, and
much of what it can read it cannot write: a header that is not UTF-8, a double, a name of more than 128 bytes.
A table begins with its length in four bytes; everything here takes linear time.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping

from pamqp import decode

_LENGTH = 4
"""Bytes of a table's length."""
_FIXED_SIZES = dict(zip(b"tbBsuIiflLdTDV", (1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 5, 0), strict=True))
"""Bytes of a header's value, by the byte that names its type."""
_COUNTED = b"SxAF"
"""Types of values whose length is written before them: text, bytes, arrays and tables."""
_MAX_DEPTH = 200
"""Levels of nested arrays and tables that any client can read: pamqp recurses, some 400 deep."""


def with_headers(table: bytes, added: Mapping[str, bytes]) -> bytes:
    """Return a table with text headers added, each of which replaces a header of the same name.

    Raises ValueError if the table is malformed.
    """
    kept = [entry for name, entry in entries(table) if name.decode(errors="replace") not in added]
    new = [short(name.encode()) + b"S" + struct.pack(">I", len(value)) + value for name, value in added.items()]
    return write_table((*kept, *new))


def without_names(table: bytes, names: Collection[bytes]) -> bytes:
    """Return a table without the headers of these names. Raises ValueError if the table is malformed."""
    return write_table([entry for name, entry in entries(table) if name not in names])


def write_table(found: Iterable[bytes]) -> bytes:
    """Join entries to a table."""
    joined = b"".join(found)
    return struct.pack(">I", len(joined)) + joined


def short(value: bytes) -> bytes:
    """Return a short string: a byte with its length, and at most 255 bytes."""
    return bytes([len(value)]) + value


def entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name of each header and all its bytes. Raises ValueError if the table is malformed."""
    place = _LENGTH
    while place < len(table):
        at = place + 1 + table[place]
        end, _ = _value(table, at, len(table))
        yield table[place + 1 : at], table[place:end]
        place = end


def _value(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """Return where the value at `at` ends, and where its content begins. No byte of it is copied."""
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
        raise ValueError(f"unknown type of header value: {data[at : at + 1]!r}")
    if end > limit or content > limit:
        raise ValueError("a header is longer than its table")
    return end, content


def check_table(value: bytes) -> None:
    """Check a table and everything nested in it, without recursion.

    Raises an error of `properties.DECODING_ERRORS` if some client could not read it.
    """
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
