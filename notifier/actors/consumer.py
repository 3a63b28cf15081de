"""Takes messages from the broker into the store: decode, store, acknowledge, in this order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog

from notifier.contract import Message, Origin, decode
from notifier.errors import DeadLetterCode, NotifierError, Refused

log = structlog.get_logger(__name__)


Store = Callable[[Sequence[Message]], Awaitable[object]]


class Delivery(Protocol):
    """One message of the broker's, not acknowledged yet."""

    @property
    def body(self) -> bytes:
        """The bytes that were published."""

    @property
    def origin(self) -> Origin:
        """What came beside them."""


class Session(Protocol):
    """An open session with the broker; every method raises Unreachable when it is lost."""

    async def batch(self) -> Sequence[Any]:
        """Wait for deliveries; none means that the service stops."""

    async def acknowledge(self, last: Any) -> None:
        """Acknowledge this delivery and all before it."""

    async def dead_letter(self, delivery: Any, code: DeadLetterCode, detail: str) -> None:
        """Put aside, confirmed, what can never be used."""


async def consume(
    connect: Callable[[asyncio.Event], AbstractAsyncContextManager[Session]],
    store: Store,
    dead_lettered: Callable[[DeadLetterCode], None],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Consume until told to stop; returns when the last batch taken is stored and acknowledged.

    Raises Unreachable when the broker is lost and StoreUnusable when the store cannot
    write: nothing is acknowledged then, and the broker delivers it again.
    `dead_lettered` is told of each message that was put aside.
    """
    async with connect(stop) as session:
        running()
        while batch := await session.batch():
            for code in await _take_in(session, batch, store):
                dead_lettered(code)


async def _take_in(session: Session, batch: Sequence[Delivery], store: Store) -> list[DeadLetterCode]:
    """Take one batch in; gives what was wrong with those that were put aside."""
    messages: list[tuple[Delivery, Message]] = []
    refused: list[tuple[Delivery, Refused]] = []
    for delivery in batch:
        try:
            messages.append((delivery, decode(delivery.body, delivery.origin)))
        except Refused as error:
            refused.append((delivery, error))
    refused += await _store(messages, store)
    for delivery, reason in refused:
        await session.dead_letter(delivery, reason.code, reason.detail)
        origin = delivery.origin
        trace = {"traceparent": origin.traceparent} if origin.traceparent else {}
        log.warning("message dead-lettered", code=reason.code, detail=reason.detail, message=origin.message_id, **trace)
    await session.acknowledge(batch[-1])
    return [reason.code for _, reason in refused]


async def _store(messages: Sequence[tuple[Delivery, Message]], store: Store) -> list[tuple[Delivery, Refused]]:
    """Store a batch in one transaction; gives those that cannot be stored through a fault of ours.

    A message that we cannot handle would come back for ever and hold up all behind it,
    so the batch is then stored message by message, and that one is put aside.
    """
    try:
        if messages:
            await store([message for _, message in messages])
    except NotifierError:
        raise
    except Exception as error:
        if len(messages) > 1:
            return [each for pair in messages for each in await _store([pair], store)]
        log.exception("message cannot be handled", message=messages[0][1].id)
        why = f"a fault of notifier's: {type(error).__name__}: {error}"
        return [(messages[0][0], Refused("invalid", why))]
    return []
