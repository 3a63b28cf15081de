"""Run functions on the thread of an aiosqlite connection. The only file that uses what aiosqlite keeps to itself."""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import aiosqlite

from notifier.errors import StoreUnusable

BUSY_TIMEOUT = 1.0
"""Seconds that a call waits for a lock of another process: all others wait behind it."""

_T = TypeVar("_T")


async def run(connection: aiosqlite.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    """Run `work` in one hop on the connection's thread; the public API takes one hop for each statement.

    A caller that is cancelled does not stop it. Raises StoreUnusable for every error of SQLite's.
    """
    try:
        result: _T = await connection._execute(lambda: work(connection._conn))  # type: ignore[no-untyped-call]  # noqa: SLF001 - see above
    except sqlite3.Error as error:
        raise StoreUnusable(str(error)) from error
    return result
