"""Takes messages from the broker into the store: decode, store, acknowledge, in this order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

import structlog

from notifier.contract import Message, Origin, decode
from notifier.errors import DeadLetterCode, NotifierError, Refused, Unreachable

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

    async def acknowledge(self, deliveries: Sequence[Any]) -> None:
        """Acknowledge these deliveries."""

    async def dead_letter(self, delivery: Any, code: DeadLetterCode, detail: str) -> None:
        """Put aside, confirmed, what can never be used."""

    def lose(self, reason: str) -> None:
        """End the session: `batch` gives nothing more."""


class _Aside(NamedTuple):
    """A delivery that can never be used, and why."""

    delivery: Delivery
    reason: Refused


async def consume(
    connect: Callable[[asyncio.Event], AbstractAsyncContextManager[Session]],
    store: Store,
    dead_lettered: Callable[[DeadLetterCode], None],
    running: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Consume until told to stop; returns when the last batch taken is stored, put aside and acknowledged.

    Raises Unreachable when the broker is lost and StoreUnusable when the store cannot
    write: nothing is acknowledged then, and the broker delivers it again.
    `dead_lettered` is told of each message that was put aside.
    """
    async with connect(stop) as session:
        running()
        aside: asyncio.Queue[_Aside | None] = asyncio.Queue()
        putting_aside = asyncio.create_task(_put_aside(session, aside, dead_lettered), name="dead letters")
        putting_aside.add_done_callback(lambda _: session.lose("dead letters are not taken"))
        try:
            while batch := await session.batch():
                for each in await _take_in(session, batch, store):
                    aside.put_nowait(each)
            aside.put_nowait(None)
            await putting_aside
        except Unreachable:
            if putting_aside.done():
                putting_aside.result()  # raises what the session was given up for
            raise
        finally:
            putting_aside.cancel()
            await asyncio.gather(putting_aside, return_exceptions=True)


async def _take_in(session: Session, batch: Sequence[Delivery], store: Store) -> list[_Aside]:
    """Take one batch in; gives those that are to be put aside, not acknowledged yet."""
    messages: list[tuple[Delivery, Message]] = []
    refused: list[_Aside] = []
    for delivery in batch:
        try:
            messages.append((delivery, decode(delivery.body, delivery.origin)))
        except Refused as error:
            refused.append(_Aside(delivery, error))
    refused += await _store(messages, store)
    unusable = {id(each.delivery) for each in refused}
    await session.acknowledge([delivery for delivery in batch if id(delivery) not in unusable])
    return refused


async def _put_aside(
    session: Session, aside: "asyncio.Queue[_Aside | None]", dead_lettered: Callable[[DeadLetterCode], None]
) -> None:
    """Put aside one after the other, beside the intake: a broker short of memory takes none, but still delivers."""
    while each := await aside.get():
        delivery, reason = each
        await session.dead_letter(delivery, reason.code, reason.detail)
        await session.acknowledge([delivery])
        origin = delivery.origin
        trace = {"traceparent": origin.traceparent} if origin.traceparent else {}
        log.warning("message dead-lettered", code=reason.code, detail=reason.detail, message=origin.message_id, **trace)
        dead_lettered(reason.code)


async def _store(messages: Sequence[tuple[Delivery, Message]], store: Store) -> list[_Aside]:
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
        return [_Aside(messages[0][0], Refused("invalid", why))]
    return []
