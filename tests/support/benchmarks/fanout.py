"""The stage with many clients of the feed: how many events a second all of them receive."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple

from support.benchmarks import workload
from support.benchmarks.children import Child, child
from support.benchmarks.results import Figure, Goal, Values
from support.benchmarks.running import served
from support.benchmarks.stage import Place, Stage
from support.benchmarks.versions import THIS, Version

from notifier.feed.client import FeedClient

EVENTS = 100
"""Events of a frame of the bare library, and of a message in the first part of the stage."""
AHEAD = 500
"""Events by which the slowest client may be behind: the service closes clients that are 1,000 behind."""
FAR = datetime(2126, 1, 1, tzinfo=UTC)
"""No mail of this stage becomes due, so each makes exactly one event."""


class _Part(NamedTuple):
    """Messages of so many mails each, and the names of their figures."""

    name: str
    mails: int


PARTS = (_Part("burst", EVENTS), _Part("single", 1))


async def watched(place: Place, version: Version) -> Values:
    """Let clients watch while messages are submitted: of 100 mails each, and then of one."""
    found: dict[str, float] = {}
    async with served(version, None, place.folder) as subject:
        feed, before = subject.service.feed, 0
        async with (
            child("listeners", str(feed.port), str(place.sizes.watchers)) as listeners,
            FeedClient.connect(feed, snapshot=0, filter={"mail": "none"}) as operator,
        ):
            results = asyncio.create_task(_read(operator))
            for part in PARTS:

                async def make(number: int, part: _Part = part) -> None:
                    message = workload.request(number, part.name, addresses=part.mails, send_at=FAR)
                    await operator.command("submit", {"message": message})

                cpu = subject.service.usage().cpu
                found[f"rate {part.name}"] = await _rate(listeners, before, place.sizes.watched, part.mails, make)
                found[f"cpu {part.name}"] = 1000 * (subject.service.usage().cpu - cpu) / place.sizes.watched
                before += place.sizes.watched
            results.cancel()
            await asyncio.wait({results})
    return found


async def _read(operator: FeedClient) -> None:
    """Read the results of commands, because the service closes clients that do not read."""
    async for _ in operator:
        pass


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

        before = server.cpu()
        rate = await _rate(listeners, 0, place.sizes.watched, EVENTS, make)
        cpu = 1000 * (server.cpu() - before) / place.sizes.watched
    return {f"{figure} {part.name}": value for part in PARTS for figure, value in (("rate", rate), ("cpu", cpu))}


async def _rate(listeners: Child, before: int, events: int, each: int, make: Callable[[int], Awaitable[None]]) -> float:
    """Make events, `each` at a time, as fast as all clients receive them; return the events per second.

    `before` is the number of events that the clients have received already.
    """
    began, received = time.perf_counter(), 0
    for number in range(events // each):
        if number * each - received >= AHEAD:
            wanted = number * each - AHEAD + max(each, EVENTS)
            received = (await listeners.ask(str(before + wanted)))["events"] - before
        await make(number)
    await listeners.ask(str(before + events))
    return events / (time.perf_counter() - began)


async def _frame(place: Place) -> str:
    """Return a frame of 100 events as this version sends it, with the word NUMBER in its cursor."""
    async with served(THIS, None, place.folder) as subject, asyncio.timeout(60):
        async with FeedClient.connect(subject.service.feed, snapshot=0) as client:
            await client.command("submit", {"message": workload.request(0, "frame", addresses=EVENTS, send_at=FAR)})
            while True:
                text = str(await client.text())
                if text.startswith('{"type":"events"') and text.count('"specversion"') == EVENTS:
                    return text.replace(json.loads(text)["cursor"], "NUMBER" + "-" * 40, 1)


STAGES = (
    Stage(
        "fanout",
        "events to 1,000 clients; bare: websockets.broadcast with frames of 100 events",
        (
            Figure("rate burst", "events to all clients, 100 mails a message", "events/s", "more", Goal("bare", 0.5)),
            Figure("cpu burst", "processor time of the service", "ms/event", "less"),
            Figure("rate single", "events to all clients, one mail a message", "events/s", "more", Goal("bare", 0.5)),
            Figure("cpu single", "processor time of the service", "ms/event", "less"),
        ),
        watched,
        bare_broadcast,
    ),
)
