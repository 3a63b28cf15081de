"""Delivers claimed mails: acquire a connection, wait for the mail's slot, hold the dialogue, judge its result."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import structlog

from notifier import clock
from notifier.domain.claims import Start
from notifier.domain.mail import Mail, RetryPolicy, handed_back, refused
from notifier.domain.timestamps import timestamp
from notifier.errors import Busy, StoreUnusable, Unreachable
from notifier.gateways.smtp_dialogue import SmtpConnection
from notifier.gateways.smtp_pool import SmtpPool
from notifier.sending.circuit_breaker import Trial
from notifier.sending.dialogue import ComposedMail, DialogueResult
from notifier.sending.pacing import AHEAD, BurstGuard
from notifier.sending.replies import Phase
from notifier.sending.transport_health import Situation, TransportHealth, unsupported
from notifier.storage.store import Store

log = structlog.get_logger(__name__)

START_WITHIN = 5.0
"""Seconds after its claim within which a mail must start; later messages may have changed what it should say."""
ABANDON_AGAIN = 0.01
"""Seconds between two cancellations of deliveries that should be abandoned."""

Compose = Callable[[Mail], ComposedMail]
"""Composes a mail for its SMTP server; the same mail always becomes the same bytes."""


class NoSlotError(Exception):
    """The mail must not start now: it has expired or waited too long, sending is paused, or the service is ending."""


@dataclass(frozen=True, eq=False)
class Account:
    """An SMTP account as the sender uses it."""

    pool: SmtpPool
    """Its connections."""
    health: TransportHealth
    """What is known about it, and whether it may be used."""
    claiming: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while mails are claimed for its room, so that no mail of another account takes the same room."""

    def room(self, connections: int, idle: int = 0) -> int:
        """Return how many more mails can be handed over now, with at most so many `connections` to the account.

        Of the connections in use, `idle` have no mail at the moment.
        """
        return self.health.room(min(connections, self.pool.capacity) + idle)


class Claimed(NamedTuple):
    """A mail that was claimed and has not started yet."""

    start: Start
    """The mail, and its slot."""
    since: float
    """When it was claimed, by the event loop's clock in seconds."""
    trial: Trial | None = None
    """The account's trial if the mail is the one on trial."""

    @property
    def mail(self) -> Mail:
        """The mail as it was claimed."""
        return self.start.mail


class Limits(NamedTuple):
    """The configured limits of sending."""

    connections: int
    """The most connections of an account."""
    rate: float
    """The most mails that start in a second, of all accounts together; 0 means no limit."""
    retry: RetryPolicy
    """When a mail is tried again, and when it is given up."""


