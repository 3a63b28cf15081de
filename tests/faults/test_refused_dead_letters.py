"""The broker refuses dead letters for a while because their queue is full."""

import asyncio
import json
from functools import partial

import pytest
from support.faults.load import BAD, bad, booking
from support.faults.scene import Scene
from support.parts import PATIENCE

from notifier.demo.node import PrivateNode
from notifier.feed.client import readiness
from notifier.gateways.topology import DEAD

pytestmark = pytest.mark.faults

PREFETCH = 20
FULL = '{"max-length":0,"overflow":"reject-publish"}'


async def test_a_full_dead_letter_queue_blocks_no_valid_message(fragile: Scene, node: PrivateNode) -> None:
    """Three times as many invalid messages as the prefetch are held; valid ones are mailed, and `/readyz` shows why."""
    scene = fragile
    await asyncio.to_thread(node.control, "set_policy", "full", f"^{DEAD}$", FULL, "--apply-to", "queues")
    await scene.rabbit.channel.queue_purge(DEAD)
    for number in range(3 * PREFETCH):
        await scene.load.publish(scene.rabbit.channel, *bad(number))
    async with scene.service(AMQP_PREFETCH=str(PREFETCH)) as victim:
        for number in range(1000, 1020):
            await scene.load.publish(scene.rabbit.channel, *booking(number))
        await scene.sink.wait_accepted(20)
        health = await asyncio.to_thread(readiness, victim.feed)
        found = json.loads(health.body)
        assert health.is_ready
        assert found["dead_letters"]["state"] == "held"
        assert found["dead_letters"]["waiting"] >= PREFETCH
        assert "is full or unavailable" in found["dead_letters"]["reason"]
        assert found["actors"]["consumer"]["state"] == "running"
        await asyncio.to_thread(node.control, "clear_policy", "full")
        async with asyncio.timeout(2 * PATIENCE):
            while await _letters(scene) < 3 * PREFETCH:  # noqa: ASYNC110 - the broker sends no signal
                await asyncio.sleep(0.1)
        await scene.sink.wait(partial(_mailed, scene, 20), PATIENCE)
        await scene.end(victim)
    held = [line for line in victim.lines if "are held" in str(line.get("event"))]
    assert len(held) == 1


async def test_a_held_dead_letter_does_not_delay_large_bodies(fragile: Scene, node: PrivateNode) -> None:
    """A held dead letter with a body over the limit and a body of 70 MB do not delay the booking behind them."""
    scene = fragile
    await asyncio.to_thread(node.control, "set_policy", "full", f"^{DEAD}$", FULL, "--apply-to", "queues")
    await scene.rabbit.channel.queue_purge(DEAD)
    async with scene.service() as victim:
        await scene.load.publish_raw(scene.rabbit.channel, "held", b" " * 300_000, BAD)
        await victim.wait_line(lambda line: "are held" in str(line.get("event")))
        await scene.load.publish_raw(scene.rabbit.channel, "large", b" " * 70_000_000, BAD)
        await scene.load.publish(scene.rabbit.channel, *booking(1))
        await scene.sink.wait_accepted(1)
        assert not [line for line in victim.lines if line.get("event") == "cannot go on, will try again"]
        await asyncio.to_thread(node.control, "clear_policy", "full")
        async with asyncio.timeout(2 * PATIENCE):
            while await _letters(scene) < 2:  # noqa: ASYNC110 - the broker sends no signal
                await asyncio.sleep(0.1)
        await scene.end(victim)


async def _letters(scene: Scene) -> int:
    return (await scene.rabbit.channel.queue_declare(DEAD, passive=True)).message_count or 0


def _mailed(scene: Scene, count: int) -> bool:
    return len({entry["mail"] for entry in scene.sink.accepted}) >= count
