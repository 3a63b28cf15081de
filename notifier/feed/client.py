"""A client of the running service: its feed, its commands, its health."""

import asyncio
import http.client
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Self

import msgspec
from msgspec import Raw, Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from notifier.errors import NotifierError, Unreachable
from notifier.feed.protocol import (
    HEARTBEAT,
    PROTOCOL,
    BadFrame,
    ByeFrame,
    ClientFrame,
    CloseCode,
    CommandFrame,
    EventsFrame,
    FilterFields,
    FilterFrame,
    HelloFrame,
    ReadinessStates,
    ServerFrame,
    SnapshotFrame,
    WelcomeFrame,
    read_server_frame,
    write,
)
from notifier.feed.protocol.close_codes import is_refusal
from notifier.settings import FeedSettings

BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two attempts to connect again; the last one repeats."""
TIMEOUT = 10.0
"""Seconds to wait for a connection, and for the answer of `/readyz`."""
SILENCES = 2.5
"""Heartbeats without any frame after which a connection is considered lost."""
FIRST_STATE_TIMEOUT = 600.0
"""Seconds to wait for the first snapshot or events. Until then the service sends no heartbeat and may be busy with
other clients; the pings of the WebSocket itself notice a lost connection much earlier."""

Wanted = FilterFields | Mapping[str, object]
"""Which mails to watch, as a struct or as the fields of one."""


class Rejected(NotifierError):
    """The service does not accept the client or its frame, or closed for a reason for which a retry is no remedy."""


class Lost(Struct, frozen=True):
    """A connection was lost and another one will follow. Not a frame: it comes from `ReconnectingClient`."""

    reason: str


class FeedClient:
    """One connection to the feed."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._last_id = 0

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        settings: FeedSettings,
        *,
        filter: Wanted | None = None,  # noqa: A002 - the protocol's name
        resume: str | None = None,
        snapshot: int | None = None,
        stats: float | None = None,
    ) -> AsyncIterator[Self]:
        """Connect and send `hello` with these fields and the token of the settings.

        Raises Unreachable if no service answers or the connection is lost, and Rejected if the service closes it for
        good.
        """
        host, port = reachable(settings.host), settings.port
        url = f"ws://{f'[{host}]' if ':' in host else host}:{port}/feed"
        try:
            websocket = await connect(
                url,
                subprotocols=[Subprotocol(PROTOCOL)],
                compression=None,
                max_size=None,
                open_timeout=TIMEOUT,
                proxy=None,  # our own service is asked directly, as `readiness` does, whatever the environment says
            )
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise Unreachable(f"no notifier answers at {host}:{port} ({error})") from error
        try:
            async with websocket:
                client = cls(websocket)
                token = settings.operator_token or settings.viewer_token or None
                hello = HelloFrame(token=token, resume=resume, snapshot=snapshot, stats=stats)
                await client._send(msgspec.structs.replace(hello, filter=_encoded(filter)) if filter else hello)
                yield client
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def __aiter__(self) -> AsyncIterator[ServerFrame]:
        """Yield the server's frames until the connection ends, which raises Unreachable or Rejected."""
        while True:
            yield await self.frame()

    async def text(self) -> str | bytes:
        """Wait for the next frame and return it as it came."""
        return await self._websocket.recv()

    async def frame(self) -> ServerFrame:
        """Wait for the next frame whose type this version knows. Raises Rejected if it cannot be read."""
        while (frame := _read(await self.text())) is None:
            pass
        return frame

    async def live_frames(self) -> AsyncIterator[ServerFrame]:
        """Yield the server's frames; raise Unreachable if none comes for SILENCES heartbeats.

        Frames of unknown types count as a sign of life, and are not yielded.
        """
        limit, heartbeat = FIRST_STATE_TIMEOUT, float(HEARTBEAT)
        while True:
            try:
                async with asyncio.timeout(limit):
                    frame = _read(await self.text())
            except TimeoutError:
                self._websocket.transport.abort()
                raise Unreachable(f"no frame was received for {limit:g} s") from None
            if isinstance(frame, WelcomeFrame):
                heartbeat = frame.heartbeat
            if isinstance(frame, SnapshotFrame | EventsFrame):
                limit = SILENCES * heartbeat
            if frame is not None:
                yield frame

    async def filter(self, id_: str, wanted: Wanted, snapshot: int | None) -> None:
        """Change the filter; the `snapshot` that follows has the same id."""
        await self._send(FilterFrame(id=id_, filter=_encoded(wanted), snapshot=snapshot))

    async def command(self, name: str, args: Struct | Mapping[str, object]) -> str:
        """Send a command; return the id that its `result` frame will have."""
        self._last_id += 1
        await self._send(CommandFrame(id=str(self._last_id), name=name, args=_encoded(args)))
        return str(self._last_id)

    async def _send(self, frame: ClientFrame) -> None:
        await self._websocket.send(write(frame), text=True)


