"""What is asked of a SQLite database; each function runs inside a transaction of the store's or alone."""

import sqlite3
from typing import Any

from notifier.events import Filter
from notifier.mail import Mail, Status
from notifier.storage import rows
from notifier.storage.store import Page, Waiting

_MAILS = f"SELECT {','.join(rows.MAIL_COLUMNS)} FROM mails"


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
    """Read mails; `rest` is the statement from its WHERE."""
    return [rows.read_mail(row) for row in db.execute(f"{_MAILS} {rest}", args)]


def page(db: sqlite3.Connection, wanted: Filter, before: int | None, limit: int) -> Page:
    """Read the newest mails that pass a filter, of those older than `before`."""
    where, args = rows.conditions(wanted)
    if before is not None:
        where, args = [*where, "n < ?"], [*args, before]
    sql = f"SELECT n,{','.join(rows.MAIL_COLUMNS)} FROM mails WHERE {' AND '.join(where or ['1'])}"
    found = db.execute(f"{sql} ORDER BY n DESC LIMIT ?", (*args, limit + 1)).fetchall()
    more = found[limit - 1][0] if len(found) > limit > 0 else None
    return Page(tuple(rows.read_mail(row[1:]) for row in found[:limit]), more)


def waiting(db: sqlite3.Connection, at: int) -> Waiting:
    """Count what waits at a moment, and since when the oldest is due."""
    due, oldest = db.execute("SELECT count(*), min(due_at) FROM mails WHERE due_at <= ?", (at,)).fetchone()
    tried = "SELECT count(*) FROM mails WHERE due_at {} AND attempt > 0"
    retrying, retrying_due = one(db, tried.format("IS NOT NULL")), one(db, tried.format("<= ?"), at)
    pending = totals(db)[Status.PENDING]
    due -= retrying_due
    return Waiting(due, pending - due - retrying, retrying, rows.moment(oldest) if oldest is not None else None)
