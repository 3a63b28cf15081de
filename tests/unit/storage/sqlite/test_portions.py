"""One transaction does a bounded amount of work before others get their turn."""

import asyncio
import json
import sqlite3
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import NOW, RULES
from support.stores import largest, message, request

from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Reply, Status, failed
from notifier.domain.messages import Origin, decode
from notifier.domain.planning import BYTES_PER_MAIL
from notifier.storage.sqlite.portions import EVENTS_PER_MAIL, MAX_WEIGHT, portion, weight
from notifier.storage.sqlite.store import SqliteStore


def test_a_mail_weighs_by_its_size_and_its_events() -> None:
    """It counts as one mail, and as one more for each 16 KiB of its largest column and for each ten events."""
    assert (MAX_WEIGHT, BYTES_PER_MAIL, EVENTS_PER_MAIL) == (500, 16 * 1024, 10)
    assert [weight(size) for size in (0, 16_383, 16_384, 160 * 1024)] == [1, 1, 2, 11]
    assert [weight(0, events) for events in (0, 9, 10, 1000)] == [1, 1, 2, 101]
    assert weight(16_384, 10) == 3


@given(st.lists(st.integers(1, 2 * MAX_WEIGHT), max_size=30))
def test_portions_have_every_item_once_and_in_order(weights: list[int]) -> None:
    """Each portion is as large as MAX_WEIGHT permits, but has at least one item, and says whether more follow."""
    rest = list(enumerate(weights))
    more = True
    while more:
        items, more = portion(rest)
        taken, rest = rest[: len(items)], rest[len(items) :]
        assert items == [item for item, _ in taken]
        assert more is bool(rest)
        spent = sum(weighs for _, weighs in taken)
        assert len(items) <= 1 or spent <= MAX_WEIGHT
        assert not more or (items and spent + rest[0][1] > MAX_WEIGHT)


async def test_a_batch_is_divided_by_the_mails_that_it_makes(store: SqliteStore, tmp_path: Path) -> None:
    """No transaction adds more than MAX_WEIGHT mails, except for a larger message, which has one of its own."""
    sizes: list[int] = []
    seen = 0

    def note(operation: str, _: float) -> None:
        nonlocal seen
        with sqlite3.connect(tmp_path / "notifier.db") as db:
            (now,) = db.execute("SELECT count(*) FROM mails").fetchone()
        db.close()
        if operation == "add":
            sizes.append(now - seen)
        seen = now

    store._transacted = note
    several = [request(n, to=[f"p{n}.{each}@example.com" for each in range(99)]) for n in range(12)]
    added = await store.add([*several, largest(1), request(99)], RULES, NOW)
    assert [len(each.mails) for each in added] == [99] * 12 + [2100, 1]
    assert [each for each in sizes if each] == [5 * 99, 5 * 99, 2 * 99, 2100, 1]
    assert 5 * 99 <= MAX_WEIGHT < 6 * 99
    assert all(each.repeated for each in await store.add([*several, largest(1), request(99)], RULES, NOW))


async def test_large_mails_weigh_as_much_as_several_in_every_portion(store: SqliteStore) -> None:
    """Taking in, expiring, purging and erasing 90 mails of 100 kB each take two transactions, as 630 small ones do."""
    later, done = NOW + timedelta(hours=2), list[str]()
    store._transacted = lambda operation, _: done.append(operation)

    async def add(first: int) -> None:
        long = {"to": "asha@example.com", "text": "x" * 100_000, "expires_at": (NOW + timedelta(hours=1)).isoformat()}
        await store.add([request(n, **long) for n in range(first, first + 90)], RULES, NOW)

    await add(0)
    assert [await store.expire(later) for _ in range(3)] == [True, False, False]
    purged = [await store.purge(later + timedelta(hours=1), NOW, None, later) for _ in range(3)]
    assert [each.mails for each in purged] == [71, 19, 0]
    await add(100)
    assert (await store.erase("asha@example.com", NOW)).mails == 90
    of_bookings = 1
    assert [done.count(each) for each in ("add", "expire", "purge", "erase")] == [2 * 2, 3, 3, 2 + of_bookings]


