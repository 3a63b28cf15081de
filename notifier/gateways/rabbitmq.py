"""Consumes messages from RabbitMQ, over aiormq: deliveries in batches, acknowledgements, a watchdog."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from notifier import clock
from notifier.domain.messages import Origin
from notifier.domain.traceparent import traceparent
from notifier.errors import Refused, Unreachable
from notifier.gateways.connection import Calls, answered, connected, open_channel, words
from notifier.gateways.dead_letters import dead_letter
from notifier.gateways.oversized import Room, head, limited
from notifier.gateways.properties import header, wire
from notifier.gateways.publisher import Outgoing, Publisher
from notifier.gateways.queue_consumer import QueueConsumer
from notifier.gateways.topology import DEAD, declare, remedy
from notifier.settings import AmqpSettings

log = structlog.get_logger(__name__)

ACKNOWLEDGE_TIMEOUT = 10.0
"""Seconds for which an acknowledgement may wait to be written."""
GIVE_BACK_TIMEOUT = 1.0
PROBE_INTERVAL = 5.0
LOOK_TIMEOUT = 10.0
"""Seconds that a look at a queue may take while nothing is delivered."""
LOOK_AGAIN = 60.0
"""Seconds between two looks for extra queues that do not exist yet."""
IDLE_LOOKS = 3
"""Looks in a row at which a queue has messages and delivers none, after which we consume it anew."""
MAX_IDLE_LOOKS = 96
"""The same, when consuming anew has not helped several times: eight minutes."""
LINGER = 0.005
"""Seconds that a delivery waits for others, so that they share one commit."""
_STREAM = "rabbit_stream_queue"
"""How RabbitMQ calls a stream when it refuses to let us consume it."""
MIN_FRAME_MAX = 4096
"""Bytes of a frame that every broker takes."""


class Queue(NamedTuple):
    """How our queue is: messages that wait in it, and who consumes them."""

    messages: int
    consumers: int


class Delivery(NamedTuple):
    """One message of one channel, with what came beside its body; `wire` is its content header as it came.

    `sha256` is that of the whole body if only its beginning was kept.
    """

    body: bytes
    origin: Origin
    tag: int
    routing_key: str
    wire: bytes
    consumer: QueueConsumer
    sha256: str | None


class Held(NamedTuple):
    """Deliveries whose dead letters wait, and the reason if the broker does not take them."""

    waiting: int
    reason: str | None


class ConsumerSession:
    """Deliveries of one connection; every acknowledgement goes to the channel that delivered.

    `share` is how many unacknowledged deliveries each queue may have. The session ends with our queue,
    whereas an extra queue that cannot be consumed is left out, and `unusable` until it can be. A consumer
    that is left out is closed.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        settings: AmqpSettings,
        publisher: Publisher,
        broker: "BrokerStatus",
        *,
        room: Room,
        stop: asyncio.Event,
    ) -> None:
        queues = dict.fromkeys((settings.queue, *settings.extra_queues))
        # The broker knows no limit for several consumers together: quorum queues refuse that of a whole channel.
        self._share = max(1, settings.prefetch // len(queues))
        self._connection = connection
        self._ours = settings.queue
        self._publisher = publisher
        self._broker = broker
        self._room = room
        self._waiting: list[Delivery] = []
        self._consumers: dict[str, QueueConsumer] = {}
        self._left_out: list[QueueConsumer] = []
        self._suspended = False
        self._consuming = asyncio.Lock()
        self._news = asyncio.Event()
        self._stop = stop
        self._lost: str | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.calls = Calls(self._ended, lambda: room.received)
        self.unusable = [queue for queue in queues if queue != self._ours]
        self.queue: Queue | None = None

    async def consume(self, queue: str) -> bool:
        """Consume a queue from now on, or when consuming is resumed. Return whether that is possible.

        Raises Unreachable if our own queue cannot be consumed.
        """
        async with self._consuming:
            consumer: QueueConsumer | None = None
            try:
                consumer = await QueueConsumer.open(self._connection, queue, self._share, self.calls)
                number = consumer.channel.number
                consumer.channel.closing.add_done_callback(lambda _: self._room.forget(number))
                await self.calls.answered(consumer.channel.queue_declare(queue, passive=True))
                if not self._suspended:
                    await consumer.begin(self._receive)
            except Unreachable as error:
                if queue == self._ours or self._ended.done():
                    raise Unreachable(self._lost or str(error)) from error
                self._warn(queue, error)
                if consumer:
                    self._left_out.append(consumer)
                return False
            self._consumers[queue] = consumer
        closed = partial(self._closed, consumer)
        consumer.channel.closing.add_done_callback(lambda future: closed(f"connection lost: {_reason(future)}"))
        consumer.channel.on_consumer_cancel_callbacks.add(lambda _: closed("the broker cancelled our consumer"))
        if queue in self.unusable:
            self.unusable.remove(queue)
            self._broker.usable(queue)
        return True

    def _warn(self, queue: str, error: Unreachable) -> None:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            self._broker.warn("queue does not exist and is not consumed until it does", name=queue)
        elif _STREAM in str(error):
            self._broker.warn("queue is a stream and is not consumed; use a classic or quorum queue", name=queue)
        else:
            self._broker.warn("queue is not consumed until it can be", name=queue, reason=str(error))

    def _closed(self, consumer: QueueConsumer, reason: str) -> None:
        if consumer.queue == self._ours:
            self.lose(reason)
        elif self._lost is None and self._consumers.get(consumer.queue) is consumer:
            self._left_out.append(self._consumers.pop(consumer.queue))
            self.unusable.append(consumer.queue)
            self._broker.warn("queue is not consumed until it can be", name=consumer.queue, reason=reason)

    async def close_left_out(self) -> None:
        """Close the channels of consumers that are left out, which may still be open. Raises nothing."""
        while self._left_out:
            await self._left_out.pop().close()

    async def suspend(self) -> None:
        """Let the broker deliver nothing more; what was delivered stays with us, and must be acknowledged in time."""
        async with self._consuming:
            self._suspended = True
            for consumer in list(self._consumers.values()):
                await self._within(consumer, consumer.end())

    async def resume(self) -> None:
        """Consume again after `suspend`."""
        async with self._consuming:
            self._suspended = False
            for consumer in list(self._consumers.values()):
                if consumer.tag is None:
                    await self._within(consumer, consumer.begin(self._receive))

    async def rest(self, seconds: float) -> None:
        """Wait for some time, or until the service stops. Raises Unreachable when the session is lost."""
        stopping = asyncio.create_task(self._stop.wait())
        ends: set[asyncio.Future[Any]] = {stopping, self._ended}
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if self._lost is not None:
            raise Unreachable(self._lost)

    async def batch(self) -> list[Delivery]:
        """Wait for deliveries and take all that are there; none means that the service stops.

        Raises Unreachable when the connection, or the channel of our queue, is gone.
        """
        await self._news.wait()
        if not self._stop.is_set() and self._lost is None:
            await asyncio.sleep(LINGER)
        if self._lost is not None:
            raise Unreachable(self._lost)
        if self._stop.is_set():
            return []
        self._news.clear()
        taken, self._waiting = self._waiting, []
        return taken

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge these deliveries and no other.

        Raises Unreachable when the session is lost, or the broker takes nothing from us.
        """
        tags: dict[QueueConsumer, list[int]] = {}
        for delivery in deliveries:
            tags.setdefault(delivery.consumer, []).append(delivery.tag)
        for consumer, of_one in tags.items():
            await self._within(consumer, consumer.acknowledge(of_one, ACKNOWLEDGE_TIMEOUT))

    async def dead_letter(self, letters: Sequence[tuple[Delivery, Refused]]) -> list[str | None]:
        """Publish the dead letters of deliveries that can never be used.

        Return for each why the broker did not take it, or None if it confirmed it.
        """
        frame_max = self._connection.connection_tune.frame_max or MIN_FRAME_MAX
        # In a thread: checking the headers of a single message may take a tenth of a second.
        outgoing = await asyncio.to_thread(_letters, letters, frame_max)
        return await self._publisher.dead_letter(outgoing)

    async def hold(self, deliveries: Sequence[Delivery], reason: str | None, *, make_room: bool) -> None:
        """Note the deliveries whose dead letters wait, and the reason if the broker does not take them.

        With `make_room` they do not count against the share of their queue: a new consumer has a share of
        its own. Raises Unreachable when the session is lost.
        """
        self._broker.held = Held(len(deliveries), reason)
        if not make_room or not deliveries:
            return
        async with self._consuming:
            for consumer in self.consumers:
                tags = [delivery.tag for delivery in deliveries if delivery.consumer is consumer]
                if tags and 2 * consumer.count(tags) >= self._share:
                    await self._renew(consumer)

    def will_return(self, delivery: Delivery) -> bool:
        """Return whether the broker has taken a delivery back, because its channel is closed.

        With a queue that was deleted its messages are gone, as if they had not been delivered.
        """
        return delivery.consumer.channel.is_closed

    async def _receive(self, consumer: QueueConsumer, message: DeliveredMessage) -> None:
        """Take one delivery off the wire; of a body over the limit only the beginning."""
        properties, content_header = message.header.properties, wire(message.header)
        size = len(message.body)
        try:
            body, digest = await head(message.body)
        finally:
            self._room.give_back(consumer.channel.number, size)
        origin = Origin(
            received_at=clock.now(),
            message_id=properties.message_id or None,
            correlation_id=properties.correlation_id or None,
            traceparent=traceparent(header(content_header, b"traceparent")),
            timestamp=_utc(properties.timestamp),
            size=size if digest else None,
        )
        tag, key = message.delivery_tag or 0, message.routing_key or ""
        self._waiting.append(Delivery(body, origin, tag, key, content_header, consumer, digest))
        self._news.set()

    def lose(self, reason: str) -> None:
        """End the session: nothing more will come."""
        self._lost = self._lost or reason
        self._news.set()
        if not self._ended.done():
            self._ended.set_result(None)

    def stop(self) -> None:
        """Let `batch` return although nothing has come."""
        self._news.set()

    async def give_back(self) -> None:
        """Return what is not acknowledged, if that is possible.

        RabbitMQ 4.3 counts a lost connection against the delivery limit of each message that was
        under way, and such a return not; earlier versions count both.
        """
        if self._lost is None:
            with suppress(Unreachable):
                await answered(self._give_back(), within=GIVE_BACK_TIMEOUT, unless=self._ended)

    async def _give_back(self) -> None:
        for consumer in list(self._consumers.values()):
            await consumer.give_back()

    @property
    def consumers(self) -> list[QueueConsumer]:
        """The queues that are consumed, or will be when consuming is resumed."""
        return list(self._consumers.values())

    def can_take_more(self, consumer: QueueConsumer) -> bool:
        """Return whether the broker should deliver if the queue has messages."""
        return consumer.tag is not None and not consumer.is_full and not self._room.busy

    async def renew(self, consumer: QueueConsumer) -> None:
        """Consume a queue anew."""
        async with self._consuming:
            await self._renew(consumer)

    async def _renew(self, consumer: QueueConsumer) -> None:
        if consumer.tag is not None:
            await self._within(consumer, consumer.end())
            await self._within(consumer, consumer.begin(self._receive))

    def unwatched(self, consumer: QueueConsumer, reason: str) -> None:
        """Note that the watchdog found a queue that is not consumed any more."""
        self._closed(consumer, f"{consumer.queue}: {reason}")

    async def _within(self, consumer: QueueConsumer, call: Coroutine[Any, Any, None]) -> None:
        """Await a call that concerns one queue; only our own queue can end the session."""
        try:
            await call
        except Unreachable as error:
            if consumer.queue == self._ours or self._lost is not None:
                raise Unreachable(self._lost or str(error)) from error
            self._closed(consumer, str(error))


class _Watchdog:
    """Looks at the queues from time to time: for watchers, and to prove that we really consume them."""

    def __init__(self, connection: AbstractConnection, consumption: ConsumerSession, ours: str) -> None:
        self._connection = connection
        self._consumption = consumption
        self._ours = ours
        self._channel: AbstractChannel | None = None
        self._seen: dict[QueueConsumer, int] = {}
        self._idle: dict[QueueConsumer, int] = {}
        self._patience: dict[QueueConsumer, int] = {}
        self._without: dict[QueueConsumer, int] = {}

    async def run(self) -> None:
        """Watch until the session is lost, and lose it if our queue has no consumer.

        Extra queues that cannot be consumed are consumed as soon as they can be.
        """
        loop = asyncio.get_running_loop()
        look_again = loop.time() + LOOK_AGAIN
        while True:
            for consumer in self._consumption.consumers:
                try:
                    await self._look(consumer)
                except Unreachable as error:
                    self._channel = None  # aiormq closes a channel on which a call was given up
                    self._consumption.unwatched(consumer, str(error))
            await self._consumption.close_left_out()
            if self._consumption.unusable and loop.time() >= look_again:
                look_again = loop.time() + LOOK_AGAIN
                for queue in list(self._consumption.unusable):
                    await self._consumption.consume(queue)
            await asyncio.sleep(PROBE_INTERVAL)

    async def _look(self, consumer: QueueConsumer) -> None:
        if self._channel is None or self._channel.is_closed:
            self._channel = await open_channel(self._connection, confirms=False, calls=self._consumption.calls)
        tag, delivered = consumer.tag, consumer.delivered
        looking = self._channel.queue_declare(consumer.queue, passive=True)
        found = await self._consumption.calls.answered(looking, LOOK_TIMEOUT)
        messages, consumers = found.message_count or 0, found.consumer_count or 0
        if consumer.queue == self._ours:
            self._consumption.queue = Queue(messages, consumers)
        # Not if consuming was suspended or resumed meanwhile.
        if tag and tag == consumer.tag:
            # One that is busy with large messages counts a new consumer late.
            self._without[consumer] = 0 if consumers else self._without.get(consumer, 0) + 1
            if self._without[consumer] > 1:
                raise Unreachable("has no consumer")
            idle = messages and delivered == self._seen.get(consumer) and self._consumption.can_take_more(consumer)
            self._idle[consumer] = self._idle.get(consumer, 0) + 1 if idle else 0
        if delivered != self._seen.get(consumer):
            self._patience.pop(consumer, None)
        self._seen[consumer] = delivered
        # Others may consume it too, and the broker counts consumers that have ended but hold messages.
        patience = self._patience.get(consumer, IDLE_LOOKS)
        if self._idle.get(consumer, 0) >= patience:
            self._idle[consumer] = 0
            if consumer not in self._patience:
                log.warning("queue has messages but delivers none, so it is consumed anew", name=consumer.queue)
            # The only active consumer may be another one, and then ours is as it should be.
            self._patience[consumer] = min(2 * patience, MAX_IDLE_LOOKS)
            await self._consumption.renew(consumer)


class BrokerStatus:
    """What is known of the broker at the moment, for whoever watches."""

    def __init__(self) -> None:
        self.connected = False
        self.since = clock.now()
        self.consumption: ConsumerSession | None = None
        self.held = Held(0, None)
        self._warnings: set[tuple[str, str]] = set()

    @property
    def queue(self) -> Queue | None:
        """How our queue was when it was last looked at."""
        return self.consumption.queue if self.consumption else None

    def changed(self, consumption: ConsumerSession | None) -> None:
        """Note that a session began or (None) ended."""
        if self.connected != (consumption is not None):
            self.since = clock.now()
        self.connected = consumption is not None
        self.consumption = consumption
        self.held = Held(0, None)

    def warn(self, event: str, *, name: str, **fields: str) -> None:
        """Log a warning about an exchange or a queue, unless an earlier session did."""
        if (event, name) not in self._warnings:
            self._warnings.add((event, name))
            log.warning(event, name=name, **fields)

    def usable(self, queue: str) -> None:
        """Note that an extra queue is consumed now; if it was not before, that is logged."""
        of_queue = {each for each in self._warnings if each[1] == queue}
        if of_queue:
            self._warnings -= of_queue
            log.info("queue is consumed now", name=queue)


@asynccontextmanager
async def consume(
    settings: AmqpSettings, publisher: Publisher, broker: BrokerStatus, stop: asyncio.Event
) -> AsyncIterator[ConsumerSession]:
    """Connect, declare the topology and consume our queue and the extra ones until the block ends.

    What is not acknowledged then goes back to its queue.
    """
    room = Room()
    async with connected(settings.url or "", limited(room)) as connection:
        for name, state in await declare(connection, settings):
            broker.warn(str(state), name=name, remedy=remedy(name, state))
        consumption = ConsumerSession(connection, settings, publisher, broker, room=room, stop=stop)
        # Any completion is a loss: that of the heartbeat arrives as a cancelled future.
        connection.closing.add_done_callback(lambda future: consumption.lose(f"connection lost: {_reason(future)}"))
        for queue in (settings.queue, *consumption.unusable):
            await consumption.consume(queue)
        watchdog = _Watchdog(connection, consumption, settings.queue)
        tasks = [
            asyncio.create_task(_call_when(stop, consumption.stop), name="amqp stop"),
            asyncio.create_task(watchdog.run(), name="amqp watchdog"),
        ]
        tasks[1].add_done_callback(partial(_unwatched, consumption))
        broker.changed(consumption)
        try:
            yield consumption
        finally:
            broker.changed(None)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await consumption.give_back()


def _letters(letters: Sequence[tuple[Delivery, Refused]], frame_max: int) -> list[Outgoing]:
    """Write dead letters."""
    found = []
    for delivery, reason in letters:
        size, digest = delivery.origin.size, delivery.sha256
        more = {"x-notifier-size": str(size), "x-notifier-sha256": digest} if digest else {}
        letter = dead_letter(delivery.wire, delivery.routing_key, reason.code, reason.detail, frame_max, more=more)
        found.append(Outgoing(DEAD, letter.routing_key, delivery.body, letter.properties))
    return found


def _unwatched(consumption: ConsumerSession, watching: "asyncio.Task[None]") -> None:
    if not watching.cancelled():
        error = watching.exception()
        consumption.lose(str(error) if isinstance(error, Unreachable) else "the watchdog has ended")


async def _call_when(event: asyncio.Event, callback: Callable[[], None]) -> None:
    await event.wait()
    callback()


def _utc(at: datetime | None) -> datetime | None:
    if at is None:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _reason(future: "asyncio.Future[Any]") -> str:
    if future.cancelled():
        return "no heartbeat"
    error = future.exception()
    return words(error) if error else "closed"
