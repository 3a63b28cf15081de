"""Consumes one queue on a channel of its own: when the broker closes that channel, other queues are not affected."""

import asyncio
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any
from uuid import uuid4

from aiormq.abc import AbstractChannel, AbstractConnection, ChannelFrame
from pamqp.commands import Basic

from notifier.errors import Unreachable
from notifier.gateways.connection import Calls, answered, open_channel
from notifier.gateways.deliveries import Arrived, Deliveries

_NOT_A_STREAM: dict[str, Any] = {"x-priority": 0}
"""The default priority of a consumer. RabbitMQ refuses it for a stream, whose messages are never removed."""

Receive = Callable[["QueueConsumer", Arrived], None]


class QueueConsumer:
    """A queue, the channel that consumes it, and its unacknowledged deliveries.

    The broker delivers at most `share` unacknowledged messages to one consumer. `calls` awaits the
    broker's answers, and `deliveries` are those of the connection.
    """

    def __init__(self, queue: str, channel: AbstractChannel, share: int, calls: Calls, deliveries: Deliveries) -> None:
        self.queue = queue
        self.channel = channel
        self.tag: str | None = None
        """The tag of the consumer; None while the queue is not consumed."""
        self.delivered = 0
        """How many messages have been delivered so far."""
        self._share = share
        self._calls = calls
        self._deliveries = deliveries
        self._unacknowledged: dict[int, str] = {}
        self._acknowledging = asyncio.Lock()
        self._is_closing = False

    @classmethod
    async def open(
        cls, connection: AbstractConnection, queue: str, share: int, calls: Calls, deliveries: Deliveries
    ) -> "QueueConsumer":
        """Open the channel. Raises Unreachable."""
        channel = await open_channel(connection, confirms=False, calls=calls)
        await calls.answered(channel.basic_qos(prefetch_count=share))
        channel.closing.add_done_callback(lambda _: deliveries.forget_channel(channel.number))
        return cls(queue, channel, share, calls, deliveries)

    async def begin(self, receive: Receive) -> None:
        """Consume the queue and call `receive` with each delivery. Raises Unreachable if the broker refuses."""
        tag = f"notifier.{uuid4().hex}"

        def take(message: Arrived) -> None:
            self._unacknowledged[message.tag] = tag
            self.delivered += 1
            receive(self, message)

        # Deliveries can arrive before the broker's answer has been read.
        self._deliveries.subscribe(self.channel.number, tag, take)
        consuming = self.channel.basic_consume(self.queue, _not_called, arguments=_NOT_A_STREAM, consumer_tag=tag)
        await self._calls.answered(consuming)
        self.tag = tag

    async def end(self) -> None:
        """Stop consuming. What was delivered can still be acknowledged."""
        if self.tag is not None:
            tag, self.tag = self.tag, None
            await self._calls.answered(self.channel.basic_cancel(tag))
            self._deliveries.unsubscribe(self.channel.number, tag)

    async def close(self) -> None:
        """Close the channel; the broker requeues what is not acknowledged, if the queue still exists."""
        # The broker closes the connection if anything follows on the channel.
        async with self._acknowledging:
            self._is_closing = True
        with suppress(Unreachable):
            await self._calls.answered(self.channel.close())

    async def acknowledge(self, tags: Collection[int], within: float) -> None:
        """Acknowledge these deliveries and no other; one frame covers all that precede the first unacknowledged one.

        Raises Unreachable if the channel is closed, or after `within` seconds in which the frames cannot be written.
        """
        # Two calls must not write at the same time: the one frame of the second call would cover deliveries that the
        # first is still acknowledging one by one, and the broker closes a channel that acknowledges a delivery twice.
        async with self._acknowledging:
            if self._is_closing:
                raise Unreachable("the channel is closed")
            for tag in tags:
                self._unacknowledged.pop(tag, None)
            first_left = min(self._unacknowledged, default=sys.maxsize)
            together = [tag for tag in tags if tag < first_left]
            singly = sorted(set(tags).difference(together))
            # The broker does not answer an acknowledgement, so its time limit does not depend on what is delivered.
            await answered(self._acknowledge(together, singly), within=within, unless=self._calls.ended)

    async def _acknowledge(self, together: Collection[int], singly: Collection[int]) -> None:
        acks = [Basic.Ack(max(together), multiple=True)] if together else []
        acks += [Basic.Ack(tag) for tag in singly]
        if not acks:
            return
        # aiormq refuses the first if the broker has closed the channel. The others are a single write, and so do not
        # fill the write queue: what waited for room there would follow the answer to the closing, after which the
        # broker closes the connection, and that answer is lost if it finds the queue full.
        await self.channel.basic_ack(acks[0].delivery_tag, acks[0].multiple, wait=False)
        if len(acks) > 1:
            frames = ChannelFrame.marshall(self.channel.number, acks[1:])
            await self.channel.connection.write_queue.put(frames)

    async def requeue(self) -> None:
        """Requeue what is not acknowledged."""
        if self._unacknowledged:
            if self.tag is not None:
                await self.channel.basic_cancel(self.tag)
            await self.channel.basic_nack(0, multiple=True, requeue=True)

    def count(self, tags: Collection[int]) -> int:
        """Return how many of these deliveries count against the share of the current consumer."""
        return sum(tag in self._unacknowledged and self._unacknowledged[tag] == self.tag for tag in tags)

    @property
    def is_full(self) -> bool:
        """Whether the current consumer has as many unacknowledged deliveries as its share allows."""
        return self.count(self._unacknowledged) >= self._share


async def _not_called(_: Any) -> None:
    """Stand for the function that aiormq would call with each delivery if it saw any."""
