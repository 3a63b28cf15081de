"""Statements for many rows."""

import sqlite3
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from notifier.storage.sqlite.statements import MAX_ROWS_AT_ONCE, read_rows, write_rows


@given(st.integers(0, 3 * MAX_ROWS_AT_ONCE + 3))
def test_every_row_is_written_and_read_once(count: int) -> None:
    """However many there are, in order, and with few different statements."""
    rows = [(n, f"text {n}") for n in range(count)]
    statements: list[str] = []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
        db.set_trace_callback(statements.append)
        assert write_rows(db, "INSERT INTO t VALUES {}", rows) == count
        assert len(statements) <= 3 + MAX_ROWS_AT_ONCE.bit_length()
        db.set_trace_callback(None)
        found = "SELECT t.n, t.text FROM (VALUES {}) AS asked CROSS JOIN t ON t.n = asked.column1"
        assert list(read_rows(db, found, [(n,) for n, _ in reversed(rows)])) == rows[::-1]
        assert db.execute("SELECT * FROM t ORDER BY n").fetchall() == rows
