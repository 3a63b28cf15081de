"""A client of the running service: its feed, its commands, its health."""

import asyncio
import http.client
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from notifier.errors import NotifierError, Unreachable
from notifier.frames import PROTOCOL
from notifier.settings import FeedSettings

BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two tries to connect again; the last one repeats."""
TIMEOUT = 10.0


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
            async with connect(
                url, subprotocols=[Subprotocol(PROTOCOL)], compression=None, max_size=None, open_timeout=TIMEOUT
            ) as websocket:
                client = cls(websocket)
                token = settings.operator_token or settings.viewer_token
                await client._send("hello", **({"token": token} if token else {}), **hello)
                yield client
        except ConnectionClosed as closed:
            raise _lost(closed) from closed
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise Unreachable(f"no notifier answers at {host}:{port} ({error})") from error

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the server's frames until the connection ends, which raises Unreachable."""
        while True:
            yield await self.frame()

    async def frame(self) -> dict[str, Any]:
        """Wait for the next frame."""
        found: dict[str, Any] = msgspec.json.decode(await self._websocket.recv())
        return found

    async def command(self, name: str, args: Mapping[str, Any]) -> str:
        """Send a command; the returned id is in its `result` frame."""
        self._last_id += 1
        await self._send("command", id=str(self._last_id), name=name, args=args)
        return str(self._last_id)

    async def _send(self, type_: str, **fields: Any) -> None:
        await self._websocket.send(msgspec.json.encode({"type": type_, **fields}), text=True)


async def follow(settings: FeedSettings, **hello: Any) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the server's frames, connecting again with back-off and going on where the last connection ended.

    Between two connections comes a frame of our own, `{"type": "lost", "reason"}`. The
    first connection must succeed (Unreachable), and a refusal of the client ends it
    (Rejected).
    """
    cursor: str | None = None
    tries = 0
    while True:
        try:
            async with FeedClient.connect(settings, **hello, **({"resume": cursor} if cursor else {})) as client:
                async for frame in client:
                    cursor = frame.get("cursor", cursor)
                    tries = 0
                    yield frame
        except Unreachable as error:
            if cursor is None:
                raise
            if not tries:
                yield {"type": "lost", "reason": str(error)}
        await asyncio.sleep(BACK_OFF[min(tries, len(BACK_OFF) - 1)])
        tries += 1


def readiness(settings: FeedSettings) -> tuple[bool, dict[str, Any]]:
    """Ask `/readyz`; Unreachable where nobody answers."""
    host, port = reachable(settings.host), settings.port
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status == http.HTTPStatus.OK, json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"no notifier answers at {host}:{port} ({error})") from error
    finally:
        connection.close()


def reachable(host: str) -> str:
    """Give the host under which a service that listens on `host` can be reached from its own machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound


def _lost(closed: ConnectionClosed) -> NotifierError:
    code = closed.rcvd.code if closed.rcvd else None
    reason = closed.rcvd.reason if closed.rcvd else "connection lost"
    is_ours = code is not None and 4400 <= code < 4500  # noqa: PLR2004 - the feed's "change something first"
    return (
        Rejected(f"{code} {reason}") if is_ours else Unreachable(f"the feed was closed: {code or ''} {reason}".strip())
    )
