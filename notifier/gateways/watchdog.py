"""Proves that the queues are really consumed, and consumes them anew if they are not."""

import asyncio

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection

from notifier.errors import Unreachable
from notifier.gateways.broker_status import BrokerStatus, QueueCounts
from notifier.gateways.connection import open_channel
from notifier.gateways.consumer_session import ConsumerSession
from notifier.gateways.queue_consumer import QueueConsumer

log = structlog.get_logger(__name__)

PROBE_INTERVAL = 5.0
"""Seconds between two probes of the queues."""
PROBE_TIMEOUT = 10.0
"""Seconds that the answer to a probe may take while nothing is delivered."""
RECONSUME_INTERVAL = 60.0
"""Seconds between two attempts to consume extra queues that cannot be consumed, such as missing ones."""
IDLE_PROBES = 3
"""Probes in a row at which a queue has messages and delivers none, after which it is consumed anew."""
MAX_IDLE_PROBES = 96
"""The same after consuming anew has not helped several times: eight minutes."""


class Watchdog:
    """Probes the queues every PROBE_INTERVAL: for their status, and to prove that they are really consumed."""

    def __init__(
        self, connection: AbstractConnection, session: ConsumerSession, broker: BrokerStatus, own_queue: str
    ) -> None:
        self._connection = connection
        self._session = session
        self._broker = broker
        self._own_queue = own_queue
        self._channel: AbstractChannel | None = None
        self._seen: dict[QueueConsumer, int] = {}
        """How many messages had been delivered at the last probe."""
        self._idle: dict[QueueConsumer, int] = {}
        """Probes in a row at which messages waited and none had been delivered since the probe before."""
        self._idle_limits: dict[QueueConsumer, int] = {}
        """Idle probes before the next renewal, of consumers that were renewed in vain."""
        self._without: dict[QueueConsumer, int] = {}
        """Probes in a row at which the queue had no consumer at all."""

    async def run(self) -> None:
        """Probe until cancelled. If our queue has no consumer, the session ends.

        An extra queue that cannot be consumed is tried again every RECONSUME_INTERVAL.
        """
        loop = asyncio.get_running_loop()
        reconsume_at = loop.time() + RECONSUME_INTERVAL
        while True:
            for consumer in self._session.consumers:
                try:
                    await self._probe(consumer)
                except Unreachable as error:
                    self._channel = None  # aiormq closes a channel on which a call was given up
                    self._session.consumer_lost(consumer, str(error))
            await self._session.close_discarded()
            if self._session.not_consumed and loop.time() >= reconsume_at:
                reconsume_at = loop.time() + RECONSUME_INTERVAL
                for queue in list(self._session.not_consumed):
                    await self._session.consume(queue)
            await asyncio.sleep(PROBE_INTERVAL)

    async def _probe(self, consumer: QueueConsumer) -> None:
        if self._channel is None or self._channel.is_closed:
            self._channel = await open_channel(self._connection, confirms=False, calls=self._session.calls)
        tag, delivered = consumer.tag, consumer.delivered
        looking = self._channel.queue_declare(consumer.queue, passive=True)
        found = await self._session.calls.answered(looking, PROBE_TIMEOUT)
        messages, consumers = found.message_count or 0, found.consumer_count or 0
        if consumer.queue == self._own_queue:
            self._broker.queue = QueueCounts(messages, consumers)
        # The answer says nothing if consuming was suspended or resumed meanwhile.
        if tag and tag == consumer.tag:
            # A queue that is busy with large messages counts a new consumer late.
            self._without[consumer] = 0 if consumers else self._without.get(consumer, 0) + 1
            if self._without[consumer] > 1:
                raise Unreachable("the queue has no consumer")
            idle = messages and delivered == self._seen.get(consumer) and self._session.can_take_more(consumer)
            self._idle[consumer] = self._idle.get(consumer, 0) + 1 if idle else 0
        if delivered != self._seen.get(consumer):
            self._idle_limits.pop(consumer, None)
        self._seen[consumer] = delivered
        # A consumer count above zero proves nothing: others may consume the queue too, and the broker also
        # counts consumers that have ended but still have unacknowledged messages.
        limit = self._idle_limits.get(consumer, IDLE_PROBES)
        if self._idle.get(consumer, 0) >= limit:
            self._idle[consumer] = 0
            if consumer not in self._idle_limits:
                log.warning("queue has messages but delivers none; consuming it anew", name=consumer.queue)
            # With a single active consumer that is not ours, there is nothing to repair.
            self._idle_limits[consumer] = min(2 * limit, MAX_IDLE_PROBES)
            await self._session.renew(consumer)
