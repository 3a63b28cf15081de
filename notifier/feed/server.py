"""The feed's server: listens, and serves each client by a session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from notifier.errors import Misconfigured, Problem
from notifier.feed import protocol
from notifier.feed.connection_limiter import ConnectionLimiter
from notifier.feed.limited_connection import LimitedConnection
from notifier.feed.pages import Pages
from notifier.feed.session import CLOSE_TIMEOUT, Feed, FeedSession
from notifier.settings import FeedSettings

HANDSHAKE_TIMEOUT = 10.0
"""Seconds in which a client must complete the HTTP upgrade."""
MAX_FRAME = 512 * 1024
"""Bytes of an operator's frame: a message of 256 KiB, escaped."""
MAX_QUEUE = 1
"""Frames of a client that may wait to be handled; beyond that nothing more is read from it."""
PING_EVERY, PONG_WITHIN = 20.0, 20.0
"""Seconds between two pings of the WebSocket, and for the pong to arrive."""


@asynccontextmanager
async def serve_feed(settings: FeedSettings, feed: Feed, pages: Pages) -> AsyncIterator[Server]:
    """Listen while the block lasts, then send `bye` to all clients and close. Raises Misconfigured on a taken port."""
    sessions: dict[FeedSession, asyncio.Task[Any] | None] = {}
    connections = ConnectionLimiter()

    class Connection(LimitedConnection):
        limiter = connections

    async def handle(websocket: ServerConnection) -> None:
        assert isinstance(websocket, LimitedConnection)  # noqa: S101 - what `create_connection` makes
        websocket.upgraded()
        session = FeedSession(websocket, feed)
        sessions[session] = asyncio.current_task()
        try:
            await session.run()
        finally:
            del sessions[session]

    async def answer(connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, LimitedConnection)  # noqa: S101 - as above
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
            create_connection=Connection,
            close_timeout=CLOSE_TIMEOUT,
        )
    except OSError as error:
        wrong = f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"
        remedy = "use an address of this machine, and a free port"
        raise Misconfigured([Problem("NOTIFIER_HOST, NOTIFIER_PORT", wrong, remedy)]) from error
    try:
        yield server
    finally:
        server.close(close_connections=False)
        # Before anything is awaited, so that a client that completes its handshake from now on is closed.
        connections.close()
        await asyncio.gather(*(session.leave() for session in sessions))
        await _ended([task for task in sessions.values() if task])
        await server.wait_closed()


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Wait up to CLOSE_TIMEOUT for commands of operators that have begun, then cancel them."""
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        for task in pending:
            task.cancel()


def _select(_: ServerConnection, offered: Any) -> Subprotocol | None:
    """Select our protocol if the client offers it; a client that offers none is served as well."""
    return Subprotocol(protocol.PROTOCOL) if protocol.PROTOCOL in offered else None
