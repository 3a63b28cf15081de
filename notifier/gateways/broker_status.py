"""The state of the connection to the broker, as the status, the metrics and the log show it."""

from datetime import datetime
from typing import NamedTuple

import structlog

from notifier import clock

log = structlog.get_logger(__name__)


class QueueCounts(NamedTuple):
    """How many messages wait in our queue, and how many consumers it has, including ours."""

    messages: int
    consumers: int


class HeldDeadLetters(NamedTuple):
    """Dead letters that the broker has not confirmed yet; `reason` says why if it rejects them."""

    waiting: int
    reason: str | None


class BrokerStatus:
    """The state of the connection to the broker, across sessions."""

    def __init__(self) -> None:
        self.connected = False
        """Whether a session consumes our queue."""
        self.since: datetime = clock.now()
        """When `connected` has changed last, or the service started (UTC)."""
        self.queue: QueueCounts | None = None
        """Our queue as the watchdog last saw it; None without a session."""
        self.held = HeldDeadLetters(0, None)
        """The dead letters that wait in the present session."""
        self._warnings: set[tuple[str, str]] = set()

    def changed(self, *, connected: bool) -> None:
        """Note that a session began or ended."""
        if self.connected != connected:
            self.since = clock.now()
        self.connected = connected
        self.queue = None
        self.held = HeldDeadLetters(0, None)

    def warn(self, event: str, *, name: str, **fields: str) -> None:
        """Log a warning about an exchange or a queue, unless an earlier session did."""
        if (event, name) not in self._warnings:
            self._warnings.add((event, name))
            log.warning(event, name=name, **fields)

    def consumed(self, queue: str) -> None:
        """Note that an extra queue is consumed; log it if there was a warning about the queue."""
        of_queue = {each for each in self._warnings if each[1] == queue}
        if of_queue:
            self._warnings -= of_queue
            log.info("queue is consumed now", name=queue)
