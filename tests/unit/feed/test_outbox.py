"""When a client reads too slowly what is sent to it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.protocol import State

from notifier.feed import outbox
from notifier.feed.outbox import Outbox, TooSlow
from notifier.feed.share import Share


class Connection:
    """A connection whose client reads nothing."""

    def __init__(self) -> None:
        self.buffered = 0
        self.is_stuck = False
        self.protocol = SimpleNamespace(state=State.OPEN)
        self.transport = SimpleNamespace(get_write_buffer_size=lambda: self.buffered, write=self._write)

    def _write(self, data: bytes) -> None:
        self.buffered += len(data)

    async def send_parts(self, parts: Sequence[bytes]) -> None:
        """Buffer the parts, and wait if the client is stuck."""
        self.buffered += sum(map(len, parts))
        if self.is_stuck:
            await asyncio.Event().wait()

    @contextmanager
    def answering(self, body: bytes) -> Iterator[None]:
        """Count nothing."""
        assert body
        yield


def opened() -> tuple[Any, Outbox]:
    """Build the outbox of a client."""
    connection: Any = Connection()
    return connection, Outbox(connection, Share())


async def test_a_client_may_be_a_thousand_events_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one event more it is too slow; once it has read everything it may be behind again."""
    connection, box = opened()
    monkeypatch.setattr(outbox, "MAX_EVENTS_BEHIND", 10)
    box.push(b"x", 9)
    box.push(b"x", 1)
    with pytest.raises(TooSlow):
        box.push(b"x", 1)
    connection.buffered = 0
    box.push(b"x", 10)


async def test_a_client_may_be_a_megabyte_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and frames are refused while more bytes than the limit wait."""
    connection, box = opened()
    monkeypatch.setattr(outbox, "MAX_BEHIND", 100)
    connection.buffered = 100
    box.push(b"x" * 10, 1)
    with pytest.raises(TooSlow):
        box.push(b"x", 1)
    with pytest.raises(TooSlow):
        await box.send((b"x",))


async def test_a_client_that_reads_nothing_is_too_slow_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit holds however little waits, for events and for answers."""
    connection, box = opened()
    monkeypatch.setattr(outbox, "STALLED", 0.01)
    box.push(b"x", 1)
    await asyncio.sleep(0.02)
    with pytest.raises(TooSlow):
        box.push(b"x", 1)
    connection.is_stuck = True
    with pytest.raises(TooSlow):
        await box.answer((b"x",), is_viewer=False)


async def test_an_answer_that_is_being_sent_does_not_count_as_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large answer takes its time; events behind it are still pushed."""
    connection, box = opened()
    monkeypatch.setattr(outbox, "MAX_BEHIND", 100)
    connection.is_stuck = True
    sending = asyncio.create_task(box.answer((b"x" * 10_000,), is_viewer=False))
    await asyncio.sleep(0)
    box.push(b"x", 1)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    with pytest.raises(TooSlow):
        box.push(b"x", 1)
