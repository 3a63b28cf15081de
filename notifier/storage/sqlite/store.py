"""The store in one SQLite file, owned by one process.

Each method is one function that runs in one hop on the thread of a connection, so the statements of two of them cannot
mix; those that are called at the same time share a transaction. `synchronous=FULL` makes a commit durable.

There are two connections. One writes, and reads for the actors. The other one is read-only and answers watchers and
operators. Since it neither writes nor checkpoints, SQLite's WAL-reset bug (3.7.0 to 3.51.2) cannot occur.
"""

import asyncio
import secrets
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Self, TypeVar

import aiosqlite

from notifier import clock
from notifier.domain.addresses import identity
from notifier.domain.claims import Claim, Quota
from notifier.domain.events import MailFilter, StoredEvent
from notifier.domain.mail import Mail, Status
from notifier.domain.messages import Message
from notifier.domain.planning import PlanningPolicy, Subjects
from notifier.errors import StoreUnusable
from notifier.storage import rows
from notifier.storage.recent_events import RecentEvents
from notifier.storage.sqlite import changes, claiming, erasure, purging, queries
from notifier.storage.sqlite.connection import connect
from notifier.storage.sqlite.file_lock import FileLock, lock_file
from notifier.storage.sqlite.migrate import migrate
from notifier.storage.sqlite.portions import MAX_WEIGHT
from notifier.storage.sqlite.reader import Reader
from notifier.storage.sqlite.transactions import Outcome, Transactions, Work
from notifier.storage.sqlite.writes import Writes
from notifier.storage.store import Added, Erased, LogSlice, Missed, Page, Purged, Snapshot, Span, Waiting

_T = TypeVar("_T")

_RENDER_TIME = 0.001
"""Seconds of rendering subjects after which the event loop goes on; an operator's own template can be slow."""

Transacted = Callable[[str, float], None]
"""Called after every piece of work with the store's method that asked for it, and the seconds from then to its end."""
Took = Callable[[Sequence[Message], Sequence[Added]], None]
"""Called with the messages that a transaction has added, and the result for each."""


