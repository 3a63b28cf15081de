"""Sends due mail: claims it for the accounts that have room, has it delivered, and records the outcomes.

New mail, the cron schedule and the sender's own timers wake it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from notifier import clock
from notifier.actors.delivering import (
    Account,
    Claimed,
    Compose,
    Deliverer,
    Limits,
    log_pause,
    log_quota_used_up,
    seconds_until,
)
from notifier.actors.recording import OutcomeRecorder
from notifier.domain.claims import Claim, Start
from notifier.domain.events import ids
from notifier.domain.mail import Mail, handed_back, unknown
from notifier.errors import StoreUnusable, Unreachable
from notifier.sending.circuit_breaker import State
from notifier.sending.pacing import BurstGuard
from notifier.storage.store import Store

log = structlog.get_logger(__name__)

CLAIM_AGAIN = 1.0
"""Seconds between two attempts to claim mails from a store that cannot be written."""
EXPIRE_AGAIN = 1.0
"""Seconds between two searches for expired mails: each is a transaction that waits for its turn, and the claim after it
does so again. No expired mail is claimed in between."""


class Turn:
    """What a worker waits for between two mails: its outcomes are recorded, and it has another mail or ends."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.is_recorded = True
        """Whether its outcomes are recorded as far as is known: False if the store could not take them."""
        self.next: asyncio.Future[Claimed | None] = asyncio.get_running_loop().create_future()

    def end(self, claimed: Claimed | None = None) -> None:
        """Let the worker go on with a mail, or end."""
        if not self.next.done():
            self.next.set_result(claimed)


