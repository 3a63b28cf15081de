"""Consuming from RabbitMQ, over aiormq: connects, declares the topology, opens a session and watches it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from notifier.errors import Unreachable
from notifier.gateways.broker_status import BrokerStatus
from notifier.gateways.connection import closing_reason, connected
from notifier.gateways.consumer_session import ConsumerSession
from notifier.gateways.deliveries import Deliveries
from notifier.gateways.oversized import MemoryBudget
from notifier.gateways.publisher import Publisher
from notifier.gateways.topology import declare, remedy
from notifier.gateways.watchdog import Watchdog
from notifier.settings import AmqpSettings


@asynccontextmanager
async def consume(
    settings: AmqpSettings, publisher: Publisher, broker: BrokerStatus, stop: asyncio.Event
) -> AsyncIterator[ConsumerSession]:
    """Connect, declare the topology, and consume our queue and the extra ones until the block ends.

    What is not acknowledged by then is requeued. Raises Unreachable if there is no connection, or if our queue
    cannot be consumed.
    """
    deliveries = Deliveries(MemoryBudget())
    async with connected(settings.url or "", deliveries.reading) as connection:
        for name, state in await declare(connection, settings):
            broker.warn(str(state), name=name, remedy=remedy(name, state))
        session = ConsumerSession(connection, settings, publisher, broker, deliveries=deliveries, stop=stop)
        # Any completion is a loss; a missed heartbeat arrives as a cancelled future.
        connection.closing.add_done_callback(lambda future: session.fail(f"connection lost: {closing_reason(future)}"))
        for queue in (settings.queue, *session.not_consumed):
            await session.consume(queue)
        watchdog = Watchdog(connection, session, broker, settings.queue)
        tasks = [
            asyncio.create_task(_call_when(stop, session.wake), name="amqp stop"),
            asyncio.create_task(watchdog.run(), name="amqp watchdog"),
        ]
        tasks[1].add_done_callback(partial(_unwatched, session))
        broker.changed(connected=True)
        try:
            yield session
        finally:
            broker.changed(connected=False)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await session.requeue()


def _unwatched(session: ConsumerSession, watching: "asyncio.Task[None]") -> None:
    if not watching.cancelled():
        error = watching.exception()
        session.fail(str(error) if isinstance(error, Unreachable) else "the watchdog has ended")


async def _call_when(event: asyncio.Event, callback: Callable[[], None]) -> None:
    await event.wait()
    callback()
