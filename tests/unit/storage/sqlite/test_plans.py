"""No statement of the store reads a whole table or index of those that grow."""

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from support.crowded import ACCOUNT, Crowd, filled
from support.samples import NOW, RULES
from support.stores import ACCEPTED, MOVED, claimed, message, opened, request
from unit.storage.sqlite.test_queries import OPERATIONS

from notifier.domain.claims import Quota
from notifier.domain.mail import failed, handed_back, retried, sent
from notifier.storage.sqlite.store import SqliteStore

SMALL = {"asked", "json_each", "new", "wanted", "hours", "totals", "used", "sqlite_sequence"}
"""Tables of SQLite that do not grow with the number of mails, and rows that are given with a statement."""
GROWS = re.compile(r"SCAN (?!\d+ CONSTANT ROWS?\b|CONSTANT ROW\b)(\w+)")


async def statements(store: SqliteStore) -> set[str]:
    """Use every method of the store, and return the statements that it ran."""
    found: set[str] = set()
    for connection in (store._writer, store._reads._connection):
        await connection.set_trace_callback(found.add)
    for operation in OPERATIONS.values():
        await operation(store)
    await store.add([message(), request(1), request(2), request(2)], RULES, NOW)
    newest = await store.claim(1, 0, NOW, newest=True)
    quota, other = Quota(ACCOUNT, 2_000_000), Quota("other", 5)
    first, second, third, *rest = [start.mail for start in (await store.claim(20, 0, NOW, quota)).starts]
    await store.rebook(first, quota, other, NOW)
    await store.mark(second)
    await store.add([message(id="v2", version=2, type="booking.changed", flights=[MOVED])], RULES, NOW)
    await store.add([message(id="v3", version=3, type="booking.cancelled")], RULES, NOW)
    gone = failed(third, ACCEPTED, None)
    await store.record([handed_back(start.mail) for start in newest.starts], NOW)
    await store.record([sent(first, ACCEPTED, NOW), handed_back(second), gone, *map(handed_back, rest)], NOW)
    await store.record([retried(gone)], NOW)
    await store.expire(NOW + timedelta(days=2))
    await store.erase("asha@example.com", NOW)
    await store.pause(paused=True)
    await claimed(store)
    for connection in (store._writer, store._reads._connection):
        await connection.set_trace_callback(lambda _: None)
    return found


def scans(path: Path, found: Iterable[str]) -> list[tuple[str, str]]:
    """Return the statements whose plan reads all rows of a growing table, and that part of the plan."""
    bad: list[tuple[str, str]] = []
    with closing(sqlite3.connect(path)) as db:
        for sql in found:
            if sql.split(maxsplit=1)[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"):
                plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
                bad += [(sql, step) for step in plan if (scan := GROWS.match(step)) and scan[1] not in SMALL]
    return bad


async def test_no_statement_reads_a_whole_table(tmp_path: Path) -> None:
    """Every statement finds its rows by an index."""
    path = tmp_path / "n.db"
    await filled(path, Crowd(2000, 500, 1000))
    async with opened(path) as store:
        found = await statements(store)
    assert len(found) > 100
    assert not scans(path, found)


def test_a_scan_is_recognised(tmp_path: Path) -> None:
    """The check itself fails for statements that read everything."""
    path = tmp_path / "n.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mails (n INTEGER PRIMARY KEY, id TEXT UNIQUE, status TEXT)")
    bad = ["SELECT n FROM mails", "DELETE FROM mails WHERE status = 'sent'", "SELECT id FROM mails AS m ORDER BY id"]
    assert [sql for sql, _ in scans(path, [*bad, "SELECT n FROM mails WHERE id = 'x'"])] == bad
