"""The queries on a SQLite database. Each runs inside a transaction of the store, or alone."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from heapq import merge
from itertools import product
from typing import Any

import structlog
from msgspec import json

from notifier.domain.events import MAX_EVENTS, MailFilter, StoredEvent
from notifier.domain.mail import Kind, Mail, Status
from notifier.domain.public_mail import public_mail
from notifier.storage import rows
from notifier.storage.store import LogSlice, Missed, Page, Snapshot, Span, Waiting

log = structlog.get_logger(__name__)

MAX_ROWS = 5000
"""Maximum number of rows that a query reads, so that its time does not depend on the number of mails."""
BATCH_SIZE = MAX_EVENTS
"""Slices of the log end at multiples of this number; the events of one fit into one frame of the feed."""
MINUTE = 60_000
"""Milliseconds; the table `waiting` counts by the minute."""

MAX_HISTORY = 1000
"""Maximum number of events of one mail that are read."""
_JITTER = 1000
"""Milliseconds by which a mail's creation time can be earlier than that of the mail before it."""
_BEYOND = 2**62
"""A number higher than any mail's."""

_Row = tuple[Any, ...]
_FILTERED = "n, status, kind, booking, created_at"
"""A row's number and the columns that a filter looks at."""
_EVENTS = f"SELECT seq,{','.join(rows.EVENT_COLUMNS)} FROM events"
SIZE = "coalesce((SELECT length(content) FROM contents WHERE contents.n = mails.n), 0)"
"""The size of a mail's content."""
OF_MAIL = "mail_n = (SELECT n FROM mails WHERE id = ?)"
"""The condition of a mail's events."""
OPEN = "status IN ('pending', 'sending', 'failed', 'uncertain')"
"""The mails that can still change: the condition of the index `mails_open`."""
_COLUMNS = ",".join(rows.MAIL_COLUMNS)
_MAILS = f"SELECT {_COLUMNS}, (SELECT content FROM contents WHERE contents.n = mails.n) FROM mails"
_NO_CONTENT = """CAST('{"type":"letter","text":""}' AS BLOB)"""
_LISTED = f"SELECT {_COLUMNS}, {_NO_CONTENT} FROM mails"
"""The mails of a list, without their content: lists never show it, and reading 500 of the largest takes over 1 s."""


def one(db: sqlite3.Connection, sql: str, *args: Any) -> Any:
    """Return the first column of the first row; None if there is no row."""
    row = db.execute(sql, args).fetchone()
    return row[0] if row else None


def meta(db: sqlite3.Connection, name: str) -> Any:
    """Return a value that concerns the whole database; None if it was never set."""
    return one(db, "SELECT value FROM meta WHERE name = ?", name)


def is_paused(db: sqlite3.Connection) -> bool:
    """Return whether an operator has paused sending."""
    return bool(meta(db, "paused") == "1")


def salt(db: sqlite3.Connection) -> bytes:
    """Return the salt of this database's hashes of erased addresses."""
    return bytes.fromhex(meta(db, "salt"))


def head(db: sqlite3.Connection) -> int:
    """Return the number of the latest event, 0 before the first one, also if it has been purged."""
    return one(db, "SELECT seq FROM sqlite_sequence WHERE name = 'events'") or 0


def cursor(db: sqlite3.Connection, reader: str) -> int:
    """Return the number of the last event that a reader has read; 0 if it has read none."""
    return one(db, "SELECT seq FROM cursors WHERE reader = ?", reader) or 0


def totals(db: sqlite3.Connection) -> dict[Status, int]:
    """Count all mails by status."""
    return {Status(status): count for status, count in db.execute("SELECT status, mails FROM totals")}


def mails(db: sqlite3.Connection, rest: str, *args: Any) -> list[Mail]:
    """Read mails; `rest` is the statement from its WHERE on. A mail that cannot be decoded is logged and left out."""
    return _decoded(db.execute(f"{_MAILS} {rest}", args))


def mail(db: sqlite3.Connection, id_: str) -> Mail | None:
    """Read one mail; None if there is none, or if it cannot be decoded."""
    return next(iter(mails(db, "WHERE id = ?", id_)), None)


def numbered(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Mail]:
    """Read mails by their numbers; one that cannot be decoded is logged and left out."""
    sql = f"SELECT n, {_MAILS.removeprefix('SELECT ')} WHERE n IN (SELECT value FROM json_each(?))"
    found = db.execute(sql, (json.encode(numbers).decode(),)).fetchall()
    return {n: mail for n, *row in found for mail in _decoded([row])}


def without_content(db: sqlite3.Connection, n: int) -> Mail | None:
    """Read a mail with an empty text as its content; None if its other columns cannot be decoded either."""
    return next(iter(_decoded(db.execute(f"{_LISTED} WHERE n = ?", (n,)))), None)


