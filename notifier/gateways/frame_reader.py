"""Reads the frames of a connection before aiormq does, and passes on to aiormq those that are not taken.

For aiormq a frame costs several turns of the loop, which is too much for the frames that come by the thousand. The
stream that its public `TransportFactory` returns is replaced. aiormq reads whole frames from it, in pieces: the first
byte, then the rest of the frame's start, then its content and the end byte.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import cast

from pamqp.constants import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD

from notifier.gateways.oversized import MemoryBudget

HEARTBEAT_INTERVAL = 1.0
"""Seconds of nothing but taken frames after which aiormq gets a heartbeat."""

_START = struct.Struct(">BHI")
"""The start of a frame: its type, channel and length."""
_KINDS = (FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT)
_HEARTBEAT = _START.pack(FRAME_HEARTBEAT, 0, 0) + bytes([FRAME_END])
_READ_SIZE = 256 * 1024

Take = Callable[[int, int, bytes], bool]
"""Takes a frame of a type, channel and content, and returns whether it did. An error would end the connection."""


def filtered(reader: asyncio.StreamReader, take: Take, budget: MemoryBudget) -> asyncio.StreamReader:
    """Replace the stream of a connection for aiormq, which then reads the frames that `take` does not take.

    Nothing is read while the budget for large bodies is exhausted.
    """
    return cast("asyncio.StreamReader", _FrameReader(reader, take, budget))


class _FrameReader:
    def __init__(self, reader: asyncio.StreamReader, take: Take, budget: MemoryBudget) -> None:
        self._reader = reader
        self._take = take
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self._at = 0
        self._passed = b""
        """The rest of the frame that aiormq is reading."""
        self._passed_at = self._loop.time()

    def at_eof(self) -> bool:
        """Return whether the stream has ended."""
        return not self._passed and self._at == len(self._data) and self._reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        """Read `size` bytes of a frame. Raises IncompleteReadError if the stream ends first."""
        if not self._passed:
            self._passed = await self._next()
            self._passed_at = self._loop.time()
        found, self._passed = self._passed[:size], self._passed[size:]
        return found

    async def _next(self) -> bytes:
        """Return the next frame for aiormq; those before it are taken."""
        while True:
            if self._budget.exhausted:
                await self._budget.wait()
            if len(self._data) - self._at < _START.size:
                await self._fill(_START.size, is_content=False)
            kind, channel, size = _START.unpack_from(self._data, self._at)
            if kind not in _KINDS:
                return self._cut(_START.size)  # no AMQP, which aiormq recognises by these bytes
            is_content = kind in (FRAME_HEADER, FRAME_BODY)
            whole = _START.size + size + 1
            if len(self._data) - self._at < whole:
                await self._fill(whole, is_content=is_content)
            if is_content:
                self._budget.received += 1
            end = self._at + whole - 1
            is_valid = self._data[end] == FRAME_END
            if not (is_valid and self._take(kind, channel, self._data[self._at + _START.size : end])):
                return self._cut(whole)
            self._at = end + 1
            # aiormq takes every frame for a sign that the broker is alive, and the broker sends no heartbeat
            # while it sends anything else.
            if self._loop.time() - self._passed_at > HEARTBEAT_INTERVAL:
                return _HEARTBEAT

    def _cut(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    async def _fill(self, size: int, *, is_content: bool) -> None:
        """Read until at least `size` bytes wait, and count pieces of content: a frame can take many seconds."""
        # Joining all pieces at once takes linear time: a broker without a limit for frames sends any body in one.
        pieces, missing = [self._data[self._at :]], size - (len(self._data) - self._at)
        self._data, self._at = b"", 0
        while missing > 0:
            piece = await self._reader.read(_READ_SIZE)
            if not piece:
                raise asyncio.IncompleteReadError(b"".join(pieces), size)
            if is_content:
                self._budget.received += 1
            pieces.append(piece)
            missing -= len(piece)
        self._data = b"".join(pieces)