class SqliteStore:
    """The methods are those of `Store`.

    The effects of a commit on this process (`paused`, `wake`, counters) are applied in `_transact` and not by the
    caller, who can be cancelled after the commit and before it gets the result.
    """

    def __init__(
        self, writer: aiosqlite.Connection, lock: FileLock, transacted: Transacted | None, took: Took | None
    ) -> None:
        self._writer = writer
        self._transactions = Transactions(writer)
        self._reader: Reader | None = None
        self._lock = lock
        self._transacted = transacted
        self._took = took
        self._head = 0
        self._recent = RecentEvents(0)
        self._cursors: dict[str, int] = {}
        self._grown = asyncio.Event()
        self._large = asyncio.Lock()
        self.fault: str | None = None
        self.paused = False
        self.wake = asyncio.Event()
        self.id = ""

    @classmethod
    async def open(cls, path: Path, transacted: Transacted | None = None, took: Took | None = None) -> Self:
        """Open or create the file. Raises StoreUnusable with the reason, in one line, if that is impossible."""
        lock = lock_file(path)
        path = lock.path
        try:
            connection = await connect(path)
        except (sqlite3.Error, OSError) as error:
            lock.release()
            raise StoreUnusable(f"{path}: {error}") from error
        store = cls(connection, lock, transacted, took)
        try:
            store.id, store._head, store._transactions.latest = await store._run(partial(_prepare, path=path))
            store._recent = RecentEvents(store._head)
            store.paused = await store._run(queries.is_paused)
            store._reader = await Reader.open(path)
        except StoreUnusable as error:
            await store.close()
            raise StoreUnusable(f"{path}: {error}") from error
        return store

    async def close(self) -> None:
        if self._reader:
            await self._reader.close()
        # The last connection to be closed empties the write-ahead log, so that must be the one that writes.
        await self._transactions.close()
        self._lock.release()

    async def check(self) -> None:
        at = rows.millis(clock.now())
        await self._transact("check", lambda writes: changes.set_meta(writes.db, "checked", at))

    async def add(self, messages: Sequence[Message], policy: PlanningPolicy, now: datetime) -> list[Added]:
        added: list[Added] = []
        subjects = Subjects(policy.subject)
        for message in messages:
            subjects.expect(message.subjects())
        while len(added) < len(messages):
            await _render(subjects)
            rest = messages[len(added) :]
            some = await self._add_some(rest, policy, now, subjects, large=False)
            if not some and not subjects.lacks:
                # One large message at a time, so that nobody waits for more than one of them.
                async with self._large:
                    some = await self._add_some(rest, policy, now, subjects, large=True)
            added += some
        return added

    async def _add_some(
        self, messages: Sequence[Message], policy: PlanningPolicy, now: datetime, subjects: Subjects, *, large: bool
    ) -> list[Added]:
        work = partial(changes.add_some, messages=messages, policy=policy, now=now, subjects=subjects, large=large)
        mails = min(sum(message.rows for message in messages), MAX_WEIGHT)
        return await self._transact("add", work, partial(self._have_taken, messages), wake=True, mails=mails)

    async def claim(
        self, limit: int, rate: float, now: datetime, quota: Quota | None = None, *, newest: bool = False
    ) -> Claim:
        def work(writes: Writes) -> tuple[Claim, bool]:
            return claiming.claim(writes, limit, rate, now, quota, newest=newest), queries.is_paused(writes.db)

        def committed(result: tuple[Claim, bool]) -> None:
            _, self.paused = result

        claim, _ = await self._transact("claim", work, committed, now=now, mails=limit)
        return claim

    async def expire(self, now: datetime) -> bool:
        return await self._transact("expire", partial(claiming.expire, now=now), now=now, mails=MAX_WEIGHT)

    async def record(self, changed: Sequence[Mail], now: datetime) -> list[StoredEvent]:
        def work(writes: Writes) -> list[StoredEvent]:
            return changes.change(writes, changed, now)

        wake = any(mail.status is Status.PENDING for mail in changed)
        return await self._transact("record", work, wake=wake, mails=len(changed))

    async def rebook(self, mail: Mail, before: Quota | None, after: Quota | None, now: datetime) -> datetime | None:
        work = partial(claiming.rebook, mail=mail.id, before=before, after=after, now=now)
        return await self._transact("rebook", lambda writes: work(writes.db))

    async def mark(self, mail: Mail) -> None:
        sql = "UPDATE mails SET past_data = 1 WHERE id = ? AND rev = ?"
        await self._transact("mark", lambda writes: writes.db.execute(sql, (mail.id, mail.rev)).close())

    async def sending(self) -> list[Mail]:
        return await self._run(lambda db: queries.mails(db, "WHERE status = 'sending' ORDER BY n"))

    async def pause(self, *, paused: bool) -> None:
        def committed(_: None) -> None:
            self.paused = paused
            self.wake.set()

        await self._transact("pause", lambda writes: changes.set_meta(writes.db, "paused", int(paused)), committed)

    async def is_paused(self) -> bool:
        return await self._reads.query(queries.is_paused, urgent=True)

    async def get(self, id_: str) -> Mail | None:
        return await self._reads.query(queries.mail, id_, urgent=True)

    async def history(self, mail: str) -> list[StoredEvent]:
        return await self._reads.query(queries.history, mail, urgent=True)

    async def events(self, after: int, limit: int) -> list[StoredEvent]:
        recent = self._recent.after(after, limit)
        return recent if recent is not None else await self._run(partial(queries.events, after=after, limit=limit))

    async def missed(self, after: int, wanted: MailFilter, limit: int, *, urgent: bool = False) -> Missed:
        return await self._reads.query(queries.missed, after, wanted, limit, urgent=urgent)

    async def replay(self, after: int, wanted: MailFilter, *, urgent: bool = False) -> LogSlice:
        return await self._reads.query(queries.replay, after, wanted, urgent=urgent)

    async def span(self) -> Span:
        return await self._reads.query(queries.span, urgent=True)

    async def beyond(self, seq: int) -> None:
        while self._head <= seq:
            await self._grown.wait()

    async def cursor(self, reader: str) -> int:
        if reader in self._cursors:
            return self._cursors[reader]
        return await self._run(lambda db: queries.cursor(db, reader))

    async def move_cursor(self, reader: str, seq: int) -> None:
        self._cursors[reader] = seq
        work = self._work("move_cursor", lambda writes: changes.set_cursor(writes.db, reader, seq))
        self._transactions.defer(reader, work)

    async def snapshot(self, wanted: MailFilter, limit: int, *, urgent: bool = False) -> Snapshot:
        return await self._reads.query(queries.snapshot, wanted, limit, urgent=urgent)

    async def page(self, wanted: MailFilter, before: int | None, limit: int, *, urgent: bool = False) -> Page:
        return await self._reads.query(queries.page, wanted, before, limit, urgent=urgent)

    async def listing(self, wanted: MailFilter, before: int | None, limit: int, *, urgent: bool = False) -> bytes:
        return await self._reads.query(queries.listing, wanted, before, limit, urgent=urgent)

    async def totals(self) -> Mapping[Status, int]:
        return await self._reads.query(queries.totals, urgent=True)

    async def waiting(self, now: datetime) -> Waiting:
        return await self._reads.query(queries.waiting, rows.millis(now), urgent=True)

    async def purge(
        self, finished_before: datetime, handled_before: datetime, reader: str | None, now: datetime
    ) -> Purged:
        def work(writes: Writes) -> Purged:
            db = writes.db
            purging.forget_counts(db, now)
            return Purged(
                purging.purge_mails(writes, finished_before, queries.cursor(db, reader) if reader else None),
                purging.forget_messages(db, handled_before),
                purging.forget_aggregates(db, now),
                purging.forget_starts(db, now),
            )

        def committed(purged: Purged) -> None:
            if purged.mails:
                self._recent.clear()

        return await self._transact("purge", work, committed, mails=MAX_WEIGHT)

    async def erase(self, address: str, now: datetime) -> Erased:
        who, found, bookings = identity(address), list[Status](), 0
        # Bookings first: a message that is planned in between must not find the address in one and add a mail to it
        # after the mails that have already been looked at.
        place: Any = ""
        while place is not None:
            step = await self._erase_step(partial(erasure.erase_bookings, who=who, after=place))
            place, bookings = step.next, bookings + step.bookings
        place = 0
        while place is not None:
            step = await self._erase_step(partial(erasure.erase_mails, who=who, after=place, now=now))
            place, found = step.next, [*found, *step.found]
        await self._run(erasure.rewrite)
        # The write-ahead log cannot be emptied while the other connection reads.
        async with self._reads.idle():
            await self._run(erasure.empty_log)
        remaining = found.count(Status.SENDING)
        return Erased(len(found) - remaining, found.count(Status.PENDING), bookings, remaining)

    @property
    def _reads(self) -> Reader:
        if self._reader is None:
            raise StoreUnusable("the store is not open")
        return self._reader

    async def _erase_step(self, work: Callable[[Writes], erasure.Step]) -> erasure.Step:
        def committed(step: erasure.Step) -> None:
            if step.found:
                self._recent.clear()

        return await self._transact("erase", work, committed, mails=MAX_WEIGHT)

    async def _transact(
        self,
        operation: str,
        work: Callable[[Writes], _T],
        committed: Callable[[_T], None] | None = None,
        *,
        wake: bool = False,
        now: datetime | None = None,
        mails: int = 1,
    ) -> _T:
        """Do `work` in a transaction, which works for `mails` mails at most, and return its result."""
        asked = self._work(operation, work, committed, wake=wake, now=now, mails=mails)
        result, _ = await self._transactions.transact(asked)
        return result

    def _work(
        self,
        operation: str,
        do: Callable[[Writes], _T],
        committed: Callable[[_T], None] | None = None,
        *,
        wake: bool = False,
        now: datetime | None = None,
        mails: int = 1,
    ) -> Work[tuple[_T, Writes]]:
        """Return a work for `Transactions` and what follows its commit on the event loop: `committed` and more.

        If the log has grown, its readers are woken and, with `wake`, the sender. With `now`, the times in the database
        are adjusted first if the clock was set back since the last call with it.
        """

        def done(outcome: Outcome[tuple[_T, Writes]]) -> None:
            if self._transacted:
                self._transacted(operation, outcome.seconds)
            if outcome.result is None:
                self._failed(outcome.error)
                return
            self.fault = None
            result, writes = outcome.result
            self._announce(writes.events, wake=wake)
            if committed:
                committed(result)

        def work(db: sqlite3.Connection) -> tuple[_T, Writes]:
            writes = Writes(db)
            result = do(writes)
            writes.flush()
            return result, writes

        return Work(work, mails=mails, now=now, ended=done)

    def _failed(self, error: BaseException | None) -> None:
        if isinstance(error, StoreUnusable):
            # Only a successful transaction clears the fault: a full disk can still be read.
            self.fault = str(error)

    def _announce(self, events: Sequence[StoredEvent], *, wake: bool) -> None:
        if events:
            self._recent.append(events)
            self._head = events[-1].seq
            self._grown.set()
            self._grown.clear()
            if wake:
                self.wake.set()

    def _have_taken(self, messages: Sequence[Message], added: Sequence[Added]) -> None:
        if self._took:
            self._took(messages[: len(added)], added)

    async def _run(self, do: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `do` on the thread of the connection that writes, in no transaction."""
        work: Work[_T] = Work(do, ended=lambda outcome: self._failed(outcome.error))
        return await self._transactions.run(work)


async def _render(subjects: Subjects) -> None:
    """Render the subjects that are missing, a few at a time so that others get their turn."""
    while subjects.lacks:
        pause_at = perf_counter() + _RENDER_TIME
        while subjects.lacks and perf_counter() < pause_at:
            subjects.render(1)
        await asyncio.sleep(0)


def _prepare(db: sqlite3.Connection, path: Path) -> tuple[str, int, datetime]:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    # Purged rows are overwritten; otherwise SQLite would leave them in unused parts of the file.
    db.execute("PRAGMA secure_delete = ON")
    # VACUUM copies the whole database to a temporary file, which must not be in /tmp: that can be memory. SQLITE_TMPDIR
    # would have to be set before Python loads SQLite. A test fails if a version of SQLite no longer has this pragma.
    folder = str(path.absolute().parent).replace("'", "''")
    db.execute(f"PRAGMA temp_store_directory = '{folder}'")
    migrate(db)
    db.execute("INSERT OR IGNORE INTO meta VALUES ('store', ?)", (uuid.uuid4().hex,))
    db.execute("INSERT OR IGNORE INTO meta VALUES ('salt', ?)", (secrets.token_hex(32),))
    latest = queries.one(db, "SELECT created_at FROM mails ORDER BY n DESC LIMIT 1")
    return str(queries.meta(db, "store")), queries.head(db), rows.moment(latest or 0)
