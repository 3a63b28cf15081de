"""What one piece of work writes: its connection, and the events that it appends to the log."""

import sqlite3
from datetime import datetime

from notifier.domain.events import StoredEvent, encode_event
from notifier.domain.mail import Mail, Status
from notifier.storage import rows

_COLUMNS = (*rows.EVENT_COLUMNS, "mail_n")
_APPEND = f"INSERT INTO events ({','.join(_COLUMNS)}) VALUES ({','.join('?' * len(_COLUMNS))})"


class Writes:
    """One piece of work in a transaction; when that is committed, `events` are in the log."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.events: list[StoredEvent] = []

    def append(self, n: int, type_: str, prev: Status | None, mail: Mail, now: datetime) -> StoredEvent:
        """Append the event of a change of mail number `n` to the log, and return it."""
        row = rows.event_row(type_, prev, mail, encode_event(type_, prev, mail, now))
        event = rows.read_event((self.db.execute(_APPEND, (*row, n)).lastrowid, *row))
        self.events.append(event)
        return event
