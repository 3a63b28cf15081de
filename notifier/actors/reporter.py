"""Tells the broker what became of every mail: the event log, in order, confirmed, at least once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from notifier import clock
from notifier.events import Logged
from notifier.storage.store import Store

READER = "reporter"
"""The name under which the store keeps how far the log has been reported."""

PORTION = 200
GATHER = 0.05
"""Seconds that an event waits for others, so that they share one confirmation and one step of the cursor."""
POLL = 30.0
"""Seconds after which the log is looked at although nobody said that it has grown."""


async def report(
    store: Store,
    publish: Callable[[Sequence[Logged]], Awaitable[None]],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Publish the log until told to stop; what was logged before that is still published.

    The cursor moves only after the broker's confirmation, so an event may be
    published twice but never missed. Raises Unreachable when the broker is lost.
    """
    cursor = await store.cursor(READER)
    # Nothing to say yet, but it shows whether the broker listens.
    await publish(())
    running()
    while True:
        ending = stop.is_set()
        while events := await store.events(cursor, PORTION):
            await publish(events)
            cursor = events[-1].seq
            await store.move_cursor(READER, cursor)
        if ending:
            return
        await clock.first_of(store.beyond(cursor), stop.wait(), within=POLL)
        if not stop.is_set():
            await asyncio.sleep(GATHER)
