"""The AMQP gateway on a real broker: topology, batches, acknowledgement, dead letters, loss."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiormq
import pytest
from pamqp.commands import Basic
from rabbit import Rabbit
from samples import TRACE

from notifier.demo.node import free_ports
from notifier.errors import Unreachable
from notifier.gateways import amqp
from notifier.gateways.amqp import Broker, Consumption, Outgoing, Publisher
from notifier.gateways.connection import connect, open_channel, words
from notifier.gateways.topology import DEAD, EVENTS
from notifier.settings import AmqpSettings


@asynccontextmanager
async def consuming(rabbit: Rabbit, stop: asyncio.Event | None = None, **more: Any) -> AsyncIterator[Consumption]:
    """Open a session on this test's queue."""
    settings = AmqpSettings.model_validate({**rabbit.environ, **more})
    publisher = Publisher(settings)
    try:
        async with amqp.consume(settings, publisher, Broker(), stop or asyncio.Event()) as session:
            yield session
    finally:
        await publisher.close()


async def test_a_session_declares_what_it_needs(rabbit: Rabbit) -> None:
    """Messages with keys of bookings and notifications reach our queue through our exchange; others do not."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.confirmed"})
        await rabbit.publish({"type": "notification.requested"})
        bodies = [delivery.body for delivery in await _all(session, 2)]
    assert [json.loads(body)["type"] for body in bodies] == ["booking.confirmed", "notification.requested"]


async def _all(session: Consumption, count: int) -> list[amqp.Delivery]:
    found: list[amqp.Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await session.batch()
    return found


async def test_what_comes_beside_the_body_is_kept(rabbit: Rabbit) -> None:
    """Message id, correlation id and timestamp are read from the properties, the trace from the headers."""
    sent_at = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"}, message_id="m1", correlation_id="c1", timestamp=sent_at)
        await rabbit.publish({"type": "booking.x"}, headers={"traceparent": TRACE, "other": 1})
        await rabbit.publish({"type": "booking.x"}, headers={"traceparent": 5})
        delivery, traced, wrong = await _all(session, 3)
    assert (delivery.origin.message_id, delivery.origin.correlation_id) == ("m1", "c1")
    assert delivery.origin.timestamp == sent_at
    assert [each.origin.traceparent for each in (delivery, traced, wrong)] == [None, TRACE, None]


async def test_what_is_not_acknowledged_comes_again(rabbit: Rabbit) -> None:
    """What is acknowledged in any order takes nothing with it that is not; the rest goes to the next session."""
    async with consuming(rabbit) as session:
        for n in range(9):
            await rabbit.publish({"type": "booking.x", "n": n})
        deliveries = await _all(session, 9)
        for numbers in ([2, 1], [], [4], [3], [0], [6, 7]):
            await session.acknowledge([deliveries[number] for number in numbers])
    async with consuming(rabbit) as session:
        assert [json.loads(delivery.body)["n"] for delivery in await _all(session, 2)] == [5, 8]


async def test_deliveries_come_in_batches(rabbit: Rabbit) -> None:
    """What has piled up is taken in few large batches, so that it shares commits."""
    async with consuming(rabbit):
        pass
    for n in range(300):
        await rabbit.publish({"type": "booking.x", "n": n})
    async with consuming(rabbit) as session:
        sizes: list[int] = []
        while sum(sizes) < 300:
            sizes.append(len(await session.batch()))
    assert max(sizes) > 30


async def test_a_dead_letter_keeps_its_properties_and_says_why(rabbit: Rabbit) -> None:
    """Body, ids and headers stay; the error and its detail are added; a time to live does not kill it."""
    dead = await rabbit.listen(DEAD, "fanout")
    async with consuming(rabbit) as session:
        await rabbit.publish(b"\xff", message_id="m1", headers={"colour": "blue"}, expiration="60000")
        (delivery,) = await _all(session, 1)
        await session.dead_letter(delivery, "not_utf8", "byte 0: " + "x" * 1000)
        await session.acknowledge([delivery])
        async with asyncio.timeout(10):
            letter = await dead.get()
    properties = letter.header.properties
    assert (letter.body, properties.message_id, properties.expiration) == (b"\xff", "m1", None)
    headers = properties.headers or {}
    assert (headers["colour"], headers["x-notifier-error"]) == ("blue", "not_utf8")
    assert str(headers["x-notifier-detail"]).startswith("byte 0: xxx")
    assert headers["x-notifier-expiration"] == "60000"


async def test_a_queue_with_other_arguments_is_used_as_it_is(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """An existing classic queue is consumed, with one warning."""
    await rabbit.declare()
    await rabbit.channel.queue_declare(rabbit.queue, durable=True)
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"})
        assert len(await _all(session, 1)) == 1
    assert [line["event"] for line in logged_lines] == ["exists with other arguments and is used as it is"]


async def test_extra_queues_are_consumed_where_they_exist(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """An existing queue is taken as it is; one that is missing is named in a warning and keeps nobody from work."""
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=f"{extra},missing-{extra}") as session:
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        (delivery,) = await _all(session, 1)
        await session.acknowledge([delivery])
    await rabbit.channel.queue_delete(extra)
    assert [line["queue"] for line in logged_lines] == [f"missing-{extra}"]


async def test_a_deleted_queue_ends_the_session(rabbit: Rabbit) -> None:
    """The broker says so, and the session does not wait for what can never come."""
    async with consuming(rabbit) as session:
        await rabbit.channel.queue_delete(rabbit.queue)
        async with asyncio.timeout(20):
            with pytest.raises(Unreachable):
                while True:
                    await session.batch()


async def test_a_closed_connection_is_told_in_the_same_words_each_time(rabbit: Rabbit) -> None:
    """A reason that changed would be news to the log at every try; and nobody's password is near it."""
    connection, other = await connect(rabbit.url), await connect(rabbit.url)
    await connection.close()
    with pytest.raises(Unreachable, match=r"^no channel: connection closed$"):
        await open_channel(connection, confirms=False)
    channel = await open_channel(other, confirms=False)
    await other.close()
    with pytest.raises(aiormq.exceptions.ChannelInvalidStateError) as closed:
        await channel.basic_publish(b"")
    assert words(closed.value) == "channel closed"


