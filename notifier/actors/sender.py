"""Sends what is due: claim, hand over, record; woken by arriving mail, its cron tick and its own timers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from structlog.contextvars import bind_contextvars

from notifier import clock
from notifier.circuit import State
from notifier.errors import StoreUnusable, Unreachable
from notifier.events import ids, timestamp
from notifier.lane import Lane
from notifier.mail import Mail, RetryPolicy, handed_back, refused, unknown
from notifier.rate import AHEAD, Guard
from notifier.storage.store import Claim, Start, Store

log = structlog.get_logger(__name__)

RECORD_AGAIN = 1.0
"""Seconds between two tries to record an outcome that the store could not take."""


class Limits(NamedTuple):
    """How many deliveries at a time, how many starts a second (0: any), and when refused mail is tried again."""

    connections: int
    rate: float
    retry: RetryPolicy


class Sender:
    """One run of the sending actor.

    A connection counts as taken from the claim until the outcome is recorded, so
    no more is ever under way than the store has been told of.
    """

    def __init__(self, store: Store, lanes: Sequence[Lane], limits: Limits) -> None:
        self._store = store
        self._lanes = lanes
        self._limits = limits
        self._guard = Guard(limits.rate)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._probes: set[asyncio.Task[None]] = set()
        self._outcomes: list[Mail] = []
        self._recorded = asyncio.Lock()

    async def run(self, ticks: AsyncIterator[datetime], running: Callable[[], None], stop: asyncio.Event) -> None:
        """Send until told to stop; returns when every dialogue under way is finished and recorded.

        Raises StoreUnusable when no mail can be claimed, then too after all is recorded.
        """
        await self._adopt_orphans()
        for lane in self._lanes:
            await self._ask(lane, 0)
        running()
        wakers = [asyncio.create_task(self._wake_on(ticks)), asyncio.create_task(self._wake_when(stop))]
        try:
            try:
                while not stop.is_set():
                    self._store.wake.clear()
                    await clock.first_of(self._store.wake.wait(), within=await self._claim())
            finally:
                # Cut off, a dialogue past its final dot would be a mail sent twice.
                await asyncio.gather(*self._deliveries)
        finally:
            await _end(*wakers, *self._probes, *self._deliveries)

    async def _adopt_orphans(self) -> None:
        """Take over what a process before this one was sending: nobody knows how that ended."""
        orphans = await self._store.sending()
        now = clock.now()
        await self._store.record(
            [unknown(mail, "the service ended while it was being sent", self._limits.retry, now) for mail in orphans],
            now,
        )
        if orphans:
            log.warning("mails were being sent when the service ended", mails=len(orphans))

    async def _claim(self) -> float | None:
        """Begin what can be handed over now; the seconds until it is worth asking again (None: until woken)."""
        self._probe_paused()
        waits: list[float] = []
        asked = False
        for lane in self._lanes:
            if lane.circuit.state is not State.READY:
                continue
            asked = True
            free = self._limits.connections - len(self._deliveries)
            claim = await self._ask(lane, free)
            for start in claim.starts:
                _spawn(self._deliver(lane, start), self._deliveries).add_done_callback(self._freed)
            if claim.again_at and len(claim.starts) < free:
                waits.append(_seconds_until(claim.again_at))
            if claim.quota_left != 0:
                break
        if not asked:
            # Mails expire also while none can be sent.
            await self._store.claim(0, self._limits.rate, clock.now())
        waits += [wait for lane in self._lanes if (wait := lane.circuit.wait(_monotonic())) is not None]
        return min(waits, default=None)

    async def _ask(self, lane: Lane, free: int) -> Claim:
        """Claim for one transport, and note what its quota has left."""
        claim = await self._store.claim(free, self._limits.rate, clock.now(), lane.quota)
        if lane.claimed(claim):
            until = timestamp(lane.used_up_until)
            log.warning("transport has used up its quota", transport=lane.transport.name, until=until)
        return claim

    async def _deliver(self, lane: Lane, start: Start) -> None:
        # Each delivery is a task with a context of its own: whatever is logged in it says which mail it was.
        mail = start.mail
        bind_contextvars(**ids(mail.id, mail.event, mail.booking, mail.traceparent))

        async def turn() -> None:
            # Never longer than it can be ahead: the clock may have been set back since the claim.
            await asyncio.sleep(min(_seconds_until(start.at), AHEAD.total_seconds()))
            while delay := self._guard.delay(_monotonic()):  # noqa: ASYNC110 - the turn may go to another one meanwhile
                await asyncio.sleep(delay)
            self._guard.started(_monotonic())

        async def before_data() -> None:
            if self._limits.retry.hold_uncertain:
                await self._store.mark(mail)

        try:
            result = await lane.transport.deliver(mail, turn, before_data)
            outcomes, paused = lane.judge(mail, result, self._limits.retry, clock.now(), _monotonic())
            if paused:
                _tell_pause(lane)
        except StoreUnusable:
            outcomes = [handed_back(mail)]
        except Exception as error:
            log.exception("mail cannot be handed over")
            why = f"{type(error).__name__}: {error}"
            outcomes = [refused(mail, None, why, self._limits.retry, clock.now())]
        await self._record(outcomes)

    async def _record(self, outcomes: Sequence[Mail]) -> None:
        """Store outcomes, in one transaction with those that became ready meanwhile; tries until they are stored."""
        self._outcomes += outcomes
        async with self._recorded:
            while outcomes[-1] in self._outcomes and not await self._record_ready():  # noqa: ASYNC110 - a disk sends no signal
                await asyncio.sleep(RECORD_AGAIN)

    async def _record_ready(self) -> bool:
        ready = list(self._outcomes)
        try:
            await self._store.record(ready, clock.now())
        except StoreUnusable as error:
            log.warning("outcomes cannot be recorded; nothing is sent until they are", reason=str(error))
            return False
        del self._outcomes[: len(ready)]
        return True

    def _probe_paused(self) -> None:
        for lane in self._lanes:
            if lane.circuit.wait(_monotonic()) == 0:
                lane.circuit.probe()
                _spawn(self._probe(lane), self._probes)

    async def _probe(self, lane: Lane) -> None:
        try:
            await lane.transport.open()
        except Unreachable as error:
            if lane.pause(str(error), clock.now(), _monotonic()):
                _tell_pause(lane)
        else:
            if lane.circuit.admitted():
                log.info("transport is back", transport=lane.transport.name)
        self._store.wake.set()

    def _freed(self, _: asyncio.Task[None]) -> None:
        self._store.wake.set()

    async def _wake_on(self, ticks: AsyncIterator[datetime]) -> None:
        async for _ in ticks:
            self._store.wake.set()

    async def _wake_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._store.wake.set()


def _tell_pause(lane: Lane) -> None:
    reason, until = lane.circuit.reason, timestamp(lane.circuit.until)
    log.warning("transport is paused", transport=lane.transport.name, reason=reason, until=until)


def _spawn(work: Coroutine[Any, Any, None], into: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    into.add(task)
    task.add_done_callback(into.discard)
    return task


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _seconds_until(at: datetime) -> float:
    return max(0.0, (at - clock.now()).total_seconds())
