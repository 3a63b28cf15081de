"""The store in one SQLite file, owned by one process.

Each method is one function that runs in one hop on the connection's own thread,
so no two transactions can mix. `synchronous=FULL` makes a commit durable.
"""

import asyncio
import fcntl
import os
import secrets
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Self, TypeVar

import aiosqlite

from notifier import clock
from notifier.addresses import identity
from notifier.contract import Message
from notifier.errors import StoreUnusable
from notifier.events import Filter, Logged
from notifier.mail import Mail, Status
from notifier.planning import Rules
from notifier.storage import changes, claiming, erasure, purging, queries, rows
from notifier.storage.migrate import migrate
from notifier.storage.store import Added, Claim, Erased, Page, Purged, Quota, Snapshot, Span, Waiting

_T = TypeVar("_T")

_PATIENCE = 1.0
"""Seconds that a call waits for a lock of another process: all others wait behind it."""

_STEADY = timedelta(seconds=1)
"""A clock that goes back by no more than this was not set back."""

_EVENTS = f"SELECT seq,{','.join(rows.EVENT_COLUMNS)} FROM events"

Transacted = Callable[[str, float], None]
"""Told of every transaction: for which of the store's methods, and how many seconds from the request to the end."""


class SqliteStore:
    """See `Store` for what each method promises."""

    def __init__(self, connection: aiosqlite.Connection, lock: int, transacted: Transacted | None) -> None:
        self._connection = connection
        self._lock = lock
        self._transacted = transacted
        self._loop = asyncio.get_running_loop()
        self._head = 0
        self._latest = rows.moment(0)
        self._grown = asyncio.Event()
        self.wake = asyncio.Event()
        self.fault: str | None = None
        self.id = ""

    @classmethod
    async def open(cls, path: Path, transacted: Transacted | None = None) -> Self:
        """Open or create the file; StoreUnusable says in one line why that cannot be."""
        lock = _own(path)
        try:
            connection = await aiosqlite.connect(path, isolation_level=None, timeout=_PATIENCE)
        except (sqlite3.Error, OSError) as error:
            os.close(lock)
            raise StoreUnusable(f"{path}: {error}") from error
        store = cls(connection, lock, transacted)
        try:
            store.id, store._head, store._latest = await store._run(_prepare)
        except StoreUnusable as error:
            await store.close()
            raise StoreUnusable(f"{path}: {error}") from error
        return store

    async def close(self) -> None:
        await self._connection.close()
        os.close(self._lock)

    async def check(self) -> None:
        at = rows.millis(clock.now())
        await self._transact("check", lambda db: changes.set_meta(db, "checked", at))

    async def add(self, messages: Sequence[Message], rules: Rules, now: datetime) -> list[Added]:
        return await self._transact(
            "add", lambda db: [changes.add(db, message, rules, now) for message in messages], wake=True
        )

    async def claim(self, limit: int, rate: float, now: datetime, quota: Quota | None = None) -> Claim:
        set_back = self._latest - now

        def work(db: sqlite3.Connection) -> Claim:
            if set_back > _STEADY:
                claiming.follow_clock(db, set_back, now)
            return claiming.claim(db, limit, rate, now, quota)

        claim = await self._transact("claim", work)
        self._latest = now
        return claim

    async def record(self, changed: Sequence[Mail], now: datetime) -> None:
        def work(db: sqlite3.Connection) -> None:
            for mail in changed:
                changes.change(db, mail, now)

        await self._transact("record", work)

    async def mark(self, mail: Mail) -> None:
        sql = "UPDATE mails SET past_data = 1 WHERE id = ? AND rev = ?"
        await self._transact("mark", lambda db: db.execute(sql, (mail.id, mail.rev)).close())

    async def sending(self) -> list[Mail]:
        return await self._run(lambda db: queries.mails(db, "WHERE status = 'sending' ORDER BY n"))

    async def pause(self, *, paused: bool) -> None:
        await self._transact("pause", lambda db: changes.set_meta(db, "paused", int(paused)))

    async def is_paused(self) -> bool:
        return await self._run(queries.is_paused)

    async def history(self, mail: str) -> list[Logged]:
        sql = f"{_EVENTS} WHERE mail = ? ORDER BY seq"
        return await self._run(lambda db: [rows.read_event(row) for row in db.execute(sql, (mail,))])

    async def events(self, after: int, limit: int) -> list[Logged]:
        return await self._run(
            lambda db: [
                rows.read_event(row)
                for row in db.execute(f"{_EVENTS} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
            ]
        )

    async def span(self) -> Span:
        return await self._run(lambda db: Span(int(queries.meta(db, "purged_through") or 0), queries.head(db)))

    async def beyond(self, seq: int) -> None:
        while self._head <= seq:
            await self._grown.wait()

    async def cursor(self, reader: str) -> int:
        return await self._run(lambda db: queries.cursor(db, reader))

    async def move_cursor(self, reader: str, seq: int) -> None:
        await self._transact(
            "move_cursor",
            lambda db: db.execute("INSERT OR REPLACE INTO cursors (reader, seq) VALUES (?, ?)", (reader, seq)).close(),
        )

    async def snapshot(self, wanted: Filter, limit: int) -> Snapshot:
        return await self._run(
            lambda db: Snapshot(queries.head(db), queries.totals(db), queries.page(db, wanted, None, limit))
        )

    async def page(self, wanted: Filter, before: int | None, limit: int) -> Page:
        return await self._run(lambda db: queries.page(db, wanted, before, limit))

    async def totals(self) -> Mapping[Status, int]:
        return await self._run(queries.totals)

    async def waiting(self, now: datetime) -> Waiting:
        return await self._run(lambda db: queries.waiting(db, rows.millis(now)))

    async def purge(
        self, finished_before: datetime, handled_before: datetime, reader: str | None, now: datetime
    ) -> Purged:
        return await self._transact(
            "purge",
            lambda db: Purged(
                purging.purge_mails(db, finished_before, queries.cursor(db, reader) if reader else None),
                purging.forget_messages(db, handled_before),
                purging.forget_matters(db, now),
            ),
        )

    async def erase(self, address: str, now: datetime) -> Erased:
        who, found, bookings = identity(address), list[Status](), 0
        place: Any = 0
        while place is not None:
            step = await self._transact("erase", partial(erasure.erase_mails, who=who, after=place, now=now))
            place, found = step.next, [*found, *step.found]
        place = ""
        while place is not None:
            step = await self._transact("erase", partial(erasure.erase_bookings, who=who, after=place))
            place, bookings = step.next, bookings + step.bookings
        await self._run(erasure.rewrite)
        remaining = found.count(Status.SENDING)
        return Erased(len(found) - remaining, found.count(Status.PENDING), bookings, remaining)

    async def _transact(self, operation: str, work: Callable[[sqlite3.Connection], _T], *, wake: bool = False) -> _T:
        """Run `work` in a transaction; if the log has grown, tell its readers and, with `wake`, the sender."""

        def transaction(db: sqlite3.Connection) -> _T:
            try:
                db.execute("BEGIN IMMEDIATE")
                result = work(db)
                head = queries.head(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            # From here and not after the await: a caller that is cancelled meanwhile must not swallow the news.
            self._loop.call_soon_threadsafe(self._announce, head, wake)
            return result

        began = perf_counter()
        try:
            return await self._run(transaction)
        finally:
            if self._transacted:
                self._transacted(operation, perf_counter() - began)

    def _announce(self, head: int, wake: bool) -> None:  # noqa: FBT001 - called by the loop, positionally
        if head > self._head:
            self._head = head
            self._grown.set()
            self._grown.clear()
            if wake:
                self.wake.set()

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` on the connection's thread."""
        try:
            result: _T = await self._connection._execute(lambda: work(self._connection._conn))  # type: ignore[no-untyped-call]  # noqa: SLF001 - the public API hops once a statement, this once a transaction
        except sqlite3.Error as error:
            self.fault = str(error)
            raise StoreUnusable(self.fault) from error
        self.fault = None
        return result


def _own(path: Path) -> int:
    """Lock the file for this process; the lock goes with the process, however it ends."""
    lock = _opened(Path(f"{path}.lock"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # SQLite keeps the mode of a file that is there; on its own it would let everyone read the addresses.
        os.close(_opened(path))
    except BlockingIOError:
        os.close(lock)
        raise StoreUnusable(f"{path}: another notifier is using this database") from None
    except StoreUnusable:
        os.close(lock)
        raise
    return lock


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnusable(f"{path}: cannot be opened for writing: {error.strerror}") from error


def _prepare(db: sqlite3.Connection) -> tuple[str, int, datetime]:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    # What was purged is gone from the disk as well; SQLite would leave it in free places of the file.
    db.execute("PRAGMA secure_delete = ON")
    migrate(db)
    db.execute("INSERT OR IGNORE INTO meta VALUES ('store', ?)", (uuid.uuid4().hex,))
    db.execute("INSERT OR IGNORE INTO meta VALUES ('salt', ?)", (secrets.token_hex(32),))
    latest = queries.one(db, "SELECT created_at FROM mails ORDER BY n DESC LIMIT 1")
    return str(queries.meta(db, "store")), queries.head(db), rows.moment(latest or 0)
