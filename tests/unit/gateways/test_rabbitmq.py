"""Consuming from a real broker: extra queues, a slow connection, and the end of a session."""

import asyncio
import json
from typing import Any

import pytest
from support.faults.proxy import Proxy
from support.parts import PATIENCE
from support.rabbit import Rabbit
from support.sessions import channel_of, consuming, delivered, until_probed
from yarl import URL

from notifier.gateways import connection as connection_module
from notifier.gateways import watchdog


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
