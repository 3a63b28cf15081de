"""How many mails a second are received, sent and failed, from the event log. Pure."""

from collections import Counter
from collections.abc import Iterable

from notifier.domain.events import StoredEvent
from notifier.domain.mail import Status
from notifier.feed.protocol.status import Rates

SPAN = 10
"""Seconds that a rate is averaged over."""


class Throughput:
    """Counts of mails that were received, sent and failed, for each of the last SPAN + 1 seconds."""

    def __init__(self) -> None:
        self._seconds: dict[int, Counter[str]] = {}

    def count(self, events: Iterable[StoredEvent], now: float) -> None:
        """Count events that were logged at `now` (monotonic seconds)."""
        self._forget(int(now))
        self._seconds.setdefault(int(now), Counter()).update(_tally(events))

    def rates(self, now: float) -> Rates:
        """Return the mails a second over the last SPAN whole seconds before `now`."""
        last = int(now)
        self._forget(last)
        whole = [counts for second, counts in self._seconds.items() if second < last]
        return Rates(**{name: sum(counts[name] for counts in whole) / SPAN for name in ("received", "sent", "failed")})

    def _forget(self, last: int) -> None:
        # The oldest second comes first, because seconds are added in order.
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
