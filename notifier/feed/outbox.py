"""What is sent to one client: live events and answers, and when the client reads them too slowly."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache

from websockets.frames import Frame, Opcode
from websockets.protocol import State

from notifier.feed.limited_connection import LimitedConnection
from notifier.feed.share import Share

MAX_BEHIND = 1024 * 1024
MAX_EVENTS_BEHIND = 1000
"""A client is too slow if more than MAX_BEHIND bytes or MAX_EVENTS_BEHIND events wait for it to read them."""
STALLED = 60.0
"""Seconds after which a client is too slow that reads nothing of what waits for it, however little that is."""


class TooSlow(Exception):
    """The client reads too slowly: it must be closed, and can resume later."""


class Outbox:
    """The frames to one client. `viewers` is the share of all viewers together, for the answers to a viewer."""

    def __init__(self, websocket: LimitedConnection, viewers: Share) -> None:
        self._websocket = websocket
        self._viewers = viewers
        self._behind = 0
        self._time = asyncio.get_running_loop().time
        self._clear_at = self._time()
        self._turn = asyncio.Lock()
        self._answering = 0

    @property
    def _waiting(self) -> int:
        """Bytes that wait for the client to read, without the answer that is being sent, which may be large."""
        return max(0, self._websocket.transport.get_write_buffer_size() - self._answering)

    def go_live(self, now: float) -> None:
        """Begin to push events: from `now` (monotonic seconds) on the client must read them in time."""
        self._clear_at = now

    def push(self, frame: bytes, events: int) -> None:
        """Queue a frame with so many events, without waiting. Raises TooSlow."""
        if waiting := self._waiting:
            self._behind += events
            is_stalled = self._time() - self._clear_at > STALLED
            if waiting > MAX_BEHIND or self._behind > MAX_EVENTS_BEHIND or is_stalled:
                raise TooSlow
        else:
            self._behind = events
            self._clear_at = self._time()
        if self._websocket.protocol.state is State.OPEN:
            self._websocket.transport.write(_framed(frame))

    async def answer(self, parts: Sequence[bytes], *, is_viewer: bool) -> None:
        """Send the answer to a frame of the client, one at a time; those to viewers within their share.

        Raises TooSlow and ConnectionClosed.
        """
        size = sum(map(len, parts))
        with self._websocket.answering(max(parts, key=len)):
            if is_viewer:
                await self._viewers.take(size)
            async with self._turn:
                try:
                    await self.send(parts, answer=size)
                finally:
                    self._answering = 0

    async def send(self, parts: Sequence[bytes], answer: int = 0) -> None:
        """Send a frame and wait until the client takes it. Raises TooSlow and ConnectionClosed.

        `answer` is how many of the bytes belong to an answer: they do not count as waiting.
        """
        if self._waiting > MAX_BEHIND:
            raise TooSlow
        self._answering += answer
        try:
            async with asyncio.timeout(STALLED):
                await self._websocket.send_parts(parts)
        except TimeoutError:
            raise TooSlow from None


@lru_cache(maxsize=32)
def _framed(frame: bytes) -> bytes:
    """Write a WebSocket frame once for all clients that get the same: it is neither masked nor compressed."""
    return Frame(Opcode.TEXT, frame).serialize(mask=False, extensions=None)
