"""How the service is, in figures: what the feed's `stats` and `/readyz` tell."""

import asyncio
from collections.abc import Sequence
from typing import Any

from notifier import clock
from notifier.domain.addresses import all_masked
from notifier.domain.events import StoredEvent, timestamp
from notifier.gateways.broker_status import BrokerStatus
from notifier.observability.throughput import Throughput
from notifier.sending.transport_health import TransportHealth
from notifier.storage.store import Store
from notifier.supervisor import Supervisor

FRESH = 0.4
"""Seconds for which everyone who asks gets the same figures: watchers must not cost the store more than one."""


class Figures:
    """Puts together what the parts know."""

    def __init__(
        self, store: Store, broker: BrokerStatus | None, lanes: Sequence[TransportHealth], supervisor: Supervisor
    ) -> None:
        self._store = store
        self._broker = broker
        self._lanes = lanes
        self._supervisor = supervisor
        self._meter = Throughput()
        self._asking = asyncio.Lock()
        self._latest: dict[str, Any] = {}
        self._asked_at = float("-inf")

    def observe(self, events: Sequence[StoredEvent]) -> None:
        """Count events as they pass."""
        self._meter.count(events, asyncio.get_running_loop().time())

    async def stats(self) -> dict[str, Any]:
        """Give the fields of the feed's `stats` frame."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if now - self._asked_at >= FRESH:
                self._latest = await self._collect()
                self._asked_at = now
            return self._latest

    async def _collect(self) -> dict[str, Any]:
        now = clock.now()
        queue = self._broker.queue if self._broker else None
        # Asked at once, so that a store that is busy with something slow is waited for once.
        totals, waiting, paused = await asyncio.gather(
            self._store.totals(), self._store.waiting(now), self._store.is_paused()
        )
        return {
            "at": timestamp(now),
            "totals": totals,
            "pending": {"due": waiting.due, "scheduled": waiting.scheduled, "retrying": waiting.retrying},
            "rates": self._meter.rates(asyncio.get_running_loop().time()),
            "queue": queue._asdict() if queue else None,
            "broker": self._broker_state(),
            "smtp": self._smtp_states(),
            "paused": paused,
            "oldest_due": timestamp(waiting.oldest_due),
        }

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Say whether the store, the actors and the feed work; a peer that is away does not make us unready."""
        actors = self._supervisor.conditions
        fault = self._store.fault
        ready = fault is None and self._supervisor.healthy
        return ready, {
            "store": {"state": "ok" if fault is None else "unusable", "reason": fault},
            "actors": {
                name: {"state": actor.state, "since": timestamp(actor.since), "reason": _hidden(actor.reason)}
                for name, actor in actors.items()
            },
            "broker": self._broker_state(),
            "dead_letters": self._dead_letters_state(),
            "smtp": self._smtp_states(),
        }

    def _dead_letters_state(self) -> dict[str, Any]:
        """Say whether the broker takes dead letters, and how many wait to be published."""
        if self._broker is None:
            return {"state": "off", "waiting": 0, "reason": None}
        held = self._broker.held
        return {
            "state": "held" if held.reason else "ok",
            "waiting": held.waiting,
            "reason": _hidden(held.reason),
        }

    def _broker_state(self) -> dict[str, Any]:
        if self._broker is None:
            return {"state": "off", "since": None}
        return {
            "state": "connected" if self._broker.connected else "connecting",
            "since": timestamp(self._broker.since),
        }

    def _smtp_states(self) -> list[dict[str, Any]]:
        return [_smtp_state(lane) for lane in self._lanes]


def _hidden(reason: str | None) -> str | None:
    """Mask the addresses in a reason, which may be in a server's words."""
    return all_masked(reason) if reason else reason


def _smtp_state(lane: TransportHealth) -> dict[str, Any]:
    reason, until = lane.breaker.reason, lane.breaker.until
    if lane.quota_used_up(clock.now()) and not reason:
        reason, until = "its quota of mails in 24 hours is used up", lane.used_up_until
    return {
        "transport": lane.name,
        "state": "paused" if reason else "ready",
        "reason": _hidden(reason),
        "until": timestamp(until),
        "quota_left": lane.quota_left,
    }
