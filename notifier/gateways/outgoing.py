"""Encodes messages to publish as AMQP frames.

aiormq encodes and writes each message separately, which costs several times as much as many messages in one write.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import structlog
from pamqp import frame
from pamqp.commands import Basic
from pamqp.constants import FRAME_BODY, FRAME_END_CHAR, FRAME_HEADER

from notifier.gateways.properties import encode_properties

log = structlog.get_logger(__name__)

FRAME_OVERHEAD = 8
"""Bytes of a frame around its content: type, channel and length before it, and the end byte after it."""


class Outgoing(NamedTuple):
    """A message to publish."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Basic.Properties


def encode(messages: Sequence[Outgoing], channel: int, frame_max: int, *, mandatory: bool) -> bytes:
    """Return the frames that publish messages in order on a channel, each of at most `frame_max` bytes.

    A property that cannot be written is logged and left out, because the same message would fail for ever. Raises an
    error of `properties.ENCODING_ERRORS` if an exchange or a routing key cannot be written. With `mandatory`, the
    broker returns a message that reaches no queue.
    """
    methods: dict[tuple[str, str], bytes] = {}
    parts: list[bytes] = []
    for message in messages:
        target = message.exchange, message.routing_key
        if target not in methods:
            method = Basic.Publish(exchange=target[0], routing_key=target[1], mandatory=mandatory)
            methods[target] = frame.marshal(method, channel)
        properties, left_out = encode_properties(message.properties)
        if left_out:
            log.error("message published without properties that cannot be written", properties=left_out)
        header = struct.pack(">HHQ", Basic.frame_id, 0, len(message.body)) + properties
        parts += (methods[target], *_frame(FRAME_HEADER, channel, header))
        for piece in _pieces(message.body, frame_max - FRAME_OVERHEAD):
            parts += _frame(FRAME_BODY, channel, piece)
    return b"".join(parts)


def _frame(kind: int, channel: int, content: bytes) -> tuple[bytes, bytes, bytes]:
    return struct.pack(">BHI", kind, channel, len(content)), content, FRAME_END_CHAR


def _pieces(body: bytes, size: int) -> Iterator[bytes]:
    if 0 < len(body) <= size:
        yield body
    else:
        yield from (body[at : at + size] for at in range(0, len(body), size))
