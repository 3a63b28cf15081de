"""Publishes dead letters in a separate task, and holds those that the broker rejects: intake never waits for them."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import structlog

from notifier.domain.messages import Origin
from notifier.errors import DeadLetterCode, Refused

log = structlog.get_logger(__name__)

BATCH_SIZE = 50
"""Dead letters that share one confirmation."""
BATCH_BYTES = 1024 * 1024
"""Bytes of them, so that they are confirmed in time over a slow connection; a single one may be larger."""
RETRY_DELAYS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between two attempts to publish what the broker rejected; the last one repeats."""
MAX_HELD = 10_000
"""Deliveries whose letters may wait to be published before valid messages have to wait as well."""
MAX_HELD_BYTES = 64 * 1024 * 1024
"""Bytes of these deliveries."""


class IncomingMessage(Protocol):
    """A delivery, as the actors see it: one message that is not acknowledged yet."""

    @property
    def body(self) -> bytes:
        """The body, or the beginning of one that is too large."""

    @property
    def wire(self) -> bytes:
        """The properties and headers as they were received; headers can be far larger than the body."""

    @property
    def origin(self) -> Origin:
        """What arrived beside the body."""


class DeadLetter(NamedTuple):
    """A delivery that cannot be processed, and the reason."""

    delivery: IncomingMessage
    reason: Refused


class DeadLetterSession(Protocol):
    """What dead letters need of a session with the broker; every method raises Unreachable if it is lost."""

    async def dead_letter(self, letters: Sequence[Any]) -> Sequence[str | None]:
        """Publish dead letters; return for each why the broker rejected it, or None if it was confirmed."""

    async def acknowledge(self, deliveries: Sequence[Any]) -> None:
        """Acknowledge these deliveries."""

    async def hold(self, deliveries: Sequence[Any], reason: str | None, *, make_room: bool) -> None:
        """Note the deliveries whose letters wait, and the reason if the broker rejects them.

        With `make_room`, the broker delivers as if they were acknowledged.
        """

    def will_return(self, delivery: Any) -> bool:
        """Return whether the broker has requeued a delivery because its channel is closed."""

    async def wait(self, seconds: float) -> None:
        """Wait for some seconds, or until the service stops."""


class DeadLetters:
    """The dead letters of one session that are not published yet."""

    def __init__(
        self, session: DeadLetterSession, dead_lettered: Callable[[DeadLetterCode], None], stop: asyncio.Event
    ) -> None:
        self._session = session
        self._dead_lettered = dead_lettered
        self._stop = stop
        self._waiting: deque[DeadLetter] = deque()
        self._bytes = 0
        self._batch_size = BATCH_SIZE
        self._reason: str | None = None
        self._added = asyncio.Event()
        self._complete = asyncio.Event()

    def add(self, delivery: IncomingMessage, reason: Refused) -> None:
        """Add a dead letter; `run` publishes it and then acknowledges the delivery."""
        self._waiting.append(DeadLetter(delivery, reason))
        self._bytes += _size(delivery)
        self._added.set()

    def complete(self) -> None:
        """Let `run` return when all letters are published, or when the broker rejects the next ones."""
        self._complete.set()
        self._added.set()

    async def make_room(self) -> None:
        """Let more messages be delivered although these are not acknowledged, up to MAX_HELD of them."""
        within = len(self._waiting) <= MAX_HELD and self._bytes <= MAX_HELD_BYTES
        reason = self._reason if self._waiting else None
        await self._session.hold([letter.delivery for letter in self._waiting], reason, make_room=within)

    async def run(self) -> None:
        """Publish and acknowledge what is added, until it is complete.

        What the broker rejects is held and tried again. Giving up the session instead would deliver it again
        immediately, together with everything behind it. Raises Unreachable if the session is lost.
        """
        failures = 0
        while self._waiting or not self._complete.is_set():
            if not self._waiting:
                self._added.clear()
                await self._added.wait()
                continue
            if await self._forget_requeued():
                continue
            reason = await self._publish(self._next())
            if reason is not None or not self._waiting:
                self._change(reason)
            if reason is None:
                failures = 0
                self._batch_size = min(2 * self._batch_size, BATCH_SIZE)
                if not self._waiting:
                    await self.make_room()
                continue
            # A letter that is rejected must not delay those that would share its confirmation.
            self._batch_size = 1
            await self.make_room()
            await self._session.wait(RETRY_DELAYS[min(failures, len(RETRY_DELAYS) - 1)])
            failures += 1
            if self._stop.is_set():
                await self._complete.wait()
                return

    async def _forget_requeued(self) -> bool:
        """Forget deliveries that the broker has requeued; return whether there were any.

        Each of them will be delivered again and would otherwise make a second letter.
        """
        kept = [letter for letter in self._waiting if not self._session.will_return(letter.delivery)]
        if len(kept) == len(self._waiting):
            return False
        self._waiting = deque(kept)
        self._bytes = sum(_size(letter.delivery) for letter in kept)
        await self.make_room()
        return True

    def _next(self) -> list[DeadLetter]:
        batch: list[DeadLetter] = []
        size = 0
        for letter in islice(self._waiting, self._batch_size):
            size += _size(letter.delivery)
            if batch and size > BATCH_BYTES:
                break
            batch.append(letter)
        return batch

    async def _publish(self, batch: Sequence[DeadLetter]) -> str | None:
        """Publish and acknowledge letters; return why the broker rejected one of them, which is tried again last."""
        reasons = await self._session.dead_letter(batch)
        confirmed = [letter for letter, reason in zip(batch, reasons, strict=True) if reason is None]
        rejected = [letter for letter, reason in zip(batch, reasons, strict=True) if reason is not None]
        if confirmed:
            await self._session.acknowledge([letter.delivery for letter in confirmed])
        for _ in batch:
            self._waiting.popleft()
        self._waiting.extend(rejected)
        for delivery, reason in confirmed:
            self._bytes -= _size(delivery)
            origin = delivery.origin
            trace = {"traceparent": origin.traceparent} if origin.traceparent else {}
            log.warning(
                "message dead-lettered", code=reason.code, detail=reason.detail, message=origin.message_id, **trace
            )
            self._dead_lettered(reason.code)
        return next((reason for reason in reasons if reason is not None), None)

    def _change(self, reason: str | None) -> None:
        if reason is not None and self._reason is None:
            log.warning("dead letters are held because the broker rejects them", actor="consumer", reason=reason)
        elif reason is None and self._reason is not None:
            log.info("the broker accepts dead letters again", actor="consumer")
        self._reason = reason


def _size(delivery: IncomingMessage) -> int:
    """Return the bytes that a delivery and its letter have in common."""
    return len(delivery.body) + len(delivery.wire)
