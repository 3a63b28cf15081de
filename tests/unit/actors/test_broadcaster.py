"""The broadcaster: which subscriber gets which events, and how often they are encoded."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.parts import request
from support.samples import NOW, RULES, mail

from notifier.actors import broadcaster
from notifier.actors.broadcaster import Hub, broadcast
from notifier.domain.events import MailFilter, StoredEvent, encode_event, event_id, event_type
from notifier.domain.mail import Kind, Mail, Status, claimed
from notifier.domain.messages import Origin, decode
from notifier.feed import protocol
from notifier.feed.protocol import HEARTBEAT, cursor, filter_hash, read_cursor
from notifier.storage.sqlite.store import SqliteStore

STORE = "0" * 32


class Watcher:
    """A subscriber that keeps the frames that it is sent."""

    def __init__(self, after: int = 0, **wanted: Any) -> None:
        self.after = after
        self.wanted = MailFilter(**wanted)
        self.filter_hash = filter_hash(self.wanted)
        self.frames: list[bytes] = []
        self.failed = False

    def push(self, frame: bytes, events: int) -> None:
        """Keep the frame."""
        del events
        self.frames.append(frame)

    def fail(self) -> None:
        """Note that it was ended."""
        self.failed = True

    @property
    def seen(self) -> list[str]:
        """The ids of the events in all frames."""
        return [event["id"] for frame in self.frames for event in json.loads(frame)["events"]]


def logged(seq: int, prev: Status | None, changed: Mail) -> StoredEvent:
    """Build an event of the log."""
    type_ = event_type(prev, changed)
    return StoredEvent(
        seq=seq,
        body=encode_event(type_, prev, changed, NOW),
        type=type_,
        id=event_id(changed),
        mail=changed.id,
        prev=prev,
        status=changed.status,
        kind=changed.kind,
        booking=changed.booking,
        created_at=changed.created_at,
        event=changed.event,
        correlation=None,
    )


NEW = mail()
EVENTS = [logged(1, None, NEW), logged(2, Status.PENDING, claimed(NEW, NOW))]


def test_each_subscriber_gets_what_its_filter_lets_pass() -> None:
    """With a filter on the status, an event passes if the mail matched before or after the change."""
    hub = Hub(STORE, 0)
    everything, pending, sent = Watcher(), Watcher(status=frozenset({"pending"})), Watcher(status=frozenset({"sent"}))
    for watcher in (everything, pending, sent):
        hub.add(watcher, 0)
    hub.publish(EVENTS, 1)
    assert [len(watcher.seen) for watcher in (everything, pending, sent)] == [2, 2, 0]
    assert hub.position == 2


def test_events_that_a_subscriber_has_are_not_pushed_again() -> None:
    """A subscriber whose snapshot is newer gets only later events."""
    hub = Hub(STORE, 0)
    watcher = Watcher(after=1)
    hub.add(watcher, 0)
    hub.publish(EVENTS, 1)
    assert watcher.seen == [EVENTS[1].id]


def test_a_frame_is_encoded_once_for_all_with_the_same_filter() -> None:
    """Two subscribers with equal filters get the very same bytes."""
    hub = Hub(STORE, 0)
    first, second = Watcher(), Watcher()
    hub.add(first, 0)
    hub.add(second, 0)
    hub.publish(EVENTS, 1)
    assert first.frames[0] is second.frames[0]


def test_subscribers_without_matching_events_cost_nearly_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """For hundreds of filters that no event passes, no filter is hashed, no frame is made and no event is examined."""
    hub = Hub(STORE, 0)
    nothing: dict[str, Any] = {
        "mail": frozenset({"another"}),
        "booking": frozenset({"another"}),
        "kind": frozenset({Kind.CANCELLATION}),
        "status": frozenset({Status.UNCERTAIN}),
        "since": NEW.created_at + timedelta(milliseconds=1),
    }
    idle = [Watcher(**{name: value}) for name, value in nothing.items() for _ in range(100)]
    reader = Watcher(mail=frozenset({NEW.id}), since=NEW.created_at)
    for watcher in (*idle, reader):
        hub.add(watcher, 0)
    looked: list[MailFilter] = []
    cursors: list[str] = []
    passes = MailFilter.passes

    def look(wanted: MailFilter, event: StoredEvent) -> bool:
        looked.append(wanted)
        return passes(wanted, event)

    def make(store: str, seq: int, hashed: str) -> str:
        cursors.append(hashed)
        return cursor(store, seq, hashed)

    monkeypatch.setattr(MailFilter, "passes", look)
    monkeypatch.setattr(broadcaster, "cursor", make)
    monkeypatch.setattr(protocol, "filter_hash", lambda _: 1 / 0)
    hub.publish(EVENTS, 1)
    assert (looked, cursors) == ([reader.wanted] * len(EVENTS), [reader.filter_hash])
    assert not any(watcher.frames for watcher in idle)
    assert len(reader.seen) == len(EVENTS)


def test_a_quiet_subscriber_gets_a_heartbeat_that_moves_its_cursor() -> None:
    """After twenty seconds without a matching event there is an empty frame with the latest cursor."""
    hub = Hub(STORE, 0)
    watcher = Watcher(status=frozenset({"sent"}))
    hub.add(watcher, 100)
    hub.publish(EVENTS, 110)
    assert hub.beat(119) == 1
    assert watcher.frames == []
    assert hub.beat(120) == HEARTBEAT
    (frame,) = map(json.loads, watcher.frames)
    place = read_cursor(frame["cursor"])
    assert frame["events"] == []
    assert place is not None
    assert place.seq == 2


def test_a_removed_subscriber_gets_nothing() -> None:
    """A removed subscriber is sent nothing; removing it twice does no harm."""
    hub = Hub(STORE, 0)
    watcher = Watcher()
    hub.add(watcher, 0)
    hub.remove(watcher)
    hub.remove(watcher)
    hub.publish(EVENTS, 1)
    assert watcher.frames == []


def test_subscribers_with_another_filter_get_other_frames() -> None:
    """Each gets its own events, also after another one with its filter was removed, and the frames are shared."""
    hub = Hub(STORE, 0)
    pending = [Watcher(status=frozenset({Status.PENDING})) for _ in range(3)]
    sending = [Watcher(status=frozenset({Status.SENDING})) for _ in range(3)]
    for watcher in (*pending, *sending):
        hub.add(watcher, 0)
    hub.remove(pending[0])
    hub.publish(EVENTS[:1], 1)
    hub.publish(EVENTS[1:], 2)
    assert [len(watcher.seen) for watcher in (*pending, *sending)] == [0, 2, 2, 1, 1, 1]
    assert pending[1].frames[0] is pending[2].frames[0]
    assert hub.subscribers == 5


class Trickle:
    """A store that logs one event while others are read, and ten while the broadcaster waits, up to some 40 events."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._head = 0
        self._stop = stop

    async def events(self, after: int, limit: int) -> list[StoredEvent]:
        """Return what is there, and log one more."""
        found = [EVENTS[0]._replace(seq=seq) for seq in range(after + 1, self._head + 1)]
        self._log(1)
        return found[:limit]

    async def beyond(self, seq: int) -> None:
        """Log ten more if there is one already, otherwise wait for ever."""
        if seq >= self._head:
            await asyncio.Event().wait()
        self._log(10)

    def _log(self, events: int) -> None:
        if self._head > 40:
            self._stop.set()
        else:
            self._head += events


