"""A publisher that continues through every fault of the broker, and records what the broker has confirmed."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import aiormq
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic
from support.samples import booking_event, flight_data

BOOKING = frozenset({"booking.confirmation", "flight.reminder"})
REQUEST = frozenset({"notification"})
BAD = frozenset[str]()
"""The kinds of mail that a message makes if it must be dead-lettered: none."""
BAD_EVERY = 20
RECONNECT = 0.3
AHEAD = 300
"""Maximum number of mails by which the load is ahead of sending: a larger backlog would take minutes on a slow
machine.
"""
LOST = (AMQPError, OSError, RuntimeError, asyncio.InvalidStateError, TimeoutError, asyncio.CancelledError)
"""Errors of aiormq if a connection is lost; a missed heartbeat appears as a cancelled future."""


class Load:
    """Messages to one exchange: those that were `published`, with the mails they make, and those that were `accepted`.

    `sent` returns how many mails have been sent so far.
    """

    def __init__(self, url: str, exchange: str, sent: Callable[[], int]) -> None:
        self.published: dict[str, Collection[str]] = {}
        self.accepted: set[str] = set()
        self._url = url
        self._exchange = exchange
        self._sent = sent
        self._to_be_sent = 0
        self._stop = asyncio.Event()
        self._flowing: asyncio.Task[None] | None = None

    async def publish(
        self, channel: aiormq.abc.AbstractChannel, message: Mapping[str, Any], makes: Collection[str]
    ) -> None:
        """Publish one message; it counts as accepted once the broker has confirmed it."""
        await self.publish_raw(channel, message["id"], json.dumps(message).encode(), makes, message["type"])

    async def publish_raw(
        self,
        channel: aiormq.abc.AbstractChannel,
        id_: str,
        body: bytes,
        makes: Collection[str],
        routing_key: str = "booking.raw",
        **properties: Any,
    ) -> None:
        """Publish any bytes under an id, which is also their AMQP message id unless another one is given."""
        self.published[id_] = makes
        await channel.basic_publish(
            body,
            exchange=self._exchange,
            routing_key=routing_key,
            mandatory=True,
            properties=Basic.Properties(**{"delivery_mode": 2, "message_id": id_, **properties}),
        )
        self.accepted.add(id_)
        self._to_be_sent += makes is not BAD

    @asynccontextmanager
    async def flowing(self, rate: float) -> AsyncIterator[Self]:
        """Publish bookings, and some invalid messages, at a steady rate while the block lasts.

        Publishing pauses while it is too far ahead of sending.
        """
        self._stop.clear()
        self._flowing = asyncio.create_task(self._flow(rate), name="load")
        try:
            yield self
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop publishing."""
        self._stop.set()
        if self._flowing:
            await self._flowing

    async def _flow(self, rate: float) -> None:
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(5):
                    connection = await aiormq.connect(self._url)
            except LOST:
                await asyncio.sleep(RECONNECT)
                continue
            try:
                await self._paced(await connection.channel(), rate)
            except LOST:
                await asyncio.sleep(RECONNECT)
            finally:
                await _close(connection)

    async def _paced(self, channel: aiormq.abc.AbstractChannel, rate: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        unconfirmed: set[asyncio.Task[None]] = set()
        try:
            while not self._stop.is_set():
                due += 1 / rate
                await asyncio.sleep(max(0.0, due - loop.time()))
                if self._to_be_sent - self._sent() >= AHEAD:
                    due = loop.time()
                    continue
                number = len(self.published)
                work = self.publish(channel, *(bad(number) if number % BAD_EVERY == 1 else booking(number)))
                task = asyncio.create_task(work)
                unconfirmed.add(task)
                lost = [each for each in unconfirmed if each.done() and _failed(each)]
                unconfirmed = {each for each in unconfirmed if not each.done()}
                if lost:
                    break
            async with asyncio.timeout(5):
                await asyncio.gather(*unconfirmed, return_exceptions=True)
        finally:
            for each in unconfirmed:
                each.cancel()
            await asyncio.gather(*unconfirmed, return_exceptions=True)


def booking(number: int) -> tuple[dict[str, Any], AbstractSet[str]]:
    """Build a booking that departs in two days, and the kinds of mail that it makes."""
    departs = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    passenger = {"name": "Asha Rao", "email": f"asha{number}@example.com", "locale": "en"}
    message = booking_event(
        id=f"m{number:06}",
        booking=f"B{number:05}",
        passengers=[passenger],
        flights=[flight_data(departs_at=departs, arrives_at=departs)],
    )
    return message, BOOKING


def largest(number: int) -> tuple[dict[str, Any], Collection[str]]:
    """Build a booking of the maximum permitted size, and the kinds of mail that it makes."""
    first = datetime.now(UTC) + timedelta(days=2)
    flights = [
        flight_data(number=f"AI{n}", departs_at=(first + timedelta(days=n)).isoformat(), arrives_at=None)
        for n in range(20)
    ]
    passengers = [{"name": f"Asha Rao {n}", "email": f"asha{number}.{n}@example.com"} for n in range(100)]
    message = booking_event(id=f"m{number:06}", booking=f"B{number:05}", passengers=passengers, flights=flights)
    return message, ["booking.confirmation"] * 100 + ["flight.reminder"] * 2000


def request(number: int) -> tuple[dict[str, Any], AbstractSet[str]]:
    """Build a request for one mail, and the kind of mail that it makes."""
    data = {"to": f"p{number}@example.com", "subject": f"Number {number}", "text": "Hello.\n.\nBye.\n"}
    message = {"type": "notification.requested", "id": f"m{number:06}", "source": "/faults", "data": data}
    return message, REQUEST


def bad(number: int) -> tuple[dict[str, Any], AbstractSet[str]]:
    """Build an invalid message."""
    return {"type": "booking.lost", "id": f"m{number:06}", "source": "/faults", "data": {}}, BAD


def _failed(task: asyncio.Task[None]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _close(connection: aiormq.abc.AbstractConnection) -> None:
    try:
        async with asyncio.timeout(2):
            await connection.close()
    except LOST:
        return
