"""A store that is opened, locked, closed, interrupted, or fails."""

import asyncio
import sqlite3
import stat
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.samples import NOW, RULES
from support.stores import message, opened, request

from notifier.domain.events import MailFilter
from notifier.domain.mail import Reply, failed, retried
from notifier.errors import StoreUnusable
from notifier.storage.sqlite import queries
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.sqlite.writes import Writes
from notifier.storage.store import Store


async def test_everything_survives_being_closed_and_opened(tmp_path: Path) -> None:
    """Mails, states, log, cursor, identity and rate are the same after a restart."""
    async with opened(tmp_path / "notifier.db") as store:
        await store.add([message(), *[request(n) for n in range(9)]], RULES, NOW)
        claim = await store.claim(100, 20, NOW)
        await store.move_cursor("reader", 2)
        before = (store.id, await store.span(), await store.sending(), await store.events(0, 100))
    async with opened(tmp_path / "notifier.db") as store:
        assert (store.id, await store.span(), await store.sending(), await store.events(0, 100)) == before
        assert await store.cursor("reader") == 2
        assert (await store.add([message()], RULES, NOW))[0].repeated
        after = await store.claim(100, 20, NOW)
        assert after.starts == ()
        assert after.again_at == claim.again_at


async def test_readers_of_the_log_wait_until_it_grows(store: Store) -> None:
    """Waiting for the log to go beyond a place ends with the first event after it."""
    waiting = asyncio.create_task(store.beyond(0))
    await store.move_cursor("reader", 0)
    assert not waiting.done()
    await store.add([request(1)], RULES, NOW)
    async with asyncio.timeout(5):
        await waiting
        await store.beyond(0)


async def test_arriving_mail_wakes_the_sender(store: Store) -> None:
    """New mail sets `wake`; a repeat does not."""
    await store.add([request(1)], RULES, NOW)
    async with asyncio.timeout(5):
        await store.wake.wait()
    store.wake.clear()
    await store.add([request(1)], RULES, NOW)
    await store.totals()
    assert not store.wake.is_set()


async def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    """A file with other content is an error that names the file, and stays as it is."""
    path = tmp_path / "n.db"
    path.write_bytes(b"this is no database at all, but it may be dear to someone" * 40)
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match=r"n\.db: file is not a database"):
        await SqliteStore.open(path)
    assert path.read_bytes() == before


