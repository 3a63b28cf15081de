"""The account's speed limit: at most RATE + 1 mails start in any second, and nearly RATE of them on average. Pure.

Two halves. The schedule gives every mail a start on an even grid; it lives in
the store, so it holds across restarts and instances. The guard stands at the
start itself: after a stall of the process the grid's overdue starts would come
in a burst, and it stretches them.
"""

from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple

PACE = 0.985
"""The share of the limit that is used. Who counts at the other end sees starts at irregular distances; this keeps
22 of them, at a limit of 20, more than 60 ms away from fitting into one second."""

AHEAD = timedelta(milliseconds=100)
"""How far ahead of its start a mail may be claimed, so that the claim's commit does not delay it."""


class Reservation(NamedTuple):
    """Starts that were given out, and the earliest one that the next request can get."""

    starts: tuple[datetime, ...]
    next_start: datetime


def reserve_slots(next_start: datetime | None, wanted: int, rate: float, now: datetime) -> Reservation:
    """Give out up to `wanted` starts at even distances, none later than AHEAD from now.

    `next_start` is what the grant before left (None: there was none). One that lies
    further ahead than any grant could have left it comes from a clock that was set
    back, and is ignored. `rate` is in mails per second; 0 means no limit.
    """
    if rate <= 0:
        return Reservation((now,) * wanted, now)
    gap = timedelta(seconds=1 / (PACE * rate))
    at = next_start if next_start and next_start <= now + AHEAD + gap else now
    # A start missed by less than a gap is made up for, else the average would stay under the rate.
    at = max(at, now - gap / 2)
    starts: list[datetime] = []
    while len(starts) < wanted and at <= now + AHEAD:
        starts.append(at)
        at += gap
    return Reservation(tuple(starts), at)


class BurstGuard:
    """Remembers the latest starts and says how long the next one must still wait."""

    def __init__(self, rate: float) -> None:
        # One start more than the limit takes this long on the grid; a little less, and only stalls are stretched.
        self._window = (1 + 0.8 * ((int(rate) + 1) / (PACE * rate) - 1)) if rate > 0 else 0.0
        self._starts: deque[float] = deque(maxlen=int(rate) + 1)

    def delay(self, now: float) -> float:
        """Seconds until one more mail may start (0: now); `now` is monotonic, in seconds."""
        if self._window == 0 or len(self._starts) < (self._starts.maxlen or 0):
            return 0.0
        return max(0.0, self._starts[0] + self._window - now)

    def started(self, now: float) -> None:
        """Remember a start."""
        self._starts.append(now)
