"""Keeps bodies over the size limit from filling the memory.

The broker sends as many messages as the prefetch allows, whatever their size. A body over the
limit is truncated as soon as it has arrived. While several of them wait for that and exceed
their budget of memory, the connection is read more slowly, so that TCP makes the broker wait.
That depends on our own work alone and never on a peer: RabbitMQ writes the frames of a message
without interruption, so all of these bodies except the last one have arrived completely.
Reading never stops altogether, because a broker that cannot write for 30 s closes the connection.
"""

import asyncio
from contextlib import suppress
from hashlib import sha256

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
        if not self._sizes:
            return False
        sizes = [size for of_channel in self._sizes.values() for size in of_channel]
        return len(sizes) > 1 and sum(sizes) > MAX_OVERSIZED_BYTES

    @property
    def in_use(self) -> bool:
        """Whether a body over the limit is arriving or being truncated."""
        return bool(self._sizes)

    def reserve(self, channel: int, size: int) -> None:
        """Reserve memory for a body that begins to arrive on a channel, if it is over the limit."""
        if size > MAX_BYTES:
            self._sizes.setdefault(channel, []).append(size)

    def release(self, channel: int, size: int) -> None:
        """Release the memory of a body."""
        if size in (of_channel := self._sizes.get(channel, [])):
            of_channel.remove(size)
            if not of_channel:
                del self._sizes[channel]
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


async def truncate(body: bytes) -> tuple[bytes, str]:
    """Return the first MAX_BYTES of a body, and the SHA-256 of the whole in hexadecimal.

    The digest is computed in a thread, because a body of 100 MB takes a tenth of a second.
    """
    digest = await asyncio.to_thread(sha256, body)
    return body[:MAX_BYTES], digest.hexdigest()
