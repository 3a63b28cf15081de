"""Behaviour that only the store in a SQLite file has."""

import asyncio
import json
import random
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from support.parts import request
from support.samples import NOW, RULES, booking_event

from notifier.domain.mail import Reply, due_again, failed, sent
from notifier.domain.messages import Message, Origin, decode
from notifier.errors import StoreUnusable
from notifier.storage.sqlite.connection import connect, run
from notifier.storage.sqlite.store import SqliteStore


async def test_a_second_process_cannot_open_the_file(tmp_path: Path) -> None:
    """A second process gets an error in one line, and can open the file once the first one has closed it."""
    first = await SqliteStore.open(tmp_path / "n.db")
    with pytest.raises(StoreUnusable, match="another notifier is using this database"):
        await SqliteStore.open(tmp_path / "n.db")
    await first.close()
    await (await SqliteStore.open(tmp_path / "n.db")).close()


@pytest.mark.parametrize("other", ["link.db", "folder/n.db", "hard.db"])
async def test_a_second_process_cannot_open_the_file_by_another_name(tmp_path: Path, other: str) -> None:
    """Symbolic and hard links to the file, and a link to its folder, are the same database."""
    (tmp_path / "real").mkdir()
    path = tmp_path / "real" / "n.db"
    async with opened(path):
        (tmp_path / "link.db").symlink_to(path)
        (tmp_path / "folder").symlink_to(path.parent, target_is_directory=True)
        (tmp_path / "hard.db").hardlink_to(path)
        with pytest.raises(StoreUnusable, match="another notifier is using this database"):
            await (await SqliteStore.open(tmp_path / other)).close()
    await (await SqliteStore.open(tmp_path / "link.db")).close()
    assert not (tmp_path / "link.db.lock").exists()


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


async def test_a_failing_transaction_changes_nothing_and_shows_as_the_stores_fault(tmp_path: Path) -> None:
    """An error rolls back the whole transaction; only the next transaction that succeeds clears the fault."""
    store = await SqliteStore.open(tmp_path / "n.db")

    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta VALUES ('half', '1')")
        db.execute("INSERT INTO nowhere VALUES (1)")

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


