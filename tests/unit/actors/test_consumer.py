"""The consumer decodes, stores or dead-letters, and acknowledges, in this order; a bug affects one message only."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from support.intake import Given, Script, consuming, given, run
from support.parts import PATIENCE, request
from support.rabbit import Rabbit
from support.samples import NOW, booking_event, flight_data

from notifier.actors import consumer
from notifier.domain.messages import Message, Origin
from notifier.errors import StoreUnusable
from notifier.storage.sqlite.store import SqliteStore


def large(number: int) -> Given:
    """Build the delivery of a booking with a hundred passengers and twenty flights."""
    passengers = [{"name": f"P {n}", "email": f"p{n}@example.com"} for n in range(100)]
    flights = [flight_data(number=f"AI{n}") for n in range(20)]
    event = booking_event(id=f"r{number}", booking=f"B{number}", passengers=passengers, flights=flights)
    return Given(json.dumps(event).encode(), Origin(NOW, message_id=f"m{number}"))


async def test_a_batch_is_stored_before_it_is_acknowledged() -> None:
    """Each batch is one call of the store, followed by one acknowledgement."""
    assert await run(Script([given(1), given(2)], [given(3)])) == [
        ("stored", ["r1", "r2"]),
        ("acknowledged", ["m1", "m2"]),
        ("stored", ["r3"]),
        ("acknowledged", ["m3"]),
    ]


async def test_an_invalid_message_is_dead_lettered_before_it_is_acknowledged() -> None:
    """The valid messages of the batch are stored first, and each dead letter is counted once."""
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


async def test_a_message_that_meets_a_bug_is_dead_lettered() -> None:
    """The message is dead-lettered with the error in the detail, and the others of its batch are stored."""
    done = await run(Script([given(1), given(13), given(2)]))
    assert done[:2] == [("stored", ["r1"]), ("stored", ["r2"])]
    assert done[2] == ("acknowledged", ["m1", "m2"])
    code, message_id, detail = done[3]
    assert (code, message_id) == ("internal_error", "m13")
    assert "ZeroDivisionError: thirteen" in detail
    assert done[4] == ("acknowledged", ["m13"])


class Flaky:
    """A store that cannot be written at the first attempts."""

    def __init__(self, script: Script, failures: int) -> None:
        self.script = script
        self.failures = failures

    async def add(self, messages: Sequence[Message]) -> None:
        """Fail, or note what is stored."""
        if self.failures:
            self.failures -= 1
            raise StoreUnusable("disk full")
        await self.script.store(messages)


async def test_while_the_store_cannot_write_deliveries_are_held(logged_lines: list[Any]) -> None:
    """Consuming is suspended without acknowledging or requeuing anything, and resumed once the store can be written."""
    script = Script([given(1), Given(b"{", Origin(NOW, message_id="bad"))], [given(2)])
    done = await run(script, Flaky(script, 30).add)
    assert [each[:2] for each in done] == [
        ("suspended",),
        *[("waited", consumer.STORE_RETRY)] * 30,
        ("stored", ["r1"]),
        ("resumed",),
        ("acknowledged", ["m1"]),
        ("stored", ["r2"]),
        ("acknowledged", ["m2"]),
        ("not_json", "bad"),
        ("acknowledged", ["bad"]),
    ]
    assert [(line["event"].partition(";")[0], line.get("reason")) for line in logged_lines[:2]] == [
        ("store cannot be written", "disk full"),
        ("store can be written again", None),
    ]


async def test_deliveries_are_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """After MAX_HOLD the session ends, so that the broker requeues them before its own time limit."""
    monkeypatch.setattr(consumer, "MAX_HOLD", 0.0)
    script = Script([given(1)])
    with pytest.raises(StoreUnusable):
        await run(script, Flaky(script, 30).add)
    assert script.done == [("suspended",), ("waited", consumer.STORE_RETRY)]


async def test_a_stop_does_not_wait_for_the_store() -> None:
    """If the service stops while the store is unusable, the held deliveries are requeued."""
    script = Script([given(1)], stop_after=2)
    with pytest.raises(StoreUnusable):
        await run(script, Flaky(script, 30).add)
    assert script.done == [("suspended",), *[("waited", consumer.STORE_RETRY)] * 2]


async def test_nothing_is_consumed_until_the_store_can_be_written() -> None:
    """While the store cannot be written, nothing is delivered, because each delivery counts against the limit."""
    script = Script([given(1)])

    async def broken() -> None:
        raise StoreUnusable("read-only")

    with pytest.raises(StoreUnusable):
        await run(script, check=broken)
    assert script.batches == [[given(1)]]


async def test_a_transaction_is_bounded_by_the_mails_it_writes() -> None:
    """A large booking has its own transaction, small ones share one; each chunk is acknowledged after its commit."""
    script = Script([given(1), large(2), large(3), given(4), given(5)])
    assert await run(script) == [
        ("stored", ["r1"]),
        ("acknowledged", ["m1"]),
        ("stored", ["r2"]),
        ("acknowledged", ["m2"]),
        ("stored", ["r3"]),
        ("acknowledged", ["m3"]),
        ("stored", ["r4", "r5"]),
        ("acknowledged", ["m4", "m5"]),
    ]


async def test_a_transaction_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that are too large together are stored in separate transactions."""
    monkeypatch.setattr(consumer, "MAX_BYTES", 2 * len(given(1).body))
    script = Script([given(1), given(2), given(3)])
    stored = [each[1] for each in await run(script) if each[0] == "stored"]
    assert stored == [["r1", "r2"], ["r3"]]


