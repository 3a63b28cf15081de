"""Keeps messages over the size limit from filling the memory while they wait to be dead-lettered.

The broker sends as many messages as the prefetch allows, whatever their size. Here
the connection is read more slowly while such bodies take more than their share of
memory, so that TCP makes the broker wait. It is never quite still: a broker that
cannot write for 30 s closes the connection, and so does aiormq if nothing comes.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import cast

from pamqp.constants import FRAME_HEADER

from notifier.contract import MOST_BYTES

ROOM = 64 * 1024 * 1024
"""Bytes of bodies over the limit that may be held at a time; a single one may be larger."""
MAX_WHOLE = 1024 * 1024
"""Bytes of a body that is kept whole; of a longer one only the first MOST_BYTES are kept, as soon as it has arrived.

A dead letter of this size is confirmed within CONFIRM_TIMEOUT even over a connection of 40 kB/s.
"""
TRICKLE = 5.0
"""Seconds between two frames (of 128 KiB, as a rule) while there is no room."""


class Room:
    """The memory for bodies over the limit: taken when a message begins to arrive, given back when it is done with."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._changed = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether the latest body must wait for another one to be done with."""
        return len(self._sizes) > 1 and sum(self._sizes) > ROOM

    @property
    def busy(self) -> bool:
        """Whether anything else that the broker sends may have to wait for a large body that arrives."""
        return self.full or any(size > MAX_WHOLE for size in self._sizes)

    def take(self, size: int) -> None:
        """Note a body that begins to arrive; one within the limit is not counted."""
        if size > MOST_BYTES:
            self._sizes.append(size)

    def give_back(self, size: int) -> None:
        """Note a body that is done with."""
        if size > MOST_BYTES:
            self._sizes.remove(size)
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
    """Return what is kept of a body, with the SHA-256 of the whole, in hexadecimal, if that is not all of it.

    It is computed in a thread: a body of 100 MB takes a tenth of a second.
    """
    if len(body) <= MAX_WHOLE:
        return body, None
    digest = await asyncio.to_thread(sha256, body)
    return body[:MOST_BYTES], digest.hexdigest()


class _FrameReader:
    """Stands in for the stream that aiormq reads: of each frame one byte, its type, then six, then the rest."""

    def __init__(self, reader: asyncio.StreamReader, room: Room) -> None:
        self._reader = reader
        self._room = room
        self._type = 0

    def at_eof(self) -> bool:
        """Return whether nothing more comes."""
        return self._reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        """Read so many bytes."""
        if size == 1 and self._room.full:
            await self._room.wait()
        data = await self._reader.readexactly(size)
        if size == 1:
            self._type = data[0]
        elif size > _FRAME_START and self._type == FRAME_HEADER:
            self._room.take(int.from_bytes(data[4:12], "big"))
        return data


_FRAME_START = 6
"""Bytes of a frame's channel and length."""
