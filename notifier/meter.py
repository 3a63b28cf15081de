"""How fast mails come and go: counts of the last seconds, from the event log. Pure."""

from collections import deque
from collections.abc import Iterable

from notifier.events import Logged
from notifier.mail import Status

SPAN = 10
"""Seconds that a rate is averaged over."""


class Meter:
    """Counts mails that were received, sent and failed, second by second."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, str, int]] = deque()

    def count(self, events: Iterable[Logged], now: float) -> None:
        """Count events that were logged at `now` (monotonic seconds)."""
        for name, amount in _tally(events).items():
            self._counts.append((int(now), name, amount))

    def rates(self, now: float) -> dict[str, float]:
        """Mails a second over the last ten whole seconds before `now`."""
        last = int(now)
        while self._counts and self._counts[0][0] < last - SPAN:
            self._counts.popleft()
        totals = dict.fromkeys(("received", "sent", "failed"), 0)
        for second, name, amount in self._counts:
            if second < last:
                totals[name] += amount
        return {name: total / SPAN for name, total in totals.items()}


def _tally(events: Iterable[Logged]) -> dict[str, int]:
    found = {"received": 0, "sent": 0, "failed": 0}
    for event in events:
        found["received"] += event.prev is None
        found["sent"] += event.status is Status.SENT
        found["failed"] += event.status is Status.FAILED
    return {name: amount for name, amount in found.items() if amount}
