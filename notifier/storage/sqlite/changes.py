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
from notifier.storage.sqlite.statements import Row, read_rows, write_rows
from notifier.storage.sqlite.writes import Writes, forget_start
from notifier.storage.store import Added

_NEW = ",".join(f"{column}=new.column{at}" for at, column in enumerate(rows.CHANGING_COLUMNS, start=2))
# OR FAIL, because without it SQLite copies each page to be able to undo the statement alone: all is rolled back anyway.
_CHANGE_MAILS = f"UPDATE OR FAIL mails SET {_NEW} FROM (VALUES {{}}) AS new WHERE mails.n = new.column1"
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
_HANDLED = (
    "SELECT source, id FROM (VALUES {}) AS asked CROSS JOIN messages ON source = asked.column1 AND id = asked.column2"
)
_STATES = "SELECT aggregate, state FROM (VALUES {}) AS asked CROSS JOIN aggregates ON aggregate = asked.column1"
_WITH_MAILS = (
    "SELECT column1 FROM (VALUES {}) "
    "WHERE EXISTS (SELECT 1 FROM mails INDEXED BY mails_caused WHERE aggregate = column1)"
)
_BEFORE = (
    "SELECT id, n, rev, address, status, attempt, due_at, amendment FROM mails "
    "WHERE id IN (SELECT value FROM json_each(?))"
)

_DUE_AT = rows.CHANGING_COLUMNS.index("due_at")
_READ_AHEAD = 64
"""Number of messages about which everything stored is read at once."""


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
    known = _Known(writes)
    spent = 0
    for position, message in enumerate(messages):
        if position % _READ_AHEAD == 0:
            known.read(messages[position : position + _READ_AHEAD])
        work = _work(known, message, ahead)
        is_first = not spent
        if (spent + work.rows > MAX_WEIGHT and not (is_first and large)) or spent >= MAX_WEIGHT:
            break
        plan = None if work.repeated else _plan(known, work, policy, now)
        if subjects.lacks:
            if plan and plan.state:
                ahead[message.aggregate] = plan.state
            spent += work.rows
            continue
        done = _store(known, message, plan, now) if plan else _repeat(writes, message)
        added.append(done.added)
        spent += max(work.read + done.wrote, 1)
    return added


class _Known:
    """What is stored about the messages of a batch and their aggregates, with what the batch itself has changed."""

    def __init__(self, writes: Writes) -> None:
        self.writes = writes
        self.handled: set[tuple[str, str]] = set()
        """Source and id of the messages that were handled before."""
        self.with_mails: set[str] = set()
        """The aggregates that have mails."""
        self._states: dict[str, AggregateState | None] = {}

    def read(self, messages: Sequence[Message]) -> None:
        """Read what is stored about messages, before any of them is added."""
        db = self.writes.db
        self.handled |= {(source, id_) for source, id_ in read_rows(db, _HANDLED, [(m.source, m.id) for m in messages])}
        new = [(each,) for each in {message.aggregate: None for message in messages} if each not in self._states]
        self._states |= dict.fromkeys((aggregate for (aggregate,) in new), None)
        self._states |= {aggregate: _state.decode(written) for aggregate, written in read_rows(db, _STATES, new)}
        self.with_mails |= {aggregate for (aggregate,) in read_rows(db, _WITH_MAILS, new)}

    def state(self, message: Message) -> AggregateState | None:
        """Return the state of a message's aggregate."""
        state = self._states[message.aggregate]
        if isinstance(state, BookingState) and isinstance(message, BookingMessage):
            return recognising(state, message.named, salt(self.writes.db))
        return state

    def add(self, message: Message, plan: Plan, now: datetime) -> None:
        """Note a message that is added now, with its new state."""
        self.writes.add_message(message.source, message.id, now)
        self.handled.add((message.source, message.id))
        if plan.added:
            self.with_mails.add(message.aggregate)
        if plan.state is not None and plan.forget_at is not None:
            self.writes.set_state(message.aggregate, msgspec.json.encode(plan.state), plan.forget_at)
            self._states[message.aggregate] = plan.state


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


