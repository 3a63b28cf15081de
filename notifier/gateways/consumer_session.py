"""One session with the broker: deliveries in batches, acknowledgements, dead letters, suspending and resuming."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from notifier import clock
from notifier.domain.message_shapes import MAX_BYTES
from notifier.domain.messages import Origin
from notifier.domain.traceparent import traceparent
from notifier.errors import Refused, Unreachable
from notifier.gateways.broker_status import BrokerStatus, HeldDeadLetters
from notifier.gateways.connection import Calls, answered, closing_reason, frame_max
from notifier.gateways.dead_letters import letter_head
from notifier.gateways.deliveries import Arrived, Deliveries
from notifier.gateways.outgoing import Outgoing
from notifier.gateways.oversized import truncate
from notifier.gateways.properties import as_text, as_time, find_header, split_properties
from notifier.gateways.publisher import Publisher
from notifier.gateways.queue_consumer import QueueConsumer
from notifier.gateways.topology import DEAD
from notifier.settings import AmqpSettings

ACKNOWLEDGE_TIMEOUT = 10.0
"""Seconds that an acknowledgement may wait to be written."""
REQUEUE_TIMEOUT = 1.0
"""Seconds that requeuing may take at the end of a session."""
_STREAM = "rabbit_stream_queue"
"""RabbitMQ's name of the queue type in the text of its refusal, which has no code of its own for a stream."""


class Delivery(NamedTuple):
    """One message that was delivered, until it is acknowledged."""

    body: bytes
    """The body, or the first MAX_BYTES of it."""
    origin: Origin
    """The properties and headers that matter to decoding."""
    tag: int
    """The delivery tag, which is valid on the consumer's channel only."""
    routing_key: str
    wire: bytes
    """The content header (properties and headers) as it was received."""
    consumer: QueueConsumer
    """The consumer to which it was delivered."""
    sha256: str | None
    """The digest of the whole body, in hexadecimal, if only its beginning was kept."""


