"""Broadcasts the event log to the subscribers of the feed, and never waits for any of them."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from notifier import clock
from notifier.domain.events import MAX_EVENTS, Batch, MailFilter, StoredEvent
from notifier.feed.protocol import HEARTBEAT, cursor, write_events
from notifier.storage.store import Store

log = structlog.get_logger(__name__)

BATCH_WINDOW = 0.025
"""Seconds that an event waits for others, so that they share a frame; it does not wait if the frame is full."""
FRAME_GAP = 0.01
"""Seconds between two full frames. One message can make 2,100 events: sent at once, they would be more than a client
that reads at a normal speed may be behind."""
POLL = 10.0
"""Seconds after which the log is read even without a notification that it has grown."""

_FAILED = "a subscriber of the feed failed and was closed"


class Subscriber(Protocol):
    """One session of the feed."""

    wanted: MailFilter
    """The filter that events must pass; it stays the same while the hub has the subscriber."""
    filter_hash: str
    """The hash of `wanted`, kept because hashing a filter with many values takes longer than sending a frame."""
    after: int
    """The position in the log up to which the subscriber has every event that passes its filter, when it is added."""

    def push(self, frame: bytes, events: int) -> None:
        """Send one frame with this number of events, without waiting."""

    def fail(self) -> None:
        """End the session, because a frame could not be sent and events would be missing."""


class Hub:
    """The current subscribers, and the position up to which the log has been broadcast."""

    def __init__(self, store_id: str, position: int) -> None:
        self.position = position
        self._store_id = store_id
        self._groups: dict[MailFilter, dict[Subscriber, float]] = {}
        """The subscribers by their filter, each with the time of its latest frame."""
        self._beat_at = 0.0
        """When a heartbeat can be due at the earliest."""

    def add(self, subscriber: Subscriber, now: float) -> None:
        """Add a subscriber, which must already have everything up to `position`."""
        self._groups.setdefault(subscriber.wanted, {})[subscriber] = now

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber, if it is there."""
        if (group := self._groups.get(subscriber.wanted)) is not None:
            group.pop(subscriber, None)
            if not group:
                del self._groups[subscriber.wanted]

    @property
    def subscribers(self) -> int:
        """The number of subscribers."""
        return sum(map(len, self._groups.values()))

    def publish(self, events: Sequence[StoredEvent], now: float) -> None:
        """Send events to the subscribers whose filter they pass, encoded once for each filter and position."""
        self.position = events[-1].seq
        if not self._groups:
            return
        batch = Batch(events)
        for wanted, group in list(self._groups.items()):
            if wanted.may_pass(batch):
                self._publish_to(group, events, now)

    def _publish_to(self, group: dict[Subscriber, float], events: Sequence[StoredEvent], now: float) -> None:
        """Send events to the subscribers with one filter.

        All of them get the same frame, except those that were added with newer events than the latest broadcast.
        """
        before = events[0].seq - 1
        frames: dict[int, tuple[bytes, int]] = {}
        for subscriber in list(group):
            try:
                after = max(subscriber.after, before)
                if after not in frames:
                    frames[after] = self._frame(subscriber, after, events)
                frame, count = frames[after]
                if count:
                    group[subscriber] = now
                    subscriber.push(frame, count)
            except Exception:
                log.exception(_FAILED)
                self._end(subscriber)

    def beat(self, now: float) -> float:
        """Send a heartbeat to each subscriber that needs one; return the seconds until the next one can be due."""
        if now >= self._beat_at:
            for group in list(self._groups.values()):
                self._beat_in(group, now)
            times = (last for group in self._groups.values() for last in group.values())
            self._beat_at = min(times, default=now) + HEARTBEAT
        return self._beat_at - now

    def _beat_in(self, group: dict[Subscriber, float], now: float) -> None:
        for subscriber, last in list(group.items()):
            if now - last >= HEARTBEAT:
                group[subscriber] = now
                try:
                    at = cursor(self._store_id, max(subscriber.after, self.position), subscriber.filter_hash)
                    subscriber.push(write_events(at, ()), 0)
                except Exception:
                    log.exception(_FAILED)
                    self._end(subscriber)

    def _end(self, subscriber: Subscriber) -> None:
        """Remove a subscriber that raised, because `position` is already past the events that it misses."""
        self.remove(subscriber)
        with suppress(Exception):
            subscriber.fail()

    def _frame(self, subscriber: Subscriber, after: int, events: Sequence[StoredEvent]) -> tuple[bytes, int]:
        """Return a frame and the number of its events; the frame is empty if none passes the filter."""
        passing = [event for event in events if event.seq > after and subscriber.wanted.passes(event)]
        if not passing:
            return b"", 0
        at = cursor(self._store_id, max(after, events[-1].seq), subscriber.filter_hash)
        return write_events(at, passing), len(passing)


async def broadcast(
    store: Store,
    hub: Hub,
    observers: Sequence[Callable[[Sequence[StoredEvent]], None]],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Broadcast the log until `stop` is set; events logged before that are still broadcast.

    Each of `observers` is called with every event once, independently of subscribers and of the errors of others.
    """
    running()
    loop = asyncio.get_running_loop()
    while True:
        ending = stop.is_set()
        while events := await store.events(hub.position, MAX_EVENTS):
            hub.publish(events, loop.time())
            for observe in observers:
                try:
                    observe(events)
                except Exception:
                    log.exception("an observer of the events failed")
            if len(events) < MAX_EVENTS and not ending:
                break  # events that are logged meanwhile also wait for others
            await asyncio.sleep(FRAME_GAP)
        if ending:
            return
        await clock.first_of(store.beyond(hub.position), stop.wait(), within=min(POLL, hub.beat(loop.time())))
        if not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(BATCH_WINDOW):
                    await store.beyond(hub.position + MAX_EVENTS - 1)
