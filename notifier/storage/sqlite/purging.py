"""Delete old rows of a SQLite database, a few at a time so that nothing else is delayed for long."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import json

from notifier.storage import rows
from notifier.storage.sqlite.changes import set_meta
from notifier.storage.sqlite.portions import MAX_WEIGHT, portion, weight
from notifier.storage.sqlite.queries import MINUTE, SIZE, meta
from notifier.storage.sqlite.writes import Writes, count_starts

DAY = timedelta(hours=24)
_BATCH_SIZE = MAX_WEIGHT
"""Maximum number of rows that one call deletes."""


def purge_mails(writes: Writes, finished_before: datetime, read_through: int | None) -> int:
    """Delete finished mails with their events, except those with an event after number `read_through`.

    Looks only at the mails that finished first: if their events are unread, so are those of the others.
    """
    db = writes.db
    first = f"SELECT n, status, {SIZE} FROM mails WHERE finished_at < ? ORDER BY finished_at LIMIT ?"
    finished = db.execute(first, (rows.millis(finished_before), _BATCH_SIZE)).fetchall()
    logged = _logged(db, [n for n, *_ in finished])
    read = [each for each in finished if read_through is None or logged[each[0]].newest <= read_through]
    some = portion(((n, status), weight(size, logged[n].events)) for n, status, size in read).items
    numbers = json.encode([n for n, _ in some]).decode()
    for table, column in (("events", "mail_n"), ("contents", "n"), ("mails", "n")):
        db.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", (numbers,))
    for _, status in some:
        writes.count(status, -1)
    last = max((logged[n].newest for n, _ in some), default=0)
    if last > int(meta(db, "purged_through") or 0):
        set_meta(db, "purged_through", last)
    return len(some)


class _Logged(NamedTuple):
    """The events of one mail."""

    events: int = 0
    newest: int = 0
    """The number of the latest one; 0 if there is none."""


def _logged(db: sqlite3.Connection, numbers: Sequence[int]) -> Mapping[int, _Logged]:
    sql = (
        "SELECT mail_n, count(*), max(seq) FROM events WHERE mail_n IN (SELECT value FROM json_each(?)) GROUP BY mail_n"
    )
    found = db.execute(sql, (json.encode(numbers).decode(),)).fetchall()
    return defaultdict(_Logged, {n: _Logged(events, newest) for n, events, newest in found})


def forget_messages(db: sqlite3.Connection, handled_before: datetime) -> int:
    """Delete the ids of messages that were handled long ago; a repeat of one of them would count as a new message."""
    portion = "SELECT source, id FROM messages WHERE handled_at < ? LIMIT ?"
    sql = f"DELETE FROM messages WHERE (source, id) IN ({portion})"
    return db.execute(sql, (rows.millis(handled_before), _BATCH_SIZE)).rowcount


def forget_aggregates(db: sqlite3.Connection, now: datetime) -> int:
    """Delete the states of bookings and requests whose `forget_at` has passed."""
    sql = "SELECT aggregate, length(state) FROM aggregates WHERE forget_at < ? LIMIT ?"
    found = portion((name, weight(size)) for name, size in db.execute(sql, (rows.millis(now), _BATCH_SIZE)))
    db.executemany("DELETE FROM aggregates WHERE aggregate = ?", [(name,) for name in found.items])
    return len(found.items)


def forget_starts(db: sqlite3.Connection, now: datetime, account: str | None = None) -> int:
    """Delete the starts of an account, or of all accounts, that are not in the last 24 hours.

    A start that lies a day ahead was written while the clock was wrong.
    """
    forgotten = 0
    for name in [account] if account else [each for (each,) in db.execute("SELECT account FROM used").fetchall()]:
        for side, at in (("<=", now - DAY), (">", now + DAY)):
            old = f"SELECT n FROM starts WHERE account = ? AND at {side} ? LIMIT ?"
            found = db.execute(f"DELETE FROM starts WHERE n IN ({old})", (name, rows.millis(at), _BATCH_SIZE)).rowcount
            if found:
                count_starts(db, name, -found)
            forgotten += found
    return forgotten


def forget_counts(db: sqlite3.Connection, now: datetime) -> None:
    """Remove counters that are zero and will stay so."""
    db.execute("DELETE FROM waiting WHERE mails = 0 AND minute < ? AND tried IN (0, 1)", (rows.millis(now) // MINUTE,))
    db.execute("DELETE FROM used WHERE mails = 0")