def _work(known: _Known, message: Message, ahead: Mapping[str, AggregateState]) -> _Work:
    """Find out what a message needs without reading any mail.

    `ahead` has the states of aggregates after messages before it that were planned and not added.
    """
    if (message.source, message.id) in known.handled:
        return _Work(message, repeated=True, state=None, read=0, rows=1)
    state = ahead.get(message.aggregate) or known.state(message)
    if not message.concerns_mails(state):
        return _Work(message, repeated=False, state=state, read=0, rows=1)
    if message.aggregate not in known.with_mails:
        return _Work(message, repeated=False, state=state, read=0, rows=message.rows)
    known.writes.flush()
    sizes = known.writes.db.execute(_OPEN_WEIGHTS, (message.aggregate, _written(SUPERSEDED)))
    read = sum(weight(size) for (size,) in sizes)
    return _Work(message, repeated=False, state=state, read=read, rows=max(message.rows, read))


def _plan(known: _Known, work: _Work, policy: PlanningPolicy, now: datetime) -> Plan:
    """Decide what a message does, and write nothing."""
    message, db = work.message, known.writes.db
    existing = mails(db, f"{_OPEN_OF} ORDER BY n", message.aggregate, _written(SUPERSEDED)) if work.read else ()
    # The id of a mail is made from the name of its aggregate.
    stored = _Stored(db) if message.aggregate in known.with_mails else frozenset[str]()
    return message.plan(work.state, existing, policy, now, stored)


def _store(known: _Known, message: Message, plan: Plan, now: datetime) -> _Done:
    """Add, change and cancel the mails of a message as planned."""
    known.add(message, plan, now)
    wrote = _follow(known.writes, plan, now)
    return _Done(Added(tuple(mail.id for mail in plan.added), repeated=False), wrote)


def _repeat(writes: Writes, message: Message) -> _Done:
    """Do nothing for a message that was handled before; find the mails that it added then."""
    writes.flush()
    ids = writes.db.execute(_CAUSED, (message.aggregate, message.id))
    return _Done(Added(tuple(id_ for (id_,) in ids), repeated=True), 0)


