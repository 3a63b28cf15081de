"""A client of the running service: its feed, its commands, its health."""

import asyncio
import http.client
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from notifier.errors import NotifierError, Unreachable
from notifier.feed.protocol import HEARTBEAT, PROTOCOL
from notifier.settings import FeedSettings

BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two tries to connect again; the last one repeats."""
TIMEOUT = 10.0
SILENCES = 2.5
"""Heartbeats without any frame after which a connection is taken for lost."""
FIRST_STATE_TIMEOUT = 600.0
"""Seconds to wait for the first snapshot or events. Until then the service sends no heartbeat and may be busy with
other clients; the pings of the WebSocket itself notice a lost connection much earlier."""

_TOO_LARGE = 1009
"""The close code after a frame that is larger than the feed accepts; connecting again would not help."""


class Rejected(NotifierError):
    """The service answers and does not let us in, or broke off for a reason that trying again does not mend."""


class FeedClient:
    """One connection to the feed."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._last_id = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: FeedSettings, **hello: Any) -> AsyncIterator[Self]:
        """Connect and say hello; Unreachable where nobody answers."""
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
                token = settings.operator_token or settings.viewer_token
                await client._send("hello", **({"token": token} if token else {}), **hello)
                yield client
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the server's frames until the connection ends, which raises Unreachable."""
        while True:
            yield await self.frame()

    async def frame(self) -> dict[str, Any]:
        """Wait for the next frame."""
        found: dict[str, Any] = msgspec.json.decode(await self._websocket.recv())
        return found

    async def heard(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the server's frames, and take a silence for a loss: once followed, the log has a heartbeat."""
        patience, heartbeat = FIRST_STATE_TIMEOUT, float(HEARTBEAT)
        while True:
            try:
                async with asyncio.timeout(patience):
                    frame = await self.frame()
            except TimeoutError:
                self._websocket.transport.abort()
                raise Unreachable(f"nothing was heard for {patience:g} s") from None
            if frame["type"] == "welcome":
                heartbeat = frame["heartbeat"]
            if "cursor" in frame:
                patience = SILENCES * heartbeat
            yield frame

    async def filter(self, id_: str, wanted: Mapping[str, Any], snapshot: int) -> None:
        """Change the filter; the `snapshot` that follows has the same id."""
        await self._send("filter", id=id_, filter=wanted, snapshot=snapshot)

    async def command(self, name: str, args: Mapping[str, Any]) -> str:
        """Send a command; the returned id is in its `result` frame."""
        self._last_id += 1
        await self._send("command", id=str(self._last_id), name=name, args=args)
        return str(self._last_id)

    async def _send(self, type_: str, **fields: Any) -> None:
        await self._websocket.send(msgspec.json.encode({"type": type_, **fields}), text=True)


class ReconnectingClient:
    """One lasting look at the feed: connects again with back-off, and goes on where the last connection ended.

    Iterating yields the server's frames, and of those with a cursor only what belongs to
    the latest filter. Between two connections comes a frame of our own,
    `{"type": "lost", "reason"}`. The first connection must succeed (Unreachable), and a
    refusal of the client, or a goodbye for good, ends it (Rejected).
    """

    def __init__(self, settings: FeedSettings, wanted: Mapping[str, Any] | None = None, **hello: Any) -> None:
        self._settings = settings
        self._wanted = wanted or {}
        self._hello = hello
        self._client: FeedClient | None = None
        self._cursor: str | None = None  # got under the latest filter, never under another one
        self._awaited: str | None = None  # the snapshot that answers the latest filter
        self._asked = 0

    async def refilter(self, wanted: Mapping[str, Any]) -> None:
        """Look at other mails from now on; their snapshot follows."""
        self._wanted, self._cursor, self._awaited = wanted, None, None
        if self._client:
            with suppress(ConnectionClosed):  # the next hello carries it
                await self._ask(self._client)

    async def __aiter__(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield frames; see above."""
        tries, was_there = 0, False
        while True:
            pause: float | None = None
            try:
                async with self._connected() as client:
                    was_there = True
                    async for frame in client.heard():
                        if not self._counts(frame):
                            continue
                        if "cursor" in frame:
                            self._cursor, tries = frame["cursor"], 0
                        yield frame
                        if frame["type"] == "bye":
                            pause = _pause(frame)
            except Unreachable as error:
                if not was_there:
                    raise
                if not tries:
                    yield {"type": "lost", "reason": str(error)}
            # Spread, so that all who lost the same service do not come back at the same moment.
            spread = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            step = BACK_OFF[min(tries, len(BACK_OFF) - 1)]
            await asyncio.sleep((step if pause is None else pause) * spread)
            tries += 1

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[FeedClient]:
        wanted = self._wanted
        resume = {"resume": self._cursor} if self._cursor else {}
        async with FeedClient.connect(self._settings, filter=wanted, **self._hello, **resume) as client:
            self._client, self._awaited = client, None
            if self._wanted is not wanted:
                await self._ask(client)
            try:
                yield client
            finally:
                self._client = None

    async def _ask(self, client: FeedClient) -> None:
        self._asked += 1
        # Known before it is sent: what comes while it waits to be sent is of the filter before.
        self._awaited = str(self._asked)
        await client.filter(self._awaited, self._wanted, self._hello.get("snapshot", 200))

    def _counts(self, frame: Mapping[str, Any]) -> bool:
        """Say whether a frame belongs to the latest filter: until its snapshot comes, cursors are of the one before."""
        if self._awaited and frame["type"] == "snapshot" and frame.get("id") == self._awaited:
            self._awaited = None
        return not (self._awaited and "cursor" in frame)


class _State(msgspec.Struct):
    state: str


class _Readiness(msgspec.Struct):
    """What every notifier answers, and hardly another service that listens there."""

    status: str
    store: _State
    actors: dict[str, _State]


def readiness(settings: FeedSettings) -> tuple[bool, dict[str, Any]]:
    """Ask `/readyz`, which without a token that is needed gives states only.

    Raises Unreachable if nothing answers, or something that is not notifier.
    """
    host, port = reachable(settings.host), settings.port
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        token = settings.operator_token or settings.viewer_token
        # As bytes: http.client would encode a text as Latin-1, and the service reads UTF-8.
        connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {token}".encode()} if token else {})
        response = connection.getresponse()
        parts = json.loads(response.read())
        msgspec.convert(parts, _Readiness)
    except (OSError, http.client.HTTPException, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise Unreachable(f"no notifier answers at {host}:{port} ({error})") from error
    else:
        return response.status == http.HTTPStatus.OK, parts
    finally:
        connection.close()


def reachable(host: str) -> str:
    """Give the host under which a service that listens on `host` can be reached from its own machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound


def _pause(bye: Mapping[str, Any]) -> float:
    """Seconds that the server asks us to stay away; Rejected where it wants us back no more."""
    if not bye["reconnect"]:
        raise Rejected(f"the service said goodbye for good ({bye['code']})")
    return float(bye["after_ms"]) / 1000


def _lost(closed: ConnectionClosed) -> NotifierError:
    code = closed.rcvd.code if closed.rcvd else None
    reason = closed.rcvd.reason if closed.rcvd else "connection lost"
    if code == _TOO_LARGE:
        return Rejected(f"the message is too large for the feed: {reason}")
    is_ours = code is not None and 4400 <= code < 4500  # noqa: PLR2004 - the feed's "change something first"
    return (
        Rejected(f"{code} {reason}") if is_ours else Unreachable(f"the feed was closed: {code or ''} {reason}".strip())
    )
