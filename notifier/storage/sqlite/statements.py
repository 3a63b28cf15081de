"""Statements for many rows at once.

Each step of a statement lets Python's other threads run, and coming back costs more than the row itself. A statement
with many rows has few steps.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

MAX_ROWS_AT_ONCE = 64
"""Maximum number of rows of one statement: with 30 columns far below the limit of SQLite's variables, 32,766."""

Row = Sequence[Any]


def write_rows(db: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> int:
    """Run a statement for rows of equal length, which take the place of `{}` in it; return how many it has written.

    Write `VALUES {}` there.
    """
    return sum(db.execute(_with_rows(sql, len(some), len(some[0])), _flat(some)).rowcount for some in _parts(rows))


def read_rows(db: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> Iterator[Row]:
    """Run a query for rows of equal length as `write_rows` does, and return what it finds.

    In a query write `(VALUES {}) AS asked CROSS JOIN …`: without CROSS, SQLite can scan the other table instead.
    """
    for some in _parts(rows):
        yield from db.execute(_with_rows(sql, len(some), len(some[0])), _flat(some)).fetchall()


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Divide rows into parts of 64, 32, 16, … rows, so that few different statements must be compiled and kept."""
    start, size = 0, MAX_ROWS_AT_ONCE
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


@lru_cache(256)
def _with_rows(sql: str, rows: int, columns: int) -> str:
    row = f"({','.join('?' * columns)})"
    return sql.replace("{}", ",".join([row] * rows))


def _flat(rows: Sequence[Row]) -> list[Any]:
    return [value for row in rows for value in row]
