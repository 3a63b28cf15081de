"""Forgetting in a SQLite database what has served its time, some rows at a time so that nobody is held up for long."""

import sqlite3
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from notifier.storage import rows
from notifier.storage.changes import set_meta
from notifier.storage.queries import MINUTE, meta, one

DAY = timedelta(hours=24)
_PORTION = 500
"""Rows that one call purges at most."""


def purge_mails(db: sqlite3.Connection, finished_before: datetime, read_through: int | None) -> int:
    """Delete finished mails with their events, but for those of which an event after `read_through` is unread.

    Looks only at those that finished first: if their events are unread, so are those of the others.
    """
    first = "SELECT id FROM mails WHERE finished_at < ? ORDER BY finished_at LIMIT ?"
    unread = "" if read_through is None else "WHERE NOT EXISTS (SELECT 1 FROM events WHERE mail = first.id AND seq > ?)"
    args: Iterable[Any] = (rows.millis(finished_before), _PORTION, *(() if read_through is None else (read_through,)))
    ids = [(id_,) for (id_,) in db.execute(f"SELECT id FROM ({first}) AS first {unread}", tuple(args))]
    last = max((one(db, "SELECT max(seq) FROM events WHERE mail = ?", *id_) or 0 for id_ in ids), default=0)
    db.executemany("DELETE FROM events WHERE mail = ?", ids)
    db.executemany("DELETE FROM mails WHERE id = ?", ids)
    if last > int(meta(db, "purged_through") or 0):
        set_meta(db, "purged_through", last)
    return len(ids)


def forget_messages(db: sqlite3.Connection, handled_before: datetime) -> int:
    """Forget which messages were handled: a repeat that is this late would be taken for a new one."""
    return _forget(db, "messages", "handled_at", "source, id", handled_before)


def forget_matters(db: sqlite3.Connection, now: datetime) -> int:
    """Forget the bookings and requests whose time is over."""
    return _forget(db, "matters", "forget_at", "matter", now)


def forget_starts(db: sqlite3.Connection, now: datetime, account: str | None = None) -> int:
    """Forget the starts of an account, or of all, that are no longer in the last 24 hours.

    One that lies a day ahead was written by a clock that went wrong.
    """
    forgotten = 0
    for name in [account] if account else [each for (each,) in db.execute("SELECT account FROM used").fetchall()]:
        for side, at in (("<=", now - DAY), (">", now + DAY)):
            old = f"SELECT n FROM starts WHERE account = ? AND at {side} ? LIMIT ?"
            found = db.execute(f"DELETE FROM starts WHERE n IN ({old})", (name, rows.millis(at), _PORTION))
            forgotten += found.rowcount
    return forgotten


def forget_counts(db: sqlite3.Connection, now: datetime) -> None:
    """Remove counters that are zero and will stay so."""
    db.execute("DELETE FROM waiting WHERE mails = 0 AND minute < ? AND tried IN (0, 1)", (rows.millis(now) // MINUTE,))
    db.execute("DELETE FROM used WHERE mails = 0")


def _forget(db: sqlite3.Connection, table: str, column: str, key: str, before: datetime) -> int:
    portion = f"SELECT {key} FROM {table} WHERE {column} < ? LIMIT ?"
    return db.execute(f"DELETE FROM {table} WHERE ({key}) IN ({portion})", (rows.millis(before), _PORTION)).rowcount
