"""Claim due mails in a SQLite database: which mail is sent next and when, within rate and quota."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from heapq import merge
from itertools import chain, islice
from typing import Any, NamedTuple

from msgspec import json

from notifier.domain.addresses import identity
from notifier.domain.claims import Claim, Quota, Start
from notifier.domain.mail import Mail, claimed, expired, failed
from notifier.sending.pacing import AHEAD, reserve_slots
from notifier.storage import rows
from notifier.storage.sqlite.changes import change, set_meta
from notifier.storage.sqlite.portions import MAX_WEIGHT, portion, weight
from notifier.storage.sqlite.purging import DAY, forget_starts
from notifier.storage.sqlite.queries import (
    MAX_ROWS,
    MINUTE,
    OPEN,
    SIZE,
    is_paused,
    meta,
    numbered,
    one,
    without_content,
)
from notifier.storage.sqlite.statements import write_rows
from notifier.storage.sqlite.writes import Writes, count_starts, forget_start

_HOUR_MS = 3_600_000
_HOUR = f"due_at / {_HOUR_MS}"
_DEADLINE = "coalesce(expires_at, send_at + 172800000)"
"""When a mail should be sent at the latest: two days after `send_at` if it never expires.

This expression and `_HOUR` are those of the index `mails_deadline`.
"""

UNREADABLE = "the stored mail cannot be decoded"
_MAX_HOURS = 1000
"""Number of hours with due mails that a claim under a short quota looks at, latest first: at least six weeks."""
_MAX_MERGED_HOURS = 100
"""Number of those hours that it chooses from: the ones with the earliest deadlines."""

_LIVE = "due_at <= ? AND (expires_at IS NULL OR expires_at > ?)"
_OF_HOUR = f"FROM mails INDEXED BY mails_deadline WHERE due_at IS NOT NULL AND {_HOUR}"
_EARLIEST_HOURS = f"""
WITH RECURSIVE hours (hour) AS (
    SELECT (SELECT max({_HOUR}) {_OF_HOUR} <= ?)
    UNION ALL SELECT (SELECT max({_HOUR}) {_OF_HOUR} < hour) FROM hours WHERE hour IS NOT NULL LIMIT ?
)
SELECT hour FROM hours WHERE hour IS NOT NULL ORDER BY (SELECT min({_DEADLINE}) {_OF_HOUR} = hour) LIMIT ?
"""
_OLDEST = f"""
SELECT aggregate, address, (
    SELECT min(n) FROM mails INDEXED BY mails_open
    WHERE aggregate = due.aggregate AND address = due.address AND {OPEN} AND {_LIVE}
) FROM json_each(?) AS asked CROSS JOIN mails AS due ON due.n = asked.value
"""
"""The oldest due mail of the same aggregate to the same address as each of some mails."""

_Row = Sequence[Any]
"""A mail's number, whether it is due, and whether it is due and has not expired."""


def claim(
    writes: Writes, limit: int, rate: float, now: datetime, quota: Quota | None, *, newest: bool = False
) -> Claim:
    """Claim at most `limit` due mails, each with the time at which it may start; see `Store.claim`."""
    db, at = writes.db, rows.millis(now)
    left = _quota_left(db, quota, now) if quota else None
    if is_paused(db):
        return Claim((), None, left)
    due = _newest(writes, now) if newest and limit and left != 0 else _due(writes, limit, left, now)
    next_start = meta(db, "next_start")
    grant = reserve_slots(datetime.fromisoformat(next_start) if next_start else None, len(due.mails), rate, now)
    starts = tuple(Start(claimed(mail, now), start) for mail, start in zip(due.mails, grant.starts, strict=False))
    if starts:
        change(writes, [start.mail for start in starts], now)
        set_meta(db, "next_start", grant.next_start.isoformat())
    if quota and left is not None:
        _book(db, quota, [start.mail.id for start in starts], now)
        left -= len(starts)
    if len(starts) < len(due.mails):
        return Claim(starts, grant.next_start - AHEAD, left)
    if quota and left == 0:
        return Claim(starts, _quota_again(db, quota), left)
    if due.more:
        return Claim(starts, now, left)
    next_due = one(db, "SELECT min(due_at) FROM mails INDEXED BY mails_due WHERE due_at > ?", at)
    again_at = rows.moment(next_due) if next_due is not None else None
    return Claim(starts, again_at, left)


def expire(writes: Writes, now: datetime) -> bool:
    """End one portion of the mails that have expired; return whether there are more."""
    sql = f"SELECT n, {SIZE} FROM mails INDEXED BY mails_expiring WHERE due_at IS NOT NULL AND expires_at <= ? LIMIT ?"
    found = portion((n, weight(size)) for n, size in writes.db.execute(sql, (rows.millis(now), MAX_WEIGHT + 1)))
    change(writes, [expired(mail) for mail in _mails(writes, found.items, now)], now)
    return found.more


