"""A publisher and a reader on the broker of the tests, with names that no other test uses."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp import decode
from pamqp.commands import Basic
from support.described import check_event

from notifier.gateways.pamqp_tolerance import tolerate_malformed_properties, wire
from notifier.gateways.properties import split_properties
from notifier.gateways.topology import EVENTS, declare
from notifier.settings import AmqpSettings


def headers(message: DeliveredMessage) -> dict[str, Any]:
    """Decode the headers of a message as any client does; notifier leaves them undecoded."""
    found: dict[str, Any] = decode.field_table(split_properties(wire(message.header)).get("headers", bytes(4)))[1]
    return found


class Rabbit:
    """One connection of a test; its service should use the names in `exchange` and `queue`."""

    def __init__(self, url: str, channel: AbstractChannel) -> None:
        self.url = url
        self.channel = channel
        self.exchange = f"bookings-{uuid.uuid4().hex[:8]}"
        self.queue = f"requests-{uuid.uuid4().hex[:8]}"
        self.results: list[bytes] = []

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator[Self]:
        """Connect; everything that the test declared is deleted afterwards."""
        tolerate_malformed_properties()  # dead letters contain bytes that no well-behaved publisher writes
        connection = await aiormq.connect(url)
        try:
            rabbit = cls(url, await connection.channel())
            yield rabbit
        finally:
            # A test may have closed the channel, or even the connection, on purpose.
            if not connection.is_closed:
                channel = await connection.channel()
                await channel.queue_delete(rabbit.queue)
                await channel.exchange_delete(rabbit.exchange)
            await connection.close()
        for body in rabbit.results:
            check_event(body)

    @property
    def environ(self) -> dict[str, str]:
        """The variables that make a service use the names of this test."""
        return {
            "NOTIFIER_AMQP_URL": self.url,
            "NOTIFIER_AMQP_EXCHANGE": self.exchange,
            "NOTIFIER_AMQP_QUEUE": self.queue,
        }

    async def declare(self) -> None:
        """Declare the exchange, for a test that publishes before its service runs."""
        await self.channel.exchange_declare(self.exchange, exchange_type="topic", durable=True)

    async def prepare(self) -> None:
        """Declare everything that a service would, so that messages published before its start are kept."""
        await declare(self.channel.connection, AmqpSettings.model_validate(self.environ))

    async def publish(self, message: Mapping[str, Any] | bytes, **properties: Any) -> None:
        """Publish a message and wait until the broker has confirmed it; it must reach a queue."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        key = message.get("type", "booking.unknown") if not isinstance(message, bytes) else "booking.raw"
        key = key if key.startswith(("booking.", "notification.")) else f"booking.{key}"
        await self.channel.basic_publish(
            body,
            exchange=self.exchange,
            routing_key=key,
            mandatory=True,
            properties=Basic.Properties(delivery_mode=2, **properties),
        )

    async def ready(self) -> int:
        """Return the number of messages in the queue of this test that no consumer has received."""
        return (await self.channel.queue_declare(self.queue, passive=True)).message_count or 0

    async def listen(self, exchange: str, kind: str, key: str = "#") -> "asyncio.Queue[DeliveredMessage]":
        """Collect the messages that are published to an exchange from now on."""
        found: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        await self.channel.exchange_declare(exchange, exchange_type=kind, durable=True)
        queue = (await self.channel.queue_declare(exclusive=True)).queue or ""
        await self.channel.queue_bind(queue, exchange, routing_key=key)

        async def take(message: DeliveredMessage) -> None:
            if exchange == EVENTS and message.header.properties.content_type == "application/cloudevents+json":
                self.results.append(message.body)
            await found.put(message)

        await self.channel.basic_consume(queue, take, no_ack=True)
        return found
