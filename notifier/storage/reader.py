"""A read-only connection to the SQLite database, for what watchers and operators look at.

It has a thread of its own, so that no query delays a transaction. SQLite 3.7.0 to 3.51.2
can damage a database if two connections write or checkpoint: this one cannot write, and
only a writer checkpoints.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

from notifier.errors import StoreUnusable
from notifier.storage.connection import PATIENCE, run

REST = 4
"""For each second of queries the connection rests this many: Python's threads share one processor."""

_T = TypeVar("_T")


class Reader:
    """Answers one query at a time."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._rested_at = 0.0
        self._closed = False
        self._waiting: dict[tuple[Any, ...], asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the file, which must exist. Raises StoreUnusable."""
        try:
            connection = await aiosqlite.connect(_read_only(path), uri=True, isolation_level=None, timeout=PATIENCE)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnusable(str(error)) from error
        return cls(connection)

    async def close(self) -> None:
        """Close the connection; a query that has not begun raises StoreUnusable."""
        self._closed = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.close()

    async def query(self, query: Callable[..., _T], *args: Any) -> _T:
        """Call `query` with the connection and hashable `args`, at one state of the database.

        The state is at least as new as the call. Calls with equal arguments that wait for their turn share one answer.
        """
        key = (query, *args)
        task = self._waiting.get(key)
        if task is None:
            task = self._waiting[key] = asyncio.create_task(self._answer(key), name=f"query: {query.__name__}")
            self._tasks.add(task)
            task.add_done_callback(self._done)
        # A caller that is cancelled must not take the answer from the others.
        answer: _T = await asyncio.shield(task)
        return answer

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        """Let no query run while the block lasts."""
        async with self._turn:
            yield

    async def _answer(self, key: tuple[Any, ...]) -> Any:
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(self._rested_at - loop.time())
            del self._waiting[key]
            if self._closed:
                raise StoreUnusable("the store is closed")
            began = loop.time()
            try:
                return await run(self._connection, partial(_at_one_state, query=key[0], args=key[1:]))
            finally:
                self._rested_at = loop.time() + REST * (loop.time() - began)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        # Whoever asked may be gone; asyncio would complain of an error that nobody has seen.
        if not task.cancelled():
            task.exception()


def _read_only(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"


def _at_one_state(db: sqlite3.Connection, query: Callable[..., _T], args: tuple[Any, ...]) -> _T:
    db.execute("BEGIN")
    try:
        return query(db, *args)
    finally:
        db.execute("ROLLBACK")
