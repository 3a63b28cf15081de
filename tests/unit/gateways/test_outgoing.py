"""Messages as AMQP frames: what pamqp, and so any client, reads from them."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from notifier.gateways.connection import MIN_FRAME_MAX
from notifier.gateways.outgoing import FRAME_OVERHEAD, Outgoing, encode
from notifier.gateways.properties import ENCODING_ERRORS

KEYS = st.text("abc.", max_size=12)
IDS = st.text(min_size=1, max_size=40)
MESSAGES = st.lists(
    st.builds(
        Outgoing,
        st.sampled_from(("", "notifier.events", "notifier.dead")),
        KEYS,
        st.integers(0, 3 * MIN_FRAME_MAX).map(bytes) | st.binary(max_size=50),
        st.builds(lambda id_: Basic.Properties(message_id=id_, delivery_mode=2), IDS),
    ),
    max_size=6,
)


def frames(data: bytes, channel: int) -> Iterator[frame.FrameTypes]:
    """Read frames of one channel."""
    while data:
        size, number, found = frame.unmarshal(data)
        assert number == channel
        assert size <= MIN_FRAME_MAX
        data = data[size:]
        yield found


@given(MESSAGES, st.integers(1, 65535), st.data())
def test_every_message_is_read_as_it_was_written(messages: list[Outgoing], channel: int, data: st.DataObject) -> None:
    """Messages come in order, each with its exchange, key, properties and whole body, in frames of the allowed size."""
    mandatory = data.draw(st.booleans())
    found = frames(encode(messages, channel, MIN_FRAME_MAX, mandatory=mandatory), channel)
    for message in messages:
        publish, header = next(found), next(found)
        assert isinstance(publish, Basic.Publish)
        assert isinstance(header, ContentHeader)
        assert (publish.exchange, publish.routing_key) == (message.exchange, message.routing_key)
        assert publish.mandatory is mandatory
        assert header.properties.message_id == message.properties.message_id
        body = b""
        while len(body) < header.body_size:
            piece = next(found)
            assert isinstance(piece, ContentBody)
            assert piece.value
            body += piece.value
        assert body == message.body
    assert list(found) == []


@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_a_body_fills_a_frame_before_it_needs_another(beside: int) -> None:
    """A body of exactly the allowed size is one frame, and one byte more makes two."""
    body = bytes(MIN_FRAME_MAX - FRAME_OVERHEAD + beside)
    written = encode([Outgoing("", "k", body, Basic.Properties())], 1, MIN_FRAME_MAX, mandatory=False)
    bodies = [each for each in frames(written, 1) if isinstance(each, ContentBody)]
    assert len(bodies) == (2 if beside > 0 else 1)


def test_a_routing_key_that_is_too_long_is_an_error() -> None:
    """That is a mistake of ours: nothing is published."""
    with pytest.raises(ENCODING_ERRORS, match="255"):
        encode([Outgoing("e", "k" * 256, b"", Basic.Properties())], 1, MIN_FRAME_MAX, mandatory=False)
