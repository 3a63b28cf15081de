"""Delete old rows of a SQLite database, a few at a time so that nothing else is delayed for long."""

import sqlite3
from datetime import datetime, timedelta

from notifier.storage import rows
from notifier.storage.sqlite.changes import set_meta
from notifier.storage.sqlite.portions import MAX_WEIGHT, portion, weight
from notifier.storage.sqlite.queries import MINUTE, SIZE, meta, one

DAY = timedelta(hours=24)
_BATCH_SIZE = MAX_WEIGHT
"""Maximum number of rows that one call deletes."""


def purge_mails(db: sqlite3.Connection, finished_before: datetime, read_through: int | None) -> int:
    """Delete finished mails with their events, except those with an event after number `read_through`.

    Looks only at the mails that finished first: if their events are unread, so are those of the others.
    """
    first = f"SELECT n, {SIZE} FROM mails WHERE finished_at < ? ORDER BY finished_at LIMIT ?"
    finished = db.execute(first, (rows.millis(finished_before), _BATCH_SIZE)).fetchall()
    read = [(n, size) for n, size in finished if read_through is None or _newest(db, n) <= read_through]
    events = "SELECT count(*) FROM events WHERE mail_n = ?"
    numbers = [(n,) for n in portion((n, weight(size, one(db, events, n))) for n, size in read).items]
    last = max((_newest(db, *n) for n in numbers), default=0)
    db.executemany("DELETE FROM events WHERE mail_n = ?", numbers)
    db.executemany("DELETE FROM contents WHERE n = ?", numbers)
    db.executemany("DELETE FROM mails WHERE n = ?", numbers)
    if last > int(meta(db, "purged_through") or 0):
        set_meta(db, "purged_through", last)
    return len(numbers)


def _newest(db: sqlite3.Connection, n: int) -> int:
    """Return the number of the latest event of a mail; 0 if it has none."""
    return one(db, "SELECT max(seq) FROM events WHERE mail_n = ?", n) or 0


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
            found = db.execute(f"DELETE FROM starts WHERE n IN ({old})", (name, rows.millis(at), _BATCH_SIZE))
            forgotten += found.rowcount
    return forgotten


def forget_counts(db: sqlite3.Connection, now: datetime) -> None:
    """Remove counters that are zero and will stay so."""
    db.execute("DELETE FROM waiting WHERE mails = 0 AND minute < ? AND tried IN (0, 1)", (rows.millis(now) // MINUTE,))
    db.execute("DELETE FROM used WHERE mails = 0")
