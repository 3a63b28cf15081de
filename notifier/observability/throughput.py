"""How fast mails come and go: counts of the last seconds, from the event log. Pure."""

from collections import Counter
from collections.abc import Iterable

from notifier.domain.events import StoredEvent
from notifier.domain.mail import Status

SPAN = 10
"""Seconds that a rate is averaged over."""


class Throughput:
    """Counts mails that were received, sent and failed, second by second; no more than SPAN + 1 of them are kept."""

    def __init__(self) -> None:
        self._seconds: dict[int, Counter[str]] = {}

    def count(self, events: Iterable[StoredEvent], now: float) -> None:
        """Count events that were logged at `now` (monotonic seconds)."""
        self._forget(int(now))
        self._seconds.setdefault(int(now), Counter()).update(_tally(events))

    def rates(self, now: float) -> dict[str, float]:
        """Mails a second over the last ten whole seconds before `now`."""
        last = int(now)
        self._forget(last)
        whole = [counts for second, counts in self._seconds.items() if second < last]
        return {name: sum(counts[name] for counts in whole) / SPAN for name in ("received", "sent", "failed")}

    def _forget(self, last: int) -> None:
        # Oldest first: seconds are added in their order.
        for second in list(self._seconds):
            if second >= last - SPAN:
                return
            del self._seconds[second]


def _tally(events: Iterable[StoredEvent]) -> dict[str, int]:
    found = {"received": 0, "sent": 0, "failed": 0}
    for event in events:
        found["received"] += event.prev is None
        found["sent"] += event.status is Status.SENT
        found["failed"] += event.status is Status.FAILED
    return found
