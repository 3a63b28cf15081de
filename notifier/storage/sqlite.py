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
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Self, TypeVar

import aiosqlite
import msgspec

from notifier.addresses import identity
from notifier.booking import BookingMessage
from notifier.contract import Message
from notifier.errors import StoreUnusable
from notifier.events import Filter, Logged, encode_event, event_type
from notifier.mail import Mail, Status, claimed, expired
from notifier.planning import Known, KnownBooking, Plan, Rules, recognising
from notifier.rate import AHEAD, schedule
from notifier.storage import erasure, rows
from notifier.storage.migrate import migrate
from notifier.storage.store import Added, Claim, Erased, Page, Purged, Quota, Snapshot, Span, Start, Waiting

_T = TypeVar("_T")

_PORTION = 500
"""Rows that one transaction expires or purges at most, so that none holds up the others for long."""

_PATIENCE = 1.0
"""Seconds that a call waits for a lock of another process: all others wait behind it."""

_STEADY = timedelta(seconds=1)
"""A clock that goes back by no more than this was not set back."""
_DAY = timedelta(hours=24)
_DEADLINE = f"coalesce(expires_at, send_at + {timedelta(hours=48) // timedelta(milliseconds=1)})"
"""When a mail should be out at the latest: one that never expires is no use after two days."""

_MAILS = f"SELECT {','.join(rows.MAIL_COLUMNS)} FROM mails"
_EVENTS = f"SELECT seq,{','.join(rows.EVENT_COLUMNS)} FROM events"
_INSERT_MAIL = (
    f"INSERT OR IGNORE INTO mails ({','.join(rows.MAIL_COLUMNS)}) VALUES ({','.join('?' * len(rows.MAIL_COLUMNS))})"
)
_CHANGE_MAIL = f"UPDATE mails SET {','.join(f'{column}=?' for column in rows.CHANGING_COLUMNS)} WHERE id=?"
_REWRITE_MAIL = (
    "UPDATE mails SET subject=?,content=?,flight=?,expires_at=?,error=? WHERE id=? AND rev=? AND status='pending'"
)
_APPEND = f"INSERT INTO events ({','.join(rows.EVENT_COLUMNS)}) VALUES ({','.join('?' * len(rows.EVENT_COLUMNS))})"

