"""Forgetting in a SQLite database what has served its time, some rows at a time so that nobody is held up for long."""

import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from notifier.storage import rows
from notifier.storage.changes import set_meta
from notifier.storage.queries import meta, one

_PORTION = 500
"""Rows that one call purges at most."""


def purge_mails(db: sqlite3.Connection, finished_before: datetime, read_through: int | None) -> int:
    """Delete finished mails with their events, but for those of which an event after `read_through` is unread."""
    unread = "" if read_through is None else "AND NOT EXISTS (SELECT 1 FROM events WHERE mail = mails.id AND seq > ?)"
    args: Iterable[Any] = (rows.millis(finished_before), *(() if read_through is None else (read_through,)), _PORTION)
    ids = [(id_,) for (id_,) in db.execute(f"SELECT id FROM mails WHERE finished_at < ? {unread} LIMIT ?", tuple(args))]
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


def _forget(db: sqlite3.Connection, table: str, column: str, key: str, before: datetime) -> int:
    portion = f"SELECT {key} FROM {table} WHERE {column} < ? LIMIT ?"
    return db.execute(f"DELETE FROM {table} WHERE ({key}) IN ({portion})", (rows.millis(before), _PORTION)).rowcount
