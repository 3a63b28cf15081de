"""Viewers send the most expensive queries, and messages make the maximum number of mails, while the service works."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import cycle
from typing import Any

import pytest
from support.faults.load import largest
from support.faults.scene import Scene
from support.parts import PATIENCE, request, result, submit, wait_frame

from notifier.errors import Unreachable
from notifier.feed.client import FeedClient
from notifier.settings import FeedSettings

PACE = 0.21
"""Seconds between two frames of a viewer: as many as it may send."""
STATUSES = ["pending", "sending", "sent", "failed", "cancelled", "expired", "uncertain"]
KINDS = ["booking.confirmation", "booking.change", "booking.cancellation", "flight.reminder", "notification"]
EXPENSIVE: tuple[Mapping[str, Any], ...] = (
    {"status": STATUSES, "kind": KINDS},
    {"kind": ["booking.cancellation", "flight.reminder"], "since": "2020-01-01T00:00:00Z"},
    {"booking": [f"B{number:05}" for number in range(500)], "kind": ["booking.change"]},
    {"status": ["failed", "sent"], "kind": KINDS, "since": "2020-01-01T00:00:00Z"},
)


async def watch(feed: FeedSettings, answers: list[int]) -> None:
    """List mails and change the filter as often as a viewer may, until the service ends."""
    with suppress(Unreachable):
        async with FeedClient.connect(feed, snapshot=500, stats=0.5) as client:
            for number, wanted in enumerate(cycle(EXPENSIVE)):
                await asyncio.sleep(PACE)
                if number % 2:
                    await client.filter(str(number), wanted, 500)
                    await wait_frame(client, lambda frame, id_=str(number): frame.get("id") == id_)  # type: ignore[misc]
                else:
                    await result(client, await client.command("mail.list", {"filter": wanted, "limit": 500}))
                answers.append(number)


@pytest.mark.parametrize("watchers", [4, pytest.param(30, marks=pytest.mark.faults)])
async def test_viewers_that_query_all_the_time(scene: Scene, watchers: int) -> None:
    """Messages are taken in and mails are sent meanwhile.

    Every viewer is answered, and nothing is lost or repeated.
    """
    async with scene.service(SEND_RATE="40") as victim:
        answers: list[list[int]] = [[] for _ in range(watchers)]
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(watch(victim.feed, each)) for each in answers]
            async with scene.load.flowing(rate=40):
                await scene.sink.wait_accepted(150)
            for task in watching:
                task.cancel()
        await scene.end(victim)
    assert min(map(len, answers)) > 0
    assert not scene.struck


@pytest.mark.parametrize("messages", [4, pytest.param(60, marks=pytest.mark.faults)])
async def test_messages_of_the_maximum_size(scene: Scene, messages: int) -> None:
    """Snapshots and small messages are not delayed, a shutdown is graceful, and no mail is lost."""
    async with scene.service(SEND_RATE="0") as victim:
        waits: dict[str, list[float]] = {"snapshot": [], "submit": []}
        began = time.monotonic()
        for number in range(messages):
            await scene.load.publish(scene.rabbit.channel, *largest(number))
        async with FeedClient.connect(victim.feed, snapshot=0, stats=0.5, filter={"mail": "none"}) as client:
            for number in range(1_000_000):
                waits["snapshot"].append(await timed(client, number))
                asked = time.monotonic()
                scene.load.published[f"r{number}"] = ["notification"]
                await submit(client, request(number))
                waits["submit"].append(time.monotonic() - asked)
                stats = await wait_frame(client, lambda frame: frame["type"] == "stats")
                if sum(stats["totals"].values()) > 2100 * messages * 2 // 3:
                    break
        longest = {name: max(each) for name, each in waits.items()}
        lasted = time.monotonic() - began
        print(f"longest waits {longest}, of {lasted:.1f} s in which {messages} came")  # noqa: T201 - pytest shows it with a failure
        stopped = time.monotonic()
        assert await victim.terminate() == 0, victim.lines[-10:]
        print(f"stopped in {time.monotonic() - stopped:.1f} s")  # noqa: T201 - likewise
    for name, wait in longest.items():
        assert wait < lasted * 2 / 3, (name, longest, lasted)
    async with scene.service(SEND_RATE="0") as victim:
        # Listing and checking a hundred thousand mails takes most of a minute.
        await scene.end(victim, 10 * PATIENCE)
    assert not scene.struck


async def timed(client: FeedClient, number: int) -> float:
    """Request a snapshot; return the seconds until it arrived."""
    began = time.monotonic()
    await client.filter(f"s{number}", {"status": ["pending"]}, 200)
    await wait_frame(client, lambda frame: frame.get("id") == f"s{number}")
    waited = time.monotonic() - began
    await client.filter(f"none{number}", {"mail": "none"}, 0)
    await wait_frame(client, lambda frame: frame.get("id") == f"none{number}")
    return waited