def _decoded(found: Iterable[Sequence[Any]]) -> list[Mail]:
    """Decode mails and leave out damaged ones, which must not hold up the others."""
    decoded: list[Mail] = []
    for row in found:
        try:
            decoded.append(rows.read_mail(row))
        except (ValueError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            log.error("mail cannot be decoded", mail_id=row[0], error=reason)  # noqa: TRY400 - a traceback would add nothing
    return decoded


def events(db: sqlite3.Connection, after: int, limit: int) -> list[StoredEvent]:
    """Read the log in order, after a place."""
    return [rows.read_event(row) for row in db.execute(f"{_EVENTS} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))]


def history(db: sqlite3.Connection, mail: str) -> list[StoredEvent]:
    """Read the latest events of a mail, oldest first."""
    latest = db.execute(f"{_EVENTS} WHERE {OF_MAIL} ORDER BY seq DESC LIMIT ?", (mail, MAX_HISTORY)).fetchall()
    return [rows.read_event(row) for row in reversed(latest)]


def span(db: sqlite3.Connection) -> Span:
    """Return which part of the log can be read."""
    return Span(int(meta(db, "purged_through") or 0), head(db))


def missed(db: sqlite3.Connection, after: int, wanted: MailFilter, limit: int) -> Missed:
    """Count the matching events after a place, if all of them can be replayed."""
    found = span(db)
    if not 0 <= found.head - after <= limit or after < found.purged_through:
        return Missed(found, None)
    conditions, args = _conditions(wanted)
    return Missed(found, one(db, f"SELECT count(*) FROM events WHERE seq > ?{conditions}", after, *args))


def replay(db: sqlite3.Connection, after: int, wanted: MailFilter) -> LogSlice:
    """Read the matching events after a place, up to the next multiple of BATCH_SIZE or the end of the log."""
    purged_through, newest = span(db)
    last = max(after, min(newest, (after // BATCH_SIZE + 1) * BATCH_SIZE))
    conditions, args = _conditions(wanted)
    sql = f"SELECT body FROM events WHERE seq > ? AND seq <= ?{conditions} ORDER BY seq"
    bodies = [bytes(body) for (body,) in db.execute(sql, (after, last, *args))]
    return LogSlice(last, b",".join(bodies), len(bodies), purged_through)


def _conditions(wanted: MailFilter) -> tuple[str, list[Any]]:
    """Return the conditions of `MailFilter.passes` for a query of events, and their arguments."""
    sql, args = "", list[Any]()
    one_of = "{} IN (SELECT value FROM json_each(?))"
    for columns, values in (
        (("status", "prev"), wanted.status),
        (("kind",), wanted.kind),
        (("booking",), wanted.booking),
        (("mail",), wanted.mail),
    ):
        if values:
            sql += f" AND ({' OR '.join(one_of.format(column) for column in columns)})"
            args += [json.encode(sorted(values)).decode()] * len(columns)
    if wanted.since:
        sql += " AND created_at >= ?"
        args.append(rows.millis(wanted.since + timedelta(microseconds=999)))
    return sql, args


def snapshot(db: sqlite3.Connection, wanted: MailFilter, limit: int) -> Snapshot:
    """Read the totals and the first page, which is encoded, at one place of the log."""
    found = page(db, wanted, None, limit, contents=False)
    mails = json.encode([public_mail(mail) for mail in found.mails])
    return Snapshot(head(db), totals(db), mails, found.next is not None)


def listing(db: sqlite3.Connection, wanted: MailFilter, before: int | None, limit: int) -> bytes:
    """Read a page and encode it; encoding takes as long as reading, so it is done on the same thread."""
    found = page(db, wanted, before, limit, contents=False)
    return json.encode({"mails": [public_mail(mail) for mail in found.mails], "next": found.next})


def page(db: sqlite3.Connection, wanted: MailFilter, before: int | None, limit: int, *, contents: bool = True) -> Page:
    """Read the newest mails that pass a filter, of those with a number below `before`.

    At most MAX_ROWS rows are read, so the page can have fewer mails than `limit` and still a `next`. Without `contents`
    the mails have an empty text.
    """
    select = _MAILS if contents else _LISTED
    if limit == 0:
        return Page((), None)
    newest = _BEYOND if before is None else before
    oldest = _first_since(db, rows.millis(wanted.since)) if wanted.since else 0
    found: list[int] = []
    visited, last = 0, before
    with ExitStack() as cursors:
        if wanted.booking and not wanted.mail:
            candidates, end = _of_bookings(db, wanted.booking, newest, oldest)
        else:
            candidates, end = merge(*_ranges(db, cursors, wanted, newest, oldest), reverse=True), None
        for n, *row in candidates:
            if visited == MAX_ROWS or len(found) == limit:
                return Page(_numbered(db, select, found), last)
            visited, last = visited + 1, n
            if _passes(wanted, *row):
                found.append(n)
    return Page(_numbered(db, select, found), end)


def _ranges(
    db: sqlite3.Connection, cursors: ExitStack, wanted: MailFilter, newest: int, oldest: int
) -> list[Iterator[_Row]]:
    """Open ranges of an index, newest first, that together have all mails that can pass.

    Each must be closed, because an open one keeps a transaction open.
    """
    keys: Iterable[tuple[str, ...]] = [()]
    index = "1"
    if wanted.mail:
        index, keys = "id IN (SELECT value FROM json_each(?))", [(json.encode(sorted(wanted.mail)).decode(),)]
    elif wanted.status or wanted.kind:
        index, keys = "status = ? AND kind = ?", product(wanted.status or Status, wanted.kind or Kind)
    sql = f"SELECT {_FILTERED} FROM mails WHERE {index} AND n < ? AND n >= ? ORDER BY n DESC"
    return [cursors.enter_context(closing(db.execute(sql, (*key, newest, oldest)))) for key in keys]


def _of_bookings(
    db: sqlite3.Connection, bookings: Collection[str], newest: int, oldest: int
) -> tuple[Iterator[_Row], int | None]:
    """Read the newest mails of some bookings; return them and the number at which the list ends (None: complete).

    Each booking has an equal share of MAX_ROWS. The list ends with the oldest mail of a booking that has used it up.
    """
    share = MAX_ROWS // len(bookings)
    of_one = "SELECT n FROM mails WHERE booking = wanted.value AND n < ? AND n >= ? ORDER BY n DESC LIMIT ?"
    sql = f"SELECT {_FILTERED} FROM json_each(?) AS wanted CROSS JOIN mails WHERE n IN ({of_one})"
    args = (json.encode(sorted(bookings)).decode(), newest, oldest, share)
    found = sorted(db.execute(sql, args), reverse=True)
    counts = Counter(booking for *_, booking, _ in found)
    end = max(
        (min(n for n, *_, booking, _ in found if booking == each) for each in counts if counts[each] == share),
        default=None,
    )
    return (row for row in found if end is None or row[0] >= end), end


def _passes(wanted: MailFilter, status: str, kind: str, booking: str | None, created_at: int) -> bool:
    return (
        (not wanted.status or status in wanted.status)
        and (not wanted.kind or kind in wanted.kind)
        and (not wanted.booking or booking in wanted.booking)
        and (wanted.since is None or created_at >= rows.millis(wanted.since))
    )


def _first_since(db: sqlite3.Connection, since: int) -> int:
    """Find the first mail created since a time, by binary search: creation times rise with the numbers.

    They do not if the clock was set back. Then mails that were created before that can be missing from the list.
    """
    low, high = 0, 1 + (one(db, "SELECT max(n) FROM mails") or 0)
    while low < high:
        middle = (low + high) // 2
        row = db.execute("SELECT n, created_at FROM mails WHERE n >= ? ORDER BY n LIMIT 1", (middle,)).fetchone()
        if row is None or row[1] >= since - _JITTER:
            high = middle
        else:
            low = row[0] + 1
    return low


def _numbered(db: sqlite3.Connection, select: str, numbers: Sequence[int]) -> tuple[Mail, ...]:
    sql = f"{select} WHERE n IN (SELECT value FROM json_each(?)) ORDER BY n DESC"
    return tuple(_decoded(db.execute(sql, (json.encode(numbers).decode(),))))


def waiting(db: sqlite3.Connection, at: int) -> Waiting:
    """Count what the pending mails wait for at a time (milliseconds), and since when the oldest one is due.

    The current minute is counted mail by mail. If it has more than MAX_ROWS mails, all of them count as due.
    """
    due = one(db, "SELECT total(mails) FROM waiting WHERE tried = 0 AND minute < ?", at // MINUTE)
    due += _due_this_minute(db, at)
    retrying = one(db, "SELECT total(mails) FROM waiting WHERE tried = 1")
    oldest = one(db, "SELECT min(due_at) FROM mails INDEXED BY mails_due WHERE due_at <= ?", at)
    scheduled = totals(db)[Status.PENDING] - due - retrying
    return Waiting(int(due), int(scheduled), int(retrying), rows.moment(oldest) if oldest is not None else None)


def _due_this_minute(db: sqlite3.Connection, at: int) -> int:
    minute = at // MINUTE
    fresh, tried = (
        int(one(db, "SELECT mails FROM waiting WHERE tried = ? AND minute = ?", each, minute) or 0) for each in (0, 1)
    )
    if fresh + tried > MAX_ROWS:
        return fresh
    count = "SELECT count(*) FROM mails INDEXED BY {} WHERE due_at >= ? AND due_at <= ?"
    due: int = one(db, count.format("mails_due"), minute * MINUTE, at)
    due_again: int = one(db, f"{count.format('mails_retrying')} AND attempt > 0", minute * MINUTE, at)
    return due - due_again