_known = msgspec.json.Decoder(Known)

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

    async def add(self, messages: Sequence[Message], rules: Rules, now: datetime) -> list[Added]:
        return await self._transact(
            "add", lambda db: [_add(db, message, rules, now) for message in messages], wake=True
        )

    async def claim(self, limit: int, rate: float, now: datetime, quota: Quota | None = None) -> Claim:
        set_back = self._latest - now

        def work(db: sqlite3.Connection) -> Claim:
            if set_back > _STEADY:
                _follow_clock(db, set_back, now)
            return _claim(db, limit, rate, now, quota)

        claim = await self._transact("claim", work)
        self._latest = now
        return claim

    async def record(self, changed: Sequence[Mail], now: datetime) -> None:
        def work(db: sqlite3.Connection) -> None:
            for mail in changed:
                _change(db, mail, now)

        await self._transact("record", work)

    async def mark(self, mail: Mail) -> None:
        sql = "UPDATE mails SET past_data = 1 WHERE id = ? AND rev = ?"
        await self._transact("mark", lambda db: db.execute(sql, (mail.id, mail.rev)).close())

    async def sending(self) -> list[Mail]:
        return await self._run(lambda db: _mails(db, "WHERE status = 'sending' ORDER BY n"))

    async def pause(self, *, paused: bool) -> None:
        await self._transact("pause", lambda db: _set_meta(db, "paused", int(paused)))

    async def is_paused(self) -> bool:
        return await self._run(_is_paused)

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
        return await self._run(lambda db: Span(int(_meta(db, "purged_through") or 0), _head(db)))

    async def beyond(self, seq: int) -> None:
        while self._head <= seq:
            await self._grown.wait()

    async def cursor(self, reader: str) -> int:
        return await self._run(lambda db: _cursor(db, reader))

    async def move_cursor(self, reader: str, seq: int) -> None:
        await self._transact(
            "move_cursor",
            lambda db: db.execute("INSERT OR REPLACE INTO cursors (reader, seq) VALUES (?, ?)", (reader, seq)).close(),
        )

    async def snapshot(self, wanted: Filter, limit: int) -> Snapshot:
        return await self._run(lambda db: Snapshot(_head(db), _totals(db), _page(db, wanted, None, limit)))

    async def page(self, wanted: Filter, before: int | None, limit: int) -> Page:
        return await self._run(lambda db: _page(db, wanted, before, limit))

    async def totals(self) -> Mapping[Status, int]:
        return await self._run(_totals)

    async def waiting(self, now: datetime) -> Waiting:
        return await self._run(lambda db: _waiting(db, rows.millis(now)))

    async def purge(
        self, finished_before: datetime, handled_before: datetime, reader: str | None, now: datetime
    ) -> Purged:
        return await self._transact(
            "purge",
            lambda db: Purged(
                _purge_mails(db, finished_before, _cursor(db, reader) if reader else None),
                _forget(db, "messages", "handled_at", "source, id", handled_before),
                _forget(db, "matters", "forget_at", "matter", now),
            ),
        )

    async def erase(self, address: str, now: datetime) -> Erased:
        who, found, bookings = identity(address), list[Status](), 0
        place: Any = 0
        while place is not None:
            step = await self._transact("erase", partial(_erase_mails, who=who, after=place, now=now))
            place, found = step.next, [*found, *step.found]
        place = ""
        while place is not None:
            step = await self._transact("erase", partial(_erase_bookings, who=who, after=place))
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
                head = _head(db)
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
    latest = _one(db, "SELECT created_at FROM mails ORDER BY n DESC LIMIT 1")
    return str(_meta(db, "store")), _head(db), rows.moment(latest or 0)


def _one(db: sqlite3.Connection, sql: str, *args: Any) -> Any:
    row = db.execute(sql, args).fetchone()
    return row[0] if row else None


def _meta(db: sqlite3.Connection, name: str) -> Any:
    return _one(db, "SELECT value FROM meta WHERE name = ?", name)


def _set_meta(db: sqlite3.Connection, name: str, value: Any) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, str(value)))


def _is_paused(db: sqlite3.Connection) -> bool:
    return bool(_meta(db, "paused") == "1")


def _salt(db: sqlite3.Connection) -> bytes:
    return bytes.fromhex(_meta(db, "salt"))


def _head(db: sqlite3.Connection) -> int:
    return _one(db, "SELECT seq FROM sqlite_sequence WHERE name = 'events'") or 0


def _cursor(db: sqlite3.Connection, reader: str) -> int:
    return _one(db, "SELECT seq FROM cursors WHERE reader = ?", reader) or 0


def _totals(db: sqlite3.Connection) -> dict[Status, int]:
    return {Status(status): count for status, count in db.execute("SELECT status, mails FROM totals")}


def _mails(db: sqlite3.Connection, rest: str, *args: Any) -> list[Mail]:
    return [rows.read_mail(row) for row in db.execute(f"{_MAILS} {rest}", args)]


def _add(db: sqlite3.Connection, message: Message, rules: Rules, now: datetime) -> Added:
    new = db.execute(
        "INSERT OR IGNORE INTO messages (source, id, handled_at) VALUES (?, ?, ?)",
        (message.source, message.id, rows.millis(now)),
    )
    if new.rowcount:
        existing = _mails(db, "WHERE matter = ? ORDER BY n", message.matter)
        _follow(db, message.plan(_known_of(db, message), existing, rules, now), message.matter, now)
    ids = db.execute("SELECT id FROM mails WHERE matter = ? AND event = ? ORDER BY n", (message.matter, message.id))
    return Added(tuple(id_ for (id_,) in ids), repeated=not new.rowcount)


def _known_of(db: sqlite3.Connection, message: Message) -> Known | None:
    written = _one(db, "SELECT known FROM matters WHERE matter = ?", message.matter)
    known = _known.decode(written) if written else None
    if isinstance(known, KnownBooking) and isinstance(message, BookingMessage):
        return recognising(known, message.named, _salt(db))
    return known