def _mails(writes: Writes, numbers: Sequence[int], now: datetime) -> list[Mail]:
    """Read waiting mails; those that cannot be decoded become failed, so that they are visible and not tried again."""
    found = numbered(writes.db, numbers)
    for n in numbers:
        if n not in found:
            _end_damaged(writes, n, now)
    return [found[n] for n in numbers if n in found]


def _end_damaged(writes: Writes, n: int, now: datetime) -> None:
    if known := without_content(writes.db, n):
        attempt = claimed(known, now)
        change(writes, [attempt, failed(attempt, None, UNREADABLE)], now)
        return
    for due_at, attempts in writes.db.execute("SELECT due_at, attempt FROM mails WHERE n = ?", (n,)).fetchall():
        writes.count_waiting(due_at, attempts, -1)
    writes.db.execute("UPDATE mails SET due_at = NULL WHERE n = ?", (n,))


def rebook(
    db: sqlite3.Connection, mail: str, before: Quota | None, after: Quota | None, now: datetime
) -> datetime | None:
    """Count the latest start of a mail against another account's quota; see `Store.rebook`."""
    if after and not _quota_left(db, after, now):
        return _quota_again(db, after)
    if before:
        forget_start(db, mail, before.account)
    if after:
        _book(db, after, [mail], now)
    return None


def _quota_again(db: sqlite3.Connection, quota: Quota) -> datetime:
    """Return when an account whose quota is used up may start a mail again."""
    return rows.moment(one(db, "SELECT min(at) FROM starts WHERE account = ?", quota.account)) + DAY


def _book(db: sqlite3.Connection, quota: Quota, ids: Iterable[str], now: datetime) -> None:
    starts = [(quota.account, rows.millis(now), id_) for id_ in ids]
    write_rows(db, "INSERT INTO starts (account, at, mail) VALUES {}", starts)
    count_starts(db, quota.account, len(starts))


class _Due(NamedTuple):
    """The mails to claim."""

    mails: list[Mail]
    more: bool
    """Whether another claim might find more mails at once."""


def _quota_left(db: sqlite3.Connection, quota: Quota, now: datetime) -> int:
    forget_starts(db, now, quota.account)
    used = one(db, "SELECT mails FROM used WHERE account = ?", quota.account) or 0
    return max(0, quota.mails - int(used))


def _due(writes: Writes, limit: int, left: int | None, now: datetime) -> _Due:
    """Choose what to claim: at most `limit` and, for an account with a quota, at most what is `left` of it.

    Of the due mails of one aggregate to one address only the oldest is chosen, and none while another one is being
    sent, so that the mail that is sent last has the latest state. The others can be chosen once an outcome is recorded.
    """
    db, at = writes.db, rows.millis(now)
    room = limit if left is None else min(limit, left)
    if room == 0:
        return _Due([], more=False)
    sending = db.execute("SELECT aggregate, address FROM mails INDEXED BY mails_listed WHERE status = 'sending'")
    taken = {(aggregate, identity(address)) for aggregate, address in sending.fetchall()}
    chosen: list[int] = []
    passed_expired = False
    with ExitStack() as cursors:
        candidates = _candidates(db, cursors, at, short=left is not None and left < _are_due(db, at))
        while some := list(islice(candidates, room - len(chosen))):
            passed_expired = passed_expired or any(is_due and not is_live for _, is_due, is_live in some)
            live = json.encode([n for n, _, is_live in some if is_live]).decode()
            for aggregate, address, oldest in db.execute(_OLDEST, (at, at, live)).fetchall():
                key = aggregate, identity(address)
                if key not in taken:
                    taken.add(key)
                    chosen.append(oldest)
    return _Due(_mails(writes, chosen, now), passed_expired or len(chosen) == room)


def _newest(writes: Writes, now: datetime) -> _Due:
    """Choose the mail that became due last; mails that wait for another attempt come after all others.

    For mails of one aggregate to one address the same holds as in `_due`.
    """
    db, at = writes.db, rows.millis(now)
    sending = db.execute("SELECT aggregate, address FROM mails INDEXED BY mails_listed WHERE status = 'sending'")
    taken = {(aggregate, identity(address)) for aggregate, address in sending.fetchall()}
    columns = f"SELECT n, aggregate, address, next_attempt_at IS NULL, {_LIVE} FROM mails INDEXED BY mails_due"
    sql = f"{columns} WHERE due_at <= ? ORDER BY due_at DESC, n DESC LIMIT ?"
    chosen: int | None = None
    passed_expired = False
    with closing(db.execute(sql, (at, at, at, MAX_ROWS))) as found:
        for n, aggregate, address, is_new, is_live in found:
            passed_expired = passed_expired or not is_live
            if is_live and (is_new or chosen is None) and (aggregate, identity(address)) not in taken:
                chosen = n
                if is_new:
                    break
    if chosen is None:
        return _Due([], more=passed_expired)
    ((_, _, oldest),) = db.execute(_OLDEST, (at, at, f"[{chosen}]")).fetchall()
    return _Due(_mails(writes, [oldest], now), more=True)


