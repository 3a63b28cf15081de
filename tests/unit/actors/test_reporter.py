"""The reporter: the whole log, in order, and its cursor only behind what was confirmed."""

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
from notifier.gateways.publisher import Outgoing, Publisher
from notifier.gateways.topology import EVENTS
from notifier.settings import AmqpSettings
from notifier.storage.sqlite.store import SqliteStore
from notifier.supervisor import Supervisor


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Give an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


async def fill(store: SqliteStore, count: int, first: int = 0) -> None:
    """Append so many events to the log."""
    messages = [decode(json.dumps(request(first + n)).encode(), Origin(NOW)) for n in range(count)]
    await store.add(messages, RULES, NOW)


class Broker:
    """Confirms what is published; `portions` has the places in the log of all that was.

    A queue refuses the events of the places in `refused`.
    """

    def __init__(self, *, fails_at: int = 0, refused: frozenset[int] = frozenset()) -> None:
        self.portions: list[list[int]] = []
        self.grown = asyncio.Condition()
        self.refused = refused
        self._fails_at = fails_at

    async def publish(self, events: Sequence[StoredEvent]) -> int:
        """Take a portion."""
        if self._fails_at and any(event.seq >= self._fails_at for event in events):
            raise Unreachable("gone")
        self.portions.append([event.seq for event in events])
        async with self.grown:
            self.grown.notify_all()
        return next((number for number, event in enumerate(events) if event.seq in self.refused), len(events))

    @property
    def seen(self) -> list[int]:
        """Give the places in the log of all that was published."""
        return [seq for portion in self.portions for seq in portion]

    async def has(self, count: int) -> None:
        """Wait until so many were published."""
        async with asyncio.timeout(PATIENCE), self.grown:
            await self.grown.wait_for(lambda: len(self.seen) >= count)


def told() -> asyncio.Event:
    """Give an event that is set: the reporter is told to stop before it has begun."""
    stop = asyncio.Event()
    stop.set()
    return stop


async def test_what_was_logged_before_the_stop_is_published(store: SqliteStore) -> None:
    """All of it, in portions and in order, and only then the reporter returns."""
    await fill(store, 2 * BATCH_SIZE + 5)
    broker = Broker()
    await report(store, broker.publish, lambda: None, told())
    assert [len(portion) for portion in broker.portions] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 150]
    assert broker.seen == list(range(1, 2 * BATCH_SIZE + 6))
    assert await store.cursor(READER) == 2 * BATCH_SIZE + 5


async def test_what_is_logged_while_it_runs_is_published_before_it_ends(store: SqliteStore) -> None:
    """It follows the log as it grows, and the last event before the stop is not left behind."""
    broker, stop, running = Broker(), asyncio.Event(), asyncio.Event()
    reporting = asyncio.create_task(report(store, broker.publish, running.set, stop))
    await running.wait()
    await fill(store, 3)
    await broker.has(3)
    await fill(store, 2, first=3)
    stop.set()
    await reporting
    assert broker.seen == [1, 2, 3, 4, 5]


async def test_the_next_run_goes_on_behind_what_was_confirmed(store: SqliteStore) -> None:
    """What was not confirmed is published again, and nothing that was."""
    await fill(store, 20)
    lost = Broker(fails_at=16)
    with pytest.raises(Unreachable, match="gone"):
        await report(store, lost.publish, lambda: None, told())
    again = Broker()
    await report(store, again.publish, lambda: None, told())
    assert lost.seen == list(range(1, 16))
    assert again.seen == [16, 17, 18, 19, 20]


async def test_what_a_queue_refuses_is_tried_alone(store: SqliteStore) -> None:
    """It goes on behind what was confirmed, with one event; it runs when the whole log has been published."""
    await fill(store, 9)
    broker, running = Broker(refused=frozenset({6})), list[bool]()
    for _ in range(3):
        with pytest.raises(Unreachable, match=REJECTED):
            await report(store, broker.publish, lambda: running.append(True), told())
    assert broker.portions == [[], [1], [2, 3], [4, 5, 6, 7], [], [6], [], [6]]
    assert not running
    broker.refused = frozenset()
    await report(store, broker.publish, lambda: running.append(True), told())
    assert broker.portions[8:] == [[], [6], [7, 8], [9]]
    assert running


async def test_a_full_queue_of_somebody_else_holds_results_back_until_it_has_budget(
    store: SqliteStore, rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """The supervisor shows and logs the reason once; afterwards everyone has every event, and nothing was missed."""
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
    """A broker that takes not even an empty portion keeps it from running."""
    running = list[bool]()

    async def refuse(_: Sequence[StoredEvent]) -> int:
        raise Unreachable("gone")

    with pytest.raises(Unreachable):
        await report(store, refuse, lambda: running.append(True), told())
    assert not running


async def test_an_idle_reporter_waits_for_the_log_to_grow(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing to publish it asks the store once and then waits behind the last event, until it is told to stop."""
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
