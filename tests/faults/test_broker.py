"""The broker becomes unavailable in many ways and comes back."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import aiormq
import pytest
from aiormq.abc import DeliveredMessage
from support.faults.equation import stored
from support.faults.load import bad, booking
from support.faults.proxy import Proxy
from support.faults.scene import Scene
from support.faults.victim import Victim
from support.parts import PATIENCE

from notifier.demo.node import PrivateNode
from notifier.gateways.topology import EVENTS

pytestmark = pytest.mark.faults

BACKLOG = 100
BAD = 5
SILENCE = 120.0
"""Seconds within which the service must detect a dead connection: three heartbeats, with a margin."""


async def reconnected(proxy: Proxy, fault: Callable[[], None]) -> None:
    """Disturb the connections, and wait until the service has opened a new one."""
    before = proxy.connections
    fault()
    async with asyncio.timeout(PATIENCE), proxy.new_connection:
        await proxy.new_connection.wait_for(lambda: proxy.connections > before)


@asynccontextmanager
async def behind(proxy: Proxy, scene: Scene) -> AsyncIterator[None]:
    """Connect the service to its broker through a proxy, and publish a steady load."""
    scene.environ["NOTIFIER_AMQP_URL"] = proxy.url(scene.rabbit.url)
    async with scene.load.flowing(rate=60):
        yield


async def end_after_more(scene: Scene, victim: Victim) -> None:
    """Keep the load running for a while on a recovered broker, then stop it and the service.

    Dead letters that were published while the broker was unavailable wait in the durable queue, which is read here.
    """
    connection = await aiormq.connect(scene.rabbit.url)
    try:
        channel = await connection.channel()
        await channel.basic_consume("notifier.dead", scene.letters.put, no_ack=True)
        await scene.sink.wait_accepted(len(scene.sink.accepted) + 60)
        await scene.load.stop()
        await scene.end(victim)
    finally:
        await connection.close()


async def test_reset_connections(scene: Scene, proxy: Proxy) -> None:
    """Under load every connection is reset several times; the service reconnects and loses nothing."""
    async with behind(proxy, scene), scene.service() as victim:
        for round_ in range(3):
            await scene.sink.wait_accepted(20 * (round_ + 1))
            await reconnected(proxy, proxy.reset)
        await scene.sink.wait_accepted(len(scene.sink.accepted) + 30)
        await scene.load.stop()
        await scene.end(victim)


async def test_cut_in_the_middle_of_a_frame(scene: Scene, proxy: Proxy) -> None:
    """The connection is cut after any number of bytes from the service, within acknowledgements and results."""
    async with behind(proxy, scene), scene.service() as victim:
        for size in (1, 7, 20, 21, 22, 500, 4096):
            await scene.sink.wait_accepted(len(scene.sink.accepted) + 10)
            await reconnected(proxy, partial(setattr, proxy, "cut_after", size))
        await scene.sink.wait_accepted(len(scene.sink.accepted) + 30)
        await scene.load.stop()
        await scene.end(victim)


async def test_lost_replies(scene: Scene, proxy: Proxy) -> None:
    """Deliveries and confirms of the broker are lost together with their connection."""
    async with behind(proxy, scene), scene.service() as victim:
        for _ in range(5):
            await scene.sink.wait_accepted(len(scene.sink.accepted) + 10)
            await reconnected(proxy, partial(setattr, proxy, "losing", 1))
        await scene.sink.wait_accepted(len(scene.sink.accepted) + 30)
        await scene.load.stop()
        await scene.end(victim)


async def test_a_half_open_connection(scene: Scene, proxy: Proxy) -> None:
    """No bytes arrive and nothing is closed: the service detects this and reconnects as soon as it can."""
    async with behind(proxy, scene), scene.service() as victim:
        await scene.sink.wait_accepted(30)
        proxy.stall()
        lost = await victim.wait_line(lambda line: line.get("actor") == "consumer" and "reason" in line, SILENCE)
        assert lost["level"] == "warning", lost
        proxy.flow()
        await victim.wait_line(lambda line: line.get("actor") == "consumer" and line["event"] == "recovered", SILENCE)
        await scene.load.stop()
        await scene.end(victim)


async def test_a_deleted_queue(scene: Scene) -> None:
    """While the service runs its queue is deleted: it declares the queue again and takes in new messages."""
    async with scene.service() as victim:
        async with scene.load.flowing(rate=60):
            await scene.sink.wait_accepted(30)
        await scene.settle(victim)
        await scene.rabbit.channel.queue_delete(scene.rabbit.queue)
        await victim.wait_line(lambda line: line.get("actor") == "consumer" and line["event"] == "recovered")
        async with scene.load.flowing(rate=60):
            await scene.sink.wait_accepted(len(scene.sink.accepted) + 30)
        await scene.end(victim)


async def test_a_closed_channel(fragile: Scene) -> None:
    """The broker closes the channel because the exchange for results was deleted.

    The service declares the exchange again, and all results arrive.
    """
    scene = fragile
    async with scene.service() as victim, scene.load.flowing(rate=60):
        for _ in range(3):
            await scene.sink.wait_accepted(len(scene.sink.accepted) + 20)
            await scene.rabbit.channel.exchange_delete(EVENTS)
        results = await scene.rabbit.listen(EVENTS, "topic", "mail.sent")
        async with asyncio.timeout(30):
            for _ in range(10):
                await results.get()
        await scene.load.stop()
        await scene.end(victim)


async def test_a_killed_broker(fragile: Scene, node: PrivateNode) -> None:
    """The broker is killed under load and restarted; messages confirmed before and after that are mailed."""
    await survive(fragile, node, node.kill)


async def test_a_restarted_broker(fragile: Scene, node: PrivateNode) -> None:
    """The broker is shut down gracefully and started again."""
    await survive(fragile, node, node.stop)


async def survive(scene: Scene, node: PrivateNode, end: Callable[[], None]) -> None:
    """Stop the broker under load, and start it again."""
    async with scene.service() as victim, scene.load.flowing(rate=60):
        await scene.sink.wait_accepted(60)
        await asyncio.to_thread(end)
        await asyncio.to_thread(node.start)
        await end_after_more(scene, victim)


async def test_a_frozen_broker(fragile: Scene, node: PrivateNode) -> None:
    """The broker is frozen until the service has detected it, and then continues: nothing is lost."""
    scene = fragile
    async with scene.service() as victim, scene.load.flowing(rate=60):
        await scene.sink.wait_accepted(60)
        node.pause()
        try:
            await victim.wait_line(lambda line: line.get("actor") == "consumer" and "reason" in line, SILENCE)
        finally:
            node.unpause()
        await victim.wait_line(lambda line: line.get("actor") == "consumer" and line["event"] == "recovered", SILENCE)
        await end_after_more(scene, victim)


async def test_a_memory_alarm(fragile: Scene, node: PrivateNode) -> None:
    """A memory alarm blocks all publishers: messages are still consumed and mailed, and all results follow later.

    Invalid messages at the head of the queue do not stop this, although their dead letters cannot be published.

    Messages that the load publishes meanwhile are not confirmed, and so do not count as accepted.
    """
    scene = fragile
    results = await scene.rabbit.listen(EVENTS, "topic", "mail.sent")
    for number in range(BAD):
        await scene.load.publish(scene.rabbit.channel, *bad(number))
    for number in range(BAD, BAD + BACKLOG):
        await scene.load.publish(scene.rabbit.channel, *booking(number))
    await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "0")
    async with scene.service(SEND_RATE="0", AMQP_PREFETCH="20") as victim, scene.load.flowing(rate=10):
        await scene.sink.wait_accepted(BACKLOG)
        await victim.wait_line(lambda line: "confirmed nothing" in line.get("reason", ""), SILENCE)
        assert len(scene.load.accepted) == BAD + BACKLOG
        assert results.qsize() < BACKLOG
        await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "0.4")
        await scene.sink.wait_accepted(BACKLOG + 30)
        await scene.load.stop()
        await scene.end(victim)
    await wait_for_results(results, {row.id for row in stored(scene.database) if row.status == "sent"})


async def wait_for_results(results: "asyncio.Queue[DeliveredMessage]", mails: set[str]) -> None:
    """Wait until each of these mails has its result."""
    async with asyncio.timeout(PATIENCE):
        while mails:
            mails.discard(json.loads((await results.get()).body)["subject"])
