"""Clients without a token guess tokens and hold connections half-open while mail is sent."""

import asyncio
import json
import re
from contextlib import AsyncExitStack, suppress

import pytest
from support.faults.scene import Scene
from support.pages import get
from support.parts import PATIENCE
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.wire import TEXT, UPGRADE, dialled, frame

from notifier.settings import FeedSettings

GUESS = frame(TEXT, json.dumps({"type": "hello", "token": "not-one-of-the-tokens"}).encode())
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer not-one-of-the-tokens\r\n\r\n"
UNFINISHED = frame(TEXT, b"x" * 20_000)[:-1]


@pytest.mark.parametrize(
    ("guessers", "silent", "mails"), [(20, 200, 120), pytest.param(100, 600, 600, marks=pytest.mark.faults)]
)
async def test_unauthenticated_clients_do_not_disturb_sending(
    scene: Scene, guessers: int, silent: int, mails: int
) -> None:
    """All messages are taken in and sent once; the wrong tokens are counted and logged."""
    tokens = {"VIEWER_TOKEN": VIEWER_TOKEN, "OPERATOR_TOKEN": OPERATOR_TOKEN}
    async with scene.service(**tokens) as victim:
        victim.feed = victim.feed.model_copy(update={"operator_token": OPERATOR_TOKEN})
        async with scene.load.flowing(rate=60), AsyncExitStack() as stack:
            crowd = [asyncio.create_task(guessing(victim.feed, n)) for n in range(guessers)]
            crowd += [asyncio.create_task(holding(victim.feed, n)) for n in range(silent // 100)]
            stack.push_async_callback(ended, crowd)
            await victim.wait_line(lambda line: line["event"] == "wrong tokens were given to the feed")
            await scene.sink.wait_accepted(len(scene.sink.accepted) + mails)
            bearer = {"Authorization": f"Bearer {VIEWER_TOKEN}"}
            _, _, page = await get(victim.feed, "/metrics", **bearer)
            assert not [task for task in crowd if task.done()]
        (counted,) = re.findall(r"^notifier_feed_auth_failures_total (\S+)$", page.decode(), re.MULTILINE)
        assert float(counted) >= 1
        await scene.end(victim)


async def guessing(feed: FeedSettings, number: int) -> None:
    """Send one wrong token after the other, in a hello or as a bearer token, and wait for each reply."""
    loop = asyncio.get_running_loop()
    said = [SCRAPE] if number % 2 else [UPGRADE, GUESS]
    while True:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE), dialled(feed, *said) as client:
                while await loop.sock_recv(client, 4096):
                    pass


async def holding(feed: FeedSettings, number: int) -> None:
    """Hold a hundred connections with half a request, half a hello or nothing until the server closes them."""
    loop = asyncio.get_running_loop()
    begun = ([], [UPGRADE[:-2]], [UPGRADE, UNFINISHED])[number % 3]
    while True:
        async with AsyncExitStack() as stack:
            with suppress(OSError):
                clients = [await stack.enter_async_context(dialled(feed, *begun)) for _ in range(100)]
                for client in clients:
                    while await loop.sock_recv(client, 4096):
                        pass


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks that do not end on their own."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
