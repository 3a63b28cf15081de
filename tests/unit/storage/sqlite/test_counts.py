"""What is counted in tables of their own is always what counting the rows would give."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from support.samples import NOW, RULES
from support.stores import ACCEPTED, MOVED, QUOTA, RETRY, message, opened, request

from notifier.domain.claims import Quota
from notifier.domain.mail import Reply, failed, handed_back, refused, sent
from notifier.domain.planning import Subjects
from notifier.storage.sqlite import changes
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.sqlite.writes import Writes

OTHER = Quota("other", 2)
COUNTS = {
    "SELECT status, mails FROM totals WHERE mails": "SELECT status, count(*) FROM mails GROUP BY 1",
    "SELECT tried, minute, mails FROM waiting WHERE mails": (
        "SELECT attempt > 0, due_at / 60000, count(*) FROM mails WHERE due_at IS NOT NULL GROUP BY 1, 2"
    ),
    "SELECT account, mails FROM used WHERE mails": "SELECT account, count(*) FROM starts GROUP BY 1",
}


class Step(Struct):
    """One thing that is asked of the store."""

    name: str
    number: int
    """Which mail, message or outcome."""
    minutes: int
    """By how much the clock moves before it; it can be set back."""
    waits: bool
    """Whether it is done before the next one is asked for; otherwise they can share a transaction."""


async def add_request(store: SqliteStore, number: int, now: datetime) -> None:
    """Add a request for two mails, at once or later."""
    at = (now + timedelta(minutes=number)).isoformat()
    expires = (now + timedelta(minutes=90)).isoformat()
    to = [f"p{number}@example.com", "asha@example.com"]
    await store.add([request(number, to=to, send_at=at, expires_at=expires)], RULES, now)


async def add_booking(store: SqliteStore, number: int, now: datetime) -> None:
    """Add a booking, change it, or cancel it."""
    kinds: list[dict[str, Any]] = [{}, {"type": "booking.changed", "flights": [MOVED]}, {"type": "booking.cancelled"}]
    version = number % 7 + 1
    changed = {**kinds[number % 3], "version": version}
    await store.add([message(id=f"b{number}.{version}", booking=f"B{number % 2}", **changed)], RULES, now)


async def claim(store: SqliteStore, number: int, now: datetime) -> None:
    """Claim some mails, with and without a quota."""
    await store.claim(number, 0, now, (None, QUOTA, OTHER)[number % 3], newest=number == 5)


async def record(store: SqliteStore, number: int, now: datetime) -> None:
    """Record an outcome of everything that is being sent; the first one twice."""
    outcomes = []
    for mail in await store.sending():
        ended = (
            sent(mail, ACCEPTED, now),
            failed(mail, Reply(550, "no"), None),
            refused(mail, Reply(450, "later"), None, RETRY, now),
            handed_back(mail),
        )[number % 4]
        outcomes.append(ended)
    await store.record([*outcomes, *outcomes[:1]], now)


async def rebook(store: SqliteStore, number: int, now: datetime) -> None:
    """Count a mail against another account."""
    for mail in (await store.sending())[: number % 2 + 1]:
        await store.rebook(mail, QUOTA, OTHER, now)


async def purge(store: SqliteStore, _: int, now: datetime) -> None:
    """Purge what finished, and starts of yesterday."""
    await store.purge(now, now - timedelta(days=1), None, now + timedelta(hours=23))


async def erase(store: SqliteStore, number: int, now: datetime) -> None:
    """Erase an address."""
    await store.erase(("asha@example.com", f"p{number}@example.com")[number % 2], now)


async def fail(store: SqliteStore, number: int, now: datetime) -> None:
    """Fail after much was done, so that it is rolled back."""

    def work(writes: Writes) -> None:
        some = [request(1000 + number)]
        changes.add_some(writes, some, RULES, now, subjects=Subjects(RULES.subject), large=False)
        writes.flush()
        raise ZeroDivisionError

    try:
        await store._transact("add", work)
    except ZeroDivisionError:
        return
    raise AssertionError


Operation = Callable[[SqliteStore, int, datetime], Awaitable[object]]
OPERATIONS: Mapping[str, Operation] = {
    "request": add_request,
    "booking": add_booking,
    "claim": claim,
    "record": record,
    "rebook": rebook,
    "expire": lambda store, _, now: store.expire(now),
    "purge": purge,
    "erase": erase,
    "fail": fail,
}
STEPS = st.lists(
    st.builds(
        Step,
        name=st.sampled_from([*OPERATIONS, "request", "booking", "claim", "claim", "record"]),
        number=st.integers(0, 9),
        minutes=st.sampled_from([0, 0, 0, 1, 30, 61, -20, -200, 1500]),
        waits=st.booleans(),
    ),
    min_size=5,
    max_size=40,
)


async def check(store: SqliteStore) -> None:
    """Compare every count with the rows."""

    def both(db: sqlite3.Connection) -> list[tuple[set[Any], set[Any]]]:
        return [(set(db.execute(kept)), set(db.execute(counted))) for kept, counted in COUNTS.items()]

    for kept, counted in await store._run(both):
        assert kept == counted


async def follow(steps: list[Step]) -> None:
    """Take the steps on a store of their own."""
    now = NOW
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder) / "n.db") as store:
            asked: list[asyncio.Future[object]] = []
            for step in steps:
                now += timedelta(minutes=step.minutes)
                asked.append(asyncio.ensure_future(OPERATIONS[step.name](store, step.number, now)))
                if step.waits:
                    await asyncio.gather(*asked)
                    await check(store)
            await asyncio.gather(*asked)
            await check(store)


@settings(max_examples=30, deadline=None)
@example(
    [
        Step("request", 3, 0, waits=True),
        Step("claim", 2, 61, waits=True),
        Step("record", 2, 0, waits=True),
        Step("expire", 0, -200, waits=True),
        Step("request", 0, 500, waits=True),
        Step("claim", 0, -200, waits=True),
    ]
)
@example(
    [
        Step("request", 0, 0, waits=True),
        Step("claim", 4, 0, waits=True),
        Step("record", 3, 0, waits=True),
        Step("claim", 4, 0, waits=True),
        Step("record", 0, 0, waits=True),
        Step("purge", 0, 1500, waits=True),
    ]
)
@example(
    [
        Step("booking", 0, 0, waits=False),
        Step("booking", 1, 0, waits=False),
        Step("fail", 0, 0, waits=False),
        Step("booking", 5, 0, waits=True),
        Step("erase", 0, 0, waits=True),
    ]
)
@given(STEPS)
def test_counts_are_those_of_the_rows(steps: list[Step]) -> None:
    """Whatever is added, claimed, recorded, purged, erased or rolled back, in whatever order and at whatever time."""
    asyncio.run(follow(steps))