class Deliverer:
    """Delivers mails, each in a task of its own.

    A delivery waits for a connection, perhaps a login, and its slot. Until then it can be abandoned, and the
    server knows nothing of the mail. After MAIL FROM it is never cancelled.
    """

    def __init__(
        self, store: Store, accounts: Sequence[Account], limits: Limits, burst_guard: BurstGuard, compose: Compose
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._limits = limits
        self._burst_guard = burst_guard
        self._compose = compose
        self._waiting: set[asyncio.Task[Any]] = set()
        self._is_ending = False

    async def abandon_waiting(self) -> None:
        """Hand back all mails that have not started, now and from now on."""
        self._is_ending = True
        while self._waiting:
            # More than once: wait_for() of Python 3.11 loses a cancellation that comes as its wait ends.
            for task in self._waiting:
                task.cancel()
            await asyncio.sleep(ABANDON_AGAIN)

    async def deliver(self, account: Account, claimed: Claimed, trial: Trial | None) -> list[Mail]:
        """Deliver one mail; return it as it is afterwards, and other mails whose status its result changes.

        `trial` is the account's trial if the mail is the one on trial.
        """
        mail, task = claimed.mail, _current_task()
        if self._is_ending:
            return [handed_back(mail)]
        self._waiting.add(task)
        try:
            return await self._deliver_by_any(account, claimed, trial)
        except (StoreUnusable, NoSlotError, Busy):
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

    async def _deliver_by_any(self, account: Account, claimed: Claimed, trial: Trial | None) -> list[Mail]:
        """Try the account that claimed the mail, then others as long as they lack what its address needs."""
        composed = self._compose(claimed.mail)
        result = await self._deliver_by(account, claimed, composed, trial)
        if not result.unsupported:
            return self._judge(account, claimed.mail, result)
        if trial:
            # The result shows nothing about the account, whose next mail need not wait for other servers.
            account.health.breaker.end_trial(trial)
            self._store.wake.set()
        untried: list[TransportHealth] = []
        booked_on = account
        for other in self._accounts:
            if other is account:
                continue
            async with other.claiming:
                room = other.room(self._limits.connections)
            if not room:
                untried.append(other.health)
                continue
            with _reserved(other.health) as its_trial:
                if not await self._rebooked(claimed.mail, booked_on.health, other.health):
                    untried.append(other.health)
                    continue
                booked_on = other
                result = await self._deliver_by(other, claimed, composed, its_trial)
            if not result.unsupported:
                return self._judge(other, claimed.mail, result)
        return [unsupported(claimed.mail, untried, clock.now())]

    async def _rebooked(self, mail: Mail, booked_on: TransportHealth, other: TransportHealth) -> bool:
        """Count a start against the quota of the account that will send the mail; return whether it has any left."""
        if booked_on.quota is None and other.quota is None:
            return True
        again_at = await self._store.rebook(mail, booked_on.quota, other.quota, clock.now())
        if other.rebooked(again_at):
            log_quota_used_up(other)
        return again_at is None

    async def _deliver_by(
        self, account: Account, claimed: Claimed, composed: ComposedMail, trial: Trial | None
    ) -> DialogueResult:
        """Deliver a mail through one account; return how the dialogue ended.

        If a connection that was used before turns out to be closed, or a server that offers to take commands together
        cannot do that, everything is done again on a new one.
        """
        fresh = False
        while True:
            try:
                connection = await account.pool.acquire(fresh=fresh)
            except Unreachable as error:
                return DialogueResult(Phase.CONNECT, None, str(error), login_reply=error.said)
            try:
                if not connection.reused:
                    # A login has succeeded: there is room for the next one.
                    self._store.wake.set()
                if lacking := connection.check_support(composed):
                    return lacking
                await self._wait_for_slot(account.health, claimed, trial)
                result = await self._converse(connection, claimed.mail, composed)
            finally:
                account.pool.release(connection)
            if not (result.out_of_step or (connection.reused and result.found_connection_closed)):
                return result
            if self._is_ending:
                raise NoSlotError
            self._waiting.add(_current_task())
            fresh = True

    async def _converse(self, connection: SmtpConnection, mail: Mail, composed: ComposedMail) -> DialogueResult:
        """Hold the dialogue; with `hold`, the mark is on disk before the message is sent, however long that takes."""
        if not self._limits.retry.hold_uncertain:
            return await connection.send_envelope(composed) or await connection.send_content(composed)
        # It is written while the commands travel, so it costs no time of its own.
        marking = asyncio.ensure_future(self._store.mark(mail))
        result = await connection.send_envelope(composed)
        try:
            await marking
        except StoreUnusable:
            if result is None:
                raise
        return result or await connection.send_content(composed)

    async def _wait_for_slot(self, health: TransportHealth, claimed: Claimed, trial: Trial | None) -> None:
        """Wait until the mail may start; raise NoSlotError if by then it must not.

        When this returns, the start is counted and the delivery can no longer be abandoned: MAIL FROM must follow.
        """
        # Never longer than it can be ahead: the clock may have been set back since the claim.
        await asyncio.sleep(min(seconds_until(claimed.start.at), AHEAD.total_seconds()))
        while delay := self._burst_guard.delay(_monotonic()):  # noqa: ASYNC110 - another mail may start meanwhile
            await asyncio.sleep(delay)
        expires_at = claimed.mail.expires_at
        has_expired = expires_at is not None and expires_at <= clock.now()
        is_late = _monotonic() - claimed.since > START_WITHIN
        may_start = health.breaker.lets_start(trial) and not self._store.paused
        if has_expired or is_late or self._is_ending or not may_start:
            raise NoSlotError
        self._burst_guard.started(_monotonic())
        self._waiting.discard(_current_task())

    def _judge(self, account: Account, mail: Mail, result: DialogueResult) -> list[Mail]:
        now = clock.now()
        others = [other.health for other in self._accounts if other is not account]
        elsewhere = min((other.usable_at(now) for other in others), default=None)
        situation = Situation(now, _monotonic(), self._limits.retry, elsewhere)
        outcomes, paused = account.health.judge(mail, result, situation)
        if paused:
            log_pause(account.health)
        return outcomes


def log_pause(health: TransportHealth) -> None:
    """Log that an account is paused, why and until when."""
    reason, until = health.breaker.reason, timestamp(health.breaker.until)
    log.warning("SMTP account paused", transport=health.name, reason=reason, until=until)


def log_quota_used_up(health: TransportHealth) -> None:
    """Log that an account has used up its quota, and when it can start a mail again."""
    log.warning("SMTP account has used up its quota", transport=health.name, until=timestamp(health.used_up_until))


def seconds_until(at: datetime) -> float:
    """Return the seconds from now until a moment; 0 if it is past."""
    return max(0.0, (at - clock.now()).total_seconds())


@contextmanager
def _reserved(health: TransportHealth) -> Iterator[Trial | None]:
    """Take a place on an account that had not claimed the mail, before anything else can take it."""
    health.begin(_monotonic())
    trial = health.breaker.begin_trial()
    try:
        yield trial
    finally:
        health.breaker.end_trial(trial)
        health.end(_monotonic())


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a delivery runs in a task of its own")
    return task


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
