"""One queue on a real broker: what is acknowledged, how many deliveries are unacknowledged, and streams."""

import asyncio
import json
from typing import Any

import pytest
from pamqp import frame
from pamqp.commands import Channel
from support.parts import PATIENCE
from support.rabbit import Rabbit
from support.sessions import channel_of, consuming, delivered, stuck

from notifier.errors import Unreachable


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


async def test_an_acknowledgement_is_not_overtaken(rabbit: Rabbit) -> None:
    """While one call waits for room in the write queue, a later one must not cover its deliveries."""
    async with consuming(rabbit) as session:
        (consumer,) = session.consumers
        channel: Any = consumer.channel
        await asyncio.gather(*(rabbit.publish(b"{}") for _ in range(3)))
        first, second, third = await delivered(session, 3)
        with stuck(session):
            singly = asyncio.create_task(session.acknowledge([second]))
            for _ in range(3):
                await asyncio.sleep(0)
            together = asyncio.create_task(session.acknowledge([first, third]))
            await asyncio.sleep(0)
            channel.write_queue.get_nowait()
            written: list[Any] = [frame.unmarshal((await channel.write_queue.get()).payload)[2] for _ in range(2)]
        await asyncio.gather(singly, together)
    assert [(each.delivery_tag, each.multiple) for each in written] == [(2, False), (3, True)]


async def test_a_channel_that_the_broker_closes_costs_no_connection(rabbit: Rabbit) -> None:
    """Many deliveries of an extra queue are acknowledged one by one meanwhile; the queue is consumed again."""
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session, asyncio.timeout(PATIENCE):
        for _ in range(200):
            await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        for _ in range(10):
            deliveries = await delivered(session, 200)
            while extra in session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.001)
            await channel_of(session, extra).basic_ack(1_000_000, wait=False)
            while extra not in session.not_consumed:
                # The first delivery is never acknowledged.
                await session.acknowledge([deliveries.pop() for _ in range(min(20, len(deliveries) - 1))])
                await asyncio.sleep(0)
            await session.close_discarded()
            for _ in range(200 - await waiting(rabbit, extra)):
                await rabbit.channel.basic_publish(b"{}", routing_key=extra)
            assert await session.consume(extra)
        await session.wait(0.1)
    await rabbit.channel.queue_delete(extra)


async def waiting(rabbit: Rabbit, queue: str) -> int:
    """Return how many messages of a queue wait."""
    return (await rabbit.channel.queue_declare(queue, passive=True)).message_count or 0


async def test_nothing_is_acknowledged_on_a_channel_that_is_being_closed(rabbit: Rabbit) -> None:
    """The broker cancels a consumer whose queue is deleted; acknowledging what it delivered loses no connection."""
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session, asyncio.timeout(PATIENCE):
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        deliveries = await delivered(session, 1)
        while extra in session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
            await asyncio.sleep(0.001)
        queue = channel_of(session, extra).write_queue
        put, is_closing = queue.put, asyncio.Event()

        async def noted(frames: Any) -> None:
            await put(frames)
            if isinstance(frame.unmarshal(frames.payload)[2], Channel.Close):
                is_closing.set()

        queue.put = noted
        await rabbit.channel.queue_delete(extra)
        while extra not in session.not_consumed:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        closing = asyncio.create_task(session.close_discarded())
        await is_closing.wait()
        await session.acknowledge(deliveries)
        await closing
        await rabbit.publish(b"{}")
        await session.acknowledge(await delivered(session, 1))
