"""The consumer decodes, stores or dead-letters, and acknowledges, in this order; a bug affects one message only."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from pamqp.commands import Basic
from support.parts import PATIENCE, request
from support.rabbit import Rabbit
from support.samples import NOW, RULES, TRACE, booking_event, flight_data

from notifier.actors import consumer, dead_letters
from notifier.actors.consumer import MessageStore, consume
from notifier.actors.dead_letters import DeadLetter
from notifier.demo.node import free_ports
from notifier.domain.messages import Message, Origin
from notifier.errors import StoreUnusable
from notifier.gateways import rabbitmq, watchdog
from notifier.gateways.broker_status import BrokerStatus
from notifier.gateways.consumer_session import ConsumerSession
from notifier.gateways.publisher import Publisher
from notifier.gateways.topology import DEAD
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


def large(number: int) -> Given:
    """Build the delivery of a booking with a hundred passengers and twenty flights."""
    passengers = [{"name": f"P {n}", "email": f"p{n}@example.com"} for n in range(100)]
    flights = [flight_data(number=f"AI{n}") for n in range(20)]
    event = booking_event(id=f"r{number}", booking=f"B{number}", passengers=passengers, flights=flights)
    return Given(json.dumps(event).encode(), Origin(NOW, message_id=f"m{number}"))


async def run(script: Script, add: Any = None, check: Any = None, stop: asyncio.Event | None = None) -> list[Any]:
    """Consume the script to its end and return what was done."""
    store = MessageStore(check or _writable, add or script.store)
    await consume(script.connect, store, script.counted.append, lambda: None, stop or asyncio.Event())
    return script.done


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


async def test_rejected_dead_letters_delay_no_valid_message() -> None:
    """While the broker rejects letters, valid messages beside and after them are stored and acknowledged."""
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


async def test_a_dead_lettered_message_is_one_line_in_the_log(logged_lines: list[Any]) -> None:
    """The line has the code, the detail, the id and the trace context."""
    await run(Script([Given(b"{", Origin(NOW, message_id="bad", traceparent=TRACE)), given(1)]))
    (line,) = logged_lines
    assert (line["event"], line["code"], line["message"]) == ("message dead-lettered", "not_json", "bad")
    assert line["traceparent"] == TRACE


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


async def test_held_dead_letters_are_delivered_again_after_a_stop(
    rabbit: Rabbit, store: SqliteStore, logged_lines: list[Any]
) -> None:
    """Dead letters that are still held when the service stops are delivered first in the next session."""
    await rabbit.prepare()
    dead = await rabbit.listen(DEAD, "fanout")
    await rabbit.publish(b"{", message_id="first")
    (unused,) = free_ports(1)
    async with consuming(rabbit, store, f"amqp://127.0.0.1:{unused}/") as task:
        async with asyncio.timeout(PATIENCE):
            while not logged_lines:  # noqa: ASYNC110 - a log sends no signal
                await asyncio.sleep(0.01)
        assert not task.done()
    await rabbit.publish(b"{", message_id="second")
    async with consuming(rabbit, store), asyncio.timeout(PATIENCE):
        letter = await dead.get()
    assert letter.header.properties.message_id == "first"


def bad(number: int) -> Given:
    """Build a delivery that is not JSON."""
    return Given(b"{", Origin(NOW, message_id=f"bad{number}"))


async def test_a_rejected_letter_is_held_and_published_later(logged_lines: list[Any]) -> None:
    """The letter is tried again with back-off in the same session, and each change is logged once."""
    script = Script([bad(1), given(1)], [given(2)])
    tries = iter(["full", "full", "full"])
    script.refuses = lambda _: next(tries, None)
    done = await run(script)
    assert [each[:2] for each in done] == [
        ("stored", ["r1"]),
        ("acknowledged", ["m1"]),
        ("stored", ["r2"]),
        ("acknowledged", ["m2"]),
        *[("waited", delay) for delay in dead_letters.RETRY_DELAYS[:3]],
        ("not_json", "bad1"),
        ("acknowledged", ["bad1"]),
    ]
    assert (1, "full", True) in script.held
    assert script.held[-1] == (0, None, True)
    assert [line["event"] for line in logged_lines] == [
        "dead letters are held because the broker rejects them",
        "message dead-lettered",
        "the broker accepts dead letters again",
    ]


async def test_a_letter_that_is_always_rejected_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected letter no longer shares a confirmation, so all others are published although it comes first."""
    script = Script([bad(number) for number in range(200)])
    script.closes = "bad0"

    def published() -> list[str]:
        return [each[1] for each in script.done if each[0] == "not_json"]

    async def wait(_: float) -> None:
        await asyncio.sleep(0)
        if len(published()) == 199:
            script.stop.set()

    monkeypatch.setattr(script, "wait", wait)
    async with asyncio.timeout(PATIENCE):
        await run(script)
    assert sorted(published()) == sorted(f"bad{number}" for number in range(1, 200))


