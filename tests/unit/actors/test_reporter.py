"""The reporter publishes the whole log in order, and moves its cursor past confirmed events only."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pamqp.commands import Basic
from support.parts import PATIENCE, request
from support.rabbit import Rabbit
from support.samples import NOW, RULES

from notifier import supervisor as supervisor_module
from notifier.actors.reporter import BATCH_SIZE, READER, REJECTED, report
from notifier.domain.events import StoredEvent
from notifier.domain.messages import Origin, decode
from notifier.errors import Unreachable
from notifier.gateways.outgoing import Outgoing
from notifier.gateways.publisher import Publisher
from notifier.gateways.topology import EVENTS
from notifier.settings import AmqpSettings
from notifier.storage.sqlite.store import SqliteStore
from notifier.supervisor import Supervisor


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Yield an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


async def fill(store: SqliteStore, count: int, first: int = 0) -> None:
    """Append this number of events to the log."""
    messages = [decode(json.dumps(request(first + n)).encode(), Origin(NOW)) for n in range(count)]
    await store.add(messages, RULES, NOW)


class Broker:
    """Confirms what is published, and rejects the events at the positions in `rejected`.

    `batches` has the positions in the log of everything that was published. From position `fails_at` on,
    the broker is unavailable.
    """

    def __init__(self, *, fails_at: int = 0, rejected: frozenset[int] = frozenset()) -> None:
        self.batches: list[list[int]] = []
        self.grown = asyncio.Condition()
        self.rejected = rejected
        self._fails_at = fails_at

    async def publish(self, events: Sequence[StoredEvent]) -> int:
        """Confirm a batch up to the first event that is rejected."""
        if self._fails_at and any(event.seq >= self._fails_at for event in events):
            raise Unreachable("gone")
        self.batches.append([event.seq for event in events])
        async with self.grown:
            self.grown.notify_all()
        return next((number for number, event in enumerate(events) if event.seq in self.rejected), len(events))

    @property
    def seen(self) -> list[int]:
        """The positions in the log of everything that was published, in order."""
        return [seq for batch in self.batches for seq in batch]

    async def has(self, count: int) -> None:
        """Wait until this number of events was published."""
        async with asyncio.timeout(PATIENCE), self.grown:
            await self.grown.wait_for(lambda: len(self.seen) >= count)


def stopped() -> asyncio.Event:
    """Return an event that is set, so that the reporter publishes what is logged and returns."""
    stop = asyncio.Event()
    stop.set()
    return stop


async def test_what_was_logged_before_the_stop_is_published(store: SqliteStore) -> None:
    """The reporter returns only when the whole log was published, in order."""
    await fill(store, 2 * BATCH_SIZE + 5)
    broker = Broker()
    await report(store, broker.publish, lambda: None, stopped())
    assert [len(batch) for batch in broker.batches] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 982]
    assert broker.seen == list(range(1, 2 * BATCH_SIZE + 6))
    assert await store.cursor(READER) == 2 * BATCH_SIZE + 5


async def test_what_is_logged_while_it_runs_is_published_before_it_ends(store: SqliteStore) -> None:
    """The reporter follows the log as it grows, up to the last event before the stop."""
    broker, stop, running = Broker(), asyncio.Event(), asyncio.Event()
    reporting = asyncio.create_task(report(store, broker.publish, running.set, stop))
    await running.wait()
    await fill(store, 3)
    await broker.has(3)
    await fill(store, 2, first=3)
    stop.set()
    await reporting
    assert broker.seen == [1, 2, 3, 4, 5]


async def test_the_next_run_continues_after_what_was_confirmed(store: SqliteStore) -> None:
    """Unconfirmed events are published again, and confirmed ones are not."""
    await fill(store, 20)
    lost = Broker(fails_at=16)
    with pytest.raises(Unreachable, match="gone"):
        await report(store, lost.publish, lambda: None, stopped())
    again = Broker()
    await report(store, again.publish, lambda: None, stopped())
    assert lost.seen == list(range(1, 16))
    assert again.seen == [16, 17, 18, 19, 20]


async def test_a_rejected_event_is_tried_alone(store: SqliteStore) -> None:
    """The next run begins with that event alone, and reports that it runs once the whole log was published."""
    await fill(store, 9)
    broker, running = Broker(rejected=frozenset({6})), list[bool]()
    for _ in range(3):
        with pytest.raises(Unreachable, match=REJECTED):
            await report(store, broker.publish, lambda: running.append(True), stopped())
    assert broker.batches == [[], [1], [2, 3], [4, 5, 6, 7], [], [6], [], [6]]
    assert not running
    broker.rejected = frozenset()
    await report(store, broker.publish, lambda: running.append(True), stopped())
    assert broker.batches[8:] == [[], [6], [7, 8], [9]]
    assert running


async def test_the_log_is_read_once_for_each_batch(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is not full is the last one: nothing is read after it until the log grows."""
    await fill(store, 5)
    reads: list[int] = []
    events = store.events

    async def counted(after: int, limit: int) -> Sequence[StoredEvent]:
        found = await events(after, limit)
        reads.append(len(found))
        return found

    monkeypatch.setattr(store, "events", counted)
    broker = Broker()
    await report(store, broker.publish, lambda: None, stopped())
    assert broker.batches == [[], [1], [2, 3], [4, 5]]
    assert reads == [1, 2, 2]