async def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """If the file cannot be created, the error is one line with the reason."""
    with pytest.raises(StoreUnusable, match="No such file or directory"):
        await SqliteStore.open(tmp_path / "missing" / "n.db")


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database of a newer version stays as it is."""
    path = tmp_path / "n.db"
    await (await SqliteStore.open(path)).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnusable, match="schema 99, newer than this version"):
        await SqliteStore.open(path)


async def test_commits_are_durable_and_readable_only_by_their_owner(tmp_path: Path) -> None:
    """Every commit is synced to disk, and only the owner can read the file, which has addresses."""
    store = await SqliteStore.open(tmp_path / "n.db")
    modes = await store._run(
        lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    await store.close()
    assert modes == ["wal", 2]
    assert stat.S_IMODE((tmp_path / "n.db").stat().st_mode) == 0o600


async def test_a_commit_is_on_the_disk(tmp_path: Path) -> None:
    """The write-ahead log is synced to disk with every commit (`FULL` is 2)."""
    store = await SqliteStore.open(tmp_path / "n.db")
    names = ("synchronous", "journal_mode", "secure_delete")
    found = [await store._run(lambda db, name=name: db.execute(f"PRAGMA {name}").fetchone()[0]) for name in names]  # type: ignore[misc]
    await store.close()
    assert found == [2, "wal", 1]


async def test_a_failing_transaction_changes_nothing_and_shows_as_the_stores_fault(tmp_path: Path) -> None:
    """An error rolls back the whole transaction; only the next transaction that succeeds clears the fault."""
    store = await SqliteStore.open(tmp_path / "n.db")

    def work(writes: Writes) -> None:
        writes.db.execute("INSERT INTO meta VALUES ('half', '1')")
        writes.db.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(StoreUnusable, match="no such table"):
        await store._transact("add", work)
    faults = [store.fault]
    half = await store._run(lambda db: db.execute("SELECT * FROM meta WHERE name = 'half'").fetchall())
    await store.totals()
    faults.append(store.fault)
    await store.pause(paused=False)
    faults.append(store.fault)
    await store.close()
    assert half == []
    assert faults == ["no such table: nowhere", "no such table: nowhere", None]


async def cut_off(store: SqliteStore, asked: Coroutine[Any, Any, object]) -> None:
    """Call a method of the store and cancel the call before it is done; return once it is done."""
    go = threading.Event()
    busy = asyncio.create_task(store._run(lambda _: go.wait(10)))
    caller = asyncio.create_task(asked)
    # The caller's request follows the one that keeps the thread busy as soon as both tasks have run once.
    await asyncio.sleep(0)
    store.wake.clear()
    caller.cancel()
    go.set()
    await asyncio.gather(busy, caller, return_exceptions=True)
    assert caller.cancelled()
    await store._run(lambda _: None)


async def test_a_cancelled_call_leaves_nothing_half_done(tmp_path: Path) -> None:
    """The commit still has its effects in this process: sending is paused or woken, and messages are counted."""
    counted: list[str] = []
    store = await SqliteStore.open(
        tmp_path / "n.db", took=lambda messages, _: counted.extend(each.id for each in messages)
    )
    asked = [request(n) for n in range(3)]
    try:
        await cut_off(store, store.add(asked, RULES, NOW))
        assert (counted, store.wake.is_set()) == ([each.id for each in asked], True)
        (start,) = (await store.claim(1, 0, NOW)).starts
        gone = failed(start.mail, Reply(550, "no"), None)
        await store.record([gone], NOW)
        await cut_off(store, store.record([retried(gone)], NOW))
        assert store.wake.is_set()
        for paused in (True, False):
            await cut_off(store, store.pause(paused=paused))
            assert (store.paused, store.wake.is_set()) == (paused, True)
    finally:
        await store.close()


async def test_a_claim_shows_whether_sending_is_paused(tmp_path: Path) -> None:
    """A claim corrects `paused`, so that the sender does not keep claiming mails that it never starts."""
    async with opened(tmp_path / "n.db") as store:
        store.paused = True
        await store.claim(1, 0, NOW)
        assert not store.paused


async def test_new_events_are_read_without_the_database(tmp_path: Path) -> None:
    """Whoever keeps up gets what was just appended from memory, exactly as the log has it."""
    path = tmp_path / "n.db"
    async with opened(path) as store:
        await store.add([message(), request(1)], RULES, NOW)
        await store.record(
            [failed(start.mail, Reply(550, "no"), None) for start in (await store.claim(9, 0, NOW)).starts], NOW
        )
        asked: list[str] = []
        await store._writer.set_trace_callback(asked.append)
        recent = await store.events(0, 100)
        assert await store.events(recent[2].seq, 2) == recent[3:5]
        assert await store.events(recent[-1].seq, 100) == []
        assert asked == []
    async with opened(path) as store:
        # Nothing has been appended by this process, so this is the log.
        assert await store.events(0, 100) == recent
        await store.add([request(2)], RULES, NOW)
        assert [event.seq for event in await store.events(1, 100)] == [event.seq for event in recent[1:]] + [
            len(recent) + 1
        ]


async def test_erased_events_are_no_longer_in_memory(tmp_path: Path) -> None:
    """After an address was erased, readers get its events as they are in the log now."""
    async with opened(tmp_path / "n.db") as store:
        await store.add([request(1, subject="Dear Asha")], RULES, NOW)
        assert b"Dear Asha" in (await store.events(0, 1))[0].body
        (mail,) = (await store.page(MailFilter(), None, 9)).mails
        await store.erase(mail.to, NOW)
        found = await store.events(0, 100)
        assert [event.type for event in found] == ["mail.pending", "mail.cancelled"]
        assert not any(b"Dear Asha" in event.body for event in found)
        assert found == await store._run(lambda db: queries.events(db, 0, 100))