async def test_letters_share_a_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred letters are published in batches within the limits of count and bytes."""
    script = Script([bad(number) for number in range(200)])
    await run(script)
    assert max(script.batches_of_letters) == dead_letters.BATCH_SIZE
    monkeypatch.setattr(dead_letters, "BATCH_BYTES", 2 * len(bad(1).body))
    script = Script([bad(number) for number in range(5)])
    await run(script)
    assert script.batches_of_letters == [2, 2, 1]


async def test_too_many_held_letters_make_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond MAX_HELD deliveries, held letters count against the prefetch again."""
    for limit, fits in (("MAX_HELD", 3), ("MAX_HELD_BYTES", 3)):
        monkeypatch.setattr(dead_letters, limit, fits)
        script = Script([bad(1), bad(2), bad(3)], [bad(4)], stop_after=1)
        script.refuses = lambda _: "full"
        await run(script)
        assert {make_room for count, _, make_room in script.held if count <= 3} == {True}
        assert {make_room for count, _, make_room in script.held if count == 4} == {False}
        monkeypatch.undo()


async def test_headers_count_as_bodies_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of bytes include headers, which can be far larger than the body."""
    headed = [bad(number)._replace(wire=b"h" * 1000) for number in range(4)]
    monkeypatch.setattr(dead_letters, "MAX_HELD_BYTES", 3500)
    script = Script(headed[:3], headed[3:], stop_after=1)
    script.refuses = lambda _: "full"
    await run(script)
    assert {(count, make_room) for count, _, make_room in script.held} == {(3, True), (4, False)}
    monkeypatch.setattr(dead_letters, "BATCH_BYTES", 2500)
    script = Script(headed, [bad(5)])
    await run(script)
    assert script.batches_of_letters[:2] == [2, 2]
    assert script.held[-1] == (0, None, True)


async def test_a_held_message_that_is_delivered_again_is_one_letter(logged_lines: list[Any]) -> None:
    """When the broker closes a channel it requeues its deliveries; only the later delivery makes a letter."""
    first, again = bad(1), bad(1)._replace(origin=Origin(NOW, message_id="again"))
    script = Script([first, bad(2)], [again])
    script.refuses = lambda _: None if script.returned else "full"

    async def wait(seconds: float) -> None:
        script.done.append(("waited", seconds))
        script.returned.add("bad1")

    script.wait = wait  # type: ignore[method-assign]
    published = [each[1] for each in await run(script) if each[0] == "not_json"]
    assert sorted(published) == ["again", "bad2"]
    assert script.held[-1] == (0, None, True)
    assert [line["event"] for line in logged_lines if "dead letters" in line["event"]] == [
        "dead letters are held because the broker rejects them",
        "the broker accepts dead letters again",
    ]


async def test_letters_of_a_closed_channel_are_not_held(
    rabbit: Rabbit, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extra queue that is consumed anew repeatedly while letters are held makes one letter per message."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    monkeypatch.setattr(dead_letters, "RETRY_DELAYS", (0.05,))
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    ids = {f"bad{number}" for number in range(3)}
    for id_ in sorted(ids):
        await rabbit.channel.basic_publish(b"{", routing_key=extra, properties=Basic.Properties(message_id=id_))
    (unused,) = free_ports(1)
    sessions: list[ConsumerSession] = []
    async with consuming(rabbit, store, f"amqp://127.0.0.1:{unused}/", extra=extra, sessions=sessions) as task:
        (session,) = sessions
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                while session._broker.held.waiting < len(ids):  # noqa: ASYNC110 - a session sends no signal
                    await asyncio.sleep(0.01)
                (lost,) = [consumer for consumer in session.consumers if consumer.queue == extra]
                await lost.channel.close()
                while session._broker.held.waiting:  # noqa: ASYNC110 - a session sends no signal
                    await asyncio.sleep(0.01)
        assert not task.done()
    left = [await rabbit.channel.basic_get(extra, no_ack=True) for _ in ids]
    assert {message.header.properties.message_id for message in left} == ids
    await rabbit.channel.queue_delete(extra)


async def test_valid_messages_pass_many_held_dead_letters(rabbit: Rabbit, store: SqliteStore) -> None:
    """A valid message behind twice as many invalid ones as the prefetch is stored in the same session."""
    await rabbit.prepare()
    (unused,) = free_ports(1)
    for number in range(20):
        await rabbit.publish(b"{", message_id=f"bad{number}")
    await rabbit.publish(request(1))
    async with consuming(rabbit, store, f"amqp://127.0.0.1:{unused}/", prefetch=10) as task, asyncio.timeout(PATIENCE):
        while not await store.events(0, 10):
            await store.beyond(0)
        assert not task.done()
    assert await rabbit.ready() == 20