async def test_events_that_come_while_others_are_sent_share_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a frame that is not full the broadcaster waits, so that many clients are not sent many small frames."""
    monkeypatch.setattr(broadcaster, "BATCH_WINDOW", 0)
    stop = asyncio.Event()
    store: Any = Trickle(stop)
    hub, watcher = Hub(STORE, 0), Watcher()
    hub.add(watcher, asyncio.get_running_loop().time())
    await broadcast(store, hub, (), lambda: None, stop)
    assert [len(json.loads(frame)["events"]) for frame in watcher.frames] == [11, 11, 11, 11]


class Growing:
    """A store whose log has `head` events."""

    def __init__(self) -> None:
        self.head = 0

    async def events(self, after: int, limit: int) -> list[StoredEvent]:
        """Return what is there."""
        return [EVENTS[0]._replace(seq=seq) for seq in range(after + 1, self.head + 1)][:limit]

    async def beyond(self, seq: int) -> None:
        """Return when there are more events."""
        while self.head <= seq:  # noqa: ASYNC110 - `head` is only a number
            await asyncio.sleep(0)


async def test_a_full_frame_is_sent_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events wait for others, but no longer than until there are as many as a frame can have."""
    monkeypatch.setattr(broadcaster, "BATCH_WINDOW", 3600)
    store: Any = Growing()
    hub, watcher = Hub(STORE, 0), Watcher()
    hub.add(watcher, asyncio.get_running_loop().time())
    task = asyncio.create_task(broadcast(store, hub, (), lambda: None, asyncio.Event()))
    sent = []
    for head in (0, 60, 99, 100, 100):
        store.head = head
        for _ in range(20):
            await asyncio.sleep(0)
        sent.append(len(watcher.seen))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sent == [0, 0, 0, 100, 100]


