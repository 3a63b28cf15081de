"""Takes deliveries out of what a connection receives, so that aiormq does not read them.

Deliveries are nearly everything that the broker sends. aiormq decodes each of their frames into an object of pamqp,
passes these through two queues, and starts a task for each delivery; here a delivery costs one call.
"""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pamqp.commands import Basic
from pamqp.constants import FRAME_HEADER, FRAME_METHOD

from notifier.gateways.frame_reader import filtered
from notifier.gateways.oversized import MemoryBudget

_DELIVER = struct.pack(">I", Basic.Deliver.index)


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
        return filtered(reader, self.take, self.budget)

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
