"""What one piece of work writes: new rows, events and counts, in as few statements as possible."""

import sqlite3
from collections import Counter
from datetime import datetime
from typing import Any

from notifier.domain.events import StoredEvent, encode_event
from notifier.domain.mail import Mail, Status
from notifier.storage import rows
from notifier.storage.sqlite.queries import MINUTE, head, one
from notifier.storage.sqlite.statements import Row, write_rows

_ADD_MAILS = f"INSERT OR IGNORE INTO mails (n,{','.join(rows.MAIL_COLUMNS)}) VALUES {{}}"
# OR FAIL, because without it SQLite copies each page to be able to undo the statement alone: all is rolled back anyway.
_ADD_CONTENTS = "INSERT OR FAIL INTO contents (n, content) VALUES {}"
_ADD_MESSAGES = "INSERT OR REPLACE INTO messages (source, id, handled_at) VALUES {}"
_ADD_STATES = "INSERT OR REPLACE INTO aggregates (aggregate, state, forget_at) VALUES {}"
_APPEND = f"INSERT OR FAIL INTO events (seq,{','.join(rows.EVENT_COLUMNS)},mail_n) VALUES {{}}"
_COUNT_TOTALS = (
    "INSERT INTO totals (status, mails) VALUES {} ON CONFLICT (status) DO UPDATE SET mails = mails + excluded.mails"
)
_COUNT_WAITING = (
    "INSERT INTO waiting (tried, minute, mails) VALUES {} "
    "ON CONFLICT (tried, minute) DO UPDATE SET mails = mails + excluded.mails"
)
_COUNT_STARTS = (
    "INSERT INTO used (account, mails) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET mails = mails + excluded.mails"
)

_STATUS, _ATTEMPT, _DUE_AT = (rows.MAIL_COLUMNS.index(column) for column in ("status", "attempt", "due_at"))


class Writes:
    """One piece of work in a transaction; when that is committed, `events` are in the log.

    New rows and counts are collected until `flush`, which must be called before new mails are read, and at the end.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.events: list[StoredEvent] = []
        self._head: int | None = None
        self._last_mail: int | None = None
        self._mails: list[Row] = []
        self._contents: list[Row] = []
        self._messages: list[Row] = []
        self._states: dict[str, Row] = {}
        self._events: list[Row] = []
        self._totals: Counter[str] = Counter()
        self._waiting: Counter[tuple[bool, int]] = Counter()

    def add_mail(self, mail: Mail, content: bytes, now: datetime) -> int:
        """Add a new mail and return its number."""
        if self._last_mail is None:
            self._last_mail = one(self.db, "SELECT seq FROM sqlite_sequence WHERE name = 'mails'") or 0
        self._last_mail += 1
        row = rows.mail_row(mail, now)
        self._mails.append((self._last_mail, *row))
        self._contents.append((self._last_mail, content))
        self.count(row[_STATUS], 1)
        self.count_waiting(row[_DUE_AT], row[_ATTEMPT], 1)
        return self._last_mail

    def add_message(self, source: str, id_: str, now: datetime) -> None:
        """Record that a message was handled."""
        self._messages.append((source, id_, rows.millis(now)))

    def set_state(self, aggregate: str, state: bytes, forget_at: datetime) -> None:
        """Store the state of an aggregate."""
        self._states[aggregate] = (aggregate, state, rows.millis(forget_at))

    def append(self, n: int, type_: str, prev: Status | None, mail: Mail, now: datetime) -> StoredEvent:
        """Append the event of a change of mail number `n` to the log, and return it."""
        if self._head is None:
            self._head = head(self.db)
        self._head += 1
        event = rows.stored_event(self._head, type_, prev, mail, encode_event(type_, prev, mail, now))
        self._events.append((*rows.event_row(event), n))
        self.events.append(event)
        return event

    def count(self, status: str, by: int) -> None:
        """Count mails that got (or with a negative number, lost) a status."""
        self._totals[status] += by

    def count_waiting(self, due_at: int | None, attempt: int, by: int) -> None:
        """Count mails that began (or with a negative number, ended) to wait until `due_at`; None: they did not."""
        if due_at is not None:
            self._waiting[attempt > 0, due_at // MINUTE] += by

    def flush(self) -> None:
        """Write everything that was collected."""
        if self._mails:
            if write_rows(self.db, _ADD_MAILS, self._mails) < len(self._mails):
                # Ignoring it would lose a mail that its reader is waiting for.
                raise RuntimeError("there is a mail with the id of a new one already")
            write_rows(self.db, _ADD_CONTENTS, self._contents)
        write_rows(self.db, _ADD_MESSAGES, self._messages)
        write_rows(self.db, _ADD_STATES, list(self._states.values()))
        write_rows(self.db, _APPEND, self._events)
        write_rows(self.db, _COUNT_TOTALS, [each for each in self._totals.items() if each[1]])
        write_rows(self.db, _COUNT_WAITING, [(*each, by) for each, by in self._waiting.items() if by])
        collected: tuple[Any, ...] = (self._mails, self._contents, self._messages, self._states, self._events)
        for each in (*collected, self._totals, self._waiting):
            each.clear()


def count_starts(db: sqlite3.Connection, account: str, by: int) -> None:
    """Count starts of an account that were added, or with a negative number, deleted."""
    db.execute(_COUNT_STARTS, (account, by))


def forget_start(db: sqlite3.Connection, mail: str, account: str | None = None) -> None:
    """Delete the latest start of a mail, or of a mail from one account: it does not count."""
    sql = "SELECT n, account FROM starts WHERE mail = ? AND coalesce(account = ?, 1) ORDER BY n DESC LIMIT 1"
    for n, counted in db.execute(sql, (mail, account)).fetchall():
        db.execute("DELETE FROM starts WHERE n = ?", (n,))
        count_starts(db, counted, -1)
