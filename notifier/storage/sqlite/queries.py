"""What is asked of a SQLite database; each function runs inside a transaction of the store's or alone."""

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

from notifier.domain.events import MAX_EVENTS, MailFilter, StoredEvent, public
from notifier.domain.mail import Kind, Mail, Status
from notifier.storage import rows
from notifier.storage.store import Missed, Page, Portion, Snapshot, Span, Waiting

log = structlog.get_logger(__name__)

VISITS = 5000
"""Rows that a query reads at most, so that its time does not depend on the number of mails."""
BATCH_SIZE = MAX_EVENTS
"""Portions of the log end at multiples of this number; all events of one fit into one frame of the feed."""
MINUTE = 60_000
"""In milliseconds; the table `waiting` counts by the minute."""

HISTORY = 1000
"""Events of one mail that are read at most."""
_JITTER = 1000
"""Milliseconds by which a creation time may be earlier than that of the mail before it."""
_BEYOND = 2**62
"""A number higher than any mail's."""

_Row = tuple[Any, ...]
_FILTERED = "n, status, kind, booking, created_at"
"""The columns of a row that a filter looks at, after its number."""
_EVENTS = f"SELECT seq,{','.join(rows.EVENT_COLUMNS)} FROM events"
OPEN = "status IN ('pending', 'sending', 'failed', 'uncertain')"
"""The mails that can still change, as the index `mails_open` has it."""
_MAILS = f"SELECT {','.join(rows.MAIL_COLUMNS)} FROM mails"
_NO_CONTENT = """CAST('{"type":"letter","text":""}' AS BLOB)"""
_LISTED = f"SELECT {','.join(_NO_CONTENT if each == 'content' else each for each in rows.MAIL_COLUMNS)} FROM mails"
"""The mails of a list: their contents are never shown there, and reading 500 of the largest takes over a second."""


def one(db: sqlite3.Connection, sql: str, *args: Any) -> Any:
    """Give the first column of the first row, None where there is no row."""
    row = db.execute(sql, args).fetchone()
    return row[0] if row else None


def meta(db: sqlite3.Connection, name: str) -> Any:
    """Give a value that concerns the whole database."""
    return one(db, "SELECT value FROM meta WHERE name = ?", name)


def is_paused(db: sqlite3.Connection) -> bool:
    """Say whether an operator has paused the sending."""
    return bool(meta(db, "paused") == "1")


def salt(db: sqlite3.Connection) -> bytes:
    """Give what this database's hashes of forgotten addresses are salted with."""
    return bytes.fromhex(meta(db, "salt"))


def head(db: sqlite3.Connection) -> int:
    """Give the number of the latest event ever, 0 before the first."""
    return one(db, "SELECT seq FROM sqlite_sequence WHERE name = 'events'") or 0


def cursor(db: sqlite3.Connection, reader: str) -> int:
    """Give the number of the event up to which a reader has read."""
    return one(db, "SELECT seq FROM cursors WHERE reader = ?", reader) or 0


def totals(db: sqlite3.Connection) -> dict[Status, int]:
    """Count all mails by status."""
    return {Status(status): count for status, count in db.execute("SELECT status, mails FROM totals")}


def mails(db: sqlite3.Connection, rest: str, *args: Any) -> list[Mail]:
    """Read mails; `rest` is the statement from its WHERE. One that cannot be decoded is logged and left out."""
    return _decoded(db.execute(f"{_MAILS} {rest}", args))


def mail(db: sqlite3.Connection, id_: str) -> Mail | None:
    """Read one mail; None if there is none, or if it cannot be decoded."""
    return next(iter(mails(db, "WHERE id = ?", id_)), None)


def without_content(db: sqlite3.Connection, n: int) -> Mail | None:
    """Read a mail as an empty letter; None if what else it has cannot be decoded either."""
    return next(iter(_decoded(db.execute(f"{_LISTED} WHERE n = ?", (n,)))), None)


