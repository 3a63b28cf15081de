"""Properties of messages that no well-behaved publisher would write."""

from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode

from notifier.gateways.properties import read_all


@given(st.binary(max_size=255))
def test_every_short_string_is_read(content: bytes) -> None:
    """Its end is found, and what is no UTF-8 is shown as such."""
    read_all()
    read = decode.by_type(bytes([len(content)]) + content + b"more", "shortstr")
    assert read == (len(content) + 1, content.decode(errors="replace"))


@given(st.binary(min_size=8, max_size=8))
def test_every_timestamp_is_read(content: bytes) -> None:
    """A moment beyond the calendar is none."""
    read_all()
    size, _ = decode.by_type(content + b"more", "timestamp")
    assert size == 8


@given(st.binary(max_size=200) | st.just(b"\x01aF\x00\x00\x20\x00" * 5000))
def test_every_table_is_read(content: bytes) -> None:
    """Headers that make no sense, or are nested without end, are none; what follows them is found."""
    read_all()
    size, _ = decode.by_type(len(content).to_bytes(4, "big") + content + b"more", "table")
    assert size == len(content) + 4
