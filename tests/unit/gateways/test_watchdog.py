"""The watchdog on a real broker: queues that are not consumed are noticed and consumed anew."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import aiormq
import pytest
from pamqp.commands import Basic
from support.faults.proxy import Proxy
from support.parts import PATIENCE
from support.rabbit import Rabbit
from support.sessions import channel_of, consuming, delivered, keep, until_probed
from yarl import URL

from notifier.domain.messages import MAX_BYTES
from notifier.gateways import watchdog
from notifier.gateways.consumer_session import ConsumerSession


async def test_the_watchdog_waits_for_large_bodies(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that arrives slowly delays the broker's answers, but does not end the session."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "PROBE_TIMEOUT", 0.3)
    async with Proxy.to(URL(rabbit.url).port or 0) as proxy, asyncio.timeout(PATIENCE):
        async with consuming(rabbit, NOTIFIER_AMQP_URL=proxy.url(rabbit.url)) as session:
            await until_probed(session)
            proxy.limit = 20_000
            await rabbit.publish(bytes(3_000_000))
            while not session._budget.in_use:  # noqa: ASYNC110 - a reader sends no signal
                await asyncio.sleep(0.01)
            await session.wait(2.0)
            assert session._budget.in_use
            proxy.limit = None
            (delivery,) = await delivered(session, 1)
            assert len(delivery.body) == MAX_BYTES


async def test_an_extra_queue_that_appears_later_is_consumed(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra queue that is declared later is consumed in the same session."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = f"{rabbit.queue}-extra"
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.channel.queue_declare(extra)
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        assert len(await delivered(session, 1)) == 1
    await rabbit.channel.queue_delete(extra)


async def test_a_locked_extra_queue_does_not_affect_the_others(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """The other queues are consumed; the locked one follows once it is free. Both are logged once."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    holder = await rabbit.channel.basic_consume(extra, keep, exclusive=True)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.publish({"type": "booking.x"})
        await session.acknowledge(await delivered(session, 1))
        await rabbit.channel.basic_cancel(holder.consumer_tag or "")
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        await session.acknowledge(await delivered(session, 1))
        # The first delivery can come before the answer to the call that asks for it.
        async with asyncio.timeout(PATIENCE):
            while session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.01)
    await rabbit.channel.queue_delete(extra)
    assert [line["event"] for line in logged_lines if line["name"] == extra] == [
        "queue cannot be consumed; trying again",
        "queue is consumed now",
    ]
    assert "ACCESS_REFUSED" in logged_lines[0]["reason"]


async def test_a_queue_that_is_not_consumed_has_no_channel(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra queue that is deleted and declared repeatedly uses one channel."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session, asyncio.timeout(PATIENCE):
        for _ in range(3):
            await rabbit.channel.queue_delete(extra)
            while not session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.01)
            await rabbit.channel.queue_declare(extra)
            while session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.01)
        of_the_watchdog = 1
        assert len(session._connection.channels) == len(session.consumers) + of_the_watchdog
    await rabbit.channel.queue_delete(extra)


async def test_a_probe_without_an_answer_concerns_one_queue(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """The channel of an abandoned call is closed by aiormq, so the other queues are probed on a new one."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "PROBE_TIMEOUT", 0.2)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = [f"{rabbit.queue}-{n}" for n in range(2)]
    for queue in extra:
        await rabbit.channel.queue_declare(queue)
    declare, unanswered = aiormq.channel.Channel.queue_declare, [extra[0]]

    async def look(channel: Any, queue: str, **how: Any) -> Any:
        if queue in unanswered:
            unanswered.remove(queue)
            monkeypatch.setattr(channel.rpc_frames, "get", asyncio.Event().wait)
        return await declare(channel, queue, **how)

    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=",".join(extra)) as session, asyncio.timeout(PATIENCE):
        monkeypatch.setattr(aiormq.channel.Channel, "queue_declare", look)
        while not session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
            await asyncio.sleep(0.01)
        while session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
            await asyncio.sleep(0.01)
        for queue in (*extra, rabbit.queue):
            await rabbit.channel.basic_publish(b"{}", routing_key=queue)
        assert len(await delivered(session, 3)) == 3
    monkeypatch.undo()
    for queue in extra:
        await rabbit.channel.queue_delete(queue)
    assert {line["name"] for line in logged_lines} == {extra[0]}


async def test_a_consumer_that_the_broker_has_lost_is_noticed(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """Another consumer of the queue, which accepts nothing more, does not hide that ours is gone."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    async with consuming(rabbit) as session:
        (ours,) = session.consumers
        await channel_of(session, rabbit.queue).rpc(Basic.Cancel(ours.tag or "", nowait=True))
        await rabbit.channel.basic_qos(prefetch_count=1)
        other = await rabbit.channel.basic_consume(rabbit.queue, keep)
        for n in range(3):
            await rabbit.publish({"type": "booking.x", "n": n})
        assert [json.loads(delivery.body)["n"] for delivery in await delivered(session, 2)] == [1, 2]
        await rabbit.channel.basic_cancel(other.consumer_tag or "")
    assert [line["event"] for line in logged_lines] == ["queue has messages but delivers none; consuming it anew"]


async def test_a_queue_whose_active_consumer_is_another_one_is_left_alone(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """There is one warning, and each renewal comes after twice as many probes as the one before."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.01)
    looks: list[str] = []
    renewed: list[int] = []
    extra = f"{rabbit.queue}-single"
    await rabbit.channel.queue_declare(extra, arguments={"x-single-active-consumer": True})
    await rabbit.channel.basic_qos(prefetch_count=1)
    await rabbit.channel.basic_consume(extra, keep)
    for _ in range(3):
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
    can_take_more = ConsumerSession.can_take_more

    def counted(self: ConsumerSession, consumer: Any) -> bool:
        found = can_take_more(self, consumer)
        looks.extend([consumer.queue] * (found and consumer.queue == extra))
        return found

    async def noted(_: ConsumerSession, consumer: Any) -> None:
        assert consumer.queue == extra
        renewed.append(len(looks))

    monkeypatch.setattr(ConsumerSession, "can_take_more", counted)
    monkeypatch.setattr(ConsumerSession, "renew", noted)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra), asyncio.timeout(PATIENCE):
        while len(renewed) < 4:  # noqa: ASYNC110 - a watchdog sends no signal
            await asyncio.sleep(0.01)
    await rabbit.channel.queue_delete(extra)
    assert [after - before for before, after in pairwise(renewed)] == [6, 12, 24]
    assert [line["event"] for line in logged_lines] == ["queue has messages but delivers none; consuming it anew"]
