"""The reporter: the whole log, in order, and its cursor only behind what was confirmed."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from parts import PATIENCE, request
from samples import NOW, RULES

from notifier.actors.reporter import PORTION, READER, report
from notifier.contract import Origin, decode
from notifier.errors import Unreachable
from notifier.events import Logged
from notifier.storage.sqlite import SqliteStore


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
    """Confirms what is published; `portions` has the places in the log of all that was."""

    def __init__(self, *, fails_at: int = 0) -> None:
        self.portions: list[list[int]] = []
        self.grown = asyncio.Condition()
        self._fails_at = fails_at

    async def publish(self, events: Sequence[Logged]) -> None:
        """Take a portion."""
        if self._fails_at and any(event.seq >= self._fails_at for event in events):
            raise Unreachable("gone")
        self.portions.append([event.seq for event in events])
        async with self.grown:
            self.grown.notify_all()

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
    await fill(store, 2 * PORTION + 5)
    broker = Broker()
    await report(store, broker.publish, lambda: None, told())
    assert [len(portion) for portion in broker.portions] == [0, PORTION, PORTION, 5]
    assert broker.seen == list(range(1, 2 * PORTION + 6))
    assert await store.cursor(READER) == 2 * PORTION + 5


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
    await fill(store, PORTION + 3)
    lost, running = Broker(fails_at=PORTION + 1), list[bool]()
    with pytest.raises(Unreachable):
        await report(store, lost.publish, lambda: running.append(True), told())
    again = Broker()
    await report(store, again.publish, lambda: None, told())
    assert running == [True]
    assert lost.seen == list(range(1, PORTION + 1))
    assert again.seen == [PORTION + 1, PORTION + 2, PORTION + 3]


async def test_it_runs_once_the_broker_answers(store: SqliteStore) -> None:
    """A broker that takes not even an empty portion keeps it from running."""
    running = list[bool]()

    async def refuse(_: Sequence[Logged]) -> None:
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
