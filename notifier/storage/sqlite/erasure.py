"""Erase one address from a SQLite database: portion by portion, each inside a transaction of the store."""

import sqlite3
from datetime import datetime
from typing import NamedTuple

import msgspec

from notifier.domain.addresses import identity
from notifier.domain.events import erased_body
from notifier.domain.mail import ERASED, Mail, Status, cancelled, erased
from notifier.domain.planning import BYTES_PER_MAIL, AggregateState, BookingState, forgetting
from notifier.storage import rows
from notifier.storage.sqlite.changes import change
from notifier.storage.sqlite.portions import portion, weight
from notifier.storage.sqlite.queries import SIZE, mails, salt
from notifier.storage.sqlite.writes import Writes

BATCH_SIZE = 1000
"""Rows that one transaction looks at, so that it delays others by some milliseconds only."""

_ERASE_MAIL = f"UPDATE mails SET {','.join(f'{column}=?' for column in rows.PERSONAL_COLUMNS)},amendment=NULL WHERE n=?"

_state = msgspec.json.Decoder(AggregateState)


class Step(NamedTuple):
    """The result of one portion."""

    found: list[Status]
    """The status that each mail to the address had."""
    bookings: int
    """The number of bookings that had the address."""
    next: int | str | None
    """The last mail or aggregate that was looked at; None if there are no more."""


def erase_mails(writes: Writes, who: str, after: int, now: datetime) -> Step:
    """Erase one portion of the mails to an address, given by its identity.

    Mails that wait are cancelled. Mails that are being handed over stay as they are.
    """
    db = writes.db
    seen = db.execute("SELECT n, address FROM mails WHERE n > ? ORDER BY n LIMIT ?", (after, BATCH_SIZE)).fetchall()
    weights = f"SELECT {SIZE}, (SELECT count(*) FROM events WHERE mail_n = mails.n) FROM mails WHERE n = ?"
    numbers = [n for n, address in seen if identity(address) == who]
    some = portion((n, weight(*db.execute(weights, (n,)).fetchone())) for n in numbers)
    ours = [(n, mail) for n in some.items for mail in mails(db, "WHERE n = ?", n)]
    for n, mail in ours:
        if mail.status is not Status.SENDING:
            _erase_mail(writes, n, mail, now)
    end = some.items[-1] if some.more else seen[-1][0] if len(seen) == BATCH_SIZE else None
    return Step([mail.status for _, mail in ours], 0, end)


def _erase_mail(writes: Writes, n: int, mail: Mail, now: datetime) -> None:
    db, left = writes.db, erased(mail)
    db.execute(_ERASE_MAIL, (*rows.personal_row(left), n))
    db.execute("UPDATE contents SET content = ? WHERE n = ?", (rows.content_value(left), n))
    events = db.execute("SELECT seq, body FROM events WHERE mail_n = ?", (n,)).fetchall()
    db.executemany("UPDATE events SET body = ? WHERE seq = ?", [(erased_body(body), seq) for seq, body in events])
    if mail.status is Status.PENDING:
        change(writes, [cancelled(left, ERASED)], now)


def erase_bookings(writes: Writes, who: str, after: str) -> Step:
    """Remove an address, given by its identity, from the states of one portion of the bookings; keep a salted hash."""
    sql = "SELECT aggregate, state FROM aggregates WHERE aggregate > ? ORDER BY aggregate LIMIT ?"
    db = writes.db
    some = portion(
        ((aggregate, state), len(state) // BYTES_PER_MAIL) for aggregate, state in db.execute(sql, (after, BATCH_SIZE))
    )
    seen = some.items
    named = msgspec.json.encode(who).decode()
    changed: list[tuple[bytes, str]] = []
    for aggregate, written in seen:
        # Decoding all of them would take long. An address can have capital letters.
        state = _state.decode(written) if named in written.decode().lower() else None
        left = forgetting(state, who, salt(db)) if isinstance(state, BookingState) else state
        if left is not state:
            changed.append((msgspec.json.encode(left), aggregate))
    db.executemany("UPDATE aggregates SET state = ? WHERE aggregate = ?", changed)
    return Step([], len(changed), seen[-1][0] if some.more or len(seen) == BATCH_SIZE else None)


def rewrite(db: sqlite3.Connection) -> None:
    """Write the whole database anew, because unused parts of its pages still hold old rows.

    `secure_delete` overwrites a row where it is, but not where it was before a full page was divided. Takes about 10 s
    per gigabyte. The write-ahead log still holds the old rows until `empty_log` is called.
    """
    db.execute("VACUUM")


def empty_log(db: sqlite3.Connection) -> None:
    """Move everything from the write-ahead log into the database and empty it.

    Raises sqlite3.OperationalError if another program is reading the database.
    """
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError(
            "another program is reading the database, so its write-ahead log still has old rows; erase again later"
        )
