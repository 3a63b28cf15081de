"""Takes messages from the broker into the store: each is decoded, stored and acknowledged, in this order."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog

from notifier.actors.dead_letters import DeadLetter, DeadLetters, DeadLetterSession, IncomingMessage
from notifier.domain.messages import Message, decode
from notifier.errors import DeadLetterCode, Refused, StoreUnusable, Unreachable

log = structlog.get_logger(__name__)

MAX_ROWS = 1000
"""Mails that one transaction may add or change, as an estimate. A message beyond that has a transaction of its own."""
MAX_BYTES = 8 * 1024 * 1024
"""Bytes of the messages that one transaction may store."""
DECODE_TIME = 0.02
"""Seconds of decoding after which a chunk is stored, so that messages do not wait for those behind them."""
MAX_ON_LOOP = 2048
"""Bytes of a body up to which it is decoded on the event loop; a larger one is decoded in a thread.

Addresses with international domains are the slowest: about 8 µs per byte, and 0.2 s in a message with 100 of them.
"""
STORE_RETRY = 1.0
"""Seconds between two attempts to store messages while the store is unusable."""
MAX_HOLD = 600.0
"""Seconds for which deliveries are held while the store is unusable.

RabbitMQ closes a channel whose deliveries are not acknowledged within 30 minutes (15 in early versions).
"""


class MessageStore(NamedTuple):
    """What the consumer needs of the store; both functions raise StoreUnusable if it cannot be written."""

    check: Callable[[], Awaitable[object]]
    """Proves that the store can be written."""
    add: Callable[[Sequence[Message]], Awaitable[object]]
    """Stores messages in one transaction."""


class IntakeSession(DeadLetterSession, Protocol):
    """An open session with the broker; every method raises Unreachable if it is lost."""

    async def batch(self) -> Sequence[Any]:
        """Wait for deliveries and return them; none means that the service stops."""

    async def suspend(self) -> None:
        """Stop deliveries until `resume`; what was delivered is kept."""

    async def resume(self) -> None:
        """Let the broker deliver again."""

    def fail(self, reason: str) -> None:
        """End the session: `batch` raises Unreachable with the reason."""


class _Chunk:
    """Deliveries of a batch that are stored in one transaction.

    `decoding` is how many seconds it took to decode them and the invalid messages between them.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[IncomingMessage, Message]] = []
        self.decoding = 0.0
        self._rows = 0
        self._bytes = 0

    def has_room_for(self, delivery: IncomingMessage, message: Message) -> bool:
        """Return whether the chunk stays within its limits with another message."""
        within = self._rows + message.rows <= MAX_ROWS and self._bytes + len(delivery.body) <= MAX_BYTES
        return not self.messages or within

    def add(self, delivery: IncomingMessage, message: Message) -> None:
        """Add a message and its delivery."""
        self.messages.append((delivery, message))
        self._rows += message.rows
        self._bytes += len(delivery.body)