async def test_a_burst_is_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have time to read one full frame before the next one comes."""
    gap = 0.05
    monkeypatch.setattr(broadcaster, "FRAME_GAP", gap)
    store: Any = Growing()
    store.head = 301
    hub, watcher, stop = Hub(STORE, 0), Watcher(), asyncio.Event()
    began = asyncio.get_running_loop().time()
    hub.add(watcher, began)
    stop.set()
    await broadcast(store, hub, (), lambda: None, stop)
    assert [len(json.loads(frame)["events"]) for frame in watcher.frames] == [100, 100, 100, 1]
    assert asyncio.get_running_loop().time() - began > 2.9 * gap


async def test_the_log_is_broadcast_as_it_grows_and_to_its_end(tmp_path: Path) -> None:
    """Events that were stored before the stop are still broadcast, in order and once."""
    store = await SqliteStore.open(tmp_path / "n.db")
    hub, watcher, stop = Hub(store.id, 0), Watcher(), asyncio.Event()
    hub.add(watcher, 0)
    observed: list[StoredEvent] = []

    def observe(events: Sequence[StoredEvent]) -> None:
        observed.extend(events)

    task = asyncio.create_task(broadcast(store, hub, [observe], lambda: None, stop))
    for n in range(250):
        await store.add([decode(json.dumps(request(n)).encode(), Origin(NOW))], RULES, NOW)
    stop.set()
    async with asyncio.timeout(10):
        await task
    assert watcher.seen == [event.id for event in await store.events(0, 1000)]
    assert [event.seq for event in observed] == list(range(1, 251))
    assert max(len(json.loads(frame)["events"]) for frame in watcher.frames) <= 100
    await store.close()


class Broken(Watcher):
    """A subscriber for which both sending and ending fail."""

    def push(self, frame: bytes, events: int) -> None:
        """Fail."""
        raise RuntimeError(frame, events)

    def fail(self) -> None:
        """Fail as well."""
        super().fail()
        raise RuntimeError("no end for me")


def test_a_subscriber_that_fails_costs_the_others_nothing(logged_lines: list[dict[str, Any]]) -> None:
    """The subscriber is ended and removed, for events and for heartbeats, and each failure is logged once."""
    hub = Hub(STORE, 0)
    first, bad, last, beaten = Watcher(), Broken(), Watcher(), Broken(kind=frozenset({"flight.reminder"}))
    for watcher in (first, bad, last, beaten):
        hub.add(watcher, 0)
    hub.publish(EVENTS[:1], 1)
    hub.publish(EVENTS[1:], 2)
    hub.beat(2 + HEARTBEAT)
    assert first.seen == last.seen == [event.id for event in EVENTS]
    assert len(first.frames) == len(last.frames) == 3
    assert (bad.failed, beaten.failed, hub.subscribers) == (True, True, 2)
    assert [line["event"] for line in logged_lines] == ["a subscriber of the feed failed and was closed"] * 2


async def test_an_observer_that_fails_costs_the_others_nothing(
    tmp_path: Path, logged_lines: list[dict[str, Any]]
) -> None:
    """Subscribers and the other observers get every event once, and the traceback is logged."""
    store = await SqliteStore.open(tmp_path / "n.db")
    hub, watcher, stop = Hub(store.id, 0), Watcher(), asyncio.Event()
    hub.add(watcher, 0)
    observed: list[str] = []

    def fail(_: Sequence[StoredEvent]) -> None:
        raise RuntimeError("cannot count that")

    def observe(events: Sequence[StoredEvent]) -> None:
        observed.extend(event.id for event in events)

    try:
        task = asyncio.create_task(broadcast(store, hub, [fail, observe], lambda: None, stop))
        for n in range(150):
            await store.add([decode(json.dumps(request(n)).encode(), Origin(NOW))], RULES, NOW)
        stop.set()
        async with asyncio.timeout(10):
            await task
        assert watcher.seen == observed == [event.id for event in await store.events(0, 1000)]
    finally:
        await store.close()
    assert {line["event"] for line in logged_lines} == {"an observer of the events failed"}
