"""The cost of a query does not depend on the number of mails: it is counted in steps of SQLite's virtual machine."""

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.crowded import ACCOUNT, Crowd, filled
from support.parts import request
from support.samples import NOW, RULES, booking_event, flight_data

from notifier.domain.claims import Quota
from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Reply, Status, handed_back, sent
from notifier.domain.messages import Message, Origin, decode
from notifier.storage.rows import millis
from notifier.storage.sqlite.store import SqliteStore

FEW = Crowd(10_000, 2_500, 5_000)
FLOOR = 5000
"""Steps that any query can take, half a page; below that, more steps can be due to more results."""
MOST = 150_000
"""More steps than any query needs; they take some milliseconds."""


def wanted(since: datetime | None = None, **fields: Iterable[Any]) -> MailFilter:
    """Build a filter."""
    values: dict[str, Any] = {name: frozenset(value) for name, value in fields.items()}
    return MailFilter(since=since, **values)


BOOKINGS = [f"B{n}" for n in range(500)]
FILTERS: Mapping[str, MailFilter] = {
    "everything": MailFilter(),
    "a kind of which there are few": wanted(kind=[Kind.CHANGE]),
    "a kind of which there are none": wanted(kind=[Kind.CANCELLATION]),
    "one status": wanted(status=[Status.FAILED]),
    "several statuses": wanted(status=[Status.FAILED, Status.CANCELLED, Status.PENDING]),
    "all statuses and kinds": wanted(status=Status, kind=Kind),
    "a status and a kind that never meet": wanted(status=[Status.FAILED], kind=[Kind.NOTIFICATION]),
    "the last minute": wanted(since=NOW - timedelta(minutes=1)),
    "nothing yet": wanted(since=NOW + timedelta(days=1)),
    "long ago": wanted(since=NOW - timedelta(days=400)),
    "a status lately": wanted(status=[Status.SENT], since=NOW - timedelta(minutes=1)),
    "a kind and a status lately": wanted(status=[Status.PENDING], kind=[Kind.CHANGE], since=NOW),
    "many bookings": wanted(booking=BOOKINGS),
    "many bookings that do not pass": wanted(booking=BOOKINGS, status=[Status.SENT], kind=[Kind.CANCELLATION]),
    "a booking lately": wanted(booking=["B1"], since=NOW),
    "many ids": wanted(mail=[f"{n:08x}-0000-5000-8000-000000000000" for n in range(500)], status=[Status.SENT]),
}


Operation = Callable[[SqliteStore], Awaitable[object]]


def listing(each: MailFilter) -> Operation:
    """Build the operation that lists what passes a filter."""
    return lambda store: store.page(each, None, 200)


async def claim(store: SqliteStore, quota: Quota | None) -> None:
    """Claim some mails and hand them back."""
    starts = (await store.claim(4, 0, NOW, quota)).starts
    assert len(starts) == 4
    await store.mark(starts[0].mail)
    await store.record([handed_back(start.mail) for start in starts], NOW)


async def purge(store: SqliteStore, reader: str | None) -> None:
    """Purge one portion."""
    await store.purge(NOW, NOW, reader, NOW)


async def purge_starts(store: SqliteStore) -> None:
    """Purge one portion when a day is over."""
    later = NOW + timedelta(days=2)
    assert (await store.purge(NOW - timedelta(days=9), NOW - timedelta(days=9), None, later)).starts


async def add(store: SqliteStore) -> None:
    """Add a booking."""
    await store.add([decode(json.dumps(booking_event()).encode(), Origin(NOW))], RULES, NOW)


OPERATIONS: Mapping[str, Operation] = {
    **{f"page of {name}": listing(each) for name, each in FILTERS.items()},
    "next page": lambda store: store.page(wanted(kind=[Kind.REMINDER]), 5000, 200),
    "snapshot": lambda store: store.snapshot(MailFilter(), 200),
    "waiting": lambda store: store.waiting(NOW),
    "totals": lambda store: store.totals(),
    "is_paused": lambda store: store.is_paused(),
    "span": lambda store: store.span(),
    "get": lambda store: store.get("00000001-0000-5000-8000-000000000000"),
    "expire": lambda store: store.expire(NOW),
    "history": lambda store: store.history("00000001-0000-5000-8000-000000000000"),
    "replay": lambda store: store.replay(5000, wanted(booking=BOOKINGS)),
    "missed": lambda store: store.missed(0, MailFilter(), 10_000),
    "listing": lambda store: store.listing(wanted(kind=[Kind.REMINDER]), None, 200),
    "events": lambda store: store.events(5000, 100),
    "cursor": lambda store: store.cursor("reporter"),
    "move_cursor": lambda store: store.move_cursor("reporter", 1),
    "sending": lambda store: store.sending(),
    "claim without a quota": lambda store: claim(store, None),
    "claim with a quota that is short": lambda store: claim(store, Quota("another", 10)),
    "claim with a quota of which half a million are used": lambda store: claim(store, Quota(ACCOUNT, 2_000_000)),
    "check": lambda store: store.check(),
    "add": add,
    "purge": lambda store: purge(store, None),
    "purge of what was not reported": lambda store: purge(store, "nobody"),
    "purge of starts": purge_starts,
}


class Steps:
    """Counts the steps of SQLite for a store."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Count one step."""
        self.count += 1


@asynccontextmanager
async def counted(path: Path) -> AsyncIterator[tuple[SqliteStore, Steps]]:
    """Open a store and count the steps of both connections."""
    steps = Steps()
    store = await SqliteStore.open(path)
    try:
        await store._writer.set_progress_handler(steps, 1)
        await store._reads._connection.set_progress_handler(steps, 1)
        yield store, steps
    finally:
        await store.close()


