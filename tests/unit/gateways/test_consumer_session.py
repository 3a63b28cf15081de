"""A session with a real broker: deliveries in batches, dead letters, suspending, and extra queues."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from support.parts import PATIENCE
from support.rabbit import Rabbit, headers
from support.samples import TRACE
from support.sessions import channel_of, consuming, delivered, stuck

from notifier.errors import Refused, Unreachable
from notifier.gateways import consumer_session, watchdog
from notifier.gateways.topology import DEAD


async def test_what_comes_beside_the_body_is_kept(rabbit: Rabbit) -> None:
    """Message id, correlation id and timestamp come from the properties, the trace context from the headers."""
    sent_at = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"}, message_id="m1", correlation_id="c1", timestamp=sent_at)
        await rabbit.publish({"type": "booking.x"}, headers={"traceparent": TRACE, "other": 1})
        await rabbit.publish({"type": "booking.x"}, headers={"traceparent": 5})
        delivery, traced, wrong = await delivered(session, 3)
    assert (delivery.origin.message_id, delivery.origin.correlation_id) == ("m1", "c1")
    assert delivery.origin.timestamp == sent_at
    assert [each.origin.traceparent for each in (delivery, traced, wrong)] == [None, TRACE, None]


async def test_deliveries_come_in_batches(rabbit: Rabbit) -> None:
    """A backlog is delivered in few large batches, so that messages share commits."""
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
    """Body, ids and headers are kept, the error and its detail are added, and the time to live becomes a header."""
    dead = await rabbit.listen(DEAD, "fanout")
    async with consuming(rabbit) as session:
        await rabbit.publish(b"\xff", message_id="m1", headers={"colour": "blue"}, expiration="60000")
        (delivery,) = await delivered(session, 1)
        assert await session.dead_letter([(delivery, Refused("not_utf8", "byte 0: " + "x" * 1000))]) == [None]
        await session.acknowledge([delivery])
        async with asyncio.timeout(10):
            letter = await dead.get()
    properties = letter.header.properties
    assert (letter.body, properties.message_id, properties.expiration) == (b"\xff", "m1", None)
    found = headers(letter)
    assert (found["colour"], found["x-notifier-error"]) == ("blue", "not_utf8")
    assert str(found["x-notifier-detail"]).startswith("byte 0: xxx")
    assert found["x-notifier-expiration"] == "60000"


async def test_a_deleted_queue_ends_the_session(rabbit: Rabbit) -> None:
    """The broker cancels the consumer of a deleted queue, and the session ends."""
    async with consuming(rabbit) as session:
        await rabbit.channel.queue_delete(rabbit.queue)
        async with asyncio.timeout(20):
            with pytest.raises(Unreachable):
                while True:
                    await session.batch()


async def test_a_suspended_session_keeps_what_it_has(rabbit: Rabbit) -> None:
    """Nothing is delivered until the session is resumed; earlier deliveries can be acknowledged meanwhile."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x", "n": 0})
        held = await delivered(session, 1)
        await session.suspend()
        await rabbit.publish({"type": "booking.x", "n": 1})
        assert await rabbit.ready() == 1
        await session.acknowledge(held)
        assert not session._deliveries._receivers
        await session.resume()
        assert [json.loads(delivery.body)["n"] for delivery in await delivered(session, 1)] == [1]


async def test_an_extra_queue_that_is_deleted_does_not_end_the_session(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledging its deliveries does nothing; once the queue is declared again, it is consumed again."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        deliveries = await delivered(session, 1)
        await rabbit.channel.queue_delete(extra)
        async with asyncio.timeout(PATIENCE):
            while not session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.01)
        await session.acknowledge(deliveries)
        await rabbit.channel.queue_declare(extra)
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        await rabbit.publish({"type": "booking.x"})
        await session.acknowledge(await delivered(session, 2))
    await rabbit.channel.queue_delete(extra)


async def test_an_extra_queue_whose_channel_is_closed_does_not_end_the_session(rabbit: Rabbit) -> None:
    """After a mistake the broker closes the channel, which only this queue uses."""
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        deliveries = await delivered(session, 1)
        await channel_of(session, extra).basic_ack(99, wait=False)
        async with asyncio.timeout(PATIENCE):
            while not session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.01)
        await session.acknowledge(deliveries)
        await rabbit.publish({"type": "booking.x"})
        await session.acknowledge(await delivered(session, 1))
    await rabbit.channel.queue_delete(extra)


async def test_acknowledging_has_a_time_limit(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing can be written and no loss is noticed, the broker counts as unreachable."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"})
        deliveries = await delivered(session, 1)
        monkeypatch.setattr(consumer_session, "ACKNOWLEDGE_TIMEOUT", 0.1)
        with stuck(session), pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
            async with asyncio.timeout(5):
                await session.acknowledge(deliveries)
