"""Running services for tests, and conditions that tests wait for."""

import asyncio
import json
import time
import timeit
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from notifier import service
from notifier.feed.client import FeedClient
from notifier.settings import FeedSettings, Settings, load

PATIENCE = 30.0
"""Seconds after which a test stops waiting and fails."""


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[FeedSettings]:
    """Run a service in this process; yield the settings for its clients, with the port that it uses."""
    async with service.running(settings) as server:
        port = server.sockets[0].getsockname()[1]
        yield settings.feed.model_copy(update={"port": port})


def changed(environ: Mapping[str, str], **changes: str) -> Settings:
    """Load settings with some variables (without their prefix) changed."""
    return load({**environ, **{f"NOTIFIER_{name}": value for name, value in changes.items()}})


async def submit(client: FeedClient, message: Mapping[str, Any]) -> dict[str, Any]:
    """Submit a message and wait until it is stored."""
    return await result(client, await client.command("submit", {"message": message}))


async def result(client: FeedClient, id_: str) -> dict[str, Any]:
    """Wait for the result of a command, which must be a success."""
    frame = await wait_frame(client, lambda frame: frame["type"] == "result" and frame["id"] == id_)
    assert frame["ok"], frame
    value: dict[str, Any] = frame["value"]
    return value


async def next_frame(client: FeedClient) -> dict[str, Any]:
    """Wait for the next frame and return it as it came on the wire."""
    frame: dict[str, Any] = json.loads(await client.text())
    return frame


async def wait_frame(client: FeedClient, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for the first frame that is wanted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            frame = await next_frame(client)
            if wanted(frame):
                return frame


async def wait_event(client: FeedClient, type_: str, **fields: Any) -> dict[str, Any]:
    """Wait for the first event of a type whose mail has these fields; return the mail."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for event in (await next_frame(client)).get("events", ()):
                mail: dict[str, Any] = event["data"]["mail"]
                if event["type"] == type_ and all(mail[name] == value for name, value in fields.items()):
                    return mail


async def events_until(client: FeedClient, type_: str) -> list[dict[str, Any]]:
    """Return all events up to the first one of a type."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE):
        while True:
            for event in (await next_frame(client)).get("events", ()):
                found.append(event)
                if event["type"] == type_:
                    return found


def request(number: int, **data: Any) -> dict[str, Any]:
    """Build a notification request."""
    fields = {"to": f"p{number}@example.com", "subject": f"Number {number}", "text": "Hello.", **data}
    return {"type": "notification.requested", "id": f"r{number}", "source": "/test", "data": fields}


def fastest(work: Callable[[], object]) -> float:
    """Return the shortest of several runs, in seconds of processor time.

    Other load on the machine has little influence on it.
    """
    return min(timeit.repeat(work, timer=time.thread_time, number=2, repeat=5))