async def test_each_change_of_a_mail_is_published_once(store: SqliteStore) -> None:
    """Every event up to the one that ends a mail, each with its own id and the correlation id of the message."""
    origin = Origin(NOW, correlation_id="c-9")
    await store.add([decode(json.dumps(request(1)).encode(), origin)], RULES, NOW)
    withdrawal = {"type": "notification.cancelled", "id": "w1", "source": request(1)["source"], "data": {"id": "r1"}}
    await store.add([decode(json.dumps(withdrawal).encode(), Origin(NOW))], RULES, NOW)
    published: list[StoredEvent] = []

    async def publish(events: Sequence[StoredEvent]) -> int:
        published.extend(events)
        return len(events)

    for _ in range(2):
        await report(store, publish, lambda: None, stopped())
    assert [event.type for event in published] == ["mail.pending", "mail.cancelled"]
    assert {event.correlation for event in published} == {"c-9"}
    assert len({event.id for event in published}) == 2


async def test_the_cursor_moves_only_after_the_confirmation(store: SqliteStore) -> None:
    """While the broker has not answered, a crash would publish the event again instead of losing it."""
    await fill(store, 1)
    published, confirm = asyncio.Event(), asyncio.Event()

    async def publish(events: Sequence[StoredEvent]) -> int:
        if events:
            published.set()
            await confirm.wait()
        return len(events)

    reporting = asyncio.create_task(report(store, publish, lambda: None, stopped()))
    async with asyncio.timeout(PATIENCE):
        await published.wait()
        assert await store.cursor(READER) == 0
        confirm.set()
        await reporting
    assert await store.cursor(READER) == 1


async def test_an_unavailable_broker_loses_no_event(store: SqliteStore) -> None:
    """The supervisor starts the reporter again until the broker answers; until then the cursor stays where it is."""
    await fill(store, 3)
    down = Broker(fails_at=1)
    for _ in range(3):
        with pytest.raises(Unreachable, match="gone"):
            await report(store, down.publish, lambda: None, stopped())
        assert await store.cursor(READER) == 0
    up = Broker()
    await report(store, up.publish, lambda: None, stopped())
    assert up.seen == [1, 2, 3]


async def test_a_full_queue_delays_results_until_it_has_room(
    store: SqliteStore, rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """The supervisor shows the reason and logs it once; afterwards every queue has every event."""
    monkeypatch.setattr(supervisor_module, "RESTART_DELAYS", (0.05,))
    await rabbit.prepare()
    healthy = await rabbit.listen(EVENTS, "topic", rabbit.queue)
    full = f"{rabbit.queue}-full"
    arguments: dict[str, Any] = {"x-max-length": 2, "x-overflow": "reject-publish"}
    await rabbit.channel.queue_declare(full, arguments=arguments)
    await rabbit.channel.queue_bind(full, EVENTS, rabbit.queue)
    await fill(store, 20)
    log = [event.id for event in await store.events(0, 100)]
    publisher = Publisher(AmqpSettings.model_validate(rabbit.environ))

    async def publish(events: Sequence[StoredEvent]) -> int:
        ids = [Basic.Properties(message_id=event.id) for event in events]
        return await publisher.publish([Outgoing(EVENTS, rabbit.queue, b"", properties) for properties in ids])

    supervisor, ids = Supervisor(), list[str]()
    supervisor.start("reporter", partial(report, store, publish))
    async with asyncio.timeout(PATIENCE):
        for _ in range(10):
            ids.append(str((await healthy.get()).header.properties.message_id))
        condition = supervisor.conditions["reporter"]
        assert (condition.state, condition.reason, supervisor.healthy) == ("waiting", REJECTED, True)
        channel = publisher._channel
        for _ in range(5):
            ids.append(str((await healthy.get()).header.properties.message_id))
        assert publisher._channel is channel
        await rabbit.channel.queue_delete(full)
        while log[-1] not in ids:
            ids.append(str((await healthy.get()).header.properties.message_id))
        await supervisor.stop("reporter", grace=PATIENCE)
    assert await store.cursor(READER) == len(log)
    assert list(dict.fromkeys(ids)) == log
    assert [line["event"] for line in logged_lines] == ["cannot go on, will try again", "recovered"]
    await publisher.close()


async def test_it_runs_once_the_broker_answers(store: SqliteStore) -> None:
    """A broker that does not accept even an empty batch keeps the reporter from running."""
    running = list[bool]()

    async def refuse(_: Sequence[StoredEvent]) -> int:
        raise Unreachable("gone")

    with pytest.raises(Unreachable):
        await report(store, refuse, lambda: running.append(True), stopped())
    assert not running


async def test_an_idle_reporter_waits_for_the_log_to_grow(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing to publish, the reporter waits for events after the last one until the service stops."""
    await fill(store, 3)
    beyond, waits, stop = store.beyond, asyncio.Queue[int](), asyncio.Event()

    async def noted(seq: int) -> None:
        waits.put_nowait(seq)
        await beyond(seq)

    monkeypatch.setattr(store, "beyond", noted)
    reporting = asyncio.create_task(report(store, Broker().publish, lambda: None, stop))
    async with asyncio.timeout(PATIENCE):
        assert await waits.get() == 3
    stop.set()
    await reporting
    assert waits.empty()
