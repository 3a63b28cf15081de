"""Forgets, on its cron schedule, what finished long ago; in small portions, so that nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from notifier.storage.store import Store

log = structlog.get_logger(__name__)


class RetentionPolicy(NamedTuple):
    """How long what is kept: finished mails with their events, and the ids of handled messages.

    Events that `reader` has not read yet (None: there is no reader) are kept whatever their age.
    """

    retention: timedelta
    dedup_retention: timedelta
    reader: str | None


async def purge(
    store: Store,
    memory: RetentionPolicy,
    ticks: AsyncIterator[datetime],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Purge at every tick."""
    running()
    async for at in ticks:
        if stop.is_set():
            return
        mails = await purge_once(store, memory, at)
        log.info("purged", mails=mails)


async def purge_once(store: Store, memory: RetentionPolicy, at: datetime) -> int:
    """Forget what is older than its retention at the time `at`; count the mails."""
    mails = 0
    while any(step := await store.purge(at - memory.retention, at - memory.dedup_retention, memory.reader, at)):
        mails += step.mails
        # Others get their turn at the store between two portions.
        await asyncio.sleep(0)
    return mails
