"""Takes messages from the broker into the store: decode, store, acknowledge, in this order."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog

from notifier.actors import dead_letters
from notifier.actors.dead_letters import DeadLetter, DeadLetters, Delivery
from notifier.domain.messages import Message, decode
from notifier.errors import DeadLetterCode, Refused, StoreUnusable, Unreachable

log = structlog.get_logger(__name__)

MAX_ROWS = 1000
"""Mails that one transaction may add or change, as estimated; a larger message has one of its own."""
MAX_BYTES = 8 * 1024 * 1024
"""Bytes of the messages of one transaction."""
DECODE_TIME = 0.02
"""Seconds of decoding after which a part is stored, so that good messages do not wait for those behind them."""
MAX_ON_LOOP = 2048
"""Bytes of a body that is decoded on the event loop; a larger one is decoded in a thread.

Addresses with international domains are the slowest: about 8 µs per byte, 0.2 s in a message with 100 of them.
"""
STORE_RETRY = 1.0
"""Seconds between two tries to store what the store could not take."""
MAX_HOLD = 600.0
"""Seconds for which deliveries are held while the store is unusable.

RabbitMQ closes a channel whose deliveries are not acknowledged within 30 minutes (15 in early versions).
"""


class Store(NamedTuple):
    """What the consumer needs of the store; both raise StoreUnusable if it cannot be written.

    `check` proves that it can, `add` stores messages in one transaction.
    """

    check: Callable[[], Awaitable[object]]
    add: Callable[[Sequence[Message]], Awaitable[object]]


class Session(dead_letters.Session, Protocol):
    """An open session with the broker; every method raises Unreachable when it is lost."""

    async def batch(self) -> Sequence[Any]:
        """Wait for deliveries; none means that the service stops."""

    async def suspend(self) -> None:
        """Let the broker deliver nothing more; what was delivered is kept."""

    async def resume(self) -> None:
        """Let it deliver again."""

    def lose(self, reason: str) -> None:
        """End the session: `batch` gives nothing more."""


class _Part:
    """Deliveries of a batch that are stored in one transaction; `decoding` is the time that decoding took, in seconds.

    That includes the invalid messages between them.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[Delivery, Message]] = []
        self.decoding = 0.0
        self._rows = 0
        self._bytes = 0

    def has_room_for(self, delivery: Delivery, message: Message) -> bool:
        """Return whether the part stays within its limits with another message."""
        within = self._rows + message.rows <= MAX_ROWS and self._bytes + len(delivery.body) <= MAX_BYTES
        return not self.messages or within

    def add(self, delivery: Delivery, message: Message) -> None:
        """Add a message."""
        self.messages.append((delivery, message))
        self._rows += message.rows
        self._bytes += len(delivery.body)


async def consume(
    connect: Callable[[asyncio.Event], AbstractAsyncContextManager[Session]],
    store: Store,
    dead_lettered: Callable[[DeadLetterCode], None],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Consume until the service stops; returns when the part under way is stored, dead-lettered and acknowledged.

    Nothing is consumed until the store has proved that it can be written: each delivery
    that is returned counts against the queue's delivery limit. If the store fails later,
    consuming is suspended and what was delivered is held, for at most MAX_HOLD.

    Raises Unreachable when the broker is lost and StoreUnusable when the store cannot
    write: what is not acknowledged then is delivered again.
    `dead_lettered` is called for each message that was dead-lettered.
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
                publishing.result()  # raises what the session was given up for
            raise
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)


def _published(session: Session, publishing: "asyncio.Task[None]") -> None:
    if not publishing.cancelled() and publishing.exception():
        session.lose("dead letters are not published any more")


async def _decoded(delivery: Delivery) -> tuple[Message | Refused, float]:
    """Return the message of a delivery, or why it can never be used, and the seconds of processor time that it took."""
    if len(delivery.body) > MAX_ON_LOOP:
        return await asyncio.to_thread(_timed, delivery)
    return _timed(delivery)


def _timed(delivery: Delivery) -> tuple[Message | Refused, float]:
    began = time.thread_time()
    found: Message | Refused
    try:
        found = decode(delivery.body, delivery.origin)
    except Refused as error:
        # Its traceback would refer to the body, and in a circle: the memory would not be freed in time.
        found = error.with_traceback(None)
    except Exception as error:
        log.exception("message cannot be decoded", message=delivery.origin.message_id)
        found = _internal(error)
    return found, time.thread_time() - began


class _Intake:
    """Stores parts through a session, and suspends that while the store is unusable."""

    def __init__(self, session: Session, store: Store, letters: DeadLetters, stop: asyncio.Event) -> None:
        self._session = session
        self._store = store
        self._letters = letters
        self._stop = stop

    async def take_in_batch(self) -> bool:
        """Wait for a batch and take it in, part by part; returns False when the service stops.

        Invalid messages are handed over to be dead-lettered as soon as they are decoded. When it
        returns nothing refers to the bodies any more: they may be large.
        """
        batch = await self._session.batch()
        part = _Part()
        for delivery in batch:
            found, seconds = await _decoded(delivery)
            if isinstance(found, Refused):
                self._letters.add(delivery, found)
            else:
                if not part.has_room_for(delivery, found):
                    await self.take_in(part)
                    part = _Part()
                part.add(delivery, found)
            part.decoding += seconds
            if part.decoding > DECODE_TIME:
                await self.take_in(part)
                part = _Part()
            if self._stop.is_set():
                return True
        await self.take_in(part)
        await self._letters.make_room()
        return bool(batch)

    async def take_in(self, part: _Part) -> None:
        """Store a part and acknowledge it; if there is nothing to store, let other tasks run."""
        if not part.messages:
            await asyncio.sleep(0)
            return
        refused = await self._stored(part.messages)
        for delivery, reason in refused:
            self._letters.add(delivery, reason)
        unusable = {id(each.delivery) for each in refused}
        if stored := [delivery for delivery, _ in part.messages if id(delivery) not in unusable]:
            await self._session.acknowledge(stored)

    async def _stored(self, messages: Sequence[tuple[Delivery, Message]]) -> list[DeadLetter]:
        """Store messages in one transaction; gives those that cannot be stored through a fault of ours.

        A message that we cannot handle would come back for ever and hold up all behind it,
        so the others are then stored one by one, and that one is put aside.
        """
        try:
            await self._add([message for _, message in messages])
        except (StoreUnusable, Unreachable):
            raise
        except Exception as error:
            if len(messages) > 1:
                return [each for pair in messages for each in await self._stored([pair])]
            log.exception("message cannot be handled", message=messages[0][1].id)
            return [DeadLetter(messages[0][0], _internal(error))]
        return []

    async def _add(self, messages: Sequence[Message]) -> None:
        """Store messages, and while the store is unusable try again: to return them would count against them."""
        loop = asyncio.get_running_loop()
        hold_until: float | None = None
        while True:
            try:
                await self._store.add(messages)
            except StoreUnusable as error:
                if hold_until is None:
                    hold_until = loop.time() + MAX_HOLD
                    await self._session.suspend()
                    log.warning("store cannot be written; consuming is suspended", actor="consumer", reason=str(error))
                await self._session.rest(STORE_RETRY)
                if self._stop.is_set() or loop.time() >= hold_until:
                    raise
            else:
                break
        if hold_until is not None:
            await self._session.resume()
            log.info("store can be written again; consuming is resumed", actor="consumer")


def _internal(error: Exception) -> Refused:
    return Refused("internal_error", f"{type(error).__name__}: {error}")