def _decoded(found: Iterable[_Row]) -> list[Mail]:
    """Decode mails, without those that are damaged: one of them must not stop all the others."""
    decoded: list[Mail] = []
    for row in found:
        try:
            decoded.append(rows.read_mail(row))
        except (ValueError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            log.error("mail cannot be decoded", mail_id=row[0], error=reason)  # noqa: TRY400 - where says nothing more
    return decoded


def events(db: sqlite3.Connection, after: int, limit: int) -> list[StoredEvent]:
    """Read the log in order behind a place."""
    return [rows.read_event(row) for row in db.execute(f"{_EVENTS} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))]


def history(db: sqlite3.Connection, mail: str) -> list[StoredEvent]:
    """Read the latest events of a mail, oldest first."""
    latest = db.execute(f"{_EVENTS} WHERE mail = ? ORDER BY seq DESC LIMIT ?", (mail, HISTORY)).fetchall()
    return [rows.read_event(row) for row in reversed(latest)]


def span(db: sqlite3.Connection) -> Span:
    """Tell which part of the log can be read."""
    return Span(int(meta(db, "purged_through") or 0), head(db))


def missed(db: sqlite3.Connection, after: int, wanted: MailFilter, most: int) -> Missed:
    """Count the matching events after a place, if they can all be replayed."""
    found = span(db)
    if not 0 <= found.head - after <= most or after < found.purged_through:
        return Missed(found, None)
    conditions, args = _conditions(wanted)
    return Missed(found, one(db, f"SELECT count(*) FROM events WHERE seq > ?{conditions}", after, *args))


def portion(db: sqlite3.Connection, after: int, wanted: MailFilter) -> Portion:
    """Read the bodies of the matching events after a place, to the next multiple of PORTION or the end of the log."""
    purged_through, newest = span(db)
    last = max(after, min(newest, (after // BATCH_SIZE + 1) * BATCH_SIZE))
    conditions, args = _conditions(wanted)
    sql = f"SELECT body FROM events WHERE seq > ? AND seq <= ?{conditions} ORDER BY seq"
    bodies = [bytes(body) for (body,) in db.execute(sql, (after, last, *args))]
    return Portion(last, b",".join(bodies), len(bodies), purged_through)


def _conditions(wanted: MailFilter) -> tuple[str, list[Any]]:
    """Return the conditions that `Filter.passes` states, for a query of events, and their arguments."""
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
    """Read the totals and the first page at one place of the log; the page is encoded."""
    found = page(db, wanted, None, limit, contents=False)
    mails = json.encode([public(mail) for mail in found.mails])
    return Snapshot(head(db), totals(db), mails, found.next is not None)


def listing(db: sqlite3.Connection, wanted: MailFilter, before: int | None, limit: int) -> bytes:
    """Read a page and encode it, which takes as long as reading it and so belongs on the same thread."""
    found = page(db, wanted, before, limit, contents=False)
    return json.encode({"mails": [public(mail) for mail in found.mails], "next": found.next})


def page(db: sqlite3.Connection, wanted: MailFilter, before: int | None, limit: int, *, contents: bool = True) -> Page:
    """Read the newest mails that pass a filter, of those older than `before`.

    Reads at most VISITS rows: the page may then have fewer mails than `limit` and still a `next`. Without
    `contents` the mails are empty letters.
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
            if visited == VISITS or len(found) == limit:
                return Page(_numbered(db, select, found), last)
            visited, last = visited + 1, n
            if _passes(wanted, *row):
                found.append(n)
    return Page(_numbered(db, select, found), end)


def _ranges(
    db: sqlite3.Connection, cursors: ExitStack, wanted: MailFilter, newest: int, oldest: int
) -> list[Iterator[_Row]]:
    """Open ranges of an index, newest first, that have all mails that can pass.

    Each must be closed, for an open one is a transaction.
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
    """Read the newest mails of some bookings, and the number at which that ends, None for the end of all.

    Each booking has its share of VISITS. The list is complete down to the oldest mail of one that has used it up.
    """
    share = VISITS // len(bookings)
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
    """Find the first mail created since a moment by binary search: creation times rise with the numbers.

    After the clock was set back they do not, and some of the mails created before that may be missing from the list.
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
    sql = f"{select} WHERE n IN ({','.join(map(str, numbers))}) ORDER BY n DESC"
    return tuple(_decoded(db.execute(sql)))


def waiting(db: sqlite3.Connection, at: int) -> Waiting:
    """Count what waits at a moment, and since when the oldest is due.

    The current minute is counted mail by mail. If more than VISITS mails are due in it, all of them count as due.
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
    if fresh + tried > VISITS:
        return fresh
    count = "SELECT count(*) FROM mails INDEXED BY {} WHERE due_at >= ? AND due_at <= ?"
    due: int = one(db, count.format("mails_due"), minute * MINUTE, at)
    due_again: int = one(db, f"{count.format('mails_retrying')} AND attempt > 0", minute * MINUTE, at)
    return due - due_again
