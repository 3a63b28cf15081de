"""Run a Python function in one hop on the thread of an aiosqlite connection.

aiosqlite runs each of its methods on a thread of its own, so a transaction would take one hop for each statement, and
statements of other callers could come in between. Its public interface has one place for a function of ours:
`connect` passes its keyword arguments to `sqlite3.connect`, whose `factory` chooses the class of the connection, and
`executescript` calls the method of that class on the thread. Here the script can be a Python function.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import aiosqlite

from notifier.errors import StoreUnusable

BUSY_TIMEOUT = 1.0
"""Seconds that a statement waits for the lock of another process; everything behind it on the connection waits too."""

_STATEMENTS = 256
"""Compiled statements that a connection keeps: most are there for several numbers of rows."""

_T = TypeVar("_T")
_NOT_RUN = object()


class _Script(str, Generic[_T]):
    """An empty script that stands for a Python function, and keeps what the function returned."""

    __slots__ = ("result", "work")

    def __new__(cls, work: Callable[[sqlite3.Connection], _T]) -> "_Script[_T]":
        """Create the script of `work`."""
        script = super().__new__(cls)
        script.work = work
        script.result = _NOT_RUN
        return script

    work: Callable[[sqlite3.Connection], _T]
    result: object


class _Connection(sqlite3.Connection):
    """A connection whose scripts can be Python functions."""

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        """Run a script; a function is called with the connection, in no transaction of its own."""
        if not isinstance(sql_script, _Script):
            return super().executescript(sql_script)
        sql_script.result = sql_script.work(self)
        return self.cursor()


async def connect(database: str | Path, **options: Any) -> aiosqlite.Connection:
    """Open a database for `run`; `options` are those of `sqlite3.connect`."""
    settings: dict[str, Any] = {"isolation_level": None, "timeout": BUSY_TIMEOUT, "cached_statements": _STATEMENTS}
    return await aiosqlite.connect(database, factory=_Connection, **settings, **options)


async def run(connection: aiosqlite.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    """Run `work` in one hop on the connection's thread, after everything that was asked of the connection before.

    Cancelling the caller does not stop it. Raises StoreUnusable for every error of SQLite.
    """
    script = _Script(work)
    try:
        await connection.executescript(script)
    except sqlite3.Error as error:
        raise StoreUnusable(str(error)) from error
    if script.result is _NOT_RUN:
        raise RuntimeError(
            f"aiosqlite {aiosqlite.__version__} no longer runs a script by the connection's own `executescript`: "
            "change notifier/storage/sqlite/connection.py"
        )
    return cast("_T", script.result)
