"""A read-only connection to the SQLite database, for the queries of watchers and operators.

It has a thread of its own, so that no query delays a transaction. SQLite 3.7.0 to 3.51.2 can damage a database if two
connections write or checkpoint. This one cannot write, and only a writer checkpoints.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from time import thread_time
from typing import Any, NamedTuple, Self, TypeVar

import aiosqlite

from notifier.errors import StoreUnusable
from notifier.storage.sqlite.connection import connect, run

REST = 9
"""Seconds of rest for each second of processor time that a query took.

So queries take at most a tenth of the processor, which Python's threads share with the event loop. Time spent waiting
for the disk does not count.
"""
URGENT_REST = 2
"""The same for urgent queries: an operator can list a hundred thousand mails, 500 at a time."""
MAX_REST = 0.25
"""Longest rest after one query, in seconds."""

_T = TypeVar("_T")
_Key = tuple[Any, ...]


class _Queue:
    """Queries that wait for their turn, in order of arrival, and the loop time from which the next one may run."""

    def __init__(self) -> None:
        self.waiting: dict[_Key, asyncio.Future[Any]] = {}
        self.rested_at = 0.0


class _Outcome(NamedTuple):
    """The result of a query."""

    answer: Any
    error: Exception | None
    """What the query raised; None if there is an answer."""
    cpu: float
    """Seconds of processor time that it took."""


class Reader:
    """Answers one query at a time: urgent ones first, then the others.

    The queries of operators and of the service itself are urgent. Each of the two queues pauses after its own queries
    only, so an urgent query waits for at most one other query, and urgent queries cannot starve the others.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._urgent, self._others = _Queue(), _Queue()
        self._askers: Counter[asyncio.Future[Any]] = Counter()
        self._asked = asyncio.Event()
        self._busy = asyncio.Lock()
        self._closed = False
        self._worker: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the file, which must exist. Raises StoreUnusable."""
        try:
            connection = await connect(_read_only(path), uri=True)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnusable(str(error)) from error
        return cls(connection)

    async def close(self) -> None:
        """Close the connection; a query that has not begun raises StoreUnusable."""
        self._closed = True
        for queue in (self._urgent, self._others):
            for future in queue.waiting.values():
                _settle(future, None, StoreUnusable("the store is closed"))
            queue.waiting.clear()
        self._asked.set()
        if self._worker:
            await self._worker
        await self._connection.close()

    async def query(self, query: Callable[..., _T], *args: Any, urgent: bool = False) -> _T:
        """Call `query` with the connection and hashable `args`, at one state of the database.

        The state is at least as new as the call. Calls with equal arguments that wait for their turn share one answer,
        and it is urgent if one of them is. If all callers are cancelled before its turn, the query does not run.
        """
        if self._closed:
            raise StoreUnusable("the store is closed")
        key = (query, *args)
        queue = self._urgent if urgent or key in self._urgent.waiting else self._others
        if urgent and key in self._others.waiting:
            queue.waiting[key] = self._others.waiting.pop(key)
        future = queue.waiting.get(key)
        if future is None:
            future = queue.waiting[key] = asyncio.get_running_loop().create_future()
        self._asked.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="queries of watchers and operators")
        self._askers[future] += 1
        try:
            # If one caller is cancelled, the others must still get the answer.
            answer: _T = await asyncio.shield(future)
        finally:
            self._left(future, key)
        return answer

    def _left(self, future: "asyncio.Future[Any]", key: _Key) -> None:
        """Count one caller less; drop the query if nobody waits for it any more and it has not begun."""
        self._askers[future] -= 1
        if self._askers[future]:
            return
        del self._askers[future]
        for queue in (self._urgent, self._others):
            if queue.waiting.get(key) is future:
                del queue.waiting[key]

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        """Run no query while the block lasts."""
        async with self._busy:
            yield

    async def _work(self) -> None:
        """Answer queries until none waits."""
        while self._urgent.waiting or self._others.waiting:
            if await self._rest():
                async with self._busy:
                    await self._answer_next()

    def _next(self) -> _Queue | None:
        """Return the queue whose turn it is; None while every queue that has queries pauses."""
        now = asyncio.get_running_loop().time()
        ready = (each for each in (self._urgent, self._others) if each.waiting and each.rested_at <= now)
        return next(ready, None)

    async def _rest(self) -> bool:
        """Wait until a queue has rested or another query comes; return whether a query may run now."""
        self._asked.clear()
        if self._next() is None:
            rested_at = min(each.rested_at for each in (self._urgent, self._others) if each.waiting)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(rested_at):
                    await self._asked.wait()
        return self._next() is not None

    async def _answer_next(self) -> None:
        if (queue := self._next()) is None:
            return
        key = next(iter(queue.waiting))
        future = queue.waiting.pop(key)
        try:
            outcome = await run(self._connection, partial(_at_one_state, query=key[0], args=key[1:]))
        except StoreUnusable as error:  # the connection itself failed
            outcome = _Outcome(None, error, 0.0)
        rest = URGENT_REST if queue is self._urgent else REST
        queue.rested_at = asyncio.get_running_loop().time() + min(rest * outcome.cpu, MAX_REST)
        _settle(future, outcome.answer, outcome.error)


def _settle(future: "asyncio.Future[Any]", answer: Any, error: Exception | None) -> None:
    if error is None:
        future.set_result(answer)
        return
    future.set_exception(error)
    # If the callers were cancelled, asyncio would log that the exception was never retrieved.
    future.exception()


def _read_only(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"


def _at_one_state(db: sqlite3.Connection, query: Callable[..., Any], args: tuple[Any, ...]) -> _Outcome:
    began = thread_time()
    answer: Any = None
    error: Exception | None = None
    try:
        db.execute("BEGIN")
        try:
            answer = query(db, *args)
        finally:
            db.execute("ROLLBACK")
    except sqlite3.Error as failure:
        error = StoreUnusable(str(failure))
    except Exception as failure:  # noqa: BLE001 - raised again in the caller of the query
        error = failure
    return _Outcome(answer, error, thread_time() - began)
