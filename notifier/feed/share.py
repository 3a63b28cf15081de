"""How many bytes all viewers together are sent in a second, so that they never slow down the sending of mail."""

import asyncio

MAX_RATE = 32 * 1024 * 1024
"""Bytes a second of answers to viewers: results, snapshots and replayed events. Live events do not count."""
MIN_ANSWER = 16 * 1024
"""Every answer counts as at least so many bytes, so that small ones are limited as well: to 2,048 a second."""


class Share:
    """A token bucket (as a GCRA time) that holds the bytes of one second. Answers wait in order."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Wait until an answer of `size` bytes may be sent. If the wait is cancelled, the bytes are given back."""
        delay = self.reserve(size, asyncio.get_running_loop().time())
        if delay > 0:
            try:
                await asyncio.sleep(delay)
            except asyncio.CancelledError:
                self._free_at -= _cost(size)
                raise

    def reserve(self, size: int, now: float) -> float:
        """Reserve `size` bytes at `now` (monotonic seconds); return the seconds until they may be sent."""
        self._free_at = max(self._free_at, now - 1) + _cost(size)
        return max(0.0, self._free_at - now)


def _cost(size: int) -> float:
    """Return how many seconds of the rate an answer uses up."""
    return max(size, MIN_ANSWER) / MAX_RATE
