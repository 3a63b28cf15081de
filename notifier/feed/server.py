"""The feed's server: listens, lets clients in and gives each a session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from notifier.errors import Misconfigured, Problem
from notifier.feed import protocol
from notifier.feed.connection_limiter import Connection, ConnectionLimiter
from notifier.feed.pages import Pages
from notifier.feed.session import CLOSE_TIMEOUT, Feed, Session
from notifier.settings import FeedSettings

HANDSHAKE_TIMEOUT = 10.0
MAX_FRAME = 512 * 1024
"""Bytes of an operator's frame: a message of 256 KiB, escaped."""
MAX_QUEUE = 1
"""Frames of a client that may wait to be handled; with more of them no more is read from it."""
PING_EVERY, PONG_WITHIN = 20.0, 20.0


@asynccontextmanager
async def serve_feed(settings: FeedSettings, feed: Feed, pages: Pages) -> AsyncIterator[Server]:
    """Listen until the block ends, then say goodbye to everyone; Misconfigured where the port is taken."""
    sessions: dict[Session, asyncio.Task[Any] | None] = {}
    way_in = ConnectionLimiter()

    class Visitor(Connection):
        door = way_in

    async def handle(websocket: ServerConnection) -> None:
        assert isinstance(websocket, Connection)  # noqa: S101 - what `create_connection` makes
        websocket.upgraded()
        session = Session(websocket, feed)
        sessions[session] = asyncio.current_task()
        try:
            await session.run()
        finally:
            del sessions[session]

    async def answer(connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, Connection)  # noqa: S101 - as above
        return await pages.answer(request, connection)

    try:
        server = await serve(
            handle,
            settings.host,
            settings.port,
            process_request=answer,
            select_subprotocol=_select,
            subprotocols=[Subprotocol(protocol.PROTOCOL)],
            compression=None,
            max_size=MAX_FRAME,
            max_queue=MAX_QUEUE,
            server_header=None,
            open_timeout=HANDSHAKE_TIMEOUT,
            ping_interval=PING_EVERY,
            ping_timeout=PONG_WITHIN,
            create_connection=Visitor,
            close_timeout=CLOSE_TIMEOUT,
        )
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise Misconfigured(
            [Problem("NOTIFIER_HOST, NOTIFIER_PORT", f"cannot listen on {where}: {error.strerror}")]
        ) from error
    try:
        yield server
    finally:
        server.close(close_connections=False)
        # Before anything is awaited: whoever completes a handshake from now on is closed and not welcomed.
        way_in.close()
        await asyncio.gather(*(session.leave() for session in sessions))
        await _ended([task for task in sessions.values() if task])
        await server.wait_closed()


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Give what operators have begun a little time, then cancel it: no client delays the end of the service."""
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        for task in pending:
            task.cancel()


def _select(_: ServerConnection, offered: Any) -> Subprotocol | None:
    """Speak our protocol where the client names it, and also where it names none."""
    return Subprotocol(protocol.PROTOCOL) if protocol.PROTOCOL in offered else None
