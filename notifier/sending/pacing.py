"""The rate limit of all accounts: at most RATE + 1 mails start in any second, and nearly RATE on average. Pure.

The limit has two parts. `reserve_slots` is a generic cell rate algorithm (GCRA, ITU-T I.371): it gives every mail
a start on an even grid. Its one time value is kept in the store, so the limit holds across restarts.
`BurstGuard` is checked at the start itself: if the process stalls, starts that are overdue on the grid would come
in a burst, and it spreads them.
"""

from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple

PACE = 0.985
"""The share of the limit that is used.

The server sees starts at irregular distances. At a limit of 20, this keeps 22 of them more than 60 ms away from
fitting into one second.
"""

AHEAD = timedelta(milliseconds=100)
"""How long before its start a mail may be claimed, so that the commit of the claim does not delay it."""


class Reservation(NamedTuple):
    """Starts that are reserved, and the earliest one that the next reservation can get (UTC)."""

    starts: tuple[datetime, ...]
    next_start: datetime


def reserve_slots(next_start: datetime | None, wanted: int, rate: float, now: datetime) -> Reservation:
    """Reserve up to `wanted` starts at even distances, none later than AHEAD from now.

    `next_start` is that of the previous reservation (None: there was none). If it is further ahead than any
    reservation can have left it, the clock has been set back since, and it is ignored. `rate` is in mails
    per second; 0 means no limit.
    """
    if rate <= 0:
        return Reservation((now,) * wanted, now)
    gap = timedelta(seconds=1 / (PACE * rate))
    at = next_start if next_start and next_start <= now + AHEAD + gap else now
    # Up to half a gap is made up for; otherwise the average would stay below the rate.
    at = max(at, now - gap / 2)
    starts: list[datetime] = []
    while len(starts) < wanted and at <= now + AHEAD:
        starts.append(at)
        at += gap
    return Reservation(tuple(starts), at)


class BurstGuard:
    """Keeps the latest starts of this process, and delays the next one if too many were within a second."""

    def __init__(self, rate: float) -> None:
        # RATE + 1 gaps of the grid take a little longer than this, so that only starts after a stall are delayed.
        self._window = (1 + 0.8 * ((int(rate) + 1) / (PACE * rate) - 1)) if rate > 0 else 0.0
        self._starts: deque[float] = deque(maxlen=int(rate) + 1)

    def delay(self, now: float) -> float:
        """Return the seconds until one more mail may start (0: now); `now` is the event loop's clock, in seconds."""
        if self._window == 0 or len(self._starts) < (self._starts.maxlen or 0):
            return 0.0
        return max(0.0, self._starts[0] + self._window - now)

    def started(self, now: float) -> None:
        """Note a start, at a time of the event loop's clock."""
        self._starts.append(now)
