"""The purger deletes everything that has finished, in small portions and not before its time."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

from support.parts import request
from support.samples import NOW, RULES

from notifier.actors.purger import RetentionPolicy, purge, purge_once
from notifier.domain.mail import Reply, sent
from notifier.domain.messages import Origin, decode
from notifier.storage.sqlite.store import SqliteStore

POLICY = RetentionPolicy(timedelta(hours=24), timedelta(days=7), None)


async def fill(store: SqliteStore, count: int) -> None:
    """Store so many mails that were sent at NOW, and one that waits."""
    messages = [decode(json.dumps(request(n)).encode(), Origin(NOW)) for n in range(count)]
    await store.add(messages, RULES, NOW)
    starts = (await store.claim(count, 0, NOW)).starts
    await store.record([sent(start.mail, Reply(250, "OK"), NOW) for start in starts], NOW)
    await store.add([decode(json.dumps(request(count)).encode(), Origin(NOW))], RULES, NOW)


async def test_more_than_one_portion_is_purged_at_once(tmp_path: Path) -> None:
    """One purge deletes 1,200 finished mails in several transactions; the one that waits stays."""
    store = await SqliteStore.open(tmp_path / "n.db")
    await fill(store, 1200)
    assert await purge_once(store, POLICY, NOW + timedelta(hours=23)) == 0
    assert await purge_once(store, POLICY, NOW + timedelta(hours=25)) == 1200
    assert sum((await store.totals()).values()) == 1
    await store.close()


async def test_a_purge_happens_at_each_tick(tmp_path: Path) -> None:
    """The time of the tick decides what is old, and the purger continues with the next tick."""
    store = await SqliteStore.open(tmp_path / "n.db")
    await fill(store, 3)
    left = []

    async def ticks() -> AsyncIterator[datetime]:
        for hours in (1, 25):
            yield NOW + timedelta(hours=hours)
            left.append(sum((await store.totals()).values()))

    await purge(store, POLICY, ticks(), lambda: None, asyncio.Event())
    assert left == [4, 1]
    await store.close()