def _candidates(db: sqlite3.Connection, cursors: ExitStack, at: int, *, short: bool) -> Iterator[_Row]:
    """List a bounded number of mails in the order in which they are sent: by deadline if the quota is `short`.

    Mails that are not due yet can use up the bound of the order by deadline, so those due longest follow.
    """
    longest = islice(_by_due_time(db, cursors, at), MAX_ROWS)
    return chain(islice(_by_deadline(db, cursors, at), MAX_ROWS), longest) if short else longest


def _are_due(db: sqlite3.Connection, at: int) -> int:
    """Count the mails that are due or will be within a minute."""
    count = "SELECT total(mails) FROM waiting WHERE tried = ? AND minute <= ?"
    return int(one(db, count, 0, at // MINUTE) + one(db, count, 1, at // MINUTE))


def _by_due_time(db: sqlite3.Connection, cursors: ExitStack, at: int) -> Iterator[_Row]:
    columns = f"SELECT n, due_at <= ?, {_LIVE} FROM mails INDEXED BY mails_due"
    sql = f"{columns} WHERE due_at <= ? ORDER BY due_at, n"
    return cursors.enter_context(closing(db.execute(sql, (at, at, at, at))))


def _by_deadline(db: sqlite3.Connection, cursors: ExitStack, at: int) -> Iterator[_Row]:
    """Merge the hours in which mails are due; the current one also has mails that are not due yet.

    Only the hours with the earliest deadlines are merged: the first mails, one for each of these hours, are in exact
    order.
    """
    sql = f"SELECT {_DEADLINE}, n, due_at <= ?, {_LIVE} {_OF_HOUR} = ? ORDER BY {_DEADLINE}, n"
    earliest = db.execute(_EARLIEST_HOURS, (at // _HOUR_MS, _MAX_HOURS, _MAX_MERGED_HOURS)).fetchall()
    hours = [cursors.enter_context(closing(db.execute(sql, (at, at, at, hour)))) for (hour,) in earliest]
    return (row for _, *row in merge(*hours))


def follow_clock(db: sqlite3.Connection, set_back: timedelta, now: datetime) -> None:
    """Adjust the stored times after the clock was set back.

    A mail that is sent at once is due now, and one that is retried waits as long as before. Only a mail with its own
    `send_at` waits for the clock. Starts of the last 24 hours that would lie ahead are moved back, so that the quota
    recovers a day after them. Mails that ended and messages that were handled ahead count as of now, so that they are
    purged in time. A mail is given up after the time for which it has really been tried.
    """
    by, at = set_back // timedelta(milliseconds=1), rows.millis(now)
    retried = "due_at > ? AND next_attempt_at IS NOT NULL"
    _count_as_due(db, f"due_at - {by}", retried, at)
    db.execute(
        f"UPDATE mails SET due_at = due_at - ?, next_attempt_at = next_attempt_at - ? WHERE {retried}", (by, by, at)
    )
    ahead = "account IN (SELECT account FROM used) AND at > ? AND at <= ?"
    db.execute(f"UPDATE starts SET at = at - ? WHERE {ahead}", (by, at, rows.millis(now + DAY)))
    at_once = "due_at > ? AND next_attempt_at IS NULL AND send_at <= created_at"
    _count_as_due(db, str(at), at_once, at)
    db.execute(f"UPDATE mails SET due_at = ? WHERE {at_once}", (at, at))
    for table, column in (("mails", "finished_at"), ("messages", "handled_at")):
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {column} > ?", (at, at))
    for tried in ("due_at IS NOT NULL AND attempt > 0", "status = 'sending'"):
        db.execute(f"UPDATE mails SET counted_since = ? WHERE {tried} AND counted_since > ?", (at, at))


def _count_as_due(db: sqlite3.Connection, due_at: str, condition: str, at: int) -> None:
    """Count waiting mails that meet a condition with the time `at` as due at another time, which is given as SQL."""
    for time, by in (("due_at", "-count(*)"), (due_at, "count(*)")):
        counts = f"SELECT attempt > 0, ({time}) / {MINUTE}, {by} FROM mails WHERE {condition} GROUP BY 1, 2"
        db.execute(
            f"INSERT INTO waiting (tried, minute, mails) {counts} "
            "ON CONFLICT (tried, minute) DO UPDATE SET mails = mails + excluded.mails",
            (at,),
        )