async def test_a_function_runs_on_the_thread_of_its_connection_in_one_hop(tmp_path: Path) -> None:
    """If this fails after an upgrade of aiosqlite, `executescript` no longer is the way: see sqlite/connection.py."""
    connection = await connect(tmp_path / "n.db")
    try:
        others = await asyncio.gather(*(run(connection, lambda db: (db, threading.get_ident())) for _ in range(3)))
        assert len(set(others)) == 1
        assert others[0][1] != threading.get_ident()
        with pytest.raises(StoreUnusable, match="no such table"):
            await run(connection, lambda db: db.execute("SELECT * FROM nowhere"))
        with pytest.raises(ZeroDivisionError):
            await run(connection, lambda _: 1 // 0)
        await connection.executescript("CREATE TABLE here (a); INSERT INTO here VALUES (1);")
        assert await run(connection, lambda db: db.execute("SELECT a FROM here").fetchall()) == [(1,)]
    finally:
        await connection.close()


async def test_a_version_of_aiosqlite_that_runs_scripts_in_another_way_is_named(tmp_path: Path) -> None:
    """The error says which file must be changed, and the function has not run."""
    connection = await aiosqlite.connect(tmp_path / "n.db")
    try:
        with pytest.raises(RuntimeError, match=r"aiosqlite .* change notifier/storage/sqlite/connection\.py"):
            await run(connection, lambda _: pytest.fail("it has run"))
    finally:
        await connection.close()


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    """Open a store for the duration of the block."""
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


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
    asked = [decode(json.dumps(request(n)).encode(), Origin(NOW)) for n in range(3)]
    try:
        await cut_off(store, store.add(asked, RULES, NOW))
        assert (counted, store.wake.is_set()) == ([each.id for each in asked], True)
        (start,) = (await store.claim(1, 0, NOW)).starts
        gone = failed(start.mail, Reply(550, "no"), None)
        await store.record([gone], NOW)
        await cut_off(store, store.record([due_again(gone)], NOW))
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


def some_message(number: int, chance: random.Random) -> Message:
    """Make a booking or a request, sometimes one for the address that will be erased."""
    email, name = ("asha.rao@example.com", "Asha Rao") if chance.random() < 0.3 else (f"p{number}@example.com", "P")
    booking = {"booking": f"B{chance.randrange(200)}", "passengers": [{"name": name, "email": email}]}
    letter = {"to": email, "subject": f"For {name}", "text": f"Dear {name}. {'x' * chance.randrange(6000)}"}
    event = (
        booking_event(id=f"b{number}", version=number, **booking)
        if chance.random() < 0.5
        else request(number, **letter)
    )
    return decode(json.dumps(event).encode(), Origin(NOW))


def words_on_disk(folder: Path, *words: str) -> set[str]:
    """Return the words that are anywhere in the files of a store."""
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    return {word for word in words if word.encode() in content}


@pytest.mark.parametrize("seed", range(3))
async def test_an_erased_address_is_nowhere_on_the_disk(tmp_path: Path, seed: int) -> None:
    """It is not in free pages, in pages that were divided or in the write-ahead log, while the store is open."""
    chance, personal = random.Random(seed), ("asha.rao@", "Asha Rao")  # noqa: S311 - a test that can be repeated
    async with opened(tmp_path / "n.db") as store:
        for batch in range(20):
            await store.add([some_message(batch * 40 + n, chance) for n in range(40)], RULES, NOW)
            for start in (await store.claim(chance.randrange(20), 0, NOW)).starts:
                await store.record([sent(start.mail, Reply(250, f"OK {start.mail.to}"), NOW)], NOW)
        assert words_on_disk(tmp_path, *personal, "p1@example.com") == {*personal, "p1@example.com"}
        await store.erase("asha.rao@example.com", NOW)
        assert words_on_disk(tmp_path, *personal, "p1@example.com") == {"p1@example.com"}


@pytest.mark.parametrize("address", ["secret@example.com", "Secret@example.com"])
async def test_an_address_is_erased_from_a_state_that_never_came_into_force(tmp_path: Path, address: str) -> None:
    """A booking keeps the state of an outdone message without a version, which can name an address of its own."""
    person = [{"name": "Mira Secret", "email": address}]
    late = booking_event(id="late", version=None, time="2026-11-24T09:00:00Z", passengers=person)
    async with opened(tmp_path / "n.db") as store:
        for event in (booking_event(), late):
            await store.add([decode(json.dumps(event).encode(), Origin(NOW))], RULES, NOW)
        assert words_on_disk(tmp_path, address, "Mira Secret") == {address, "Mira Secret"}
        assert (await store.erase("secret@example.com", NOW)).bookings == 1
        assert words_on_disk(tmp_path, address, "Mira Secret", "Asha Rao") == {"Asha Rao"}


async def test_a_log_that_is_being_read_is_an_error_and_emptied_the_next_time(tmp_path: Path) -> None:
    """While a backup runs, the log keeps the old rows: erasing raises an error, and can be repeated."""
    async with opened(tmp_path / "n.db") as store:
        await store._run(lambda db: db.execute("PRAGMA busy_timeout = 50").close())
        await store.add([decode(json.dumps(booking_event()).encode(), Origin(NOW))], RULES, NOW)
        reader = sqlite3.connect(tmp_path / "n.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM mails").fetchall()
        with pytest.raises(StoreUnusable, match="another program is reading the database"):
            await store.erase("asha@example.com", NOW)
        assert words_on_disk(tmp_path, "asha@", "Asha Rao") == {"asha@", "Asha Rao"}
        reader.close()
        await store.erase("asha@example.com", NOW)
        assert words_on_disk(tmp_path, "asha@", "Asha Rao") == set()