def slow(number: int) -> Given:
    """Build the delivery of an invalid booking whose hundred addresses take long to check."""
    passengers = [{"name": "A", "email": f"ü@{'üöä' * 5}.{'äöü' * 5}{number}x{n}.com"} for n in range(100)]
    event = booking_event(id=f"r{number}", passengers=passengers, flights=[flight_data(departs_at="never")])
    return Given(json.dumps(event).encode(), Origin(NOW, message_id=f"m{number}"))


class Turns:
    """Counts how often another task of the event loop runs while the block lasts."""

    def __init__(self) -> None:
        self.count = 0

    async def __aenter__(self) -> Self:
        """Start the other task."""
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0)
        self.count = 0
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the other task."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


async def test_other_tasks_run_while_a_large_message_is_decoded() -> None:
    """A large message is decoded in a thread, because its addresses can take a fifth of a second."""
    script = Script([slow(1), slow(2), slow(3)])
    async with Turns() as turns:
        await run(script)
    assert script.counted == ["invalid"] * 3
    assert turns.count > 20


async def test_other_tasks_run_between_small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """After DECODE_TIME other tasks run, even if no message was valid."""
    monkeypatch.setattr(consumer, "DECODE_TIME", 0.0)
    bad = Given(b"{", Origin(NOW, message_id="bad"))
    async with Turns() as turns:
        await run(Script([bad] * 50))
    assert turns.count >= 50


async def test_valid_messages_do_not_wait_for_those_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """After DECODE_TIME the decoded messages are stored, and invalid ones are already dead-lettered."""
    monkeypatch.setattr(consumer, "DECODE_TIME", 0.0)
    bad = Given(b"{", Origin(NOW, message_id="bad"))
    done = await run(Script([bad, given(1), slow(2), given(3)]))
    assert [each[:2] for each in done] == [
        ("not_json", "bad"),
        ("acknowledged", ["bad"]),
        ("stored", ["r1"]),
        ("acknowledged", ["m1"]),
        ("invalid", "m2"),
        ("acknowledged", ["m2"]),
        ("stored", ["r3"]),
        ("acknowledged", ["m3"]),
    ]


async def test_a_stop_is_answered_between_two_transactions() -> None:
    """The remaining chunks of a batch are delivered to the next session."""
    stop = asyncio.Event()
    script = Script([given(1), large(2), large(3), given(4)])

    async def add(messages: Sequence[Message]) -> None:
        await script.store(messages)
        if messages[0].id == "r2":
            stop.set()

    await run(script, add, stop=stop)
    assert script.done[-1] == ("acknowledged", ["m2"])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Yield an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


async def test_what_could_not_be_committed_is_delivered_again(rabbit: Rabbit, store: SqliteStore) -> None:
    """Messages that are not committed when the service stops are requeued before later messages."""
    await rabbit.prepare()
    async with consuming(rabbit, store) as task:
        await _refuse(store, writes=True)
        await rabbit.publish(request(1))
        async with asyncio.timeout(PATIENCE):
            while store.fault is None:  # noqa: ASYNC110 - a fault sends no signal
                await asyncio.sleep(0.01)
    assert isinstance(task.exception(), StoreUnusable)
    await _refuse(store, writes=False)
    await rabbit.publish(request(2))
    async with consuming(rabbit, store), asyncio.timeout(PATIENCE):
        while "r2" not in (logged := [event.event for event in await store.events(0, 10)]):
            await store.beyond(len(logged))
    assert logged == ["r1", "r2"]


async def _refuse(store: SqliteStore, *, writes: bool) -> None:
    await store._run(lambda db: db.execute(f"PRAGMA query_only = {int(writes)}").close())


async def test_a_session_resumes_when_the_store_does(
    rabbit: Rabbit, store: SqliteStore, logged_lines: list[Any]
) -> None:
    """While the store fails the broker delivers nothing; afterwards everything is stored in order."""
    await rabbit.prepare()
    async with consuming(rabbit, store) as task, asyncio.timeout(PATIENCE):
        await _refuse(store, writes=True)
        await rabbit.publish(request(0))
        while not logged_lines:  # noqa: ASYNC110 - a log sends no signal
            await asyncio.sleep(0.01)
        await rabbit.publish(request(1))
        while not await rabbit.ready():  # noqa: ASYNC110 - the broker sends no signal
            await asyncio.sleep(0.01)
        await _refuse(store, writes=False)
        while len(logged := await store.events(0, 10)) < 2:
            await store.beyond(len(logged))
        assert not task.done()
    assert [event.event for event in logged] == ["r0", "r1"]
    assert [line["event"].partition(";")[0] for line in logged_lines] == [
        "store cannot be written",
        "store can be written again",
    ]
