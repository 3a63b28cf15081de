"""Watchers read on a connection of their own, which writes nothing and delays no actor."""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from support.parts import PATIENCE
from support.samples import NOW, RULES
from support.stores import largest, request

from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Reply, Status, sent
from notifier.errors import StoreUnusable
from notifier.storage.sqlite import queries, reader
from notifier.storage.sqlite.reader import MAX_REST, REST
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.store import Page

SLICES, STEPS = 5, 40
"""Pairs of measurements that are compared, and what is worked on in each: many queries long."""


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Held:
    """Keeps the watchers' connection busy while the block lasts."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._end = threading.Event()
        self._begun = threading.Event()

    def _hold(self, _: sqlite3.Connection) -> None:
        self._begun.set()
        self._end.wait(PATIENCE)

    async def __aenter__(self) -> None:
        self._query = asyncio.create_task(self._store._reads.query(self._hold))
        await asyncio.to_thread(self._begun.wait, PATIENCE)

    async def __aexit__(self, *_: object) -> None:
        self._end.set()
        await self._query


async def test_actors_never_wait_for_a_watcher(store: SqliteStore) -> None:
    """Every call of intake, sender, reporter, broadcaster and purger returns while a query runs."""
    async with Held(store), asyncio.timeout(PATIENCE / 2):
        await store.add([request(1), request(2)], RULES, NOW)
        first, second = (start.mail for start in (await store.claim(9, 0, NOW)).starts)
        await store.mark(first)
        assert len(await store.sending()) == 2
        await store.record([sent(first, Reply(250, "OK"), NOW), sent(second, Reply(250, "OK"), NOW)], NOW)
        assert len(await store.events(0, 100)) == 6
        await store.move_cursor("reporter", await store.cursor("reporter") + 6)
        await store.pause(paused=True)
        assert (await store.purge(NOW, NOW, "reporter", NOW)).mails == 0
        await store.beyond(0)


async def test_the_connection_of_watchers_cannot_write(store: SqliteStore) -> None:
    """SQLite itself refuses to write, and the failed query does not make the service unready."""
    await store.add([request(1)], RULES, NOW)
    with pytest.raises(StoreUnusable, match="readonly"):
        await store._reads.query(lambda db: db.execute("DELETE FROM mails").close())
    assert store.fault is None
    assert (await store.totals())[Status.PENDING] == 1


async def test_a_snapshot_is_one_state_of_the_store(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits while it is read are in neither the totals nor the page."""
    loop = asyncio.get_running_loop()
    read = queries.totals

    def slowly(db: sqlite3.Connection) -> dict[Status, int]:
        found = read(db)
        asyncio.run_coroutine_threadsafe(store.add([request(2)], RULES, NOW), loop).result(PATIENCE)
        return found

    await store.add([request(1)], RULES, NOW)
    monkeypatch.setattr(queries, "totals", slowly)
    snapshot = await store.snapshot(MailFilter(), 10)
    monkeypatch.undo()
    assert (snapshot.seq, snapshot.totals[Status.PENDING], len(json.loads(snapshot.mails))) == (1, 1, 1)
    assert len((await store.page(MailFilter(), None, 10)).mails) == 2