class Sender:
    """One run of the sending actor; `burst_guard` outlives it, so that a restart does not begin with a burst.

    A worker delivers mails one after the other, and counts as a connection in use. Between two mails it waits for a
    turn, in which the outcomes of all workers that wait are recorded, and mails are claimed for them and for workers
    that can begin. Both are asked of the store at once, so that they share a transaction.

    A connection counts as taken from the claim until the outcome is recorded, so the store shows every mail
    that is under way as `sending`.

    At a stop, deliveries that wait for a connection, a login or their slot are abandoned at once, and their
    mails are handed back. Those past their MAIL FROM are finished.
    """

    def __init__(
        self, store: Store, accounts: Sequence[Account], limits: Limits, burst_guard: BurstGuard, compose: Compose
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._limits = limits
        self._deliverer = Deliverer(store, accounts, limits, burst_guard, compose)
        self._recorder = OutcomeRecorder(store)
        self._turns: list[Turn] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._is_ending = False
        self._probes: set[asyncio.Task[None]] = set()
        self._claim_fault: str | None = None
        self._expire_at = 0.0

    async def run(self, ticks: AsyncIterator[datetime], running: Callable[[], None], stop: asyncio.Event) -> None:
        """Send until `stop` is set; return when every dialogue under way is finished and recorded.

        Raises StoreUnusable if the store cannot be used at the start. Later that only delays the next claim.
        """
        await self._adopt_orphans()
        for account in self._accounts:
            await self._claim_for(account, 0)
        running()
        wakers = [asyncio.create_task(self._wake_on(ticks)), asyncio.create_task(self._wake_when(stop))]
        try:
            try:
                while not stop.is_set():
                    await self._take_turn()
            finally:
                await self._finish()
        finally:
            await _cancel(*wakers, *self._probes, *self._workers)

    async def _finish(self) -> None:
        """Abandon deliveries that have not started, and finish and record the others.

        A dialogue that is cut off past its final dot would send the mail twice, so none is cancelled, also if
        another delivery fails.
        """
        self._is_ending = True
        self._recorder.end()
        for probe in self._probes:
            probe.cancel()
        abandoning = asyncio.create_task(self._deliverer.abandon_waiting())
        try:
            while self._workers:
                await self._take_turn()
            await abandoning
        finally:
            await _cancel(abandoning)

    async def _adopt_orphans(self) -> None:
        """Record an unknown outcome for mails that were `sending` when the service ended."""
        orphans = await self._store.sending()
        now = clock.now()
        await self._store.record(
            [unknown(mail, "the service ended while it was being sent", self._limits.retry, now) for mail in orphans],
            now,
        )
        if orphans:
            log.warning("mails were being sent when the service ended", mails=len(orphans))

    # Turns

    async def _take_turn(self) -> None:
        """Record what has ended and claim what can be handed over, then wait until there is more to do."""
        self._store.wake.clear()
        turns = list(self._turns)
        recording = asyncio.create_task(self._recorder.record())
        try:
            # The store is asked to record first and then to claim, in the same turn of the loop.
            await asyncio.sleep(0)
            within = None if self._is_ending else await self._claim_or_wait(turns, recording)
        finally:
            is_recorded = await recording
            for turn in turns:
                turn.is_recorded = is_recorded
                if is_recorded:
                    turn.end()
            self._turns = [turn for turn in self._turns if not turn.next.done()]
        if not is_recorded:
            within = min(within or CLAIM_AGAIN, self._recorder.retry_in)
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._store.wake.wait()

    # Claiming

    async def _claim_or_wait(self, turns: Sequence[Turn], recording: asyncio.Task[bool]) -> float | None:
        """Claim mails, or retry in a while if the store cannot be written, which ends no dialogue under way."""
        try:
            within = await self._claim(turns, recording)
        except StoreUnusable as error:
            if str(error) != self._claim_fault:
                log.warning("mails cannot be claimed, will try again", reason=str(error))
            self._claim_fault = str(error)
            return CLAIM_AGAIN
        if self._claim_fault:
            log.info("mails can be claimed again")
        self._claim_fault = None
        return within

    async def _claim(self, turns: Sequence[Turn], recording: asyncio.Task[bool]) -> float | None:
        """Start what can be handed over now; return the seconds until the next claim (None: until something wakes)."""
        self._probe_paused()
        # Mails also expire while none can be sent.
        expire_in = await self._expire()
        waits = [] if expire_in is None else [expire_in]
        for account in self._accounts:
            health = account.health
            if health.breaker.state not in (State.CLOSED, State.HALF_OPEN):
                continue
            # Outcomes that the store could not take keep their connections.
            idle = [turn for turn in turns if turn.account is account and turn.is_recorded]
            async with account.claiming:
                room = account.room(self._limits.connections, len(idle))
                claim = await self._claim_for(account, room)
                self._assign(account, claim.starts, idle if await recording else ())
            if claim.again_at and len(claim.starts) < room:
                waits.append(seconds_until(claim.again_at))
                if waits[-1] == 0:
                    # There can be expired mails in front of those that can be sent.
                    self._expire_at = 0.0
            # The next account gets the rest while this one recovers from a fault, when one mail at a time tries it,
            # and while none of the mails that it has gets a reply.
            stalls_in = health.stalls_in(_monotonic())
            if claim.quota_left != 0 and not health.breaker.is_recovering and (room or stalls_in):
                if account.room(self._limits.connections) == 0:
                    waits.append(stalls_in or health.stalls_in(_monotonic()))
                break
        breakers = [account.health.breaker for account in self._accounts]
        waits += [wait for breaker in breakers if (wait := breaker.seconds_until_login(_monotonic())) is not None]
        return min(waits, default=None)

    async def _expire(self) -> float | None:
        """End expired mails, every EXPIRE_AGAIN at most; return the seconds until it is necessary again, if it is."""
        now = _monotonic()
        if now < self._expire_at:
            return self._expire_at - now
        has_more = await self._store.expire(clock.now())
        self._expire_at = now if has_more else now + EXPIRE_AGAIN
        return 0.0 if has_more else None

    async def _claim_for(self, account: Account, room: int) -> Claim:
        """Claim up to `room` mails for an account, and note what its quota has left."""
        health = account.health
        newest = health.breaker.tries_newest
        claim = await self._store.claim(room, self._limits.rate, clock.now(), health.quota, newest=newest)
        if health.claimed(claim):
            log_quota_used_up(health)
        return claim

    def _assign(self, account: Account, starts: Iterable[Start], idle: Sequence[Turn]) -> None:
        """Hand claimed mails to workers that wait for one, and begin further workers as long as there is room."""
        waiting = iter([turn for turn in idle if not turn.next.done()])
        for start in starts:
            turn = next(waiting, None)
            if turn is None and not account.room(self._limits.connections):
                # It was claimed for a worker whose outcome could not be recorded.
                self._recorder.add([handed_back(start.mail)])
                continue
            claimed = Claimed(start, _monotonic(), account.health.breaker.begin_trial())
            if turn:
                turn.end(claimed)
            else:
                account.health.begin(claimed.since)
                worker = _spawn(self._work(account, claimed), self._workers)
                worker.add_done_callback(partial(self._worker_ended, account))

    # Delivering and recording

    async def _work(self, account: Account, first: Claimed) -> None:
        claimed: Claimed | None = first
        while claimed:
            outcomes = await self._deliver(account, claimed)
            account.health.moved(_monotonic())
            self._recorder.add(outcomes)
            turn = Turn(account)
            self._turns.append(turn)
            self._store.wake.set()
            claimed = await turn.next

    async def _deliver(self, account: Account, claimed: Claimed) -> list[Mail]:
        """Deliver one mail; whatever is logged meanwhile says which mail it was."""
        mail = claimed.mail
        with bound_contextvars(**ids(mail.id, mail.event, mail.booking, mail.traceparent)):
            try:
                return await self._deliverer.deliver(account, claimed, claimed.trial)
            finally:
                account.health.breaker.end_trial(claimed.trial)

    def _worker_ended(self, account: Account, worker: asyncio.Task[None]) -> None:
        account.health.end(_monotonic())
        if self._is_ending or worker.cancelled() or worker.exception():
            self._store.wake.set()

    # Logging in after a pause

    def _probe_paused(self) -> None:
        for account in self._accounts:
            if account.health.breaker.seconds_until_login(_monotonic()) == 0:
                account.health.breaker.begin_probe()
                _spawn(self._probe(account), self._probes)

    async def _probe(self, account: Account) -> None:
        health = account.health
        try:
            await account.pool.probe()
        except asyncio.CancelledError:
            health.breaker.cancel_probe()
            raise
        except Exception as error:
            if not isinstance(error, Unreachable):
                log.exception("login failed unexpectedly", transport=health.name)
            said = error.said if isinstance(error, Unreachable) else ""
            if health.pause(str(error) or type(error).__name__, clock.now(), _monotonic(), said=said):
                log_pause(health)
        else:
            if health.breaker.login_succeeded():
                log.info("SMTP account ready again", transport=health.name)
        self._store.wake.set()

    async def _wake_on(self, ticks: AsyncIterator[datetime]) -> None:
        async for _ in ticks:
            self._store.wake.set()

    async def _wake_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._store.wake.set()


def _spawn(work: Coroutine[Any, Any, None], into: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    into.add(task)
    task.add_done_callback(into.discard)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a task of the sender failed", error=f"{type(error).__name__}: {error}", exc_info=error)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
