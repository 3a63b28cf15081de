"""Databases with very many mails, written with SQL: the store itself would take minutes."""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from support.samples import NOW

from notifier.storage.rows import millis
from notifier.storage.sqlite.store import SqliteStore

ACCOUNT = "user@mail.example.com:587"
"""The account for which the database has starts in the last 24 hours."""
EVERY = 50
"""Milliseconds between two mails."""

_FILL = """
WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :mails)
INSERT INTO mails (id, rev, aggregate, kind, status, address, subject, booking, event, message_id, attempt,
                   created_at, send_at, expires_at, past_data, due_at, finished_at)
SELECT printf('%08x-0000-5000-8000-000000000000', i), 1, 'booking:B' || (i / 4),
       CASE WHEN i % 1000 = 0 THEN 'booking.change' WHEN i % 4 = 0 THEN 'booking.confirmation'
            WHEN i % 4 = 3 THEN 'notification' ELSE 'flight.reminder' END,
       CASE WHEN i <= :waiting THEN 'pending' WHEN i % 500 = 0 THEN 'failed' ELSE 'sent' END,
       'p' || i || '@example.com', 'Number ' || i,
       'B' || (i / 4), 'e' || i, '<m' || i || '@example.com>', iif(i <= :waiting, i % 10 = 0, 1),
       :now - (:mails - i) * :every,
       iif(i <= :due, :now - 1 - (:due - i) * :every, :now + i * :every),
       CASE WHEN i % 4 <> 3 THEN :now + 86400000 + (i * 7919 % 100003) * 1000 END, 0,
       CASE WHEN i <= :due THEN :now - 1 - (:due - i) * :every WHEN i <= :waiting THEN :now + i * :every END,
       CASE WHEN i > :waiting THEN :now - (:mails - i) * :every END
FROM numbers;

INSERT INTO contents
SELECT n, CAST('{"type":"letter","text":"' || printf('%.200c', 'x') || '","html":null}' AS BLOB) FROM mails;

INSERT INTO events (body, type, id, mail, mail_n, status, kind, booking, created_at, event)
SELECT CAST('{}' AS BLOB), 'mail.' || status, id || '.1', id, n, status, kind, booking, created_at, event FROM mails;

INSERT INTO messages SELECT '/test', event, created_at FROM mails;
INSERT INTO aggregates SELECT DISTINCT aggregate, CAST('{}' AS BLOB), :now - 1 FROM mails;
INSERT INTO starts (account, at, mail) SELECT :account, :now - (:mails - n), id FROM mails WHERE n % 2 = 0;
INSERT INTO used SELECT account, count(*) FROM starts GROUP BY account;
INSERT OR REPLACE INTO totals SELECT status, count(*) FROM mails GROUP BY status;
INSERT INTO waiting SELECT attempt > 0, due_at / 60000, count(*) FROM mails WHERE due_at IS NOT NULL GROUP BY 1, 2;
"""


class Crowd(NamedTuple):
    """The number of mails, and how many of them are due or scheduled; the others are finished."""

    mails: int
    due: int
    scheduled: int


async def filled(path: Path, crowd: Crowd) -> None:
    """Create a database with very many mails.

    Each mail has its event, message and aggregate, and every second one has a start.
    """
    await (await SqliteStore.open(path)).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    values = {
        "mails": crowd.mails,
        "due": crowd.due,
        "waiting": crowd.due + crowd.scheduled,
        "now": millis(NOW),
        "every": EVERY,
        "account": ACCOUNT,
    }
    db.execute("BEGIN")
    for name, _ in indexes:
        db.execute(f"DROP INDEX {name}")
    for statement in _FILL.split(";\n"):
        db.execute(statement, values)
    for _, sql in indexes:
        db.execute(sql)
    db.execute("COMMIT")
    db.close()