async def test_stopping_ends_a_wait_for_deliveries(rabbit: Rabbit) -> None:
    """An empty batch says that the service stops."""
    stop = asyncio.Event()
    async with consuming(rabbit, stop) as session:
        waiting = asyncio.create_task(session.batch())
        await asyncio.sleep(0)
        stop.set()
        async with asyncio.timeout(5):
            assert await waiting == []


async def test_published_messages_arrive_in_order(rabbit: Rabbit) -> None:
    """Five hundred messages published at once arrive as they were given."""
    found = await rabbit.listen(EVENTS, "topic", rabbit.queue)
    publisher = Publisher(AmqpSettings.model_validate(rabbit.environ))
    messages = [Outgoing(EVENTS, rabbit.queue, str(n).encode(), Basic.Properties(delivery_mode=2)) for n in range(500)]
    await publisher.publish(messages)
    await publisher.close()
    async with asyncio.timeout(10):
        assert [int((await found.get()).body) for _ in range(500)] == list(range(500))


async def test_a_message_that_nobody_can_take_is_not_lost_silently(rabbit: Rabbit) -> None:
    """Publishing to an exchange that is not there is Unreachable, and the next publish works."""
    publisher = Publisher(AmqpSettings.model_validate(rabbit.environ))
    with pytest.raises(Unreachable, match="not published"):
        await publisher.publish([Outgoing("no-such-exchange", "k", b"", Basic.Properties())])
    await publisher.publish([Outgoing(EVENTS, "k", b"", Basic.Properties())])
    await publisher.close()


async def test_a_broker_that_is_not_there_is_unreachable() -> None:
    """The error names host and port."""
    (port,) = free_ports(1)
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        await connect(f"amqp://127.0.0.1:{port}/")


async def test_a_wrong_password_is_unreachable(rabbit: Rabbit) -> None:
    """The broker's refusal is in the error."""
    with pytest.raises(Unreachable, match=r"(?i)refused|login"):
        await connect(rabbit.url.replace("guest:guest", "guest:wrong"))