async def costs(path: Path, crowd: Crowd) -> dict[str, int]:
    """Count the steps of every operation on a database with so many mails."""
    await filled(path, crowd)
    found: dict[str, int] = {}
    async with counted(path) as (store, steps):
        for name, operation in OPERATIONS.items():
            before = steps.count
            await operation(store)
            found[name] = steps.count - before
    return found


async def test_no_query_takes_longer_because_there_are_more_mails(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """From 10,000 mails to 100,000 (with --faults a million), a quarter of them due, no cost doubles."""
    times = 100 if pytestconfig.getoption("--faults") else 10
    few = await costs(tmp_path / "few.db", FEW)
    many = await costs(tmp_path / "many.db", Crowd(*(times * each for each in FEW)))
    grown = {name: (few[name], many[name]) for name in few if many[name] > 2 * max(few[name], FLOOR)}
    assert not grown
    slow = {name: steps for name, steps in many.items() if steps > MOST}
    assert not slow


@pytest.mark.parametrize("left", [0, 5])
async def test_a_claim_costs_no_more_because_mails_are_due_since_very_many_hours(tmp_path: Path, left: int) -> None:
    """If requests for times throughout the last year arrive at once, a claim under a short quota stays bounded."""
    path, hours = tmp_path / "n.db", 24 * 365
    await filled(path, Crowd(hours, hours, 0))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE mails SET due_at = ? - n * 3600000, expires_at = NULL", (millis(NOW),))
    async with counted(path) as (store, steps):
        before = steps.count
        assert len((await store.claim(8, 0, NOW, Quota(ACCOUNT, hours // 2 + left))).starts) == left
        assert steps.count - before < MOST


async def test_a_short_quota_goes_to_the_earliest_deadlines_of_very_many_hours(tmp_path: Path) -> None:
    """The order in which they became due makes no difference, also if most of them became due long ago."""
    async with counted(tmp_path / "n.db") as (store, _):
        asked = [
            request(
                n,
                send_at=(NOW - timedelta(hours=n)).isoformat(),
                expires_at=(NOW + timedelta(hours=n * 37 % 211, minutes=1)).isoformat(),
            )
            for n in range(211)
        ]
        await store.add([decode(json.dumps(each).encode(), Origin(NOW)) for each in asked], RULES, NOW)
        starts = (await store.claim(100, 0, NOW, Quota("short", 50))).starts
        assert [start.mail.event for start in starts] == [
            f"r{n}" for n in sorted(range(211), key=lambda n: n * 37 % 211)[:50]
        ]


def test_every_method_of_the_store_is_measured() -> None:
    """A new method must be added to OPERATIONS or to the exceptions."""
    methods = {name for name in vars(SqliteStore) if not name.startswith("_")}
    others = {
        "open",
        "close",
        "check",
        "beyond",
        "erase",
        "pause",
        "page",
        "mark",
        "record",
        "claim",
        "purge",
        "rebook",
    }
    assert methods - others <= set(OPERATIONS)


def booking(version: int, people: int = 4, flights: int = 2, **changes: Any) -> Message:
    """Build the next state of one booking, in which every departure has moved."""
    first = NOW + timedelta(days=9, minutes=version)
    data = {
        "booking": "B",
        "version": version,
        "passengers": [{"name": f"P {n}", "email": f"p{n}@example.com"} for n in range(people)],
        "flights": [
            flight_data(number=f"AI{n}", departs_at=(first + timedelta(days=n)).isoformat(), arrives_at=None)
            for n in range(flights)
        ],
    }
    fields = {"id": f"m{version}", "type": "booking.changed", **data, **changes}
    return decode(json.dumps(booking_event(**fields)).encode(), Origin(NOW))


async def leave(_: SqliteStore) -> None:
    """Send nothing."""


async def accept(store: SqliteStore) -> None:
    """Send all that is due."""
    while starts := (await store.claim(100, 0, NOW)).starts:
        await store.record([sent(start.mail, Reply(250, "OK"), NOW) for start in starts], NOW)


async def begin(store: SqliteStore) -> None:
    """Hand back what was being sent, and begin to send all that is due."""
    await store.record([handed_back(mail) for mail in await store.sending()], NOW)
    await store.claim(100, 0, NOW)


@pytest.mark.parametrize("send", [leave, accept, begin])
async def test_a_message_about_a_booking_costs_no_more_after_many_others(tmp_path: Path, send: Operation) -> None:
    """The hundredth message is as cheap as the tenth, whether their mails wait, are being sent or have been sent."""
    found: list[int] = []
    async with counted(tmp_path / "n.db") as (store, steps):
        for version in range(100):
            before = steps.count
            await store.add([booking(version)], RULES, NOW)
            found.append(steps.count - before)
            await send(store)
    assert max(found[90:]) < 1.3 * max(found[5:15]), found


async def test_an_outdated_or_repeated_message_costs_nothing_by_the_size_of_its_booking(tmp_path: Path) -> None:
    """The rows that are read for it do not depend on the number of the booking's mails."""
    costs: list[tuple[int, int, int]] = []
    for people, flights in ((1, 1), (100, 20)):
        async with counted(tmp_path / f"{people}.db") as (store, steps):
            await store.add([booking(9, people, flights)], RULES, NOW)
            small = [booking(8), booking(8), booking(7, people, flights)]
            marks = [steps.count]
            for message in small:
                assert not (await store.add([message], RULES, NOW))[0].mails
                marks.append(steps.count)
        costs.append((marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]))
    few, many = costs
    assert all(large < 1.5 * each for each, large in zip(few, many, strict=True)), costs
