"""RabbitMQ: messages in from our queue, results and dead letters out, over aiormq."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from notifier import clock
from notifier.contract import Origin
from notifier.errors import DeadLetterCode, Unreachable
from notifier.gateways.connection import LOST, TIMEOUT, close, connect, connected, open_channel, words
from notifier.gateways.topology import DEAD, declare, existing
from notifier.settings import AmqpSettings
from notifier.tracing import traceparent

CONFIRM_TIMEOUT = 30.0
PROBE_INTERVAL = 5.0
LINGER = 0.005
"""Seconds that a delivery waits for others, so that they share one commit."""
LONGEST_DETAIL = 500
"""Characters of `x-notifier-detail`."""


class Queue(NamedTuple):
    """How our queue is: messages that wait in it, and who consumes them."""

    messages: int
    consumers: int


class Delivery(NamedTuple):
    """One message of one channel, with what came beside its body."""

    body: bytes
    origin: Origin
    tag: int
    routing_key: str
    properties: Basic.Properties


class Outgoing(NamedTuple):
    """A message to publish; it will be persistent."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Basic.Properties


class Consumption:
    """Deliveries of one connection; every acknowledgement goes to the channel that delivered."""

    def __init__(self, channel: AbstractChannel, publisher: "Publisher", stop: asyncio.Event) -> None:
        self._channel = channel
        self._publisher = publisher
        self._waiting: list[Delivery] = []
        self._unacknowledged: set[int] = set()
        self._news = asyncio.Event()
        self._stop = stop
        self._lost: str | None = None
        self.queue: Queue | None = None

    async def batch(self) -> list[Delivery]:
        """Wait for deliveries and take all that are there; none means that the service stops.

        Raises Unreachable when the connection, the channel or the queue is gone.
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
        """Acknowledge these deliveries and no other, with one word as far as none before them waits for its own."""
        tags = {delivery.tag for delivery in deliveries}
        self._unacknowledged -= tags
        first_left = min(self._unacknowledged, default=sys.maxsize)
        try:
            if together := [tag for tag in tags if tag < first_left]:
                await self._channel.basic_ack(max(together), multiple=True, wait=False)
            for tag in sorted(tags.difference(together)):
                await self._channel.basic_ack(tag, wait=False)
        except LOST as error:
            raise Unreachable(words(error)) from error

    async def dead_letter(self, delivery: Delivery, code: DeadLetterCode, detail: str) -> None:
        """Publish a delivery that can never be used to where people look for it; confirmed when this returns."""
        await self._publisher.publish([_dead_letter(delivery, code, detail)])

    def deliver(self, message: DeliveredMessage) -> None:
        """Take one delivery off the wire."""
        properties = message.header.properties
        origin = Origin(
            received_at=clock.now(),
            message_id=properties.message_id or None,
            correlation_id=properties.correlation_id or None,
            traceparent=traceparent((properties.headers or {}).get("traceparent")),
            timestamp=_utc(properties.timestamp),
        )
        tag = message.delivery_tag or 0
        self._unacknowledged.add(tag)
        self._waiting.append(Delivery(message.body, origin, tag, message.routing_key or "", properties))
        self._news.set()

    def lose(self, reason: str) -> None:
        """End the session: nothing more will come."""
        self._lost = self._lost or reason
        self._news.set()

    def stop(self) -> None:
        """Let `batch` return although nothing has come."""
        self._news.set()


class Broker:
    """What is known of the broker at the moment, for whoever watches."""

    def __init__(self) -> None:
        self.connected = False
        self.since = clock.now()
        self.consumption: Consumption | None = None

    @property
    def queue(self) -> Queue | None:
        """How our queue was when it was last looked at."""
        return self.consumption.queue if self.consumption else None

    def changed(self, consumption: Consumption | None) -> None:
        """Note that a session began or (None) ended."""
        if self.connected != (consumption is not None):
            self.since = clock.now()
        self.connected = consumption is not None
        self.consumption = consumption


@asynccontextmanager
async def consume(
    settings: AmqpSettings, publisher: "Publisher", broker: Broker, stop: asyncio.Event
) -> AsyncIterator[Consumption]:
    """Connect, declare the topology and consume our queue and the extra ones until the block ends."""
    async with connected(settings.url or "") as connection:
        await declare(connection, settings)
        channel = await open_channel(connection, confirms=False)
        consumption = Consumption(channel, publisher, stop)
        channel.on_consumer_cancel_callbacks.add(lambda _: consumption.lose("the broker cancelled our consumer"))
        await channel.basic_qos(prefetch_count=settings.prefetch)
        for queue in await existing(connection, (settings.queue, *settings.extra_queues)):
            await channel.basic_consume(queue, _receiver(consumption))
        # Any completion is a loss: that of the heartbeat arrives as a cancelled future.
        for closing in (connection.closing, channel.closing):
            closing.add_done_callback(lambda future: consumption.lose(f"connection lost: {_reason(future)}"))
        tasks = [
            asyncio.create_task(_call_when(stop, consumption.stop), name="amqp stop"),
            asyncio.create_task(_watch(connection, settings.queue, consumption), name="amqp watchdog"),
        ]
        broker.changed(consumption)
        try:
            yield consumption
        finally:
            broker.changed(None)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Publisher:
    """Publishes on a connection of its own (a memory alarm stops reading from publishers), made when needed."""

    def __init__(self, settings: AmqpSettings) -> None:
        self._settings = settings
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._lock = asyncio.Lock()

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish in order; returns when the broker has confirmed every one.

        Raises Unreachable when one was not confirmed; then any of them may have been published.
        """
        async with self._lock:
            channel = await self._open()
            try:
                async with asyncio.timeout(CONFIRM_TIMEOUT):
                    results = await asyncio.gather(
                        *(
                            channel.basic_publish(
                                message.body,
                                exchange=message.exchange,
                                routing_key=message.routing_key,
                                properties=message.properties,
                                mandatory=message.exchange == DEAD,
                            )
                            for message in messages
                        ),
                        return_exceptions=True,
                    )
            except TimeoutError:
                await self.close()
                raise Unreachable(f"the broker confirmed nothing for {CONFIRM_TIMEOUT:g} s") from None
            for result in results:
                if isinstance(result, BaseException):
                    await self.close()
                    raise Unreachable(f"not published: {words(result)}")

    async def close(self) -> None:
        """Close the connection; the next publish makes a new one."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection:
            await close(connection)

    async def _open(self) -> AbstractChannel:
        if self._channel and not self._channel.is_closed and self._connection and not self._connection.is_closed:
            return self._channel
        await self.close()
        self._connection = await connect(self._settings.url or "")
        try:
            await declare(self._connection, self._settings)
            self._channel = await open_channel(self._connection, confirms=True)
        except Unreachable:
            await self.close()
            raise
        return self._channel


async def _watch(connection: AbstractConnection, queue: str, consumption: Consumption) -> None:
    """Look at our queue from time to time: that is news for watchers, and the proof that we are consuming it."""
    try:
        channel = await open_channel(connection, confirms=False)
        while True:
            async with asyncio.timeout(TIMEOUT):
                found = await channel.queue_declare(queue, passive=True)
            if not found.consumer_count:
                consumption.lose(f"{queue} has no consumer")
            consumption.queue = Queue(found.message_count or 0, found.consumer_count or 0)
            await asyncio.sleep(PROBE_INTERVAL)
    except (*LOST, TimeoutError) as error:
        consumption.lose(f"{queue}: {words(error)}")


def _receiver(consumption: Consumption) -> Any:
    async def receive(message: DeliveredMessage) -> None:
        consumption.deliver(message)

    return receive


async def _call_when(event: asyncio.Event, callback: Any) -> None:
    await event.wait()
    callback()


def _dead_letter(delivery: Delivery, code: DeadLetterCode, detail: str) -> Outgoing:
    kept = {name: getattr(delivery.properties, name) for name in Basic.Properties.attributes()}
    headers = {**(kept["headers"] or {}), "x-notifier-error": code, "x-notifier-detail": detail[:LONGEST_DETAIL]}
    # Kept as they are, these two would make the broker refuse the letter, or delete it when its time is up.
    for property_ in ("user_id", "expiration"):
        if kept[property_]:
            headers[f"x-notifier-{property_.replace('_', '-')}"] = kept[property_]
    kept |= {"headers": headers, "user_id": None, "expiration": None, "delivery_mode": 2}
    kept = {name: value for name, value in kept.items() if value is not None}
    return Outgoing(DEAD, delivery.routing_key, delivery.body, Basic.Properties(**kept))


def _utc(at: datetime | None) -> datetime | None:
    if at is None:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _reason(future: "asyncio.Future[Any]") -> str:
    if future.cancelled():
        return "no heartbeat"
    error = future.exception()
    return words(error) if error else "closed"
