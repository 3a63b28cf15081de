"""Run pieces of work in durable transactions; what is asked for while one runs shares the next one.

A commit waits for the disk and costs as much as the statements of several mails. Sharing it makes the recording of an
outcome and the claim that follows it one transaction, and needs no waiting for others: under load there is always a
transaction under way.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar, cast

import aiosqlite

from notifier.errors import StoreUnusable
from notifier.storage.sqlite.claiming import follow_clock
from notifier.storage.sqlite.connection import run

MAX_SHARED = 200
"""Number of mails that the works of one shared transaction may read or change, so that it takes some 20 ms.

A work that needs more has a transaction of its own.
"""
MAX_DEFERRED = 1.0
"""Seconds that a deferred write waits for a transaction that it can be part of."""

_CLOCK_JITTER = timedelta(seconds=1)
"""A clock that goes back by at most this much was not set back."""

_T = TypeVar("_T")


class Outcome(NamedTuple, Generic[_T]):
    """The result of a piece of work."""

    result: _T | None
    error: BaseException | None
    """What it raised; None if there is a result and it is on disk."""
    seconds: float
    """How long it took, from the call on."""


class Work(Generic[_T]):
    """A piece of work that was asked for."""

    def __init__(
        self,
        do: Callable[[sqlite3.Connection], _T],
        *,
        mails: int = 1,
        now: datetime | None = None,
        ended: Callable[[Outcome[_T]], None] | None = None,
    ) -> None:
        self.do = do
        """Called with the connection, on its thread. It can be called again if a work beside it has failed."""
        self.mails = mails
        """Number of mails that it reads or changes, at most."""
        self.now = now
        """The time (UTC) at which it was asked for, if it depends on the clock."""
        self.ended = ended
        """Called with the outcome on the event loop, before the caller gets it, also if the caller was cancelled."""
        self.transacts = True
        """Whether it runs in a transaction."""
        self.began = perf_counter()
        self.future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()


class Transactions:
    """Does the work of one connection that writes, in the order in which it was asked for.

    Works that wait at the same time share a transaction of at most MAX_SHARED mails. If one of them fails, all are
    rolled back and each is done again in a transaction of its own, so that every caller gets its own result or error.
    Cancelling a caller stops nothing.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.latest: datetime | None = None
        """The latest time of a work that depends on the clock. Changed by the connection's thread."""
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Work[Any]] = deque()
        self._deferred: dict[str, Work[Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._deferred_is_due = False
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def transact(self, work: Work[_T]) -> _T:
        """Do a work in a transaction. Raises StoreUnusable for every error of SQLite, and what the work raises."""
        return await self._ask(work)

    async def run(self, work: Work[_T]) -> _T:
        """Do a work in no transaction, after everything that was asked for before. Raises as `transact` does."""
        work.transacts = False
        return await self._ask(work)

    def defer(self, name: str, work: Work[Any]) -> None:
        """Do a work with the next transaction, after at most MAX_DEFERRED seconds, or when the connection is closed.

        It replaces one of the same name that waits. One that fails is done again with another transaction.
        """
        self._deferred[name] = work
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MAX_DEFERRED, self._do_deferred)

    async def close(self) -> None:
        """Do everything that was asked for, then close the connection.

        If this is cancelled, the connection is closed at once, and what has not begun raises StoreUnusable.
        """
        self._closed = True
        self._do_deferred()
        try:
            if self._worker:
                # Awaiting the task itself would cancel it too, and its callers would wait for ever.
                await asyncio.wait((self._worker,))
        finally:
            await self._connection.close()

    async def _ask(self, work: Work[_T]) -> _T:
        if self._closed:
            raise StoreUnusable("the store is closed")
        self._waiting.append(work)
        self._start()
        return await work.future

    def _do_deferred(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._deferred_is_due = bool(self._deferred)
        if self._deferred:
            self._start()

    def _start(self) -> None:
        """Start the task that works until nothing waits.

        A task begins in the next turn of the loop, so what is asked for in one turn shares a transaction. Its context
        is empty, because the works of one caller must not be logged with the ids of another.
        """
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="transactions", context=Context())

    async def _work(self) -> None:
        while works := self._next():
            try:
                await run(self._connection, partial(self._do_and_settle, works))
            except Exception as error:  # noqa: BLE001 - the connection failed; each caller gets the error
                self._settle(works, [_failed(work, error) for work in works])

    def _next(self) -> list[Work[Any]]:
        """Return the works of the next transaction, or one that runs in no transaction; nothing if none waits."""
        if self._waiting and not self._waiting[0].transacts:
            return [self._waiting.popleft()]
        if not self._waiting and not self._deferred_is_due:
            return []
        works: list[Work[Any]] = []
        mails = 0
        while self._waiting and self._waiting[0].transacts:
            mails += self._waiting[0].mails
            if works and mails > MAX_SHARED:
                break
            works.append(self._waiting.popleft())
        self._deferred_is_due = False
        for work in self._deferred.values():
            work.began = perf_counter()
        return [*self._deferred.values(), *works]

    def _settle(self, works: Sequence[Work[Any]], outcomes: Sequence[Outcome[Any]]) -> None:
        for work, outcome in zip(works, outcomes, strict=True):
            _settle(work, outcome)
        self._defer_again({name: each for name, each in self._deferred.items() if each.future.done()})

    def _defer_again(self, done: Mapping[str, Work[Any]]) -> None:
        """Forget the deferred works that are done; those that failed wait again."""
        for name, work in done.items():
            del self._deferred[name]
            if work.future.exception() and not self._closed:
                self.defer(name, Work(work.do, ended=work.ended))

    # On the connection's thread

    def _do_and_settle(self, works: Sequence[Work[Any]], db: sqlite3.Connection) -> None:
        outcomes = self._do(works, db)
        # Not by the task that waits for the thread, because callers would go on a turn of the loop later.
        self._loop.call_soon_threadsafe(self._settle, works, outcomes)

    def _do(self, works: Sequence[Work[Any]], db: sqlite3.Connection) -> list[Outcome[Any]]:
        try:
            if not works[0].transacts:
                return [_done(works[0], works[0].do(db))]
            db.execute("BEGIN IMMEDIATE")
        except BaseException as error:  # noqa: BLE001 - raised in the callers
            return [_failed(work, error) for work in works]
        latest = self.latest
        try:
            results: list[Any] = []
            for work in works:
                if work.now:
                    if latest and latest - work.now > _CLOCK_JITTER:
                        follow_clock(db, latest - work.now, work.now)
                    latest = work.now
                results.append(work.do(db))
            db.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - raised in the caller
            if db.in_transaction:
                db.execute("ROLLBACK")
            if len(works) == 1:
                return [_failed(works[0], error)]
        else:
            self.latest = latest
            return [_done(work, result) for work, result in zip(works, results, strict=True)]
        return [outcome for work in works for outcome in self._do([work], db)]


def _done(work: Work[_T], result: _T) -> Outcome[_T]:
    return Outcome(result, None, perf_counter() - work.began)


def _failed(work: Work[_T], error: BaseException) -> Outcome[_T]:
    if isinstance(error, sqlite3.Error):
        unusable = StoreUnusable(str(error))
        unusable.__cause__ = error
        error = unusable
    elif isinstance(error, StopIteration):
        # A future refuses it, and the works behind it would never end.
        wrapped = RuntimeError("a work raised StopIteration")
        wrapped.__cause__ = error
        error = wrapped
    return Outcome(None, error, perf_counter() - work.began)


def _settle(work: Work[_T], outcome: Outcome[_T]) -> None:
    """Have the effects of a commit applied, and then its caller go on."""
    if work.ended:
        try:
            work.ended(outcome)
        except Exception as error:  # noqa: BLE001 - it must not keep the others from their outcomes
            context = {"message": "an effect of a transaction failed", "exception": error}
            work.future.get_loop().call_exception_handler(context)
    if work.future.done():
        return
    if outcome.error is None:
        work.future.set_result(cast("_T", outcome.result))
        return
    work.future.set_exception(outcome.error)
    # If nobody waits for it any more, asyncio would log that the exception was never retrieved.
    work.future.exception()