async def test_a_withdrawal_of_large_mails_weighs_as_much_as_they_do(store: SqliteStore) -> None:
    """It names only the request, and yet it has a transaction of its own if the request is large."""
    people = [f"p{n}@example.com" for n in range(50)]
    asked = [request(n, to=people, text="x" * 100_000) for n in range(2)]
    await store.add(asked, RULES, NOW)
    withdrawals = [
        {"type": "notification.cancelled", "id": f"c{n}", "source": each.source, "data": {"id": each.id}}
        for n, each in enumerate(asked)
    ]
    done: list[str] = []
    store._transacted = lambda operation, _: done.append(operation)
    await store.add([decode(json.dumps(each).encode(), Origin(NOW)) for each in withdrawals], RULES, NOW)
    assert (await store.totals())[Status.CANCELLED] == 100
    assert len(done) == 2


async def test_a_batch_is_divided_by_the_mails_that_it_reads(store: SqliteStore) -> None:
    """Messages that change nothing count by the mails that they read; repeats and outdated ones count as one."""
    requests = [request(n, to=[f"p{n}.{each}@example.com" for each in range(99)]) for n in range(12)]
    await store.add(requests, RULES, NOW)
    while starts := (await store.claim(500, 0, NOW)).starts:
        await store.record([failed(start.mail, Reply(550, "no"), None) for start in starts], NOW)
    withdrawals = [
        {"type": "notification.cancelled", "id": f"c{n}", "source": each.source, "data": {"id": each.id}}
        for n, each in enumerate(requests)
    ]
    transactions: list[str] = []
    store._transacted = lambda operation, _: transactions.append(operation)
    await store.add([decode(json.dumps(each).encode(), Origin(NOW)) for each in withdrawals], RULES, NOW)
    assert transactions == ["add"] * 3
    transactions.clear()
    await store.add([decode(json.dumps(each).encode(), Origin(NOW)) for each in withdrawals], RULES, NOW)
    assert transactions == ["add"]


async def test_many_of_the_largest_messages_delay_nobody_for_longer_than_one_of_them(store: SqliteStore) -> None:
    """While they are added, a snapshot, a small message and a claim wait for about one transaction, not for all."""
    began = time.perf_counter()
    await store.add([largest(0)], RULES, NOW)
    alone = time.perf_counter() - began
    adding = [asyncio.create_task(store.add([largest(n)], RULES, NOW)) for n in range(1, 9)]
    waits: dict[str, list[float]] = {"snapshot": [], "message": [], "claim": []}
    number = 0
    try:
        while not all(task.done() for task in adding):
            number += 1
            for name, asked in (
                ("snapshot", store.snapshot(MailFilter(), 200)),
                ("message", store.add([request(number)], RULES, NOW)),
                ("claim", store.claim(1, 0, NOW)),
            ):
                began = time.perf_counter()
                await asked
                waits[name].append(time.perf_counter() - began)
    finally:
        await asyncio.gather(*adding)
    print({name: f"{max(each):.2f} s" for name, each in waits.items()}, f"one message: {alone:.2f} s")  # noqa: T201 - pytest shows it beside a failure
    assert number >= 4
    for name, each in waits.items():
        assert max(each) < 4 * alone, (name, alone, waits)


@pytest.mark.parametrize("together", [False, True])
async def test_subjects_that_depend_on_bookings_do_not_divide_a_batch(store: SqliteStore, *, together: bool) -> None:
    """A cancellation without flights shows those of its booking, which are only known inside the transaction."""
    end: dict[str, Any] = {"type": "booking.cancelled", "version": 2, "passengers": None, "flights": None}
    confirmed = [message(id=f"{n}.1", booking=f"B{n}") for n in range(30)]
    cancelled = [message(id=f"{n}.2", booking=f"B{n}", **end) for n in range(30)]
    if together:
        batch = [each for pair in zip(confirmed, cancelled, strict=True) for each in pair]
    else:
        await store.add(confirmed, RULES, NOW)
        batch = cancelled
    transactions: list[str] = []
    store._transacted = lambda operation, _: transactions.append(operation)
    added = await store.add(batch, RULES, NOW)
    assert transactions == ["add"] * 2
    notices = (await store.page(MailFilter(kind=frozenset({Kind.CANCELLATION})), None, 100)).mails
    assert [mail.event for mail in reversed(notices)] == [each.id for each in cancelled]
    assert {mail.id for mail in notices} <= {id_ for each in added for id_ in each.mails}
    assert all("AI101 DEL to BLR" in mail.subject for mail in notices)
