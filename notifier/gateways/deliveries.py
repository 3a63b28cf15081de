"""Takes the deliveries out of what a connection receives, and passes every other frame on to aiormq.

Deliveries are nearly everything that the broker sends. aiormq decodes each of their frames into an object of pamqp,
passes these through two queues, and starts a task for each delivery; here a delivery costs one call. The stream that
aiormq's public `TransportFactory` returns is replaced. aiormq reads whole frames from it, in pieces: the first byte,
then the rest of the frame's start, then its content and the end byte.
"""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from pamqp.commands import Basic
from pamqp.constants import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD

from notifier.gateways.oversized import MemoryBudget

HEARTBEAT_INTERVAL = 1.0
"""Seconds of nothing but deliveries after which aiormq gets a heartbeat."""

_START = struct.Struct(">BHI")
"""The start of a frame: its type, channel and length."""
_KINDS = (FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT)
_HEARTBEAT = _START.pack(FRAME_HEARTBEAT, 0, 0) + bytes([FRAME_END])
_DELIVER = struct.pack(">I", Basic.Deliver.index)
_READ_SIZE = 256 * 1024


class Arrived(NamedTuple):
    """A message that was delivered."""

    tag: int
    """The delivery tag."""
    routing_key: str
    header: bytes
    """The content header (properties and headers) as it was received."""
    body: bytes


Receive = Callable[[Arrived], None]
"""Called with each delivery. It must not raise: an error would end the connection."""


@dataclass(slots=True)
class _Arriving:
    """A delivery whose content has not arrived completely."""

    receive: Receive
    tag: int
    routing_key: str
    header: bytes = b""
    missing: int = 0
    """Bytes of the body that have not arrived."""
    body: list[bytes] = field(default_factory=list)


class Deliveries:
    """The deliveries of one connection."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self._receivers: dict[tuple[int, bytes], Receive] = {}
        self._arriving: dict[int, _Arriving] = {}

    def reading(self, reader: asyncio.StreamReader) -> asyncio.StreamReader:
        """Wrap the stream of the connection, so that deliveries are taken out of it."""
        return cast("asyncio.StreamReader", _FrameReader(reader, self))

    def subscribe(self, channel: int, consumer_tag: str, receive: Receive) -> None:
        """Let `receive` be called with what is delivered to a consumer. Other deliveries go to aiormq."""
        self._receivers[channel, consumer_tag.encode()] = receive

    def unsubscribe(self, channel: int, consumer_tag: str) -> None:
        """Forget a consumer, to which nothing can be delivered any more."""
        self._receivers.pop((channel, consumer_tag.encode()), None)

    def forget_channel(self, channel: int) -> None:
        """Forget the consumers of a channel, which is closed, and what was arriving on it."""
        self._receivers = {key: receive for key, receive in self._receivers.items() if key[0] != channel}
        self._arriving.pop(channel, None)
        self.budget.forget_channel(channel)

    def take(self, kind: int, channel: int, content: bytes) -> bool:
        """Take a frame if it belongs to a delivery for one of our consumers; return whether it does."""
        if kind == FRAME_METHOD:
            return content.startswith(_DELIVER) and self._begin(channel, content)
        if (arriving := self._arriving.get(channel)) is None:
            return False
        if kind == FRAME_HEADER:
            arriving.header, arriving.missing = content, int.from_bytes(content[4:12], "big")
            self.budget.reserve(channel, arriving.missing)
        else:
            arriving.body.append(content)
            arriving.missing -= len(content)
        if arriving.missing <= 0:
            del self._arriving[channel]
            body = arriving.body[0] if len(arriving.body) == 1 else b"".join(arriving.body)
            arriving.receive(Arrived(arriving.tag, arriving.routing_key, arriving.header, body))
        return True

    def _begin(self, channel: int, deliver: bytes) -> bool:
        """Read a `Basic.Deliver`: consumer tag, delivery tag, a byte of flags, exchange and routing key."""
        at = 5 + deliver[4]
        receive = self._receivers.get((channel, deliver[5:at]))
        if receive is None:
            return False
        exchange = at + 9
        key = exchange + 1 + deliver[exchange]
        routing_key = deliver[key + 1 : key + 1 + deliver[key]].decode(errors="replace")
        self._arriving[channel] = _Arriving(receive, int.from_bytes(deliver[at : at + 8], "big"), routing_key)
        return True


class _FrameReader:
    """Replaces the stream of a connection for aiormq, which reads whole frames from it, in pieces.

    Before each frame it waits while the budget for large bodies is exhausted.
    """

    def __init__(self, reader: asyncio.StreamReader, deliveries: Deliveries) -> None:
        self._reader = reader
        self._deliveries = deliveries
        self._budget = deliveries.budget
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self._at = 0
        self._passed = b""
        """The rest of the frame that aiormq is reading."""
        self._passed_at = self._loop.time()

    def at_eof(self) -> bool:
        """Return whether the stream has ended."""
        return not self._passed and self._at == len(self._data) and self._reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        """Read `size` bytes of a frame. Raises IncompleteReadError if the stream ends first."""
        if not self._passed:
            self._passed = await self._next()
            self._passed_at = self._loop.time()
        found, self._passed = self._passed[:size], self._passed[size:]
        return found

    async def _next(self) -> bytes:
        """Return the next frame for aiormq, and take all deliveries before it."""
        while True:
            if self._budget.exhausted:
                await self._budget.wait()
            if len(self._data) - self._at < _START.size:
                await self._fill(_START.size, is_content=False)
            kind, channel, size = _START.unpack_from(self._data, self._at)
            if kind not in _KINDS:
                return self._cut(_START.size)  # no AMQP, which aiormq recognises by these bytes
            is_content = kind in (FRAME_HEADER, FRAME_BODY)
            whole = _START.size + size + 1
            if len(self._data) - self._at < whole:
                await self._fill(whole, is_content=is_content)
            if is_content:
                self._budget.received += 1
            end = self._at + whole - 1
            is_valid = self._data[end] == FRAME_END
            if not (is_valid and self._deliveries.take(kind, channel, self._data[self._at + _START.size : end])):
                return self._cut(whole)
            self._at = end + 1
            # aiormq takes every frame for a sign that the broker is alive, and the broker sends no heartbeat
            # while it sends anything else.
            if self._loop.time() - self._passed_at > HEARTBEAT_INTERVAL:
                return _HEARTBEAT

    def _cut(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    async def _fill(self, size: int, *, is_content: bool) -> None:
        """Read until at least `size` bytes wait, and count pieces of content: a frame can take many seconds."""
        # Joining all pieces at once takes linear time: a broker without a limit for frames sends any body in one.
        pieces, missing = [self._data[self._at :]], size - (len(self._data) - self._at)
        self._data, self._at = b"", 0
        while missing > 0:
            piece = await self._reader.read(_READ_SIZE)
            if not piece:
                raise asyncio.IncompleteReadError(b"".join(pieces), size)
            if is_content:
                self._budget.received += 1
            pieces.append(piece)
            missing -= len(piece)
        self._data = b"".join(pieces)
