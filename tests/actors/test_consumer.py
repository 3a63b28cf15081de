"""The consumer's order: decode, store or put aside, acknowledge; a fault of ours stays one message's."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from parts import PATIENCE, request
from rabbit import Rabbit
from samples import NOW, RULES, TRACE

from notifier.actors.consumer import consume
from notifier.contract import Message, Origin
from notifier.demo.node import free_ports
from notifier.errors import StoreUnusable, Unreachable
from notifier.gateways import amqp
from notifier.gateways.topology import DEAD
from notifier.settings import AmqpSettings
from notifier.storage.sqlite import SqliteStore


class Given(NamedTuple):
    """A delivery."""

    body: bytes
    origin: Origin


class Script:
    """A session that delivers what it was given and notes, in order, what is done.

    It takes letters only when the message `letters_after` has been acknowledged.
    """

    def __init__(self, *batches: Sequence[Given], letters_after: str | None = None) -> None:
        self.batches = list(batches)
        self.done: list[Any] = []
        self.counted: list[str] = []
        self.letters_after = letters_after
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

    async def dead_letter(self, delivery: Given, code: str, detail: str) -> None:
        """Note it, once letters are taken."""
        await self.letters_taken.wait()
        self.done.append((code, delivery.origin.message_id, detail))

    def lose(self, reason: str) -> None:
        """Deliver nothing more."""
        del reason
        self.batches.clear()

    @asynccontextmanager
    async def connect(self, stop: asyncio.Event) -> AsyncIterator["Script"]:
        """Open the session."""
        del stop
        yield self

    async def store(self, messages: Sequence[Message]) -> None:
        """Note what is stored; one message is beyond us."""
        if any(message.id == "r13" for message in messages):
            raise ZeroDivisionError("thirteen")
        self.done.append(("stored", [message.id for message in messages]))


def given(number: int) -> Given:
    """Deliver a request."""
    return Given(json.dumps(request(number)).encode(), Origin(NOW, message_id=f"m{number}"))


async def run(script: Script, store: Any = None) -> list[Any]:
    """Consume the script to its end."""
    await consume(script.connect, store or script.store, script.counted.append, lambda: None, asyncio.Event())
    return script.done


async def test_a_batch_is_stored_before_it_is_acknowledged() -> None:
    """Each batch is one call of the store and one acknowledgement behind it."""
    assert await run(Script([given(1), given(2)], [given(3)])) == [
        ("stored", ["r1", "r2"]),
        ("acknowledged", ["m1", "m2"]),
        ("stored", ["r3"]),
        ("acknowledged", ["m3"]),
    ]


async def test_what_cannot_be_used_is_put_aside_before_it_is_acknowledged() -> None:
    """The good ones of the batch are stored first; whoever counts is told once."""
    bad = Given(b"{", Origin(NOW, message_id="bad"))
    script = Script([given(1), bad, given(2)])
    done = await run(script)
    assert [each[:2] for each in done] == [
        ("stored", ["r1", "r2"]),
        ("acknowledged", ["m1", "m2"]),
        ("not_json", "bad"),
        ("acknowledged", ["bad"]),
    ]
    assert script.counted == ["not_json"]


async def test_what_cannot_be_put_aside_yet_holds_up_nobody() -> None:
    """While the broker takes no letters, all that came with the bad one and after it is stored and acknowledged."""
    bad = Given(b"{", Origin(NOW, message_id="bad"))
    script = Script([bad, given(1)], [given(2)], letters_after="m2")
    assert [each[:2] for each in await run(script)] == [
        ("stored", ["r1"]),
        ("acknowledged", ["m1"]),
        ("stored", ["r2"]),
        ("acknowledged", ["m2"]),
        ("not_json", "bad"),
        ("acknowledged", ["bad"]),
    ]


async def test_a_message_that_is_put_aside_is_one_line_in_the_log(logged_lines: list[Any]) -> None:
    """With the reason, its id and its trace, to be found again by."""
    await run(Script([Given(b"{", Origin(NOW, message_id="bad", traceparent=TRACE)), given(1)]))
    (line,) = logged_lines
    assert (line["event"], line["code"], line["message"]) == ("message dead-lettered", "not_json", "bad")
    assert line["traceparent"] == TRACE


async def test_a_message_that_is_beyond_us_does_not_come_back_for_ever() -> None:
    """It is put aside with our fault in the detail, and the others of its batch are stored."""
    done = await run(Script([given(1), given(13), given(2)]))
    assert done[:2] == [("stored", ["r1"]), ("stored", ["r2"])]
    assert done[2] == ("acknowledged", ["m1", "m2"])
    code, message_id, detail = done[3]
    assert (code, message_id) == ("invalid", "m13")
    assert "ZeroDivisionError: thirteen" in detail
    assert done[4] == ("acknowledged", ["m13"])


async def test_while_the_store_cannot_write_nothing_is_acknowledged() -> None:
    """The consumer ends, and the broker delivers again."""

    async def full(messages: Sequence[Message]) -> None:
        del messages
        raise StoreUnusable("disk full")

    script = Script([given(1)])
    with pytest.raises(StoreUnusable):
        await run(script, full)
    assert script.done == []


@asynccontextmanager
async def consuming(
    rabbit: Rabbit, store: SqliteStore, letters_to: str | None = None
) -> AsyncIterator["asyncio.Task[None]"]:
    """Consume this test's queue into a store until the block ends; dead letters go to the same broker or another."""
    settings = AmqpSettings.model_validate(rabbit.environ)
    publisher = amqp.Publisher(settings.model_copy(update={"url": letters_to or rabbit.url}))
    stop = asyncio.Event()

    async def add(messages: Sequence[Message]) -> None:
        await store.add(messages, RULES, NOW)

    connect = partial(amqp.consume, settings, publisher, amqp.Broker())
    task = asyncio.create_task(consume(connect, add, lambda _: None, lambda: None, stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(task, return_exceptions=True)
        await publisher.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Give an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


async def test_what_could_not_be_committed_is_delivered_again(rabbit: Rabbit, store: SqliteStore) -> None:
    """While a real database refuses to be written, the broker keeps the message, and delivers it before the next."""
    await rabbit.prepare()
    await rabbit.publish(request(1))
    await store._run(lambda db: db.execute("PRAGMA query_only = ON").close())
    async with consuming(rabbit, store) as task:
        with pytest.raises(StoreUnusable):
            await asyncio.wait_for(task, PATIENCE)
    await store._run(lambda db: db.execute("PRAGMA query_only = OFF").close())
    await rabbit.publish(request(2))
    async with consuming(rabbit, store), asyncio.timeout(PATIENCE):
        while "r2" not in (told := [event.event for event in await store.events(0, 10)]):
            await store.beyond(len(told))
    assert told == ["r1", "r2"]


async def test_what_could_not_be_put_aside_is_delivered_again(rabbit: Rabbit, store: SqliteStore) -> None:
    """While dead letters cannot be published, the broker keeps what has to be one, and gives it again first."""
    await rabbit.prepare()
    dead = await rabbit.listen(DEAD, "fanout")
    await rabbit.publish(b"{", message_id="first")
    (nobody,) = free_ports(1)
    async with consuming(rabbit, store, f"amqp://127.0.0.1:{nobody}/") as task:
        with pytest.raises(Unreachable):
            await asyncio.wait_for(task, PATIENCE)
    await rabbit.publish(b"{", message_id="second")
    async with consuming(rabbit, store), asyncio.timeout(PATIENCE):
        letter = await dead.get()
    assert letter.header.properties.message_id == "first"
