"""Sends due mail: claims it for the accounts that have room, has it delivered, and records the outcomes.

New mail, the cron schedule and the sender's own timers wake it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars

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
from notifier.domain.claims import Claim
from notifier.domain.events import ids
from notifier.domain.mail import unknown
from notifier.errors import StoreUnusable, Unreachable
from notifier.sending.circuit_breaker import State, Trial
from notifier.sending.pacing import BurstGuard
from notifier.storage.store import Store

log = structlog.get_logger(__name__)

CLAIM_AGAIN = 1.0
"""Seconds between two attempts to claim mails from a store that cannot be written."""
EXPIRE_AGAIN = 1.0
"""Seconds between two searches for expired mails: each is a transaction that waits for its turn, and the claim after it
does so again. No expired mail is claimed in between."""


class Sender:
    """One run of the sending actor; `burst_guard` outlives it, so that a restart does not begin with a burst.

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
        self._deliveries: set[asyncio.Task[None]] = set()
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
                    self._store.wake.clear()
                    within = await self._claim_or_wait()
                    await clock.first_of(self._store.wake.wait(), within=within)
            finally:
                await self._finish()
        finally:
            await _cancel(*wakers, *self._probes, *self._deliveries)

    async def _finish(self) -> None:
        """Abandon deliveries that have not started, and finish and record the others.

        A dialogue that is cut off past its final dot would send the mail twice, so none is cancelled, also if
        another delivery fails.
        """
        self._recorder.end()
        for probe in self._probes:
            probe.cancel()
        await self._deliverer.abandon_waiting()
        await asyncio.gather(*self._deliveries, return_exceptions=True)

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

    # Claiming

    async def _claim_or_wait(self) -> float | None:
        """Claim mails, or retry in a while if the store cannot be written, which ends no dialogue under way."""
        try:
            within = await self._claim()
        except StoreUnusable as error:
            if str(error) != self._claim_fault:
                log.warning("mails cannot be claimed, will try again", reason=str(error))
            self._claim_fault = str(error)
            return CLAIM_AGAIN
        if self._claim_fault:
            log.info("mails can be claimed again")
        self._claim_fault = None
        return within

    async def _claim(self) -> float | None:
        """Start what can be handed over now; return the seconds until the next claim (None: until something wakes)."""
        self._probe_paused()
        # Mails also expire while none can be sent.
        expire_in = await self._expire()
        waits = [] if expire_in is None else [expire_in]
        for account in self._accounts:
            health = account.health
            if health.breaker.state not in (State.CLOSED, State.HALF_OPEN):
                continue
            async with account.claiming:
                room = account.room(self._limits.connections)
                claim = await self._claim_for(account, room)
                for start in claim.starts:
                    self._start(account, Claimed(start, _monotonic()))
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

    # Delivering and recording

    def _start(self, account: Account, claimed: Claimed) -> None:
        trial = account.health.breaker.begin_trial()
        account.health.begin(claimed.since)
        delivery = _spawn(self._deliver(account, claimed, trial), self._deliveries)
        delivery.add_done_callback(partial(self._delivered, account))

    async def _deliver(self, account: Account, claimed: Claimed, trial: Trial | None) -> None:
        # Each delivery is a task with a context of its own: whatever is logged in it says which mail it was.
        mail = claimed.mail
        bind_contextvars(**ids(mail.id, mail.event, mail.booking, mail.traceparent))
        try:
            outcomes = await self._deliverer.deliver(account, claimed, trial)
        finally:
            account.health.breaker.end_trial(trial)
        await self._recorder.record(outcomes)

    def _delivered(self, account: Account, _: asyncio.Task[None]) -> None:
        account.health.end(_monotonic())
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
