"""Keeps bodies over the size limit from filling the memory.

The broker sends as many messages as the prefetch allows, whatever their size. Such a
body is cut as soon as it has arrived. While several of them wait to be cut and take more
than their share of memory, the connection is read more slowly, so that TCP makes the
broker wait. That ends with our own work and never depends on a peer: RabbitMQ writes the
frames of a message in one piece, so all of these bodies but the last one have arrived whole.
Reading is never quite still: a broker that cannot write for 30 s closes the connection.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import cast

from pamqp.constants import FRAME_BODY, FRAME_HEADER

from notifier.domain.messages import MAX_BYTES

ROOM = 64 * 1024 * 1024
"""Bytes of bodies over the limit that may be in memory at a time; a single one may be larger."""
TRICKLE = 5.0
"""Seconds between two frames (of 128 KiB, as a rule) while there is no room."""


class Room:
    """The memory for bodies over the limit: taken when one begins to arrive, given back when it has been cut."""

    def __init__(self) -> None:
        self.received = 0
        """Pieces of deliveries that have arrived so far, behind which an answer of the broker may have to wait."""
        self._sizes: dict[int, list[int]] = {}
        self._changed = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether the latest body must wait for another one to be cut."""
        sizes = [size for of_channel in self._sizes.values() for size in of_channel]
        return len(sizes) > 1 and sum(sizes) > ROOM

    @property
    def busy(self) -> bool:
        """Whether a body over the limit arrives or is being cut."""
        return any(self._sizes.values())

    def take(self, channel: int, size: int) -> None:
        """Note a body that begins to arrive on a channel; one within the limit is not counted."""
        if size > MAX_BYTES:
            self._sizes.setdefault(channel, []).append(size)

    def give_back(self, channel: int, size: int) -> None:
        """Note a body that has been cut, or never will be."""
        if size in (of_channel := self._sizes.get(channel, [])):
            of_channel.remove(size)
            self._let_on()

    def forget(self, channel: int) -> None:
        """Note a closed channel: what was arriving on it has no receiver."""
        if self._sizes.pop(channel, None):
            self._let_on()

    def _let_on(self) -> None:
        self._changed.set()
        self._changed.clear()

    async def wait(self) -> None:
        """Wait for room, but no longer than TRICKLE."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TRICKLE):
                while self.full:
                    await self._changed.wait()


def limited(room: Room) -> Callable[[asyncio.StreamReader], asyncio.StreamReader]:
    """Return what makes a stream be read only as fast as there is room for what comes."""
    return lambda reader: cast("asyncio.StreamReader", _FrameReader(reader, room))


async def head(body: bytes) -> tuple[bytes, str | None]:
    """Return the first MOST_BYTES of a body, and the SHA-256 of the whole, in hexadecimal, if it is longer.

    The digest is computed in a thread: a body of 100 MB takes a tenth of a second.
    """
    if len(body) <= MAX_BYTES:
        return body, None
    digest = await asyncio.to_thread(sha256, body)
    return body[:MAX_BYTES], digest.hexdigest()


_FRAME_START = 7
"""Bytes of a frame's type, channel and length."""


@dataclass
class _FrameReader:
    """Stands in for the stream that aiormq reads: of each frame one byte, its type, then six, then the rest."""

    reader: asyncio.StreamReader
    room: Room
    start: bytes = field(default=b"", init=False)
    """What has been read of a frame before the rest of it."""

    def at_eof(self) -> bool:
        """Return whether nothing more comes."""
        return self.reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        """Read so many bytes. Raises IncompleteReadError if the stream ends before."""
        if not self.start and self.room.full:
            await self.room.wait()
        if len(self.start) < _FRAME_START:
            data = await self.reader.readexactly(size)
            self.start += data
            return data
        kind, channel, self.start = self.start[0], int.from_bytes(self.start[1:3], "big"), b""
        if kind not in (FRAME_HEADER, FRAME_BODY):
            return await self.reader.readexactly(size)
        data = await self._content(size)
        if kind == FRAME_HEADER:
            self.room.take(channel, int.from_bytes(data[4:12], "big"))
        return data

    async def _content(self, size: int) -> bytes:
        """Read piece by piece: over a slow connection a single frame may take many seconds."""
        data = b""
        while len(data) < size:
            piece = await self.reader.read(size - len(data))
            if not piece:
                raise asyncio.IncompleteReadError(data, size)
            self.room.received += 1
            data = data + piece if data else piece
        return data
