"""What all viewers of the feed together may be sent in a second: however many they are, sending mail comes first."""

import asyncio

MAX_RATE = 32 * 1024 * 1024
"""Bytes that viewers get each second as answers: results, snapshots and replayed events. Live events do not count."""
MIN_ANSWER = 16 * 1024
"""Bytes that an answer counts at least, so that many small ones are limited as well: to 2,048 in a second."""


class Share:
    """A token bucket that holds one second's bytes. Answers wait for their turn, first come first served."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Wait until an answer of `size` bytes may be sent; one that is cancelled gives its bytes back."""
        delay = self.reserve(size, asyncio.get_running_loop().time())
        if delay > 0:
            try:
                await asyncio.sleep(delay)
            except asyncio.CancelledError:
                self._free_at -= _cost(size)
                raise

    def reserve(self, size: int, now: float) -> float:
        """Take bytes from the bucket; return the seconds until they are there."""
        self._free_at = max(self._free_at, now - 1) + _cost(size)
        return max(0.0, self._free_at - now)


def _cost(size: int) -> float:
    """Return the seconds that an answer takes of the rate."""
    return max(size, MIN_ANSWER) / MAX_RATE
