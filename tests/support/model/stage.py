"""A real store and the feed's real server, without RabbitMQ and SMTP: mails change only as a test wants."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from support.parts import request
from support.readings import READINESS, STATS
from support.samples import RULES, upcoming_booking
from websockets.asyncio.server import Server

from notifier import clock
from notifier.actors.broadcaster import Hub, broadcast
from notifier.domain.events import MailFilter
from notifier.domain.mail import (
    Mail,
    Reply,
    RetryPolicy,
    Status,
    cancelled,
    failed,
    handed_back,
    refused,
    retried,
    sent,
)
from notifier.domain.messages import Message, Origin, decode
from notifier.feed.auth import Tokens
from notifier.feed.pages import Pages
from notifier.feed.protocol import HEARTBEAT, StatsFrame, read_filter
from notifier.feed.server import serve_feed
from notifier.feed.session import Feed
from notifier.feed.share import Share
from notifier.settings import FeedSettings
from notifier.storage.sqlite.store import SqliteStore

RETRY = RetryPolicy((timedelta(0),), timedelta(hours=48))
SMALL = 4096
"""Bytes of the server's socket buffers, so that a client that does not read falls behind soon."""

View = Mapping[str, tuple[int, str]]
"""Revision and status of mails by their ids."""

OUTCOMES: Mapping[str, Callable[[Mail], Mail]] = {
    "sent": lambda mail: sent(mail, Reply(250, "OK"), clock.now()),
    "failed": lambda mail: failed(mail, Reply(550, "no"), None),
    "refused": lambda mail: refused(mail, Reply(450, "later"), None, RETRY, clock.now()),
    "handed back": handed_back,
}


class Stage:
    """The service as the clients of its feed see it."""

    store: SqliteStore
    _hub: Hub
    _server: Server

    def __init__(self, folder: Path) -> None:
        self.feed = FeedSettings.model_validate({"NOTIFIER_PORT": 0})
        self.ever: set[str] = set()
        self.gone: set[str] = set()
        self._folder = folder
        self._stores = 0
        self._published = 0
        self._parts = AsyncExitStack()

    async def open(self) -> None:
        """Open the store."""
        self.store = await SqliteStore.open(self._folder / f"{self._stores}.db")
        self._parts.push_async_callback(self.store.close)

    async def serve(self) -> None:
        """Serve the feed of the store, on the same port as before."""
        self._hub = Hub(self.store.id, (await self.store.span()).head)
        tokens = Tokens(self.feed, lambda: None)
        feed = Feed(self.store, self._hub, _stats, {}, "notifier/test", lambda: None, tokens, Share())
        pages = Pages(self.feed, tokens, lambda: READINESS, _no_metrics)
        self._server = await self._parts.enter_async_context(serve_feed(self.feed, feed, pages))
        for each in self._server.sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        port = self._server.sockets[0].getsockname()[1]
        self.feed = self.feed.model_copy(update={"port": port})
        stop = asyncio.Event()
        passing = asyncio.create_task(broadcast(self.store, self._hub, (), lambda: None, stop))
        self._parts.push_async_callback(_ended, passing, stop)

    async def close(self) -> None:
        """Stop like a service: the last events are sent, and every client gets `bye`."""
        await self._parts.aclose()

    def forget_store(self) -> None:
        """Use another store from the next `open` on."""
        self._stores += 1

    async def publish(self, requests: int, bookings: int = 0) -> None:
        """Store new messages."""
        messages: list[Message] = []
        for _ in range(requests + bookings):
            self._published += 1
            new = self._published
            event = (
                request(new)
                if len(messages) < requests
                else upcoming_booking(id=f"b{new}", booking=f"B{new % 3}", version=new)
            )
            messages.append(decode(msgspec.json.encode(event), Origin(received_at=clock.now())))
        await self.store.add(messages, RULES, clock.now())
        self.ever |= set(await self.view({}))

    async def claim(self, most: int) -> None:
        """Start sending mails."""
        await self.store.expire(clock.now())
        await self.store.claim(most, 0, clock.now())

    async def end(self, outcome: str, most: int) -> None:
        """Finish attempts; start them first if none is in progress."""
        if not await self.store.sending():
            await self.claim(most)
        await self.store.record([OUTCOMES[outcome](mail) for mail in (await self.store.sending())[:most]], clock.now())

    async def cancel(self, most: int) -> None:
        """Cancel waiting mails."""
        await self._change(Status.PENDING, most, lambda mail: cancelled(mail, "by the test"))

    async def retry(self, most: int) -> None:
        """Retry failed mails."""
        await self._change(Status.FAILED, most, retried)

    async def purge(self) -> None:
        """Purge all finished mails and their events."""
        later = clock.now() + timedelta(days=400)
        while any(await self.store.purge(later, later, None, clock.now())):
            pass

    async def send_and_purge(self, most: int) -> None:
        """Send mails and purge them while the feed is not served: clients that show them later have missed that."""
        before = await self.view({})
        await self.claim(most)
        await self.end("sent", most)
        changed = {id_ for id_, mail in (await self.view({})).items() if mail != before[id_]}
        await self.purge()
        self.gone |= changed - set(await self.view({}))

    def beat(self) -> None:
        """Move the cursors, as after some time without events."""
        self._hub.beat(asyncio.get_running_loop().time() + HEARTBEAT)

    async def cut(self, code: int | None) -> None:
        """Close every connection, without a close code or with one."""
        for connection in list(self._server.connections):
            if code is None:
                connection.transport.abort()
            else:
                await connection.close(code)

    async def view(self, wanted: Mapping[str, Any]) -> View:
        """Return the mails that match a filter."""
        page = await self.store.page(read_filter(dict(wanted)), None, 500)
        assert page.next is None
        return {mail.id: (mail.rev, str(mail.status)) for mail in page.mails}

    async def _change(self, status: Status, most: int, way: Any) -> None:
        found: tuple[Mail, ...] = (await self.store.page(MailFilter(status=frozenset({status})), None, most)).mails
        await self.store.record([way(mail) for mail in found], clock.now())


async def _stats() -> StatsFrame:
    return STATS


async def _no_metrics() -> bytes:
    return b""


async def _ended(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    with suppress(asyncio.CancelledError):
        await task
