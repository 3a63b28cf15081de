"""Publishes the event log to `notifier.events`: in order, confirmed, at least once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from notifier import clock
from notifier.domain.events import StoredEvent
from notifier.errors import Unreachable
from notifier.storage.store import Store

READER = "reporter"
"""The name under which the store keeps the reporter's cursor."""

BATCH_SIZE = 1000
"""Events that are published together and share one move of the cursor; a thousand take 10 ms of the event loop."""
REJECTED = "a queue bound to notifier.events is full or unavailable"
"""Why the broker rejects an event: it confirms one only if every queue that the event is routed to accepts it."""
BATCH_WINDOW = 0.05
"""Seconds that an event waits for others if the log was published completely before it, so that they share a batch."""
POLL = 30.0
"""Seconds after which the log is read even without a notification that it has grown."""


async def report(
    store: Store,
    publish: Callable[[Sequence[StoredEvent]], Awaitable[int]],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Publish the log until `stop` is set; events logged before that are still published.

    `publish` returns how many events were confirmed before the first that a queue rejected. The cursor
    moves past confirmed events only, so an event can be published twice but is never skipped.

    Raises Unreachable if the broker is lost or a queue rejects an event. Other queues may have received
    unconfirmed events and will get them again. To keep these repeats few, the first batch is a single
    event and each further one is twice as large, and `running` is called only when the log has been
    published completely or batches have reached their full size.
    """
    cursor = await store.cursor(READER)
    # An empty batch shows whether the broker can be reached.
    await publish(())
    size = 1
    while True:
        ending = stop.is_set()
        events = await store.events(cursor, size)
        is_last = len(events) < size
        if events:
            confirmed = await publish(events)
            if confirmed:
                cursor = events[confirmed - 1].seq
                await store.move_cursor(READER, cursor)
            if confirmed < len(events):
                raise Unreachable(REJECTED)
        if is_last or size == BATCH_SIZE:
            running()
        if events:
            size = min(2 * size, BATCH_SIZE)
        if is_last:
            if ending:
                return
            await clock.first_of(store.beyond(cursor), stop.wait(), within=POLL)
            if not stop.is_set():
                await asyncio.sleep(BATCH_WINDOW)
