"""The order of system calls proves that a message is acknowledged only after it is on disk."""

import asyncio

import pytest
from support.faults.load import booking
from support.faults.scene import Scene
from support.faults.strace import Call, check_order, command, read
from support.provided import needed
from yarl import URL

pytestmark = pytest.mark.faults

MESSAGES = 40


async def observed(scene: Scene, *tool: str) -> list[Call]:
    """Run the service under strace while messages arrive; return its system calls."""
    trace = scene.folder / "trace"
    async with scene.service(*command(needed("strace", "strace"), str(trace)), *tool) as victim:
        for number in range(MESSAGES):
            await scene.load.publish(scene.rabbit.channel, *booking(number))
            if number % 10 == 0:  # some alone, some in batches
                await scene.sink.wait_accepted(number + 1)
        await scene.end(victim)
    return await asyncio.to_thread(read, trace)


async def test_no_acknowledgement_leaves_before_its_commit_is_on_disk(scene: Scene) -> None:
    """Each basic.ack follows an fdatasync that follows the write of each message that it acknowledges."""
    found = await observed(scene)
    assert check_order(found, URL(scene.rabbit.url).port or 5672, sorted(scene.load.accepted)) >= MESSAGES // 10


async def test_the_check_fails_on_a_disk_that_does_not_sync(scene: Scene) -> None:
    """Control: with a library that turns every sync into a no-op, the same check fails."""
    found = await observed(scene, needed("eatmydata", "eatmydata"))
    with pytest.raises(AssertionError, match=r"acknowledged .* before it was on disk"):
        check_order(found, URL(scene.rabbit.url).port or 5672, sorted(scene.load.accepted))
