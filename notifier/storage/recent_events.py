"""The events that this process has appended last, so that actors need not read them back from the log. Pure."""

from collections.abc import Sequence

from notifier.domain.events import StoredEvent

MAX_RECENT = 10_000
"""Maximum number of events that are kept."""
MAX_RECENT_BYTES = 16_777_216
"""Maximum size of the events that are kept together."""
_OVERHEAD = 700
"""Bytes that an event takes in memory besides its body."""


class RecentEvents:
    """The newest events of the log, without a gap, up to its end.

    Every event must be appended in order. A reader who is further behind than the oldest of them reads the log.
    """

    def __init__(self, head: int) -> None:
        self._last = head
        self._events: dict[int, StoredEvent] = {}
        self._bytes = 0

    def append(self, events: Sequence[StoredEvent]) -> None:
        """Add the next events of the log, and drop the oldest that are too many."""
        if not events:
            return
        if events[0].seq != self._last + 1:
            self.clear()
        for event in events:
            self._events[event.seq] = event
            self._bytes += _size(event)
        self._last = events[-1].seq
        while len(self._events) > MAX_RECENT or self._bytes > MAX_RECENT_BYTES:
            self._bytes -= _size(self._events.pop(next(iter(self._events))))

    def after(self, seq: int, limit: int) -> list[StoredEvent] | None:
        """Return at most `limit` events after number `seq`; None if the log must be read for them."""
        if seq < self._last - len(self._events):
            return None
        return [self._events[each] for each in range(seq + 1, min(seq + limit, self._last) + 1)]

    def clear(self) -> None:
        """Forget all events: they have been changed or deleted in the log."""
        self._events.clear()
        self._bytes = 0


def _size(event: StoredEvent) -> int:
    return len(event.body) + _OVERHEAD
