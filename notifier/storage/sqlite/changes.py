"""Write to a SQLite database, each step of a mail with its event, inside a transaction of the store."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from notifier.domain.booking import BookingMessage
from notifier.domain.events import StoredEvent, event_type
from notifier.domain.mail import Amendment, Kind, Mail, Status, amended
from notifier.domain.messages import Message
from notifier.domain.planning import (
    SUPERSEDED,
    AggregateState,
    BookingState,
    Plan,
    PlanningPolicy,
    Subjects,
    handing_on,
    recognising,
)
from notifier.storage import rows
from notifier.storage.sqlite.portions import MAX_WEIGHT, weight
from notifier.storage.sqlite.queries import OPEN, SIZE, mails, one, salt
from notifier.storage.sqlite.writes import Writes
from notifier.storage.store import Added

_INSERT_MAIL = (
    f"INSERT OR IGNORE INTO mails ({','.join(rows.MAIL_COLUMNS)}) VALUES ({','.join('?' * len(rows.MAIL_COLUMNS))})"
)
_CHANGE_MAIL = f"UPDATE mails SET {','.join(f'{column}=?' for column in rows.CHANGING_COLUMNS)} WHERE n=?"
_REWRITE_MAIL = "UPDATE mails SET subject=?,flight=?,expires_at=? WHERE n=?"
_AMEND_MAIL = "UPDATE mails SET amendment=? WHERE id=?"

_state = msgspec.json.Decoder(AggregateState)
_amendment = msgspec.json.Decoder(Amendment)


_OPEN_OF = f"INDEXED BY mails_open WHERE aggregate = ? AND {OPEN} AND (amendment IS NULL OR amendment <> ?)"
_NEWEST_NOTICE = (
    f"INDEXED BY mails_open WHERE aggregate = ? AND address = ? AND {OPEN} AND status = 'pending' AND kind = ? "
    "ORDER BY n DESC LIMIT 1"
)
_OPEN_WEIGHTS = f"SELECT {SIZE} FROM mails {_OPEN_OF}"
_CAUSED = "SELECT id FROM mails INDEXED BY mails_caused WHERE aggregate = ? AND event = ? ORDER BY n"


def add_some(
    writes: Writes,
    messages: Sequence[Message],
    policy: PlanningPolicy,
    now: datetime,
    *,
    subjects: Subjects,
    large: bool,
) -> list[Added]:
    """Add messages from the first on, until they weigh MAX_WEIGHT or lack one of the `subjects`.

    A message that weighs more is added alone, if that is allowed (`large`). So the result can be empty. Everything that
    is read or added counts. Repeats and outdated messages read no mail, so each counts as one.

    The messages behind one that lacks a subject are planned and not added, so that their missing subjects are known
    too: a batch of cancellations, of which each shows the flights of its booking, takes two transactions.
    """
    policy = replace(policy, subject=subjects)
    added: list[Added] = []
    ahead: dict[str, AggregateState] = {}
    spent = 0
    for message in messages:
        work = _work(writes.db, message, ahead)
        is_first = not spent
        if (spent + work.rows > MAX_WEIGHT and not (is_first and large)) or spent >= MAX_WEIGHT:
            break
        plan = None if work.repeated else _plan(writes.db, work, policy, now)
        if subjects.lacks:
            if plan and plan.state:
                ahead[message.aggregate] = plan.state
            spent += work.rows
            continue
        done = _store(writes, message, plan, now) if plan else _repeat(writes.db, message)
        added.append(done.added)
        spent += max(work.read + done.wrote, 1)
    return added


class _Work(NamedTuple):
    """What adding a message takes."""

    message: Message
    repeated: bool
    """Whether the message has been handled before."""
    state: AggregateState | None
    """The state of its aggregate."""
    read: int
    """The weight of the mails that must be read for it."""
    rows: int
    """An estimate of the weight of everything that is read and written for it."""


class _Done(NamedTuple):
    """A message that was added."""

    added: Added
    """The result for the caller."""
    wrote: int
    """The weight of the mails that it added."""


def _work(db: sqlite3.Connection, message: Message, ahead: Mapping[str, AggregateState]) -> _Work:
    """Find out what a message needs without reading any mail.

    `ahead` has the states of aggregates after messages before it that were planned and not added.
    """
    if one(db, "SELECT 1 FROM messages WHERE source = ? AND id = ?", message.source, message.id):
        return _Work(message, repeated=True, state=None, read=0, rows=1)
    state = ahead.get(message.aggregate) or _state_for(db, message)
    if not message.concerns_mails(state):
        return _Work(message, repeated=False, state=state, read=0, rows=1)
    read = sum(weight(size) for (size,) in db.execute(_OPEN_WEIGHTS, (message.aggregate, _written(SUPERSEDED))))
    return _Work(message, repeated=False, state=state, read=read, rows=max(message.rows, read))


def _plan(db: sqlite3.Connection, work: _Work, policy: PlanningPolicy, now: datetime) -> Plan:
    """Decide what a message does, and write nothing."""
    message = work.message
    existing = mails(db, f"{_OPEN_OF} ORDER BY n", message.aggregate, _written(SUPERSEDED)) if work.read else ()
    return message.plan(work.state, existing, policy, now, _Stored(db))


def _store(writes: Writes, message: Message, plan: Plan, now: datetime) -> _Done:
    """Add, change and cancel the mails of a message as planned."""
    handled = (message.source, message.id, rows.millis(now))
    writes.db.execute("INSERT OR REPLACE INTO messages (source, id, handled_at) VALUES (?, ?, ?)", handled)
    wrote = _follow(writes, plan, message.aggregate, now)
    return _Done(Added(tuple(mail.id for mail in plan.added), repeated=False), wrote)


def _repeat(db: sqlite3.Connection, message: Message) -> _Done:
    """Do nothing for a message that was handled before; find the mails that it added then."""
    ids = db.execute(_CAUSED, (message.aggregate, message.id))
    return _Done(Added(tuple(id_ for (id_,) in ids), repeated=True), 0)


class _Stored:
    """The ids of all stored mails; each is looked up on demand, because there can be very many."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __contains__(self, id_: object) -> bool:
        return one(self._db, "SELECT 1 FROM mails WHERE id = ?", id_) is not None


