"""A consumer for tests: with a scripted session, or on the queue of a test."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from support.parts import PATIENCE, request
from support.rabbit import Rabbit
from support.samples import NOW, RULES

from notifier.actors.consumer import MessageStore, consume
from notifier.actors.dead_letters import DeadLetter
from notifier.domain.messages import Message, Origin
from notifier.gateways import rabbitmq
from notifier.gateways.broker_status import BrokerStatus
from notifier.gateways.consumer_session import ConsumerSession
from notifier.gateways.publisher import Publisher
from notifier.settings import AmqpSettings
from notifier.storage.sqlite.store import SqliteStore


class Given(NamedTuple):
    """A delivery."""

    body: bytes
    origin: Origin
    wire: bytes = b""


class Script:
    """A session that delivers what it was given and notes, in order, what is done.

    It takes letters only when the message `letters_after` has been acknowledged, and the
    service stops when it has waited `stop_after` times.
    """

    def __init__(
        self, *batches: Sequence[Given], letters_after: str | None = None, stop_after: int | None = None
    ) -> None:
        self.batches = list(batches)
        self.done: list[Any] = []
        self.counted: list[str] = []
        self.held: list[tuple[int, str | None, bool]] = []
        self.batches_of_letters: list[int] = []
        self.closes: str | None = None
        self.returned: set[str | None] = set()
        self.refuses: Callable[[str | None], str | None] = lambda _: None
        self.letters_after = letters_after
        self.stop_after = stop_after
        self.stop = asyncio.Event()
        self.letters_taken = asyncio.Event()
        if not letters_after:
            self.letters_taken.set()

    async def batch(self) -> Sequence[Given]:
        """Deliver the next batch."""
        return self.batches.pop(0) if self.batches else []

    async def acknowledge(self, deliveries: Sequence[Given]) -> None:
        """Note it."""
        ids = [delivery.origin.message_id for delivery in deliveries]
        self.done.append(("acknowledged", ids))
        if self.letters_after in ids:
            self.letters_taken.set()

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[str | None]:
        """Note the letters once they are accepted, except those that `refuses` names and any batch with `closes`."""
        await self.letters_taken.wait()
        self.batches_of_letters.append(len(letters))
        refused = [self.refuses(letter.delivery.origin.message_id) for letter in letters]
        if self.closes in [letter.delivery.origin.message_id for letter in letters]:
            refused = ["the channel is closed"] * len(letters)
        for letter, reason in zip(letters, refused, strict=True):
            if not reason:
                self.done.append((letter.reason.code, letter.delivery.origin.message_id, letter.reason.detail))
        return refused

    async def hold(self, deliveries: Sequence[Given], reason: str | None, *, make_room: bool) -> None:
        """Note the number of held letters."""
        self.held.append((len(deliveries), reason, make_room))

    async def suspend(self) -> None:
        """Note it."""
        self.done.append(("suspended",))

    async def resume(self) -> None:
        """Note it."""
        self.done.append(("resumed",))

    async def wait(self, seconds: float) -> None:
        """Note it."""
        self.done.append(("waited", seconds))
        if self.stop_after and self.done.count(self.done[-1]) == self.stop_after:
            self.stop.set()

    def will_return(self, delivery: Given) -> bool:
        """Return whether `returned` has the id."""
        return delivery.origin.message_id in self.returned

    def fail(self, reason: str) -> None:
        """Drop the remaining batches."""
        del reason
        self.batches.clear()

    @asynccontextmanager
    async def connect(self, stop: asyncio.Event) -> AsyncIterator["Script"]:
        """Open the session."""
        self.stop = stop
        yield self

    async def store(self, messages: Sequence[Message]) -> None:
        """Note what is stored; request 13 raises an unexpected error."""
        if any(message.id == "r13" for message in messages):
            raise ZeroDivisionError("thirteen")
        self.done.append(("stored", [message.id for message in messages]))


def given(number: int) -> Given:
    """Build the delivery of a request."""
    return Given(json.dumps(request(number)).encode(), Origin(NOW, message_id=f"m{number}"))


async def _writable() -> None:
    """Report that the store can be written."""


async def run(script: Script, add: Any = None, check: Any = None, stop: asyncio.Event | None = None) -> list[Any]:
    """Consume the script to its end and return what was done."""
    store = MessageStore(check or _writable, add or script.store)
    await consume(script.connect, store, script.counted.append, lambda: None, stop or asyncio.Event())
    return script.done


@asynccontextmanager
async def consuming(
    rabbit: Rabbit,
    store: SqliteStore,
    letters_to: str | None = None,
    *,
    prefetch: int = 500,
    extra: str = "",
    sessions: list[ConsumerSession] | None = None,
) -> AsyncIterator["asyncio.Task[None]"]:
    """Consume this test's queue into a store until the block ends; dead letters go to the same broker or another."""
    values = {"NOTIFIER_AMQP_PREFETCH": str(prefetch), "NOTIFIER_AMQP_EXTRA_QUEUES": extra}
    settings = AmqpSettings.model_validate({**rabbit.environ, **values})
    publisher = Publisher(settings.model_copy(update={"url": letters_to or rabbit.url}))
    stop = asyncio.Event()

    async def add(messages: Sequence[Message]) -> None:
        await store.add(messages, RULES, NOW)

    @asynccontextmanager
    async def connect(stop: asyncio.Event) -> AsyncIterator[ConsumerSession]:
        async with rabbitmq.consume(settings, publisher, BrokerStatus(), stop) as session:
            if sessions is not None:
                sessions.append(session)
            yield session

    running = asyncio.Event()
    task = asyncio.create_task(consume(connect, MessageStore(store.check, add), lambda _: None, running.set, stop))
    try:
        async with asyncio.timeout(PATIENCE):
            await running.wait()
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(task, return_exceptions=True)
        await publisher.close()


def bad(number: int) -> Given:
    """Build a delivery that is not JSON."""
    return Given(b"{", Origin(NOW, message_id=f"bad{number}"))