def _follow(db: sqlite3.Connection, plan: Plan, matter: str, now: datetime) -> None:
    for mail in plan.added:
        if db.execute(_INSERT_MAIL, rows.mail_row(mail, now)).rowcount:
            _append(db, event_type(None, mail), None, mail, now)
    for mail in plan.changed:
        _change(db, mail, now)
    db.executemany(_REWRITE_MAIL, [rows.rewrite_row(mail) for mail in plan.rewritten])
    if plan.known is not None and plan.forget_at is not None:
        db.execute(
            "INSERT OR REPLACE INTO matters VALUES (?, ?, ?)",
            (matter, msgspec.json.encode(plan.known), rows.millis(plan.forget_at)),
        )


def _change(db: sqlite3.Connection, mail: Mail, now: datetime) -> None:
    sql = "SELECT status, attempt FROM mails WHERE id = ? AND rev = ? AND address = ?"
    before = db.execute(sql, (mail.id, mail.rev - 1, mail.to)).fetchone()
    if before is None:
        return
    prev, attempt = Status(before[0]), before[1]
    counted = mail.attempt >= attempt
    db.execute(_CHANGE_MAIL, (*rows.change_row(mail, now), mail.id))
    _append(db, event_type(prev, mail, counted=counted), prev, mail, now)
    if not counted:
        db.execute("DELETE FROM starts WHERE n = (SELECT max(n) FROM starts WHERE mail = ?)", (mail.id,))


def _waiting(db: sqlite3.Connection, at: int) -> Waiting:
    due, oldest = db.execute("SELECT count(*), min(due_at) FROM mails WHERE due_at <= ?", (at,)).fetchone()
    tried = "SELECT count(*) FROM mails WHERE due_at {} AND attempt > 0"
    retrying, retrying_due = _one(db, tried.format("IS NOT NULL")), _one(db, tried.format("<= ?"), at)
    pending = _totals(db)[Status.PENDING]
    due -= retrying_due
    return Waiting(due, pending - due - retrying, retrying, rows.moment(oldest) if oldest is not None else None)


def _erase_mails(db: sqlite3.Connection, who: str, after: int, now: datetime) -> erasure.Step:
    return erasure.erase_mails(db, who, after, lambda mail: _change(db, mail, now))


def _erase_bookings(db: sqlite3.Connection, who: str, after: str) -> erasure.Step:
    return erasure.erase_bookings(db, who, after, _salt(db))


def _append(db: sqlite3.Connection, type_: str, prev: Status | None, mail: Mail, now: datetime) -> None:
    db.execute(_APPEND, rows.event_row(type_, prev, mail, encode_event(type_, prev, mail, now)))


def _claim(db: sqlite3.Connection, limit: int, rate: float, now: datetime, quota: Quota | None) -> Claim:
    at = rows.millis(now)
    for mail in _mails(db, "WHERE due_at IS NOT NULL AND expires_at <= ? LIMIT ?", at, _PORTION):
        _change(db, expired(mail), now)
    left = _quota_left(db, quota, now) if quota else None
    if _is_paused(db):
        return Claim((), None, left)
    due = _due(db, limit, left, at)
    next_start = _meta(db, "next_start")
    grant = schedule(datetime.fromisoformat(next_start) if next_start else None, len(due), rate, now)
    starts = tuple(Start(claimed(mail, now), start) for mail, start in zip(due, grant.starts, strict=False))
    for start in starts:
        _change(db, start.mail, now)
    if starts:
        _set_meta(db, "next_start", grant.next_start.isoformat())
    if quota and left is not None:
        db.executemany(
            "INSERT INTO starts (account, at, mail) VALUES (?, ?, ?)",
            [(quota.account, at, start.mail.id) for start in starts],
        )
        left -= len(starts)
    if len(starts) < len(due):
        return Claim(starts, grant.next_start - AHEAD, left)
    if quota and left == 0:
        oldest = _one(db, "SELECT min(at) FROM starts WHERE account = ?", quota.account)
        return Claim(starts, rows.moment(oldest) + _DAY, left)
    next_due = _one(db, "SELECT min(due_at) FROM mails WHERE due_at IS NOT NULL")
    return Claim(starts, rows.moment(next_due) if next_due is not None else None, left)


