"""Tables of AMQP headers as bytes, also ones that no well-behaved publisher would write."""

import struct

from hypothesis import strategies as st


def short(value: bytes) -> bytes:
    """Write a short string."""
    return bytes([len(value)]) + value


def counted(value: bytes) -> bytes:
    """Write the length of a value and the value."""
    return struct.pack(">I", len(value)) + value


NAMES = st.binary(min_size=1, max_size=255)
FIXED = {b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"f": 4, b"d": 8, b"T": 8, b"D": 5, b"V": 0}
BOOLEANS = st.sampled_from((b"t\x00", b"t\x01"))
NUMBERS = st.sampled_from(sorted(FIXED.items())).flatmap(
    lambda each: st.binary(min_size=each[1], max_size=each[1]).map(each[0].__add__)
)
TEXTS = st.tuples(st.sampled_from((b"S", b"x")), st.binary(max_size=300)).map(lambda each: each[0] + counted(each[1]))
VALUES = st.recursive(
    BOOLEANS | NUMBERS | TEXTS,
    lambda values: (
        st.lists(values, max_size=3).map(lambda found: b"A" + counted(b"".join(found)))
        | st.lists(st.tuples(NAMES, values), max_size=3).map(
            lambda found: b"F" + counted(b"".join(short(name) + value for name, value in found))
        )
    ),
    max_leaves=5,
)
TABLES = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(
    lambda found: counted(b"".join(short(name) + value for name, value in found))
)
"""Any well-formed table, with every type of value."""
