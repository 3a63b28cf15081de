"""Publishes what became of every mail: the event log, in order, confirmed, at least once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from notifier import clock
from notifier.domain.events import StoredEvent
from notifier.errors import Unreachable
from notifier.storage.store import Store

READER = "reporter"
"""The name under which the store keeps how far the log has been reported."""

BATCH_SIZE = 200
"""Events that share one confirmation at most."""
REFUSED = "a queue bound to notifier.events is full or unavailable"
"""Why the broker confirms no event although it answers: every queue that an event is routed to must take it."""
BATCH_WINDOW = 0.05
"""Seconds that an event waits for others, so that they share one confirmation and one step of the cursor."""
POLL = 30.0
"""Seconds after which the log is looked at although nobody said that it has grown."""


async def report(
    store: Store,
    publish: Callable[[Sequence[StoredEvent]], Awaitable[int]],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Publish the log until `stop` is set; what was logged before that is still published.

    `publish` returns how many events were confirmed before the first that a queue refused. The cursor
    moves only behind confirmed events, so an event may be published twice but never missed. Raises
    Unreachable if the broker is lost, and if a queue refuses an event: what other queues have got by
    then will be repeated. So the first portion is a single event and each further one is larger, and
    `running` is called only when the log has been published or portions have their full size.
    """
    cursor = await store.cursor(READER)
    # An empty portion shows whether the broker can be reached.
    await publish(())
    portion = 1
    while True:
        ending = stop.is_set()
        while events := await store.events(cursor, portion):
            confirmed = await publish(events)
            if confirmed:
                cursor = events[confirmed - 1].seq
                await store.move_cursor(READER, cursor)
            if confirmed < len(events):
                raise Unreachable(REFUSED)
            if portion == BATCH_SIZE:
                running()
            portion = min(2 * portion, BATCH_SIZE)
        running()
        if ending:
            return
        await clock.first_of(store.beyond(cursor), stop.wait(), within=POLL)
        if not stop.is_set():
            await asyncio.sleep(BATCH_WINDOW)
