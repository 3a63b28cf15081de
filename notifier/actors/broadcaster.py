"""Passes the event log on to everyone who watches, and never waits for any of them."""

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
"""Seconds that an event waits for others to share its frame."""
POLL = 10.0
"""Seconds after which the log is looked at although nobody said that it has grown."""


class Subscriber(Protocol):
    """One watcher; `after` is the place in the log up to which it has every event that passes its filter."""

    wanted: MailFilter
    filter_hash: str
    """That of `wanted`: to hash a filter with many values for every frame would take longer than the frame."""
    after: int

    def push(self, frame: bytes, events: int) -> None:
        """Take one frame without waiting."""

    def fail(self) -> None:
        """End: a frame could not be pushed, so that this watcher would miss something."""


class Hub:
    """Who watches now, and how far the log has been passed on."""

    def __init__(self, store_id: str, position: int) -> None:
        self.position = position
        self._store_id = store_id
        self._last_push: dict[Subscriber, float] = {}

    def add(self, subscriber: Subscriber, now: float) -> None:
        """Pass on to it from now on; it must have been told everything up to `position`."""
        self._last_push[subscriber] = now

    def remove(self, subscriber: Subscriber) -> None:
        """Pass on nothing more to it."""
        self._last_push.pop(subscriber, None)

    @property
    def subscribers(self) -> int:
        """How many are passed on to."""
        return len(self._last_push)

    def publish(self, events: Sequence[StoredEvent], now: float) -> None:
        """Push events to those whose filter they pass, encoded once for each filter."""
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
        """Move the cursor of those who have heard nothing for a while; the seconds until someone else is due."""
        for subscriber, last in list(self._last_push.items()):
            if now - last >= HEARTBEAT:
                self._last_push[subscriber] = now
                with self._contained(subscriber):
                    at = cursor(self._store_id, max(subscriber.after, self.position), subscriber.filter_hash)
                    subscriber.push(write_events(at, ()), 0)
        return min(self._last_push.values(), default=now) + HEARTBEAT - now

    @contextmanager
    def _contained(self, subscriber: Subscriber) -> Iterator[None]:
        """Let what goes wrong with one subscriber end that one alone: `position` is past its events already."""
        try:
            yield
        except Exception:
            log.exception("a watcher of the feed failed and is closed")
            self.remove(subscriber)
            with suppress(Exception):
                subscriber.fail()

    def _frame(self, subscriber: Subscriber, after: int, events: Sequence[StoredEvent]) -> tuple[bytes, int]:
        """Return the frame and the number of its events; no frame if there are none."""
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
    """Pass the log on until told to stop; what was logged before that is still passed on.

    Each of `observers` sees every event once, whoever watches and whatever the others make of it.
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
