"""Sends what is due: claim, hand over, record; woken by arriving mail, its cron tick and its own timers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import structlog
from msgspec.structs import replace
from structlog.contextvars import bind_contextvars

from notifier import clock
from notifier.domain.claims import Claim, Start
from notifier.domain.events import ids, timestamp
from notifier.domain.mail import Mail, RetryPolicy, handed_back, refused, unknown
from notifier.errors import Busy, StoreUnusable, Unreachable
from notifier.sending.circuit_breaker import State, Trial
from notifier.sending.pacing import AHEAD, BurstGuard
from notifier.sending.transport_health import Result, Situation, TransportHealth, unsupported
from notifier.storage.store import Store

log = structlog.get_logger(__name__)

RECORD_AGAIN = 1.0
"""Seconds between two tries to record an outcome that the store could not take."""
LAST_RECORDS = 30.0
"""Seconds for which an outcome that the store cannot take is kept during a stop; without it the mail is an orphan."""

CLAIM_AGAIN = 1.0
"""Seconds between two tries to claim mails from a store that cannot be written."""
START_WITHIN = 5.0
"""Seconds after its claim within which a mail must start; later messages may have changed what it should say."""

ABANDON_AGAIN = 0.01
"""Seconds after which deliveries that should be abandoned are looked at again."""


class NoTurnError(Exception):
    """The mail must not start now: it has expired or waited too long, sending is paused, or the sender is ending."""


class Claimed(NamedTuple):
    """A mail to be sent, when it may start, and `since` when (event loop's clock, seconds) it has waited for that."""

    start: Start
    since: float

    @property
    def mail(self) -> Mail:
        """The mail as it was claimed."""
        return self.start.mail


class Limits(NamedTuple):
    """How many deliveries at a time, how many starts a second (0: any), and when refused mail is tried again."""

    connections: int
    rate: float
    retry: RetryPolicy


class Sender:
    """One run of the sending actor; `guard` outlives it, so that a restart does not begin with a burst.

    A connection counts as taken from the claim until the outcome is recorded, so
    no more is ever under way than the store has been told of.

    At a stop, deliveries that still wait (for a connection, a login or their turn) are
    abandoned at once and handed back. Those past their MAIL FROM are finished.
    """

    def __init__(self, store: Store, lanes: Sequence[TransportHealth], limits: Limits, guard: BurstGuard) -> None:
        self._store = store
        self._lanes = lanes
        self._limits = limits
        self._guard = guard
        self._deliveries: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._probes: set[asyncio.Task[None]] = set()
        self._outcomes: list[Mail] = []
        self._recorded = asyncio.Lock()
        self._is_ending = False
        self._unclaimable: str | None = None

    async def run(self, ticks: AsyncIterator[datetime], running: Callable[[], None], stop: asyncio.Event) -> None:
        """Send until told to stop; returns when every dialogue under way is finished and recorded.

        Raises StoreUnusable if the store cannot be used at the start. Later it only delays the next claim.
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
                    within = await self._claim_or_wait()
                    await clock.first_of(self._store.wake.wait(), within=within)
            finally:
                await self._finish()
        finally:
            await _end(*wakers, *self._probes, *self._deliveries)

    async def _finish(self) -> None:
        """Abandon what has not begun, and finish and record the rest.

        A dialogue that is cut off past its final dot would be a mail sent twice, so none is
        cancelled, whatever becomes of the others.
        """
        self._is_ending = True
        for probe in self._probes:
            probe.cancel()
        while self._waiting:
            # More than once: wait_for() of Python 3.11 loses a cancellation that comes as its wait ends.
            for task in self._waiting:
                task.cancel()
            await asyncio.sleep(ABANDON_AGAIN)
        await asyncio.gather(*self._deliveries, return_exceptions=True)

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

    async def _claim_or_wait(self) -> float | None:
        """Begin what can be handed over now, or try again in a while: dialogues under way do not end with the store."""
        try:
            within = await self._claim()
        except StoreUnusable as error:
            if str(error) != self._unclaimable:
                log.warning("mails cannot be claimed, will try again", reason=str(error))
            self._unclaimable = str(error)
            return CLAIM_AGAIN
        if self._unclaimable:
            log.info("mails can be claimed again")
        self._unclaimable = None
        return within

    async def _claim(self) -> float | None:
        """Begin what can be handed over now; the seconds until it is worth asking again (None: until woken)."""
        self._probe_paused()
        # Mails also expire while none can be sent.
        waits = [0.0] if await self._store.expire(clock.now()) else []
        for lane in self._lanes:
            if lane.circuit.state not in (State.READY, State.HALF_OPEN):
                continue
            room = lane.room(self._limits.connections)
            claim = await self._ask(lane, room)
            for start in claim.starts:
                claimed, trial = Claimed(start, _monotonic()), lane.circuit.begin_trial()
                lane.begin(claimed.since)
                delivery = _spawn(self._deliver(lane, claimed, trial), self._deliveries)
                delivery.add_done_callback(partial(self._freed, lane))
            if claim.again_at and len(claim.starts) < room:
                waits.append(_seconds_until(claim.again_at))
            # While a transport recovers from a fault, one mail at a time tries it and the next transport has the rest;
            # also if all that it has in its hands gets no answer.
            stalls_in = lane.stalls_in(_monotonic())
            if claim.quota_left != 0 and not lane.circuit.is_recovering and (room or stalls_in):
                if lane.room(self._limits.connections) == 0:
                    waits.append(stalls_in or lane.stalls_in(_monotonic()))
                break
        waits += [wait for lane in self._lanes if (wait := lane.circuit.wait(_monotonic())) is not None]
        return min(waits, default=None)

    async def _ask(self, lane: TransportHealth, free: int) -> Claim:
        """Claim for one transport, and note what its quota has left."""
        newest = lane.circuit.tries_newest
        claim = await self._store.claim(free, self._limits.rate, clock.now(), lane.quota, newest=newest)
        if lane.claimed(claim):
            _tell_used_up(lane)
        return claim

    async def _deliver(self, lane: TransportHealth, claimed: Claimed, trial: Trial | None) -> None:
        # Each delivery is a task with a context of its own: whatever is logged in it says which mail it was.
        mail = claimed.mail
        bind_contextvars(**ids(mail.id, mail.event, mail.booking, mail.traceparent))
        try:
            outcomes = await self._outcomes_of(lane, claimed, trial)
        finally:
            lane.circuit.end_trial(trial)
        await self._record(outcomes)

    async def _outcomes_of(self, lane: TransportHealth, claimed: Claimed, trial: Trial | None) -> list[Mail]:
        """Hand one mail over; return it, and others that it shows in another light, as they are afterwards."""
        mail, task = claimed.mail, _current_task()
        if self._is_ending:
            return [handed_back(mail)]
        self._waiting.add(task)
        try:
            return await self._hand_over(lane, claimed, trial)
        except (StoreUnusable, NoTurnError, Busy):
            return [handed_back(mail)]
        except asyncio.CancelledError:
            if task not in self._waiting:
                raise
            return [handed_back(mail)]
        except Exception as error:
            log.exception("mail cannot be handed over")
            why = f"{type(error).__name__}: {error}"
            return [refused(mail, None, why, self._limits.retry, clock.now())]
        finally:
            self._waiting.discard(task)

    async def _hand_over(self, lane: TransportHealth, claimed: Claimed, trial: Trial | None) -> list[Mail]:
        """Try the transport that claimed the mail, then others as long as they lack what its address needs."""
        result = await self._try(lane, claimed, trial)
        if not result.unsupported:
            return self._judge(lane, claimed.mail, result)
        if trial:
            # It says nothing about the account, which need not wait for what other servers answer.
            lane.circuit.end_trial(trial)
            self._store.wake.set()
        untried: list[TransportHealth] = []
        booked_on = lane
        for other in self._lanes:
            if other is lane:
                continue
            if not other.room(self._limits.connections):
                untried.append(other)
                continue
            with _reserved(other) as its_trial:
                if not await self._rebooked(claimed.mail, booked_on, other):
                    untried.append(other)
                    continue
                booked_on = other
                result = await self._try(other, claimed, its_trial)
            if not result.unsupported:
                return self._judge(other, claimed.mail, result)
        return [unsupported(claimed.mail, untried, clock.now())]

    async def _rebooked(self, mail: Mail, lane: TransportHealth, other: TransportHealth) -> bool:
        """Count a start against the quota of the account that will send the mail; return whether it has any left."""
        if lane.quota is None and other.quota is None:
            return True
        again_at = await self._store.rebook(mail, lane.quota, other.quota, clock.now())
        if other.rebooked(again_at):
            _tell_used_up(other)
        return again_at is None

    async def _try(self, lane: TransportHealth, claimed: Claimed, trial: Trial | None) -> Result:
        capacity = lane.transport.capacity

        async def turn() -> None:
            if lane.transport.capacity > capacity:
                # A login has succeeded: there is room for the next one.
                self._store.wake.set()
            await self._turn(lane, claimed, trial)

        before_data = partial(self._before_data, claimed.mail)
        return await lane.transport.deliver(claimed.mail, turn, before_data, begins_again=self._begin_again)

    def _judge(self, lane: TransportHealth, mail: Mail, result: Result) -> list[Mail]:
        now = clock.now()
        elsewhere = min((other.usable_at(now) for other in self._lanes if other is not lane), default=None)
        outcomes, paused = lane.judge(mail, result, Situation(now, _monotonic(), self._limits.retry, elsewhere))
        if paused:
            _tell_pause(lane)
        return outcomes

    async def _turn(self, lane: TransportHealth, claimed: Claimed, trial: Trial | None) -> None:
        """Wait until the mail may start; raise NoTurnError if by then it must not.

        When this returns, MAIL FROM follows at once.
        """
        # Never longer than it can be ahead: the clock may have been set back since the claim.
        await asyncio.sleep(min(_seconds_until(claimed.start.at), AHEAD.total_seconds()))
        while delay := self._guard.delay(_monotonic()):  # noqa: ASYNC110 - the turn may go to another one meanwhile
            await asyncio.sleep(delay)
        expires_at = claimed.mail.expires_at
        has_expired = expires_at is not None and expires_at <= clock.now()
        is_late = _monotonic() - claimed.since > START_WITHIN
        may_start = lane.circuit.lets_start(trial) and not self._store.paused
        if has_expired or is_late or self._is_ending or not may_start:
            raise NoTurnError
        self._guard.started(_monotonic())
        self._waiting.discard(_current_task())

    def _begin_again(self) -> None:
        if self._is_ending:
            raise NoTurnError
        self._waiting.add(_current_task())

    async def _before_data(self, mail: Mail) -> None:
        if self._limits.retry.hold_uncertain:
            await self._store.mark(mail)

    async def _record(self, outcomes: Sequence[Mail]) -> None:
        """Store outcomes, in one transaction with those that became ready meanwhile; tries until they are stored."""
        self._outcomes += outcomes
        give_up_after: float | None = None
        async with self._recorded:
            while outcomes[-1] in self._outcomes and not await self._record_ready():
                # Counted from the first failure during the stop: a store may be locked for a moment just then.
                if self._is_ending and give_up_after is None:
                    give_up_after = _monotonic() + LAST_RECORDS
                if give_up_after is not None and _monotonic() >= give_up_after:
                    log.error("outcomes cannot be recorded before the service ends", mails=len(self._outcomes))
                    self._outcomes.clear()
                    return
                await asyncio.sleep(RECORD_AGAIN)

    async def _record_ready(self) -> bool:
        """Record all that is ready; return False if the store cannot take anything now."""
        ready = list(self._outcomes)
        try:
            await self._store.record(ready, clock.now())
        except StoreUnusable as error:
            _tell_unrecorded(error)
            return False
        except Exception:  # noqa: BLE001 - one that cannot be stored must not hold up the others
            return await self._record_singly(ready)
        del self._outcomes[: len(ready)]
        return True

    async def _record_singly(self, ready: Sequence[Mail]) -> bool:
        """Record outcomes of which one cannot be stored; that one without the server's words."""
        for mail in ready:
            try:
                await self._record_anyhow(mail)
            except StoreUnusable as error:
                _tell_unrecorded(error)
                return False
            self._outcomes.remove(mail)
        return True

    async def _record_anyhow(self, mail: Mail) -> None:
        for each in (mail, replace(mail, smtp=None, error=None)):
            try:
                await self._store.record([each], clock.now())
            except StoreUnusable:
                raise
            except Exception:
                log.exception("outcome cannot be stored as it is", status=mail.status, mail_id=mail.id)
            else:
                return

    def _probe_paused(self) -> None:
        for lane in self._lanes:
            if lane.circuit.wait(_monotonic()) == 0:
                lane.circuit.probe()
                _spawn(self._probe(lane), self._probes)

    async def _probe(self, lane: TransportHealth) -> None:
        try:
            await lane.transport.open()
        except asyncio.CancelledError:
            lane.circuit.abandon_probe()
            raise
        except Exception as error:
            if not isinstance(error, Unreachable):
                log.exception("login failed unexpectedly", transport=lane.transport.name)
            said = error.said if isinstance(error, Unreachable) else ""
            if lane.pause(str(error) or type(error).__name__, clock.now(), _monotonic(), said=said):
                _tell_pause(lane)
        else:
            if lane.circuit.admitted():
                log.info("transport is back", transport=lane.transport.name)
        self._store.wake.set()

    def _freed(self, lane: TransportHealth, _: asyncio.Task[None]) -> None:
        lane.end(_monotonic())
        self._store.wake.set()

    async def _wake_on(self, ticks: AsyncIterator[datetime]) -> None:
        async for _ in ticks:
            self._store.wake.set()

    async def _wake_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._store.wake.set()


def _tell_pause(lane: TransportHealth) -> None:
    reason, until = lane.circuit.reason, timestamp(lane.circuit.until)
    log.warning("transport is paused", transport=lane.transport.name, reason=reason, until=until)


def _tell_used_up(lane: TransportHealth) -> None:
    until = timestamp(lane.used_up_until)
    log.warning("transport has used up its quota", transport=lane.transport.name, until=until)


def _tell_unrecorded(error: StoreUnusable) -> None:
    log.warning("outcomes cannot be recorded; nothing is sent until they are", reason=str(error))


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a delivery runs in a task of its own")
    return task


def _spawn(work: Coroutine[Any, Any, None], into: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    into.add(task)
    task.add_done_callback(into.discard)
    task.add_done_callback(_tell_failure)
    return task


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a task of the sender failed", error=f"{type(error).__name__}: {error}", exc_info=error)


@contextmanager
def _reserved(lane: TransportHealth) -> Iterator[Trial | None]:
    """Take a place on a transport that had not claimed the mail, before anything else can take it."""
    lane.begin(_monotonic())
    trial = lane.circuit.begin_trial()
    try:
        yield trial
    finally:
        lane.circuit.end_trial(trial)
        lane.end(_monotonic())


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _seconds_until(at: datetime) -> float:
    return max(0.0, (at - clock.now()).total_seconds())
