"""The feed's server: listens, lets clients in and gives each a session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from notifier import frames
from notifier.errors import Misconfigured
from notifier.gateways.door import Connection, Door
from notifier.gateways.http import Pages
from notifier.gateways.session import FAREWELL, Feed, Session
from notifier.settings import FeedSettings

HANDSHAKE_TIMEOUT = 10.0
MOST_FRAME = 512 * 1024
"""Bytes of an operator's frame: a message of 256 KiB, escaped."""
MAX_QUEUE = 1
"""Frames of a client that may wait to be handled; with more of them no more is read from it."""
PING_EVERY, PONG_WITHIN = 20.0, 20.0


@asynccontextmanager
async def serve_feed(settings: FeedSettings, feed: Feed, pages: Pages) -> AsyncIterator[Server]:
    """Listen until the block ends, then say goodbye to everyone; Misconfigured where the port is taken."""
    sessions: set[Session] = set()
    way_in = Door()

    class Visitor(Connection):
        door = way_in

    async def handle(websocket: ServerConnection) -> None:
        assert isinstance(websocket, Connection)  # noqa: S101 - what `create_connection` makes
        websocket.upgraded()
        session = Session(websocket, feed)
        sessions.add(session)
        try:
            await session.run()
        finally:
            sessions.discard(session)

    async def answer(connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, Connection)  # noqa: S101 - as above
        response = await pages.answer(request, connection)
        if response is None and way_in.is_full:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many clients\n")
        return response

    try:
        server = await serve(
            handle,
            settings.host,
            settings.port,
            process_request=answer,
            select_subprotocol=_select,
            subprotocols=[Subprotocol(frames.PROTOCOL)],
            compression=None,
            max_size=MOST_FRAME,
            max_queue=MAX_QUEUE,
            server_header=None,
            open_timeout=HANDSHAKE_TIMEOUT,
            ping_interval=PING_EVERY,
            ping_timeout=PONG_WITHIN,
            create_connection=Visitor,
            close_timeout=FAREWELL,
        )
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise Misconfigured([f"NOTIFIER_HOST, NOTIFIER_PORT: cannot listen on {where}: {error.strerror}"]) from error
    try:
        yield server
    finally:
        server.close(close_connections=False)
        await asyncio.gather(*(session.leave() for session in sessions))
        way_in.close()
        await server.wait_closed()


def _select(_: ServerConnection, offered: Any) -> Subprotocol | None:
    """Speak our protocol where the client names it, and also where it names none."""
    return Subprotocol(frames.PROTOCOL) if frames.PROTOCOL in offered else None
