"""The stage with many clients of the feed: how many events a second all of them receive."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from support.benchmarks import workload
from support.benchmarks.children import Child, child
from support.benchmarks.results import Figure, Goal, Values
from support.benchmarks.running import served
from support.benchmarks.stage import Place, Stage
from support.benchmarks.versions import THIS, Version

from notifier.feed.client import FeedClient

EVENTS = 100
"""Events that become public together: those of one message, and those of a frame of the bare library."""
AHEAD = 3
"""Frames by which the slowest client may be behind: the service closes clients that are far behind."""
FAR = datetime(2126, 1, 1, tzinfo=UTC)
"""No mail of this stage becomes due, so each makes exactly one event."""


async def watched(place: Place, version: Version) -> Values:
    """Let clients watch while messages of 100 mails each are submitted."""
    async with served(version, None, place.folder) as subject:
        feed, count = subject.service.feed, place.sizes.watched // EVENTS
        async with (
            child("listeners", str(feed.port), str(place.sizes.watchers)) as listeners,
            FeedClient.connect(feed, snapshot=0, filter={"mail": "none"}) as operator,
        ):

            async def make(number: int) -> None:
                message = workload.request(number, "w", addresses=EVENTS, send_at=FAR)
                await operator.command("submit", {"message": message})

            before = subject.service.usage()
            rate = await _rate(listeners, count, make)
            used = subject.service.usage().since(before)
    return {"rate": rate, "cpu": 1000 * used.cpu / (count * EVENTS)}


async def bare_broadcast(place: Place) -> Values:
    """Send a real frame of 100 events to as many clients with `websockets.broadcast`."""
    file = place.folder / "frame.json"
    file.write_text(await _frame(place), encoding="utf-8")
    async with (
        child("bare_broadcast", str(file)) as server,
        child("listeners", str(server.ready["port"]), str(place.sizes.watchers)) as listeners,
    ):

        async def make(_: int) -> None:
            server.tell("go")

        return {"rate": await _rate(listeners, place.sizes.watched // EVENTS, make)}


async def _rate(listeners: Child, count: int, make: Callable[[int], Awaitable[None]]) -> float:
    """Make events as fast as all clients receive them; return the events per second."""
    began = time.perf_counter()
    for number in range(count):
        await make(number)
        await listeners.ask(str(EVENTS * max(0, number + 1 - AHEAD)))
    await listeners.ask(str(EVENTS * count))
    return count * EVENTS / (time.perf_counter() - began)


async def _frame(place: Place) -> str:
    """Return a frame of 100 events as this version sends it."""
    async with served(THIS, None, place.folder) as subject, asyncio.timeout(60):
        async with FeedClient.connect(subject.service.feed, snapshot=0) as client:
            await client.command("submit", {"message": workload.request(0, "frame", addresses=EVENTS, send_at=FAR)})
            while True:
                text = str(await client.text())
                if text.startswith('{"type":"events"') and text.count('"specversion"') == EVENTS:
                    return text


STAGES = (
    Stage(
        "fanout",
        "events to 1,000 clients; bare: websockets.broadcast with frames of 100 events",
        (
            Figure("rate", "events that every client receives", "events/s", "more", Goal("bare", 0.5)),
            Figure("cpu", "processor time of the service", "ms/event", "less"),
        ),
        watched,
        bare_broadcast,
    ),
)