class ReconnectingClient:
    """A watcher that connects again with back-off, and resumes where the last connection ended.

    Iterating yields the server's frames, of those with a cursor only the ones of the latest
    filter, and `Lost` between two connections. The first connection must succeed
    (Unreachable otherwise). A refusal by the server, or a `bye` that forbids to reconnect,
    raises Rejected.
    """

    def __init__(self, settings: FeedSettings, wanted: Wanted | None = None, snapshot: int | None = None) -> None:
        self._settings = settings
        self._wanted = FilterFields() if wanted is None else wanted
        self._snapshot = snapshot
        self._client: FeedClient | None = None
        self._cursor: str | None = None  # received under the latest filter, never under another one
        self._awaited: str | None = None  # id of the snapshot that answers the latest filter
        self._refilters = 0

    async def refilter(self, wanted: Wanted) -> None:
        """Watch other mails from now on; their snapshot follows."""
        self._wanted, self._cursor, self._awaited = wanted, None, None
        if self._client:
            with suppress(ConnectionClosed):  # the next hello carries the filter
                await self._send_filter(self._client)

    async def __aiter__(self) -> AsyncGenerator[ServerFrame | Lost, None]:
        """Yield frames; see above."""
        attempts, was_connected = 0, False
        while True:
            pause: float | None = None
            try:
                async with self._connected() as client:
                    was_connected = True
                    async for frame in client.live_frames():
                        if not self._is_current(frame):
                            continue
                        if isinstance(frame, SnapshotFrame | EventsFrame):
                            self._cursor, attempts = frame.cursor, 0
                        yield frame
                        if isinstance(frame, ByeFrame):
                            pause = _pause(frame)
            except Unreachable as error:
                if not was_connected:
                    raise
                if not attempts:
                    yield Lost(str(error))
            # Spread, so that clients that lost the same service do not come back at the same moment.
            spread = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            step = BACK_OFF[min(attempts, len(BACK_OFF) - 1)]
            await asyncio.sleep((step if pause is None else pause) * spread)
            attempts += 1

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[FeedClient]:
        wanted = self._wanted
        connection = FeedClient.connect(self._settings, filter=wanted, resume=self._cursor, snapshot=self._snapshot)
        async with connection as client:
            self._client, self._awaited = client, None
            if self._wanted is not wanted:
                await self._send_filter(client)
            try:
                yield client
            finally:
                self._client = None

    async def _send_filter(self, client: FeedClient) -> None:
        self._refilters += 1
        # Set before it is sent: frames that come while it waits to be sent belong to the filter before.
        self._awaited = str(self._refilters)
        await client.filter(self._awaited, self._wanted, self._snapshot)

    def _is_current(self, frame: ServerFrame) -> bool:
        """Return whether a frame belongs to the latest filter; cursors before its snapshot belong to the one before."""
        if self._awaited and isinstance(frame, SnapshotFrame) and frame.id == self._awaited:
            self._awaited = None
        return not (self._awaited and isinstance(frame, SnapshotFrame | EventsFrame))


class Health(NamedTuple):
    """The answer of `/readyz`: whether the service is ready, the states of its parts, and the whole body (JSON)."""

    is_ready: bool
    states: ReadinessStates
    body: bytes


def readiness(settings: FeedSettings) -> Health:
    """Ask `/readyz`, which shows states only if a token is needed and the settings have none.

    Raises Unreachable if nothing answers, or something that is not notifier.
    """
    host, port = reachable(settings.host), settings.port
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        token = settings.operator_token or settings.viewer_token
        # As bytes: http.client would encode a text as Latin-1, and the service reads UTF-8.
        connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {token}".encode()} if token else {})
        response = connection.getresponse()
        body = response.read()
        states = msgspec.json.decode(body, type=ReadinessStates)
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        raise Unreachable(f"no notifier answers at {host}:{port} ({error})") from error
    else:
        return Health(response.status == http.HTTPStatus.OK, states, body)
    finally:
        connection.close()


def reachable(host: str) -> str:
    """Return the host under which a service that listens on `host` can be reached from its own machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound


def _encoded(fields: Struct | Mapping[str, object]) -> Raw:
    return Raw(msgspec.json.encode(fields))


def _read(text: str | bytes) -> ServerFrame | None:
    try:
        return read_server_frame(text)
    except BadFrame as error:
        raise Rejected(str(error)) from error


def _pause(bye: ByeFrame) -> float:
    """Return the seconds that the server asks the client to wait; raise Rejected if it must not reconnect."""
    if not bye.reconnect:
        raise Rejected(f"the service ended the connection for good ({bye.code})")
    return bye.after_ms / 1000


def _lost(closed: ConnectionClosed) -> NotifierError:
    code = closed.rcvd.code if closed.rcvd else None
    reason = closed.rcvd.reason if closed.rcvd else "connection lost"
    if code == CloseCode.FRAME_TOO_LARGE:
        return Rejected(f"the message is too large for the feed: {reason}")
    if code is not None and is_refusal(code):
        return Rejected(f"{code} {reason}")
    return Unreachable(f"the feed was closed: {code or ''} {reason}".strip())
