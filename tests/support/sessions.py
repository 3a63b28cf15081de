"""Sessions of the RabbitMQ gateway on the queues of a test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from support.rabbit import Rabbit

from notifier.gateways import rabbitmq
from notifier.gateways.broker_status import BrokerStatus
from notifier.gateways.consumer_session import ConsumerSession, Delivery
from notifier.gateways.publisher import Publisher
from notifier.settings import AmqpSettings


@asynccontextmanager
async def consuming(rabbit: Rabbit, stop: asyncio.Event | None = None, **more: Any) -> AsyncIterator[ConsumerSession]:
    """Open a session that consumes this test's queue."""
    settings = AmqpSettings.model_validate({**rabbit.environ, **more})
    publisher = Publisher(settings)
    try:
        async with rabbitmq.consume(settings, publisher, BrokerStatus(), stop or asyncio.Event()) as session:
            yield session
    finally:
        await publisher.close()


def channel_of(session: ConsumerSession, queue: str) -> Any:
    """Find the channel that consumes a queue."""
    (found,) = [consumer.channel for consumer in session.consumers if consumer.queue == queue]
    return found


async def delivered(session: ConsumerSession, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await session.batch()
    return found


async def until_probed(session: ConsumerSession) -> None:
    """Wait until the watchdog has its channel, which has a longer time limit."""
    while session._broker.queue is None:  # noqa: ASYNC110 - a watchdog sends no signal
        await asyncio.sleep(0.01)


async def keep(_: Any) -> None:
    """Receive a message without acknowledging it."""


@contextmanager
def stuck(session: ConsumerSession) -> Iterator[None]:
    """Fill aiormq's write queue of a session, as if its writer had been cancelled."""
    (ours,) = session.consumers
    channel: Any = ours.channel
    full: asyncio.Queue[None] = asyncio.Queue(maxsize=1)
    full.put_nowait(None)
    queue, channel.write_queue = channel.write_queue, full
    yield
    channel.write_queue = queue
