"""The state of the service, as the feed's `stats` frames and `/readyz` show it."""

import asyncio
from collections.abc import Sequence

from notifier import clock
from notifier.domain.addresses import all_masked
from notifier.domain.events import StoredEvent
from notifier.domain.timestamps import timestamp
from notifier.feed.protocol import Readiness, StatsFrame, Totals
from notifier.feed.protocol.status import (
    ActorState,
    BrokerState,
    DeadLettersState,
    PendingMails,
    QueueStatus,
    StoreState,
    TransportState,
)
from notifier.gateways.broker_status import BrokerStatus
from notifier.observability.throughput import Throughput
from notifier.sending.transport_health import TransportHealth
from notifier.storage.store import Store
from notifier.supervisor import Supervisor

FRESH = 0.4
"""Seconds for which all clients get the same figures, so that many clients cost the store no more than one."""


class ServiceStatus:
    """Collects the state of the store, the broker, the SMTP accounts and the actors."""

    def __init__(
        self, store: Store, broker: BrokerStatus | None, accounts: Sequence[TransportHealth], supervisor: Supervisor
    ) -> None:
        self._store = store
        self._broker = broker
        self._accounts = accounts
        self._supervisor = supervisor
        self._meter = Throughput()
        self._asking = asyncio.Lock()
        self._latest: StatsFrame | None = None
        self._asked_at = float("-inf")

    def observe(self, events: Sequence[StoredEvent]) -> None:
        """Count events for the rates."""
        self._meter.count(events, asyncio.get_running_loop().time())

    async def stats(self) -> StatsFrame:
        """Return the feed's `stats` frame; callers within FRESH seconds get the same one."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self._latest is None or now - self._asked_at >= FRESH:
                self._latest = await self._collect()
                self._asked_at = now
            return self._latest

    async def _collect(self) -> StatsFrame:
        now = clock.now()
        queue = self._broker.queue if self._broker else None
        # Read concurrently, so that a store that is busy with something slow is waited for once.
        totals, waiting, paused = await asyncio.gather(
            self._store.totals(), self._store.waiting(now), self._store.is_paused()
        )
        return StatsFrame(
            at=timestamp(now),
            totals=Totals.of(totals),
            pending=PendingMails(due=waiting.due, scheduled=waiting.scheduled, retrying=waiting.retrying),
            rates=self._meter.rates(asyncio.get_running_loop().time()),
            queue=QueueStatus(messages=queue.messages, consumers=queue.consumers) if queue else None,
            broker=self._broker_state(),
            smtp=self._smtp_states(),
            paused=paused,
            oldest_due=timestamp(waiting.oldest_due),
        )

    def readiness(self) -> Readiness:
        """Return the body of `/readyz`."""
        fault = self._store.fault
        return Readiness(
            status="ok" if fault is None and self._supervisor.healthy else "not ready",
            store=StoreState(state="ok" if fault is None else "unusable", reason=fault),
            actors={
                name: ActorState(state=actor.state, since=timestamp(actor.since), reason=_masked(actor.reason))
                for name, actor in self._supervisor.conditions.items()
            },
            broker=self._broker_state(),
            dead_letters=self._dead_letters_state(),
            smtp=self._smtp_states(),
        )

    def _dead_letters_state(self) -> DeadLettersState:
        if self._broker is None:
            return DeadLettersState(state="off", waiting=0, reason=None)
        held = self._broker.held
        return DeadLettersState(
            state="held" if held.reason else "ok", waiting=held.waiting, reason=_masked(held.reason)
        )

    def _broker_state(self) -> BrokerState:
        if self._broker is None:
            return BrokerState(state="off", since=None)
        return BrokerState(
            state="connected" if self._broker.connected else "connecting", since=timestamp(self._broker.since)
        )

    def _smtp_states(self) -> list[TransportState]:
        return [_smtp_state(health) for health in self._accounts]


def _masked(reason: str | None) -> str | None:
    """Mask the addresses in a reason, which may quote a server."""
    return all_masked(reason) if reason else reason


def _smtp_state(health: TransportHealth) -> TransportState:
    reason, until = health.breaker.reason, health.breaker.until
    if health.quota_used_up(clock.now()) and not reason:
        reason, until = "its quota of mails in 24 hours is used up", health.used_up_until
    return TransportState(
        transport=health.name,
        state="paused" if reason else "ready",
        reason=_masked(reason),
        until=timestamp(until),
        quota_left=health.quota_left,
    )
