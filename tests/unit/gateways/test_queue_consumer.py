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


async def test_acknowledging_twice_at_the_same_time_loses_no_channel(rabbit: Rabbit) -> None:
    """Dead letters are acknowledged one by one while valid messages are acknowledged together, whoever is first."""
    async with consuming(rabbit) as session:
        (consumer,) = session.consumers
        for turns in range(9):
            await asyncio.gather(*(rabbit.publish(b"{}") for _ in range(100)))
            deliveries = await delivered(session, 100)
            singly = asyncio.create_task(session.acknowledge(deliveries[1::2]))
            for _ in range(turns):
                await asyncio.sleep(0)
            await session.acknowledge(deliveries[::2])
            await singly
            # The broker answers this after it has read the acknowledgements.
            await consumer.channel.basic_qos(prefetch_count=500)
    assert await rabbit.ready() == 0


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