async def consume(
    connect: Callable[[asyncio.Event], AbstractAsyncContextManager[IntakeSession]],
    store: MessageStore,
    dead_lettered: Callable[[DeadLetterCode], None],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Consume until the service stops, and return when the current chunk is stored and acknowledged.

    Nothing is consumed until the store has proved that it can be written, because each delivery
    that is requeued counts against the queue's delivery limit. If the store fails later,
    consuming is suspended and what was delivered is held, for at most MAX_HOLD.

    `connect` opens a session until the event is set. `dead_lettered` is called with the code of each
    message that was dead-lettered, and `running` once the session is open.

    Raises Unreachable if the broker is lost, and StoreUnusable if the store cannot be written
    for MAX_HOLD: what is not acknowledged then is delivered again.
    """
    await store.check()
    async with connect(stop) as session:
        running()
        letters = DeadLetters(session, dead_lettered, stop)
        publishing = asyncio.create_task(letters.run(), name="dead letters")
        publishing.add_done_callback(partial(_published, session))
        intake = _Intake(session, store, letters, stop)
        try:
            while await intake.take_in_batch():
                pass
            letters.complete()
            await publishing
        except Unreachable:
            if publishing.done() and not publishing.cancelled():
                publishing.result()  # raises the error for which the session was ended
            raise
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)


def _published(session: IntakeSession, publishing: "asyncio.Task[None]") -> None:
    if not publishing.cancelled() and publishing.exception():
        session.fail("the task that publishes dead letters has failed")


async def _decoded(delivery: IncomingMessage) -> tuple[Message | Refused, float]:
    """Return a delivery's message, or why it cannot be processed, and the seconds of processor time for decoding it."""
    if len(delivery.body) > MAX_ON_LOOP:
        return await asyncio.to_thread(_timed, delivery)
    return _timed(delivery)


def _timed(delivery: IncomingMessage) -> tuple[Message | Refused, float]:
    began = time.thread_time()
    found: Message | Refused
    try:
        found = decode(delivery.body, delivery.origin)
    except Refused as error:
        # The traceback refers to the body in a reference cycle, so that its memory would be freed late.
        found = error.with_traceback(None)
    except Exception as error:
        log.exception("message could not be decoded because of a bug", message=delivery.origin.message_id)
        found = _internal(error)
    return found, time.thread_time() - began


class _Intake:
    """Decodes, stores and acknowledges the batches of a session, which it suspends while the store is unusable."""

    def __init__(self, session: IntakeSession, store: MessageStore, letters: DeadLetters, stop: asyncio.Event) -> None:
        self._session = session
        self._store = store
        self._letters = letters
        self._stop = stop

    async def take_in_batch(self) -> bool:
        """Wait for a batch and process it chunk by chunk; return False when the service stops.

        Invalid messages are dead-lettered as soon as they are decoded. Afterwards nothing refers to
        the bodies any more, because they can be large.
        """
        batch = await self._session.batch()
        chunk = _Chunk()
        for delivery in batch:
            found, seconds = await _decoded(delivery)
            if isinstance(found, Refused):
                self._letters.add(delivery, found)
            else:
                if not chunk.has_room_for(delivery, found):
                    await self.take_in(chunk)
                    chunk = _Chunk()
                chunk.add(delivery, found)
            chunk.decoding += seconds
            if chunk.decoding > DECODE_TIME:
                await self.take_in(chunk)
                chunk = _Chunk()
            if self._stop.is_set():
                return True
        await self.take_in(chunk)
        await self._letters.make_room()
        return bool(batch)

    async def take_in(self, chunk: _Chunk) -> None:
        """Store a chunk and acknowledge it. If the chunk is empty, only let other tasks run."""
        if not chunk.messages:
            await asyncio.sleep(0)
            return
        refused = await self._stored(chunk.messages)
        for delivery, reason in refused:
            self._letters.add(delivery, reason)
        unusable = {id(each.delivery) for each in refused}
        if stored := [delivery for delivery, _ in chunk.messages if id(delivery) not in unusable]:
            await self._session.acknowledge(stored)

    async def _stored(self, messages: Sequence[tuple[IncomingMessage, Message]]) -> list[DeadLetter]:
        """Store messages in one transaction; return those that cannot be stored because of a bug.

        Such a message would be delivered again for ever and block the messages behind it. So if storing
        them together fails, they are stored one by one, and only that one is dead-lettered.
        """
        try:
            await self._add([message for _, message in messages])
        except (StoreUnusable, Unreachable):
            raise
        except Exception as error:
            if len(messages) > 1:
                return [each for pair in messages for each in await self._stored([pair])]
            log.exception("message could not be stored because of a bug", message=messages[0][1].id)
            return [DeadLetter(messages[0][0], _internal(error))]
        return []

    async def _add(self, messages: Sequence[Message]) -> None:
        """Store messages. While the store is unusable try again: requeuing would count against the delivery limit."""
        loop = asyncio.get_running_loop()
        hold_until: float | None = None
        while True:
            try:
                await self._store.add(messages)
            except StoreUnusable as error:
                if hold_until is None:
                    hold_until = loop.time() + MAX_HOLD
                    await self._session.suspend()
                    log.warning("store cannot be written; consuming suspended", actor="consumer", reason=str(error))
                await self._session.wait(STORE_RETRY)
                if self._stop.is_set() or loop.time() >= hold_until:
                    raise
            else:
                break
        if hold_until is not None:
            await self._session.resume()
            log.info("store can be written again; consuming resumed", actor="consumer")


def _internal(error: Exception) -> Refused:
    """Return the reason for a message that notifier cannot process although it may be valid."""
    fault = f"{type(error).__name__}: {error}"
    return Refused(
        "internal_error", f"notifier failed to process the message, which is a bug: please report it ({fault})"
    )
