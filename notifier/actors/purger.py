"""Delete finished mails and old message ids on a cron schedule, in small portions so that nothing else is delayed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from notifier.storage.store import Store

log = structlog.get_logger(__name__)


class RetentionPolicy(NamedTuple):
    """How long things are kept."""

    retention: timedelta
    """How long finished mails and their events are kept."""
    dedup_retention: timedelta
    """How long the ids of handled messages are kept."""
    reader: str | None
    """The reader of the log whose unread events are kept whatever their age; None if there is none."""


async def purge(
    store: Store,
    policy: RetentionPolicy,
    ticks: AsyncIterator[datetime],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Purge at every tick, until `stop` is set; `running` is called once, at the start."""
    running()
    async for at in ticks:
        if stop.is_set():
            return
        mails = await purge_once(store, policy, at)
        log.info("finished mails purged", mails=mails)


async def purge_once(store: Store, policy: RetentionPolicy, at: datetime) -> int:
    """Delete everything that is older than its retention at the time `at` (UTC); return the number of mails."""
    mails = 0
    while any(step := await store.purge(at - policy.retention, at - policy.dedup_retention, policy.reader, at)):
        mails += step.mails
        # Other callers of the store get their turn between two portions.
        await asyncio.sleep(0)
    return mails
