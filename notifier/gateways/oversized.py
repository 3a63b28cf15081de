"""Keeps bodies over the size limit from filling the memory.

The broker sends as many messages as the prefetch allows, whatever their size. A body over the
limit is truncated as soon as it has arrived. While several of them wait for that and exceed
their budget of memory, the connection is read more slowly, so that TCP makes the broker wait.
That depends on our own work alone and never on a peer: RabbitMQ writes the frames of a message
without interruption, so all of these bodies except the last one have arrived completely.
Reading never stops altogether, because a broker that cannot write for 30 s closes the connection.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import cast

from pamqp.constants import FRAME_BODY, FRAME_HEADER

from notifier.domain.message_shapes import MAX_BYTES

MAX_OVERSIZED_BYTES = 64 * 1024 * 1024
"""Bytes of bodies over the limit that may be in memory at a time; a single one may be larger."""
TRICKLE = 5.0
"""Seconds between two frames (usually of 128 KiB) while the budget is exhausted."""


class MemoryBudget:
    """The memory for bodies over the limit: reserved when one begins to arrive, released when it is truncated."""

    def __init__(self) -> None:
        self.received = 0
        """How many pieces of deliveries have arrived so far; an answer of the broker can have to wait for them."""
        self._sizes: dict[int, list[int]] = {}
        self._changed = asyncio.Event()

    @property
    def exhausted(self) -> bool:
        """Whether the latest body must wait until another one has been truncated."""
        sizes = [size for of_channel in self._sizes.values() for size in of_channel]
        return len(sizes) > 1 and sum(sizes) > MAX_OVERSIZED_BYTES

    @property
    def in_use(self) -> bool:
        """Whether a body over the limit is arriving or being truncated."""
        return any(self._sizes.values())

    def reserve(self, channel: int, size: int) -> None:
        """Reserve memory for a body that begins to arrive on a channel, if it is over the limit."""
        if size > MAX_BYTES:
            self._sizes.setdefault(channel, []).append(size)

    def release(self, channel: int, size: int) -> None:
        """Release the memory of a body."""
        if size in (of_channel := self._sizes.get(channel, [])):
            of_channel.remove(size)
            self._wake_reader()

    def forget_channel(self, channel: int) -> None:
        """Release the memory of all bodies that were arriving on a channel, which is closed."""
        if self._sizes.pop(channel, None):
            self._wake_reader()

    def _wake_reader(self) -> None:
        self._changed.set()
        self._changed.clear()

    async def wait(self) -> None:
        """Wait until the budget is not exhausted, for at most TRICKLE seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TRICKLE):
                while self.exhausted:
                    await self._changed.wait()


def throttled(budget: MemoryBudget) -> Callable[[asyncio.StreamReader], asyncio.StreamReader]:
    """Return a function that wraps a stream, so that it is read only as fast as the budget allows."""
    return lambda reader: cast("asyncio.StreamReader", _FrameReader(reader, budget))


async def head(body: bytes) -> tuple[bytes, str | None]:
    """Return the first MAX_BYTES of a body and, if it is longer, the SHA-256 of the whole in hexadecimal.

    The digest is computed in a thread, because a body of 100 MB takes a tenth of a second.
    """
    if len(body) <= MAX_BYTES:
        return body, None
    digest = await asyncio.to_thread(sha256, body)
    return body[:MAX_BYTES], digest.hexdigest()


_FRAME_START = 7
"""Bytes of a frame's type, channel and length."""


@dataclass
class _FrameReader:
    """Replaces the stream of a connection. Of each frame, aiormq reads one byte (the type), then six, then the rest."""

    reader: asyncio.StreamReader
    budget: MemoryBudget
    start: bytes = field(default=b"", init=False)
    """The type, channel and length of a frame whose rest has not been read."""

    def at_eof(self) -> bool:
        """Return whether the stream has ended."""
        return self.reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        """Read `size` bytes. Raises IncompleteReadError if the stream ends first."""
        if not self.start and self.budget.exhausted:
            await self.budget.wait()
        if len(self.start) < _FRAME_START:
            data = await self.reader.readexactly(size)
            self.start += data
            return data
        kind, channel, self.start = self.start[0], int.from_bytes(self.start[1:3], "big"), b""
        if kind not in (FRAME_HEADER, FRAME_BODY):
            return await self.reader.readexactly(size)
        data = await self._content(size)
        if kind == FRAME_HEADER:
            self.budget.reserve(channel, int.from_bytes(data[4:12], "big"))
        return data

    async def _content(self, size: int) -> bytes:
        """Read `size` bytes piece by piece and count the pieces: a single frame can take many seconds to arrive."""
        data = b""
        while len(data) < size:
            piece = await self.reader.read(size - len(data))
            if not piece:
                raise asyncio.IncompleteReadError(data, size)
            self.budget.received += 1
            data = data + piece if data else piece
        return data