class ConsumerSession:
    """The deliveries of one connection, from our queue and the extra ones.

    The session ends if our queue cannot be consumed any more. An extra queue that cannot be consumed is
    `not_consumed` until it can be, and the channel of its former consumer is closed.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        settings: AmqpSettings,
        publisher: Publisher,
        broker: BrokerStatus,
        *,
        deliveries: Deliveries,
        stop: asyncio.Event,
    ) -> None:
        queues = dict.fromkeys((settings.queue, *settings.extra_queues))
        # Each queue gets a share of the prefetch: quorum queues refuse a limit for a whole channel.
        self._share = max(1, settings.prefetch // len(queues))
        self._connection = connection
        self._own_queue = settings.queue
        self._publisher = publisher
        self._broker = broker
        self._deliveries = deliveries
        self._budget = deliveries.budget
        self._waiting: list[Delivery] = []
        self._truncating: set[asyncio.Task[None]] = set()
        self._consumers: dict[str, QueueConsumer] = {}
        self._discarded: list[QueueConsumer] = []
        self._suspended = False
        self._consume_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stop = stop
        self._lost: str | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.calls = Calls(self._ended, lambda: self._budget.received)
        """Awaits the broker's answers until the session ends."""
        self.not_consumed = [queue for queue in queues if queue != self._own_queue]
        """The extra queues that are not consumed at present."""

    async def consume(self, queue: str) -> bool:
        """Start to consume a queue, or do so when consuming is resumed. Return whether that is possible.

        Raises Unreachable if our own queue cannot be consumed.
        """
        async with self._consume_lock:
            consumer: QueueConsumer | None = None
            try:
                consumer = await QueueConsumer.open(self._connection, queue, self._share, self.calls, self._deliveries)
                await self.calls.answered(consumer.channel.queue_declare(queue, passive=True))
                if not self._suspended:
                    await consumer.begin(self._receive)
            except Unreachable as error:
                if queue == self._own_queue or self._ended.done():
                    raise Unreachable(self._lost or str(error)) from error
                self._warn(queue, error)
                if consumer:
                    self._discarded.append(consumer)
                return False
            self._consumers[queue] = consumer
        closed = partial(self._closed, consumer)
        consumer.channel.closing.add_done_callback(lambda future: closed(f"connection lost: {closing_reason(future)}"))
        consumer.channel.on_consumer_cancel_callbacks.add(lambda _: closed("the broker cancelled our consumer"))
        if queue in self.not_consumed:
            self.not_consumed.remove(queue)
            self._broker.consumed(queue)
        return True

    def _warn(self, queue: str, error: Unreachable) -> None:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            self._broker.warn("queue does not exist; it will be consumed once it does", name=queue)
        elif isinstance(error.__cause__, ChannelPreconditionFailed) and _STREAM in str(error):
            self._broker.warn("queue is a stream and is not consumed; use a classic or quorum queue", name=queue)
        else:
            self._broker.warn("queue cannot be consumed; trying again", name=queue, reason=str(error))

    def _closed(self, consumer: QueueConsumer, reason: str) -> None:
        if consumer.queue == self._own_queue:
            self.fail(reason)
        elif self._lost is None and self._consumers.get(consumer.queue) is consumer:
            self._discarded.append(self._consumers.pop(consumer.queue))
            self.not_consumed.append(consumer.queue)
            self._broker.warn("queue cannot be consumed; trying again", name=consumer.queue, reason=reason)

    async def close_discarded(self) -> None:
        """Close the channels of former consumers, which may still be open. Raises nothing."""
        while self._discarded:
            await self._discarded.pop().close()

    async def suspend(self) -> None:
        """Stop deliveries until `resume`. What was delivered must still be acknowledged in time."""
        async with self._consume_lock:
            self._suspended = True
            for consumer in list(self._consumers.values()):
                await self._within(consumer, consumer.end())

    async def resume(self) -> None:
        """Consume again after `suspend`."""
        async with self._consume_lock:
            self._suspended = False
            for consumer in list(self._consumers.values()):
                if consumer.tag is None:
                    await self._within(consumer, consumer.begin(self._receive))

    async def wait(self, seconds: float) -> None:
        """Wait for some seconds, or until the service stops. Raises Unreachable if the session is lost."""
        stopping = asyncio.create_task(self._stop.wait())
        ends: set[asyncio.Future[Any]] = {stopping, self._ended}
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if self._lost is not None:
            raise Unreachable(self._lost)

    async def batch(self) -> list[Delivery]:
        """Wait for deliveries and return all that have arrived; none means that the service stops.

        Raises Unreachable if the connection, or the channel of our queue, is lost.
        """
        # No delivery waits for others here: those that arrive while a batch is stored are the next one.
        await self._wake.wait()
        if self._lost is not None:
            raise Unreachable(self._lost)
        if self._stop.is_set():
            return []
        self._wake.clear()
        taken, self._waiting = self._waiting, []
        return taken

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge these deliveries and no other, each on the channel that delivered it.

        Raises Unreachable if the session is lost, or if nothing can be written for ACKNOWLEDGE_TIMEOUT.
        """
        tags: dict[QueueConsumer, list[int]] = {}
        for delivery in deliveries:
            tags.setdefault(delivery.consumer, []).append(delivery.tag)
        for consumer, of_one in tags.items():
            await self._within(consumer, consumer.acknowledge(of_one, ACKNOWLEDGE_TIMEOUT))

    async def dead_letter(self, letters: Sequence[tuple[Delivery, Refused]]) -> list[str | None]:
        """Publish dead letters; return for each why the broker rejected it, or None if it was confirmed."""
        # In a thread, because checking the headers of a single message can take a tenth of a second.
        outgoing = await asyncio.to_thread(_letters, letters, frame_max(self._connection))
        return await self._publisher.dead_letter(outgoing)

    async def hold(self, deliveries: Sequence[Delivery], reason: str | None, *, make_room: bool) -> None:
        """Note the deliveries whose dead letters wait, and the reason if the broker rejects them.

        With `make_room`, they no longer count against the prefetch of their queue: a new consumer takes
        over with a share of its own. Raises Unreachable if the session is lost.
        """
        self._broker.held = HeldDeadLetters(len(deliveries), reason)
        if not make_room or not deliveries:
            return
        async with self._consume_lock:
            for consumer in self.consumers:
                tags = [delivery.tag for delivery in deliveries if delivery.consumer is consumer]
                if tags and 2 * consumer.count(tags) >= self._share:
                    await self._renew(consumer)

    def will_return(self, delivery: Delivery) -> bool:
        """Return whether the broker has requeued a delivery because its channel is closed.

        If the queue was deleted, its messages are lost as if they had not been delivered.
        """
        return delivery.consumer.channel.is_closed

    def _receive(self, consumer: QueueConsumer, message: Arrived) -> None:
        """Keep a delivery for the next batch; of a body over the limit keep only the beginning."""
        if len(message.body) > MAX_BYTES:
            truncating = asyncio.create_task(self._truncate(consumer, message), name="truncate a body")
            self._truncating.add(truncating)
            truncating.add_done_callback(self._truncating.discard)
        else:
            self._keep(consumer, message, message.body, None)

    async def _truncate(self, consumer: QueueConsumer, message: Arrived) -> None:
        size = len(message.body)
        try:
            body, digest = await truncate(message.body)
        finally:
            self._budget.release(consumer.channel.number, size)
        self._keep(consumer, message, body, digest)

    def _keep(self, consumer: QueueConsumer, message: Arrived, body: bytes, digest: str | None) -> None:
        origin = read_origin(message.header, len(message.body) if digest else None)
        delivery = Delivery(body, origin, message.tag, message.routing_key, message.header, consumer, digest)
        self._waiting.append(delivery)
        self._wake.set()

    def fail(self, reason: str) -> None:
        """End the session: `batch` and `wait` raise Unreachable with the first reason from now on."""
        self._lost = self._lost or reason
        self._wake.set()
        if not self._ended.done():
            self._ended.set_result(None)

    def wake(self) -> None:
        """Let `batch` return although nothing has been delivered."""
        self._wake.set()

    async def requeue(self) -> None:
        """Requeue what is not acknowledged, if the connection still exists.

        RabbitMQ 4.3 counts a lost connection against the delivery limit of each unacknowledged
        message, but not a message that was requeued; earlier versions count both.
        """
        if self._lost is None:
            with suppress(Unreachable):
                await answered(self._requeue(), within=REQUEUE_TIMEOUT, unless=self._ended)

    async def _requeue(self) -> None:
        for consumer in list(self._consumers.values()):
            await consumer.requeue()

    @property
    def consumers(self) -> list[QueueConsumer]:
        """The consumers of all queues that are consumed, also while that is suspended."""
        return list(self._consumers.values())

    def can_take_more(self, consumer: QueueConsumer) -> bool:
        """Return whether the broker should be delivering if the queue has messages."""
        return consumer.tag is not None and not consumer.is_full and not self._budget.in_use

    async def renew(self, consumer: QueueConsumer) -> None:
        """Replace the consumer of a queue by a new one on the same channel."""
        async with self._consume_lock:
            await self._renew(consumer)

    async def _renew(self, consumer: QueueConsumer) -> None:
        if consumer.tag is not None:
            await self._within(consumer, consumer.end())
            await self._within(consumer, consumer.begin(self._receive))

    def consumer_lost(self, consumer: QueueConsumer, reason: str) -> None:
        """Note that the broker no longer has our consumer of a queue."""
        self._closed(consumer, f"{consumer.queue}: {reason}")

    async def _within(self, consumer: QueueConsumer, call: Coroutine[Any, Any, None]) -> None:
        """Await a call that concerns one queue. Its failure ends the session only if it is our queue."""
        try:
            await call
        except Unreachable as error:
            if consumer.queue == self._own_queue or self._lost is not None:
                raise Unreachable(self._lost or str(error)) from error
            self._closed(consumer, str(error))


def _letters(letters: Sequence[tuple[Delivery, Refused]], most: int) -> list[Outgoing]:
    """Write dead letters."""
    found = []
    for delivery, reason in letters:
        size, digest = delivery.origin.size, delivery.sha256
        more = {"x-notifier-size": str(size), "x-notifier-sha256": digest} if digest else {}
        key, properties = letter_head(delivery.wire, delivery.routing_key, reason.code, reason.detail, most, more=more)
        found.append(Outgoing(DEAD, key, delivery.body, properties))
    return found


def read_origin(wire: bytes, size: int | None) -> Origin:
    """Return what matters to decoding of a content header that has just been received. Any bytes can be read."""
    properties = split_properties(wire)
    return Origin(
        received_at=clock.now(),
        message_id=as_text(properties.get("message_id")),
        correlation_id=as_text(properties.get("correlation_id")),
        traceparent=traceparent(find_header(properties.get("headers", b""), b"traceparent")),
        timestamp=as_time(properties.get("timestamp")),
        size=size,
    )
