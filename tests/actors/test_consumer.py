"""The consumer's order: decode, store, put aside, acknowledge; a fault of ours stays one message's."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from parts import request
from samples import NOW

from notifier.actors.consumer import consume
from notifier.contract import Message, Origin
from notifier.errors import StoreUnusable


class Given(NamedTuple):
    """A delivery."""

    body: bytes
    origin: Origin


class Script:
    """A session that delivers what it was given and notes, in order, what is done."""

    def __init__(self, *batches: Sequence[Given]) -> None:
        self.batches = list(batches)
        self.done: list[Any] = []

    async def batch(self) -> Sequence[Given]:
        """Deliver the next batch."""
        return self.batches.pop(0) if self.batches else []

    async def acknowledge(self, last: Given) -> None:
        """Note it."""
        self.done.append(("acknowledged", last.origin.message_id))

    async def dead_letter(self, delivery: Given, code: str, detail: str) -> None:
        """Note it."""
        self.done.append((code, delivery.origin.message_id, detail))

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
    await consume(script.connect, store or script.store, lambda: None, asyncio.Event())
    return script.done


async def test_a_batch_is_stored_before_it_is_acknowledged() -> None:
    """Each batch is one call of the store and one acknowledgement behind it."""
    assert await run(Script([given(1), given(2)], [given(3)])) == [
        ("stored", ["r1", "r2"]),
        ("acknowledged", "m2"),
        ("stored", ["r3"]),
        ("acknowledged", "m3"),
    ]


async def test_what_cannot_be_used_is_put_aside_before_it_is_acknowledged() -> None:
    """The good ones of the batch are stored first."""
    bad = Given(b"{", Origin(NOW, message_id="bad"))
    done = await run(Script([given(1), bad, given(2)]))
    assert [each[:2] for each in done] == [("stored", ["r1", "r2"]), ("not_json", "bad"), ("acknowledged", "m2")]


async def test_a_message_that_is_beyond_us_does_not_come_back_for_ever() -> None:
    """It is put aside with our fault in the detail, and the others of its batch are stored."""
    done = await run(Script([given(1), given(13), given(2)]))
    assert done[:2] == [("stored", ["r1"]), ("stored", ["r2"])]
    code, message_id, detail = done[2]
    assert (code, message_id) == ("invalid", "m13")
    assert "ZeroDivisionError: thirteen" in detail
    assert done[3] == ("acknowledged", "m2")


async def test_while_the_store_cannot_write_nothing_is_acknowledged() -> None:
    """The consumer ends, and the broker delivers again."""

    async def full(messages: Sequence[Message]) -> None:
        del messages
        raise StoreUnusable("disk full")

    script = Script([given(1)])
    with pytest.raises(StoreUnusable):
        await run(script, full)
    assert script.done == []