async def test_watchers_with_the_same_query_share_an_answer(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of them cost one query, whose answer has everything that was stored before the last call."""
    calls: list[MailFilter] = []
    read = queries.page

    def page(
        db: sqlite3.Connection, wanted: MailFilter, before: int | None, limit: int, *, contents: bool = True
    ) -> Page:
        calls.append(wanted)
        return read(db, wanted, before, limit, contents=contents)

    monkeypatch.setattr(queries, "page", page)
    async with Held(store):
        early = [asyncio.create_task(store.snapshot(MailFilter(), 200)) for _ in range(200)]
        other = asyncio.create_task(store.snapshot(MailFilter(kind=frozenset({Kind.CHANGE})), 200))
        await asyncio.sleep(0)
        early.pop().cancel()
        await store.add([request(1)], RULES, NOW)
        late = [asyncio.create_task(store.snapshot(MailFilter(), 200)) for _ in range(200)]
        await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        snapshots = await asyncio.gather(*early, *late)
    assert {len(json.loads(snapshot.mails)) for snapshot in snapshots} == {1}
    assert len({id(snapshot.mails) for snapshot in snapshots}) == 1
    assert (await other).mails == b"[]"
    assert len(calls) == 2


async def test_an_answer_is_not_older_than_its_question(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call during an equal query gets an answer of its own, with the rows that were stored meanwhile."""
    begun, end, read = threading.Event(), threading.Event(), queries.page

    def page(*args: Any, **options: Any) -> Page:
        found = read(*args, **options)
        begun.set()
        end.wait(PATIENCE)
        return found

    monkeypatch.setattr(queries, "page", page)
    first = asyncio.create_task(store.snapshot(MailFilter(), 200))
    await asyncio.to_thread(begun.wait, PATIENCE)
    await store.add([request(1)], RULES, NOW)
    second = asyncio.create_task(store.snapshot(MailFilter(), 200))
    await asyncio.sleep(0)
    end.set()
    async with asyncio.timeout(PATIENCE):
        found = [len(json.loads((await each).mails)) for each in (first, second)]
    assert found == [0, 1]


@pytest.mark.parametrize("urgent", [False, True])
async def test_a_query_that_nobody_waits_for_any_more_does_not_run(store: SqliteStore, *, urgent: bool) -> None:
    """It is dropped when its last caller is cancelled; a query with another caller is answered."""
    asked: list[str] = []

    def query(_: sqlite3.Connection, name: str) -> str:
        asked.append(name)
        return name

    async with Held(store):
        tasks = {
            name: [asyncio.create_task(store._reads.query(query, name, urgent=each)) for each in (False, urgent)]
            for name in ("gone", "shared")
        }
        await asyncio.sleep(0)
        for task in (*tasks["gone"], tasks["shared"][0]):
            task.cancel()
        await asyncio.wait(tasks["gone"])
    async with asyncio.timeout(PATIENCE):
        assert await tasks["shared"][1] == "shared"
    assert asked == ["shared"]
    assert not store._reads._askers


async def test_operators_and_the_service_are_answered_before_viewers(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Urgent queries come before any number of viewers' queries, which are answered in the order of the calls."""
    monkeypatch.setattr(reader, "REST", 0)
    monkeypatch.setattr(reader, "URGENT_REST", 0)
    answered: list[str] = []

    async def ask(who: str, asked: Awaitable[object]) -> None:
        await asked
        answered.append(who)

    async with Held(store):
        viewers = [asyncio.create_task(ask(f"viewer {n}", store.page(MailFilter(), n, 10))) for n in range(1, 6)]
        await asyncio.sleep(0)
        others = [
            asyncio.create_task(ask("operator", store.page(MailFilter(), None, 10, urgent=True))),
            asyncio.create_task(ask("stats", store.totals())),
            # The same that a viewer asks, who thus has it early.
            asyncio.create_task(ask("hurried viewer", store.page(MailFilter(), 5, 10, urgent=True))),
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*viewers, *others)
    assert answered == ["operator", "stats", "viewer 5", "hurried viewer", *(f"viewer {n}" for n in range(1, 5))]


async def test_only_the_processor_time_of_a_query_is_rested_and_only_by_its_own_kind(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that waits for the disk causes no rest; one that computes delays only the next of its kind."""
    monkeypatch.setattr(reader, "REST", 1e6)
    monkeypatch.setattr(reader, "MAX_REST", 2 * PATIENCE)
    began = asyncio.get_running_loop().time()
    monkeypatch.setattr(reader, "thread_time", lambda: 0.0)
    await store._reads.query(lambda _: time.sleep(0.2))
    assert store._reads._others.rested_at <= asyncio.get_running_loop().time()
    monkeypatch.setattr(reader, "thread_time", iter(range(1000)).__next__)
    await store._reads.query(lambda _: None)
    assert store._reads._others.rested_at >= began + 2 * PATIENCE
    async with asyncio.timeout(PATIENCE):
        await store._reads.query(lambda _: None, urgent=True)
    assert (reader.REST, reader.MAX_REST) != (REST, MAX_REST)
    assert REST * 0.02 < MAX_REST <= 0.25


async def test_what_is_counted_and_replayed_is_what_passes_the_filter(store: SqliteStore) -> None:
    """The database selects the same events as the hub, in slices that end at multiples of 100."""
    await store.add([request(n, to=[f"p{n}.{each}@example.com" for each in range(40)]) for n in range(6)], RULES, NOW)
    await store.add([largest(1)], RULES, NOW)
    first, *_ = (start.mail for start in (await store.claim(99, 0, NOW)).starts)
    await store.record([sent(first, Reply(250, "OK"), NOW)], NOW)
    logged = await store.events(0, 10_000)
    for wanted in (
        MailFilter(),
        MailFilter(status=frozenset({Status.SENDING})),
        MailFilter(status=frozenset({Status.PENDING}), kind=frozenset({Kind.CONFIRMATION, Kind.NOTIFICATION})),
        MailFilter(booking=frozenset({"B1", "none"})),
        MailFilter(mail=frozenset({first.id, logged[-1].mail})),
        MailFilter(since=NOW),
        MailFilter(since=NOW + timedelta(microseconds=1)),
    ):
        passing = [event.body for event in logged if event.seq > 7 and wanted.passes(event)]
        found, ends, at = list[bytes](), list[int](), 7
        while at < logged[-1].seq:
            portion = await store._reads.query(queries.replay, at, wanted, urgent=True)
            if portion.events:
                found.append(portion.bodies)
            at = portion.seq
            ends.append(at)
        assert b",".join(found) == b",".join(passing)
        assert ends == [*range(100, logged[-1].seq, 100), logged[-1].seq]
        assert (await store.missed(7, wanted, 10_000)).events == len(passing)


async def test_a_query_that_was_not_begun_when_the_store_closes_ends(tmp_path: Path) -> None:
    """Every caller gets an error, and nothing is left over."""
    store = await SqliteStore.open(tmp_path / "n.db")
    async with Held(store):
        asked = asyncio.create_task(store.totals())
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
    await closing
    with pytest.raises(StoreUnusable, match="the store is closed"):
        await asked
    assert set(contents(tmp_path)) == {"n.db", "n.db.lock"}


async def watch(store: SqliteStore, stop: asyncio.Event) -> None:
    """Run one expensive query after the other."""
    step = 0
    while not stop.is_set():
        step += 1
        kinds = frozenset({Kind.NOTIFICATION, Kind.CHANGE})
        await store.snapshot(MailFilter(status=frozenset(Status), kind=kinds), 500 - step % 200)
        await store.page(MailFilter(booking=frozenset(f"B{n}" for n in range(500))), None, 500 - step % 200)


async def work(store: SqliteStore, number: int) -> None:
    """Add some messages and send their mails."""
    await store.add([request(number * 10 + n) for n in range(10)], RULES, NOW)
    for start in (await store.claim(10, 0, NOW)).starts:
        await store.record([sent(start.mail, Reply(250, "OK"), NOW)], NOW)


async def test_an_address_can_be_erased_while_watchers_ask_all_the_time(store: SqliteStore, tmp_path: Path) -> None:
    """Queries do not keep the write-ahead log from being emptied."""
    for number in range(20):
        await work(store, number)
    stop = asyncio.Event()
    watchers = [asyncio.create_task(watch(store, stop)) for _ in range(4)]
    try:
        for number in range(20):
            assert (await store.erase(f"p{number}@example.com", NOW)).mails == 1
            assert not any(f"p{number}@".encode() in content for content in contents(tmp_path).values())
    finally:
        stop.set()
        await asyncio.gather(*watchers)


async def test_sending_and_intake_keep_their_speed_while_watchers_ask_all_the_time(store: SqliteStore) -> None:
    """With eight of them the speed is at least 0.7 of that without, in the median ratio of adjacent measurements."""
    for number in range(60):
        await work(store, number)
    stop = asyncio.Event()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * SLICES):
        watched = number % 2 == 1
        stop.clear()
        watchers = [asyncio.create_task(watch(store, stop)) for _ in range(8 * watched)]
        try:
            began = time.perf_counter()
            for step in range(STEPS):
                await work(store, 100 + number * STEPS + step)
            seconds[watched].append(time.perf_counter() - began)
        finally:
            stop.set()
            await asyncio.gather(*watchers)
    # Of neighbours, because on a shared machine the speed of all changes from one second to the next.
    share = median(without / watched for without, watched in zip(seconds[False], seconds[True], strict=True))
    assert share >= 0.7, seconds


async def test_a_list_does_not_read_what_mails_say(store: SqliteStore) -> None:
    """Lists never show the content, which can be long."""
    await store.add([request(1), request(2)], RULES, NOW)
    shown = await store.listing(MailFilter(), None, 10), (await store.snapshot(MailFilter(), 10)).mails
    await store._run(lambda db: db.execute("UPDATE contents SET content = x'00'").close())
    assert (await store.listing(MailFilter(), None, 10), (await store.snapshot(MailFilter(), 10)).mails) == shown
    assert shown[0].count(b'"kind":"notification"') == 2