def _follow_clock(db: sqlite3.Connection, set_back: timedelta, now: datetime) -> None:
    """Let mail that waits for no moment of its own, to go at once or after a pause, not wait for a clock set back."""
    by, at = set_back // timedelta(milliseconds=1), rows.millis(now)
    db.execute("UPDATE mails SET due_at = due_at - ? WHERE due_at > ? AND next_attempt_at IS NOT NULL", (by, at))
    at_once = "next_attempt_at IS NULL AND send_at <= created_at"
    db.execute(f"UPDATE mails SET due_at = ? WHERE due_at > ? AND {at_once}", (at, at))


def _quota_left(db: sqlite3.Connection, quota: Quota, now: datetime) -> int:
    # What lies a day ahead was written by a clock that went wrong.
    db.execute("DELETE FROM starts WHERE at <= ? OR at > ?", (rows.millis(now - _DAY), rows.millis(now + _DAY)))
    used = int(_one(db, "SELECT count(*) FROM starts WHERE account = ?", quota.account))
    return max(0, quota.mails - used)


def _due(db: sqlite3.Connection, limit: int, left: int | None, at: int) -> list[Mail]:
    """List what to claim: at most `limit` and, of an account with a quota, at most what is `left` of it."""
    live = "due_at <= ? AND (expires_at IS NULL OR expires_at > ?)"
    if left is None:
        return _mails(db, f"WHERE {live} ORDER BY due_at, n LIMIT ?", at, at, limit) if limit else []
    waiting = _one(db, f"SELECT count(*) FROM (SELECT 1 FROM mails WHERE {live} LIMIT ?)", at, at, left + 1)
    order = _DEADLINE if waiting > left else "due_at"
    return _mails(db, f"WHERE {live} ORDER BY {order}, n LIMIT ?", at, at, min(limit, left))


def _page(db: sqlite3.Connection, wanted: Filter, before: int | None, limit: int) -> Page:
    where, args = rows.conditions(wanted)
    if before is not None:
        where, args = [*where, "n < ?"], [*args, before]
    sql = f"SELECT n,{','.join(rows.MAIL_COLUMNS)} FROM mails WHERE {' AND '.join(where or ['1'])}"
    found = db.execute(f"{sql} ORDER BY n DESC LIMIT ?", (*args, limit + 1)).fetchall()
    more = found[limit - 1][0] if len(found) > limit > 0 else None
    return Page(tuple(rows.read_mail(row[1:]) for row in found[:limit]), more)


def _purge_mails(db: sqlite3.Connection, finished_before: datetime, read_through: int | None) -> int:
    unread = "" if read_through is None else "AND NOT EXISTS (SELECT 1 FROM events WHERE mail = mails.id AND seq > ?)"
    args: Iterable[Any] = (rows.millis(finished_before), *(() if read_through is None else (read_through,)), _PORTION)
    ids = [(id_,) for (id_,) in db.execute(f"SELECT id FROM mails WHERE finished_at < ? {unread} LIMIT ?", tuple(args))]
    last = max((_one(db, "SELECT max(seq) FROM events WHERE mail = ?", *id_) or 0 for id_ in ids), default=0)
    db.executemany("DELETE FROM events WHERE mail = ?", ids)
    db.executemany("DELETE FROM mails WHERE id = ?", ids)
    if last > int(_meta(db, "purged_through") or 0):
        _set_meta(db, "purged_through", last)
    return len(ids)


def _forget(db: sqlite3.Connection, table: str, column: str, key: str, before: datetime) -> int:
    portion = f"SELECT {key} FROM {table} WHERE {column} < ? LIMIT ?"
    return db.execute(f"DELETE FROM {table} WHERE ({key}) IN ({portion})", (rows.millis(before), _PORTION)).rowcount
