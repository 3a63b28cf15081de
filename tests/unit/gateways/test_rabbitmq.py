"""A session with a real broker: deliveries, acknowledgements, dead letters, suspending, and extra queues."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from support.faults.proxy import Proxy
from support.parts import PATIENCE
from support.rabbit import Rabbit, headers
from support.samples import TRACE
from support.sessions import channel_of, consuming, delivered, until_probed
from yarl import URL

from notifier.errors import Refused, Unreachable
from notifier.gateways import connection as connection_module
from notifier.gateways import consumer_session, watchdog
from notifier.gateways.consumer_session import ConsumerSession
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


async def test_a_slow_connection_ends_no_session(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the watchdog nor `suspend` gives up while deliveries arrive before the broker's answer."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.01)
    monkeypatch.setattr(watchdog, "PROBE_TIMEOUT", 0.3)
    monkeypatch.setattr(connection_module, "TIMEOUT", 0.3)
    await rabbit.prepare()
    async with Proxy.to(URL(rabbit.url).port or 0) as proxy, asyncio.timeout(PATIENCE):
        async with consuming(rabbit, NOTIFIER_AMQP_URL=proxy.url(rabbit.url)) as session:
            await until_probed(session)
            proxy.limit = 100_000
            for n in range(10):
                await rabbit.publish(str(n).encode() * 200_000)
            taken = await delivered(session, 1)
            await session.suspend()
            taken += await delivered(session, 10 - len(taken))
            await session.acknowledge(taken)
            proxy.limit = None
            await session.resume()
            await rabbit.publish(b"last")
            taken += await delivered(session, 1)
    assert [delivery.body[:1] for delivery in taken] == [*(str(n).encode() for n in range(10)), b"l"]


async def test_what_is_not_acknowledged_comes_again(rabbit: Rabbit) -> None:
    """Acknowledging in any order covers no other delivery; the unacknowledged ones go to the next session."""
    async with consuming(rabbit) as session:
        for n in range(9):
            await rabbit.publish({"type": "booking.x", "n": n})
        deliveries = await delivered(session, 9)
        for numbers in ([2, 1], [], [4], [3], [0], [6, 7]):
            await session.acknowledge([deliveries[number] for number in numbers])
    async with consuming(rabbit) as session:
        assert [json.loads(delivery.body)["n"] for delivery in await delivered(session, 2)] == [5, 8]


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


async def test_extra_queues_are_consumed_where_they_exist(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """An existing queue is consumed as it is; a missing one causes a warning and does not affect the others."""
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=f"{extra},missing-{extra}") as session:
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        (delivery,) = await delivered(session, 1)
        await session.acknowledge([delivery])
    await rabbit.channel.queue_delete(extra)
    assert [line["name"] for line in logged_lines] == [f"missing-{extra}"]


async def test_a_deleted_queue_ends_the_session(rabbit: Rabbit) -> None:
    """The broker cancels the consumer of a deleted queue, and the session ends."""
    async with consuming(rabbit) as session:
        await rabbit.channel.queue_delete(rabbit.queue)
        async with asyncio.timeout(20):
            with pytest.raises(Unreachable):
                while True:
                    await session.batch()


async def test_stopping_ends_a_wait_for_deliveries(rabbit: Rabbit) -> None:
    """If the service stops, `batch` returns an empty batch."""
    stop = asyncio.Event()
    async with consuming(rabbit, stop) as session:
        waiting = asyncio.create_task(session.batch())
        await asyncio.sleep(0)
        stop.set()
        async with asyncio.timeout(5):
            assert await waiting == []


async def test_deliveries_are_requeued_at_the_end_of_a_session(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """One nack requeues all deliveries, which RabbitMQ 4.3 does not count against the delivery limit."""
    returned: list[tuple[int, dict[str, Any]]] = []
    async with consuming(rabbit) as session:
        for n in range(3):
            await rabbit.publish({"type": "booking.x", "n": n})
        _, second, _ = await delivered(session, 3)
        await session.acknowledge([second])
        channel = channel_of(session, rabbit.queue)
        nack = channel.basic_nack

        async def noting(tag: int, **how: Any) -> None:
            returned.append((tag, how))
            await nack(tag, **how)

        monkeypatch.setattr(channel, "basic_nack", noting)
    assert returned == [(0, {"multiple": True, "requeue": True})]
    async with consuming(rabbit) as session:
        assert [json.loads(delivery.body)["n"] for delivery in await delivered(session, 2)] == [0, 2]


async def test_a_suspended_session_keeps_what_it_has(rabbit: Rabbit) -> None:
    """Nothing is delivered until the session is resumed; earlier deliveries can be acknowledged meanwhile."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x", "n": 0})
        held = await delivered(session, 1)
        await session.suspend()
        await rabbit.publish({"type": "booking.x", "n": 1})
        assert await rabbit.ready() == 1
        await session.acknowledge(held)
        await session.resume()
        assert [json.loads(delivery.body)["n"] for delivery in await delivered(session, 1)] == [1]


async def test_prefetch_is_shared_by_all_queues(rabbit: Rabbit) -> None:
    """With three queues, at most the prefetch is unacknowledged in all of them together."""
    extra = [f"{rabbit.queue}-{n}" for n in range(2)]
    for queue in extra:
        await rabbit.channel.queue_declare(queue)
    names = ",".join((*extra, rabbit.queue))
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=names, NOTIFIER_AMQP_PREFETCH="9") as session:
        for queue in (rabbit.queue, *extra):
            for _ in range(9):
                await rabbit.channel.basic_publish(b"{}", routing_key=queue)
        taken = await delivered(session, 9)
        waiting = [await rabbit.channel.queue_declare(queue, passive=True) for queue in (rabbit.queue, *extra)]
        assert sum(each.message_count or 0 for each in waiting) == 18
        await session.acknowledge(taken)
        assert len(await delivered(session, 9)) == 9
    for queue in extra:
        await rabbit.channel.queue_delete(queue)


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


async def test_a_stream_is_not_consumed(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """Messages of a stream are never removed; there is one warning, and the other queues are consumed."""
    extra = f"{rabbit.queue}-stream"
    arguments: dict[str, Any] = {"x-queue-type": "stream", "x-max-length-bytes": 10_000_000}
    await rabbit.channel.queue_declare(extra, durable=True, arguments=arguments)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        await rabbit.publish({"type": "booking.x"})
        (delivery,) = await delivered(session, 1)
        assert delivery.body != b"{}"
    await rabbit.channel.queue_delete(extra)
    assert [(line["event"], line["name"]) for line in logged_lines] == [
        ("queue is a stream and is not consumed; use a classic or quorum queue", extra)
    ]


async def test_acknowledging_ends_with_the_session(rabbit: Rabbit) -> None:
    """An acknowledgement that waits for room in aiormq's write queue ends when the session is lost."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"})
        deliveries = await delivered(session, 1)
        with stuck(session):
            acknowledging = asyncio.create_task(session.acknowledge(deliveries))
            await asyncio.sleep(0)
            session.fail("the network is gone")
            async with asyncio.timeout(5):
                with pytest.raises(Unreachable, match="the network is gone"):
                    await acknowledging


async def test_acknowledging_has_a_time_limit(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing can be written and no loss is noticed, the broker counts as unreachable."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"})
        deliveries = await delivered(session, 1)
        monkeypatch.setattr(consumer_session, "ACKNOWLEDGE_TIMEOUT", 0.1)
        with stuck(session), pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
            async with asyncio.timeout(5):
                await session.acknowledge(deliveries)


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