class _Stored:
    """The ids of all stored mails; each is looked up on demand, because there can be very many."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __contains__(self, id_: object) -> bool:
        return one(self._db, "SELECT 1 FROM mails WHERE id = ?", id_) is not None


def _follow(writes: Writes, plan: Plan, now: datetime) -> int:
    """Store a plan; return the weight of the mails that it adds."""
    wrote = 0
    for mail in plan.added:
        content = rows.content_value(mail)
        wrote += weight(len(content))
        n = writes.add_mail(mail, content, now)
        writes.append(n, event_type(None, mail), None, mail, now)
    change(writes, plan.changed, now)
    if plan.amended:
        writes.flush()
        writes.db.executemany(_AMEND_MAIL, [(_written(amendment), id_) for id_, amendment in plan.amended])
    return wrote


class _Before(NamedTuple):
    """The row of a mail before a change."""

    n: int
    rev: int
    address: str
    status: str
    attempt: int
    due_at: int | None
    amendment: bytes | None


def change(writes: Writes, changed: Sequence[Mail], now: datetime) -> list[StoredEvent]:
    """Store the next steps of some mails, in order, and return the events that they appended.

    A step that was made from an outdated mail changes nothing and appends nothing. A mail that becomes pending again is
    decided again: the amendment of newer messages takes effect in the same transaction, as further events.
    """
    appended: list[StoredEvent] = []
    rest = changed
    while rest:
        before = _read_before(writes, rest)
        updates: list[Row] = []
        returning: tuple[Mail, _Before] | None = None
        seen: set[str] = set()
        for mail in rest:
            if mail.id in seen:
                # The row that was read is the one before its first step.
                break
            seen.add(mail.id)
            found = before.get(mail.id)
            if found is None or (found.rev, found.address) != (mail.rev - 1, mail.to):
                continue
            if mail.status is Status.PENDING and found.amendment is not None:
                # Its further steps can change other mails, so what was read before is not used after it.
                returning = mail, found
                break
            row, event = _step(writes, found, mail, now)
            updates.append(row)
            appended.append(event)
        write_rows(writes.db, _CHANGE_MAILS, updates)
        if returning:
            appended += _return(writes, *returning, now)
        rest = rest[len(seen) :]
    return appended


def _read_before(writes: Writes, changed: Sequence[Mail]) -> dict[str, _Before]:
    """Read the rows of mails, by id."""
    writes.flush()
    ids = msgspec.json.encode([mail.id for mail in changed]).decode()
    return {id_: _Before(*row) for id_, *row in writes.db.execute(_BEFORE, (ids,)).fetchall()}


def _step(writes: Writes, before: _Before, mail: Mail, now: datetime) -> tuple[Row, StoredEvent]:
    """Count one step and append its event; return its row for `_CHANGE_MAILS` and the event."""
    prev = Status(before.status)
    counted = mail.attempt >= before.attempt
    row = rows.change_row(mail, now)
    writes.count(prev, -1)
    writes.count(mail.status, 1)
    writes.count_waiting(before.due_at, before.attempt, -1)
    writes.count_waiting(row[_DUE_AT], mail.attempt, 1)
    if prev is Status.PENDING and mail.status is Status.PENDING:
        _rewrite(writes.db, before.n, mail)
    if not counted:
        forget_start(writes.db, mail.id)
    return (before.n, *row), writes.append(before.n, event_type(prev, mail, counted=counted), prev, mail, now)


def _return(writes: Writes, mail: Mail, before: _Before, now: datetime) -> list[StoredEvent]:
    """Store a mail that becomes pending again, with what newer messages have decided about it."""
    appended: list[StoredEvent] = []
    amendment = _amendment.decode(before.amendment or b"null")
    for step in amended(mail, amendment):
        row, event = _step(writes, before, step, now)
        write_rows(writes.db, _CHANGE_MAILS, [row])
        _rewrite(writes.db, before.n, step)
        appended.append(event)
        due_at = row[1 + _DUE_AT]
        before = before._replace(rev=step.rev, status=step.status, attempt=step.attempt, due_at=due_at)
    writes.db.execute(_AMEND_MAIL, (None, mail.id))
    if amendment == SUPERSEDED:
        appended += _hand_on(writes, mail, now)
    return appended


def _rewrite(db: sqlite3.Connection, n: int, mail: Mail) -> None:
    """Store what a newer message may have made of a waiting mail."""
    db.execute(_REWRITE_MAIL, (*rows.rewrite_row(mail), n))
    db.execute("UPDATE contents SET content = ? WHERE n = ?", (rows.content_value(mail), n))


def _hand_on(writes: Writes, superseded: Mail, now: datetime) -> list[StoredEvent]:
    """Add the changes of a superseded notice that was not sent to the newer notice that waits, if there is one."""
    for newer in mails(writes.db, _NEWEST_NOTICE, superseded.aggregate, superseded.to, Kind.CHANGE):
        if waiting := handing_on(superseded, newer):
            return change(writes, [waiting], now)
    return []


def _written(amendment: Amendment | None) -> bytes | None:
    return msgspec.json.encode(amendment) if amendment else None


def set_meta(db: sqlite3.Connection, name: str, value: Any) -> None:
    """Store a value that concerns the whole database."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, str(value)))


def set_cursor(db: sqlite3.Connection, reader: str, seq: int) -> None:
    """Store the number of the last event that a reader has read."""
    db.execute("INSERT OR REPLACE INTO cursors (reader, seq) VALUES (?, ?)", (reader, seq))
