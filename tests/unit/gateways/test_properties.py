"""Properties of messages that no well-behaved publisher would write."""

import struct
from collections.abc import Iterator
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode, frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from support.parts import fastest
from support.tables import counted

from notifier.domain.messages import Origin
from notifier.gateways.consumer_session import read_origin
from notifier.gateways.dead_letters import letter_head
from notifier.gateways.pamqp_tolerance import tolerate_malformed_properties, wire
from notifier.gateways.properties import as_text, as_time, find_header, made_readable, split_properties

FRAME = 131_000
"""Bytes of headers that fit into one frame."""


def content_header(flags: int, properties: bytes) -> bytes:
    """Write a content header."""
    return struct.pack(">HHQH", 60, 0, 2, flags) + properties


def received(data: bytes) -> ContentHeader:
    """Read a content header as aiormq does."""
    tolerate_malformed_properties()
    _, _, found = frame.unmarshal(struct.pack(">BHI", 2, 1, len(data)) + data + b"\xce")
    assert isinstance(found, ContentHeader)
    return found


@given(st.binary(max_size=255))
def test_every_short_string_is_read(content: bytes) -> None:
    """The end of any short string is found, and invalid UTF-8 becomes U+FFFD."""
    tolerate_malformed_properties()
    read = decode.by_type(bytes([len(content)]) + content + b"more", "shortstr")
    assert read == (len(content) + 1, content.decode(errors="replace"))
    assert as_text(bytes([len(content)]) + content) == (content.decode(errors="replace") or None)


@given(st.binary(min_size=8, max_size=8))
def test_every_timestamp_is_read(content: bytes) -> None:
    """A time beyond the calendar is None, and the property after it is found."""
    flags = Basic.Properties.flags["timestamp"] | Basic.Properties.flags["app_id"]
    found = received(content_header(flags, content + b"\x01a")).properties
    assert found.app_id == "a"
    at = as_time(content)
    assert at is None or at.tzinfo is UTC


@given(st.binary(max_size=200) | st.just(b"\x01aF\x00\x00\x20\x00" * 5000))
def test_every_table_is_read(content: bytes) -> None:
    """Malformed or deeply nested headers are skipped, and the property after them is found."""
    flags = Basic.Properties.flags["headers"] | Basic.Properties.flags["app_id"]
    data = content_header(flags, counted(content) + b"\x01a")
    assert received(data).properties.app_id == "a"
    assert made_readable(split_properties(data))[0]["app_id"] == b"\x01a"


@given(st.integers(0, 0xFFFF), st.binary(max_size=300))
def test_no_content_header_raises(flags: int, properties: bytes) -> None:
    """Any flags and any bytes can be read, are kept as received, and can be written into a letter."""
    data = content_header(flags, properties)
    assert wire(received(data)) == data
    assert read_origin(data, 5).size == 5
    _, letter = letter_head(data, "k", "not_json", "why", 131072)
    assert received(bytes(12) + letter.marshal()).properties.message_id


@given(st.binary(min_size=1, max_size=13))
def test_no_truncated_content_header_raises(data: bytes) -> None:
    """A content header that ends before its properties begin has none."""
    assert received(data).properties == Basic.Properties()
    origin = read_origin(data, None)
    assert origin == Origin(origin.received_at)


def test_a_continuation_bit_is_ignored() -> None:
    """RabbitMQ ignores the lowest bit of the flags, so the properties of such a message are read as it reads them."""
    data = content_header(Basic.Properties.flags["message_id"] | Basic.Properties.flags["delivery_mode"] | 1, b"\2\1a")
    assert received(data).properties == Basic.Properties(delivery_mode=2, message_id="a")
    assert read_origin(data, None).message_id == "a"


def hostile_tables(size: int) -> Iterator[bytes]:
    """Yield tables of about this size that take a reader the longest."""
    text = b"\x0btraceparentS" + counted(b"x")
    yield b"\x01aA" + counted(b"V" * size) + text
    yield b"\x01aA" + counted(b"A\0\0\0\0" * (size // 5)) + text
    yield b"\x00V" * (size // 2) + text
    yield b"\x01aF" + counted(b"\x00V" * (size // 2)) + text


@pytest.mark.parametrize("case", range(4))
def test_reading_a_content_header_takes_linear_time(case: int) -> None:
    """Eight times as many values in the headers take about eight times as long, not sixty-four times."""
    tolerate_malformed_properties()

    def read(data: bytes) -> None:
        read_origin(wire(received(data)), None)
        made_readable(split_properties(data))

    small, large = (
        content_header(Basic.Properties.flags["headers"], counted([*hostile_tables(size)][case]))
        for size in (FRAME // 8, FRAME)
    )
    assert fastest(lambda: read(large)) < 24 * fastest(lambda: read(small))


def test_headers_are_not_decoded_when_a_message_is_received() -> None:
    """Receiving a frame full of header values takes about as long as a frame with one long text."""
    texts = counted(b"\x01aS" + counted(b"x" * FRAME))
    flags = Basic.Properties.flags["headers"]
    plain = fastest(lambda: received(content_header(flags, texts)))
    for table in hostile_tables(FRAME):
        data = content_header(flags, counted(table))
        assert fastest(lambda data=data: received(data)) < 20 * plain  # type: ignore[misc]


def test_a_header_is_found_among_others() -> None:
    """Only a text at the top level is found: not in a nested table, of another type, or by a part of its name."""
    name = b"\x0btraceparent"
    nested = b"\x01aF" + counted(name + b"S" + counted(b"nested"))
    number, longer = name + b"I\0\0\0\1", b"\x0cxtraceparentS" + counted(b"longer")
    wanted = name + b"S" + counted(b"wanted")
    for before in (b"", nested, number, longer, nested + number + longer):
        assert find_header(counted(before + wanted + nested), b"traceparent") == b"wanted"
        assert find_header(counted(before), b"traceparent") is None