def _state_for(db: sqlite3.Connection, message: Message) -> AggregateState | None:
    written = one(db, "SELECT state FROM aggregates WHERE aggregate = ?", message.aggregate)
    state = _state.decode(written) if written else None
    if isinstance(state, BookingState) and isinstance(message, BookingMessage):
        return recognising(state, message.named, salt(db))
    return state


def _follow(writes: Writes, plan: Plan, aggregate: str, now: datetime) -> int:
    """Store a plan; return the weight of the mails that it adds."""
    db, wrote = writes.db, 0
    for mail in plan.added:
        content = rows.content_value(mail)
        wrote += weight(len(content))
        added = db.execute(_INSERT_MAIL, rows.mail_row(mail, now))
        if not added.rowcount or added.lastrowid is None:
            # Ignoring it would lose a mail that its reader is waiting for.
            raise RuntimeError(f"there is a mail {mail.id} already")
        db.execute("INSERT INTO contents (n, content) VALUES (?, ?)", (added.lastrowid, content))
        writes.append(added.lastrowid, event_type(None, mail), None, mail, now)
    for mail in plan.changed:
        change(writes, mail, now)
    db.executemany(_AMEND_MAIL, [(_written(amendment), id_) for id_, amendment in plan.amended])
    if plan.state is not None and plan.forget_at is not None:
        db.execute(
            "INSERT OR REPLACE INTO aggregates VALUES (?, ?, ?)",
            (aggregate, msgspec.json.encode(plan.state), rows.millis(plan.forget_at)),
        )
    return wrote


def change(writes: Writes, mail: Mail, now: datetime) -> list[StoredEvent]:
    """Store the next step of a mail and return the events that it appended.

    A step that was made from an outdated mail changes nothing and appends nothing. A mail that becomes pending again is
    decided again: the amendment of newer messages takes effect in the same transaction, as further events.
    """
    db = writes.db
    sql = "SELECT status, attempt, amendment, n FROM mails WHERE id = ? AND rev = ? AND address = ?"
    before = db.execute(sql, (mail.id, mail.rev - 1, mail.to)).fetchone()
    if before is None:
        return []
    prev, attempt, amendment, n = Status(before[0]), before[1], before[2], before[3]
    returns = mail.status is Status.PENDING and amendment is not None
    counted = mail.attempt >= attempt
    appended: list[StoredEvent] = []
    for step in amended(mail, _amendment.decode(amendment)) if returns else (mail,):
        db.execute(_CHANGE_MAIL, (*rows.change_row(step, now), n))
        if step.status is Status.PENDING and (returns or prev is Status.PENDING):
            db.execute(_REWRITE_MAIL, (*rows.rewrite_row(step), n))
            db.execute("UPDATE contents SET content = ? WHERE n = ?", (rows.content_value(step), n))
        appended.append(writes.append(n, event_type(prev, step, counted=counted), prev, step, now))
        prev = step.status
    if returns:
        db.execute(_AMEND_MAIL, (None, mail.id))
        if before[2] == _written(SUPERSEDED):
            appended += _hand_on(writes, mail, now)
    if not counted:
        db.execute("DELETE FROM starts WHERE n = (SELECT max(n) FROM starts WHERE mail = ?)", (mail.id,))
    return appended


def _hand_on(writes: Writes, superseded: Mail, now: datetime) -> list[StoredEvent]:
    """Add the changes of a superseded notice that was not sent to the newer notice that waits, if there is one."""
    for newer in mails(writes.db, _NEWEST_NOTICE, superseded.aggregate, superseded.to, Kind.CHANGE):
        if waiting := handing_on(superseded, newer):
            return change(writes, waiting, now)
    return []


def _written(amendment: Amendment | None) -> bytes | None:
    return msgspec.json.encode(amendment) if amendment else None


def set_meta(db: sqlite3.Connection, name: str, value: Any) -> None:
    """Store a value that concerns the whole database."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, str(value)))


def set_cursor(db: sqlite3.Connection, reader: str, seq: int) -> None:
    """Store the number of the last event that a reader has read."""
    db.execute("INSERT OR REPLACE INTO cursors (reader, seq) VALUES (?, ?)", (reader, seq))
