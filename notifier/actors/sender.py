"""Sends what is due: claim, hand over, record; woken by arriving mail, its cron tick and its own timers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import structlog
from msgspec.structs import replace
from structlog.contextvars import bind_contextvars

from notifier import clock
from notifier.addresses import without
from notifier.circuit import Circuit, State
from notifier.cohort import Cohort
from notifier.errors import StoreUnusable, Unreachable
from notifier.events import ids, timestamp
from notifier.mail import Mail, Reply, RetryPolicy, due_again, failed, handed_back, refused, sent, uncertain
from notifier.rate import AHEAD, Guard
from notifier.replies import Phase, Verdict, is_daily_limit, verdict, wait_named
from notifier.storage.store import Claim, Quota, Start, Store

log = structlog.get_logger(__name__)

RECORD_AGAIN = 1.0
"""Seconds between two tries to record an outcome that the store could not take."""


Moment = Callable[[], Awaitable[None]]


class Result(Protocol):
    """How a dialogue with the SMTP server ended."""

    @property
    def phase(self) -> Phase:
        """Where it ended."""

    @property
    def reply(self) -> Reply | None:
        """The server's last word; None where the dialogue broke."""

    @property
    def fault(self) -> str | None:
        """What broke it."""

    @property
    def accepted(self) -> bool:
        """Whether the server took the message over."""


class Transport(Protocol):
    """One way to hand mail over."""

    name: str

    async def open(self) -> object:
        """Log in; Unreachable says why that is refused."""

    async def deliver(self, mail: Mail, turn: Moment, before_data: Moment) -> Result:
        """Hand one mail over, awaiting `turn` right before it starts and `before_data` before its message goes."""


@dataclass
class Lane:
    """A transport and whether it is fit to be used.

    `quota_left` and, once that is 0, the time at which there is some again are as of the latest claim.
    """

    transport: Transport
    circuit: Circuit
    quota: Quota | None = None
    quota_left: int | None = None
    used_up_until: datetime | None = None
    cohort: Cohort = field(default_factory=Cohort)


class Limits(NamedTuple):
    """How many deliveries at a time, how many starts a second (0: any), and when refused mail is tried again.

    A mail whose outcome is unknown is sent again, or held for an operator.
    """

    connections: int
    rate: float
    retry: RetryPolicy
    hold_uncertain: bool = False


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
            [self._unknown(mail, "the service ended while it was being sent", now) for mail in orphans], now
        )
        if orphans:
            log.warning("mails were being sent when the service ended", mails=len(orphans))

    def _unknown(self, mail: Mail, why: str, now: datetime) -> Mail:
        """Decide what becomes of a mail of which nobody knows how its dialogue ended."""
        error = f"outcome unknown: {why}"
        if not self._limits.hold_uncertain:
            return refused(mail, None, error, self._limits.retry, now)
        # The mark is on disk before DATA is said: without it the message cannot have gone.
        return uncertain(mail, error) if mail.past_data else handed_back(mail)

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
        was_used_up, lane.quota_left = lane.quota_left == 0, claim.quota_left
        lane.used_up_until = claim.again_at if claim.quota_left == 0 else None
        if lane.used_up_until and not was_used_up:
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
            if self._limits.hold_uncertain:
                await self._store.mark(start.mail)

        try:
            result = await lane.transport.deliver(start.mail, turn, before_data)
            outcomes = self._judged(lane, start.mail, result)
        except StoreUnusable:
            outcomes = [handed_back(start.mail)]
        except Exception as error:
            log.exception("mail cannot be handed over")
            why = f"{type(error).__name__}: {error}"
            outcomes = [refused(start.mail, None, why, self._limits.retry, clock.now())]
        await self._record(outcomes)

    def _judged(self, lane: Lane, mail: Mail, result: Result) -> list[Mail]:
        """Decide what a dialogue means for its mail, and for those that it shows in another light."""
        now, reply = clock.now(), result.reply
        if reply and result.accepted:
            lane.circuit.delivered()
            lane.cohort.delivered()
            return [sent(mail, reply, now)]
        judged = verdict(result.phase, reply)
        if judged is Verdict.TRANSPORT:
            self._fault(lane, _words(mail, reply) if reply else result.fault or "")
            return [handed_back(mail)]
        if judged is Verdict.FAIL and reply:
            return self._refused_for_good(lane, mail, reply)
        if result.phase is Phase.DOT and not reply:
            return [self._unknown(replace(mail, past_data=True), f"{result.fault}", now)]
        error = None if reply else f"{result.fault} (in {result.phase})"
        asked = wait_named(reply.text) if reply else None
        return [refused(mail, reply, error, self._limits.retry, now, asked=asked or timedelta(0))]

    def _refused_for_good(self, lane: Lane, mail: Mail, reply: Reply) -> list[Mail]:
        if lane.cohort.concerns_everyone(mail.to, reply):
            self._fault(lane, _words(mail, reply))
            # The mail waits until after the pause, so that others go first: one that is accepted settles the matter.
            return [*map(due_again, lane.cohort.reprieved()), handed_back(mail, lane.circuit.until)]
        outcome = failed(mail, reply, None)
        lane.cohort.failed(outcome)
        return [outcome]

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
            self._fault(lane, str(error))
        else:
            if lane.circuit.admitted():
                log.info("transport is back", transport=lane.transport.name)
        self._store.wake.set()

    def _fault(self, lane: Lane, reason: str) -> None:
        if lane.circuit.fault(
            reason, _monotonic(), clock.now(), asked=wait_named(reason), for_long=is_daily_limit(reason)
        ):
            log.warning(
                "transport is paused", transport=lane.transport.name, reason=reason, until=timestamp(lane.circuit.until)
            )

    def _freed(self, _: asyncio.Task[None]) -> None:
        self._store.wake.set()

    async def _wake_on(self, ticks: AsyncIterator[datetime]) -> None:
        async for _ in ticks:
            self._store.wake.set()

    async def _wake_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._store.wake.set()


def _words(mail: Mail, reply: Reply) -> str:
    """Say why a transport rests; the server may have named the recipient, who is nobody's business there."""
    return f"{reply.code} {without(mail.to, reply.text)}"


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
