"""The two clients of the feed, each watching a stage: the Python client and that of the dashboard."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import convert
from playwright.async_api import Page
from support.model.stage import Stage, View
from support.parts import PATIENCE

from notifier.feed.client import ReconnectingClient
from notifier.feed.protocol import FilterFields, WelcomeFrame
from notifier.feed.replica import Replica

Wanted = Mapping[str, Any]

START = """async ({filter, backOff}) => {
  const { Feed } = await import("/feed.js");
  const { State } = await import("/state.js");
  window.state = new State();
  const url = location.origin.replace("http", "ws") + "/feed";
  window.refusals = [];
  const onFrame = (frame) => {
    if (frame.type === "welcome" && !frame.resumed) refusals.push(frame.reason);
    state.apply(frame, feed.filter);
  };
  window.feed = new Feed(url, { filter, backOff, onFrame });
  feed.open();
}"""
REFUSALS = "() => refusals"
VIEW = "() => [...state.mails.values()].map(({id, rev, status}) => [id, rev, status])"
QUICK = (0.001, 0.005, 0.02)
"""Seconds between two attempts to reconnect."""


class Watcher(Protocol):
    """A client under test."""

    async def open(self, stage: Stage, wanted: Wanted) -> None:
        """Start watching."""

    async def refilter(self, wanted: Wanted) -> None:
        """Change the filter."""

    async def view(self) -> View:
        """Return the mails that the client has, with their revisions and statuses."""

    async def refusals(self) -> Sequence[str]:
        """Return the reason of each refused resume."""

    def read(self, *, on: bool) -> None:
        """Stop reading frames, or resume it."""

    async def close(self) -> None:
        """Stop watching."""


class PythonWatcher:
    """The Python client of the package."""

    def __init__(self) -> None:
        self._replica = Replica()
        self._reads = asyncio.Event()
        self._refusals: list[str] = []

    async def open(self, stage: Stage, wanted: Wanted) -> None:
        self._replica = Replica(convert(wanted, FilterFields))
        self._follower = ReconnectingClient(stage.feed, wanted, snapshot=500)
        self._reads.set()
        self._is_there = asyncio.Event()
        self._following = asyncio.create_task(self._follow())
        async with asyncio.timeout(PATIENCE):
            await self._is_there.wait()

    async def refilter(self, wanted: Wanted) -> None:
        self._replica.wanted = convert(wanted, FilterFields)
        await self._follower.refilter(wanted)

    async def view(self) -> View:
        if self._following.done():
            self._following.result()
        return {id_: (mail.rev, str(mail.status)) for id_, mail in self._replica.mails.items()}

    async def refusals(self) -> Sequence[str]:
        return self._refusals

    def read(self, *, on: bool) -> None:
        client = self._follower._client
        transport = client._websocket.transport if client else None
        if on:
            self._reads.set()
        else:
            self._reads.clear()
        if transport and not transport.is_closing():
            # Otherwise the library reads ahead, and no data ever waits on the server.
            (transport.resume_reading if on else transport.pause_reading)()

    async def close(self) -> None:
        self._following.cancel()
        # `view` raises an earlier error; the cleanup must go on in any case.
        await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self) -> None:
        frames = aiter(self._follower)
        try:
            async for frame in frames:
                self._is_there.set()
                await self._reads.wait()
                if isinstance(frame, WelcomeFrame) and frame.reason:
                    self._refusals.append(frame.reason)
                self._replica.apply(frame)
        finally:
            await frames.aclose()


class PageWatcher:
    """The modules of the dashboard in a browser, without its page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def open(self, stage: Stage, wanted: Wanted) -> None:
        await self._page.goto(f"http://127.0.0.1:{stage.feed.port}/healthz")
        await self._page.evaluate(START, {"filter": wanted, "backOff": [each * 1000 for each in QUICK]})

    async def refilter(self, wanted: Wanted) -> None:
        await self._page.evaluate("filter => feed.refilter(filter)", dict(wanted))

    async def view(self) -> View:
        return {id_: (rev, status) for id_, rev, status in await self._page.evaluate(VIEW)}

    async def refusals(self) -> Sequence[str]:
        found: list[str] = await self._page.evaluate(REFUSALS)
        return found

    def read(self, *, on: bool) -> None:
        """Do nothing: a browser reads ahead of its page in any case."""

    async def close(self) -> None:
        await self._page.evaluate("feed.close()")
