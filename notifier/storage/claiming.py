"""Which mail goes next, and when, decided in a SQLite database: due, in order, within rate and quota."""

import sqlite3
from datetime import datetime, timedelta

from notifier.mail import Mail, claimed, expired
from notifier.rate import AHEAD, schedule
from notifier.storage import rows
from notifier.storage.changes import change, set_meta
from notifier.storage.queries import is_paused, mails, meta, one
from notifier.storage.store import Claim, Quota, Start

_PORTION = 500
"""Mails that one claim expires at most, so that it holds up the others for a moment only."""
_DAY = timedelta(hours=24)
_DEADLINE = f"coalesce(expires_at, send_at + {timedelta(hours=48) // timedelta(milliseconds=1)})"
"""When a mail should be out at the latest: one that never expires is no use after two days."""


def claim(db: sqlite3.Connection, limit: int, rate: float, now: datetime, quota: Quota | None) -> Claim:
    """Let at most `limit` due mails be sending, each with the moment at which it may start; see `Store.claim`."""
    at = rows.millis(now)
    for mail in mails(db, "WHERE due_at IS NOT NULL AND expires_at <= ? LIMIT ?", at, _PORTION):
        change(db, expired(mail), now)
    left = _quota_left(db, quota, now) if quota else None
    if is_paused(db):
        return Claim((), None, left)
    due = _due(db, limit, left, at)
    next_start = meta(db, "next_start")
    grant = schedule(datetime.fromisoformat(next_start) if next_start else None, len(due), rate, now)
    starts = tuple(Start(claimed(mail, now), start) for mail, start in zip(due, grant.starts, strict=False))
    for start in starts:
        change(db, start.mail, now)
    if starts:
        set_meta(db, "next_start", grant.next_start.isoformat())
    if quota and left is not None:
        db.executemany(
            "INSERT INTO starts (account, at, mail) VALUES (?, ?, ?)",
            [(quota.account, at, start.mail.id) for start in starts],
        )
        left -= len(starts)
    if len(starts) < len(due):
        return Claim(starts, grant.next_start - AHEAD, left)
    if quota and left == 0:
        oldest = one(db, "SELECT min(at) FROM starts WHERE account = ?", quota.account)
        return Claim(starts, rows.moment(oldest) + _DAY, left)
    next_due = one(db, "SELECT min(due_at) FROM mails WHERE due_at IS NOT NULL")
    return Claim(starts, rows.moment(next_due) if next_due is not None else None, left)


def _quota_left(db: sqlite3.Connection, quota: Quota, now: datetime) -> int:
    # What lies a day ahead was written by a clock that went wrong.
    db.execute("DELETE FROM starts WHERE at <= ? OR at > ?", (rows.millis(now - _DAY), rows.millis(now + _DAY)))
    used = int(one(db, "SELECT count(*) FROM starts WHERE account = ?", quota.account))
    return max(0, quota.mails - used)


def _due(db: sqlite3.Connection, limit: int, left: int | None, at: int) -> list[Mail]:
    """List what to claim: at most `limit` and, of an account with a quota, at most what is `left` of it."""
    live = "due_at <= ? AND (expires_at IS NULL OR expires_at > ?)"
    if left is None:
        return mails(db, f"WHERE {live} ORDER BY due_at, n LIMIT ?", at, at, limit) if limit else []
    waiting = one(db, f"SELECT count(*) FROM (SELECT 1 FROM mails WHERE {live} LIMIT ?)", at, at, left + 1)
    order = _DEADLINE if waiting > left else "due_at"
    return mails(db, f"WHERE {live} ORDER BY {order}, n LIMIT ?", at, at, min(limit, left))


def follow_clock(db: sqlite3.Connection, set_back: timedelta, now: datetime) -> None:
    """Let mail that waits for no moment of its own, to go at once or after a pause, not wait for a clock set back."""
    by, at = set_back // timedelta(milliseconds=1), rows.millis(now)
    db.execute("UPDATE mails SET due_at = due_at - ? WHERE due_at > ? AND next_attempt_at IS NOT NULL", (by, at))
    at_once = "next_attempt_at IS NULL AND send_at <= created_at"
    db.execute(f"UPDATE mails SET due_at = ? WHERE due_at > ? AND {at_once}", (at, at))
