"""Broadcasts the event log to the subscribers of the feed, and never waits for any of them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import structlog

from notifier import clock
from notifier.domain.events import MAX_EVENTS, Batch, MailFilter, StoredEvent
from notifier.feed.protocol import HEARTBEAT, cursor, write_events
from notifier.storage.store import Store

log = structlog.get_logger(__name__)

BATCH_WINDOW = 0.025
"""Seconds that an event waits for others, so that they share a frame."""
POLL = 10.0
"""Seconds after which the log is read even without a notification that it has grown."""


class Subscriber(Protocol):
    """One session of the feed."""

    wanted: MailFilter
    """The filter that events must pass."""
    filter_hash: str
    """The hash of `wanted`, kept because hashing a filter with many values takes longer than sending a frame."""
    after: int
    """The position in the log up to which the subscriber has every event that passes its filter."""

    def push(self, frame: bytes, events: int) -> None:
        """Send one frame with this number of events, without waiting."""

    def fail(self) -> None:
        """End the session, because a frame could not be sent and events would be missing."""


class Hub:
    """The current subscribers, and the position up to which the log has been broadcast."""

    def __init__(self, store_id: str, position: int) -> None:
        self.position = position
        self._store_id = store_id
        self._last_push: dict[Subscriber, float] = {}

    def add(self, subscriber: Subscriber, now: float) -> None:
        """Add a subscriber, which must already have everything up to `position`."""
        self._last_push[subscriber] = now

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber, if it is there."""
        self._last_push.pop(subscriber, None)

    @property
    def subscribers(self) -> int:
        """The number of subscribers."""
        return len(self._last_push)

    def publish(self, events: Sequence[StoredEvent], now: float) -> None:
        """Send events to the subscribers whose filter they pass, encoded once for each filter and position."""
        self.position = events[-1].seq
        batch = Batch(events)
        frames: dict[tuple[MailFilter, int], tuple[bytes, int]] = {}
        for subscriber in list(self._last_push):
            with self._contained(subscriber):
                after = max(subscriber.after, events[0].seq - 1)
                subscriber.after = max(subscriber.after, self.position)
                if not subscriber.wanted.may_pass(batch):
                    continue
                key = (subscriber.wanted, after)
                if key not in frames:
                    frames[key] = self._frame(subscriber, after, events)
                frame, count = frames[key]
                if count:
                    self._last_push[subscriber] = now
                    subscriber.push(frame, count)

    def beat(self, now: float) -> float:
        """Send a heartbeat to each subscriber that needs one; return the seconds until the next one is due."""
        for subscriber, last in list(self._last_push.items()):
            if now - last >= HEARTBEAT:
                self._last_push[subscriber] = now
                with self._contained(subscriber):
                    at = cursor(self._store_id, max(subscriber.after, self.position), subscriber.filter_hash)
                    subscriber.push(write_events(at, ()), 0)
        return min(self._last_push.values(), default=now) + HEARTBEAT - now

    @contextmanager
    def _contained(self, subscriber: Subscriber) -> Iterator[None]:
        """Remove a subscriber if the block raises, because `position` is already past the events that it misses."""
        try:
            yield
        except Exception:
            log.exception("a subscriber of the feed failed and was closed")
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
        if ending:
            return
        await clock.first_of(store.beyond(hub.position), stop.wait(), within=min(POLL, hub.beat(loop.time())))
        if not stop.is_set():
            await asyncio.sleep(BATCH_WINDOW)
