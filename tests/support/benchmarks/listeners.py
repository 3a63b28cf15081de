"""Many clients of the feed in one process that only count: `python -m support.benchmarks.listeners PORT COUNT`.

Each line of input is a number of events; the answer comes when every client has received that many in all.

All clients get the same frames. The first one reads them completely; the others look at the beginning of each frame, so
that they take as little processor time from the server as possible.
"""

import asyncio
import sys
from functools import partial
from typing import NamedTuple, cast

import uvloop
from support.benchmarks.children import commands, say
from support.wire import CLOSE, HELLO, PING, PONG, TEXT, UPGRADE, frame

_HEAD = 64
"""Bytes at the beginning of a frame that no other frame has, because its cursor is there."""
_EVENTS, _SNAPSHOT = b'{"type":"events"', b'{"type":"snapshot"'


class Frame(NamedTuple):
    """The beginning of a frame from the server (RFC 6455 section 5.2): where its payload begins, and its whole end."""

    opcode: int
    start: int
    end: int


def parsed(data: bytes | memoryview, place: int) -> Frame | None:
    """Return the frame that begins at a place; None if its header is not complete."""
    if len(data) < place + 2:
        return None
    size, start = data[place + 1], place + 2
    if size >= 126:
        start += 2 if size == 126 else 8
        if len(data) < start:
            return None
        size = int.from_bytes(data[place + 2 : start])
    return Frame(data[place] & 0xF, start, start + size)


class Progress:
    """How far the clients are."""

    def __init__(self) -> None:
        self.clients: list[Listener] = []
        self.greeted = 0
        self.closed = 0
        self.changed = asyncio.Event()
        self.buffer = memoryview(bytearray(1 << 18))
        self._after: dict[bytes, int] = {}
        self._events = 0

    def add(self, payload: bytes) -> None:
        """Count the events of the next frame; called for the first client."""
        self._events += payload.count(b'"specversion"')
        self._after[payload[:_HEAD]] = self._events

    async def reached(self, events: int) -> dict[str, int]:
        """Wait until every client has so many events. Raises RuntimeError if one was closed."""
        while (least := min(self._after.get(client.head, 0) for client in self.clients)) < events:
            if self.closed:
                raise RuntimeError(f"{self.closed} clients were closed")
            self.changed.clear()
            await self.changed.wait()
        return {"events": least}


class Listener(asyncio.BufferedProtocol):
    """One client. `head` is the beginning of the last frame with events that it has received completely."""

    def __init__(self, progress: Progress, *, reads: bool) -> None:
        self.head = b""
        self._progress = progress
        self._reads = reads
        self._kept = b""
        self._upgraded = False
        self._skip = 0
        self._next = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(UPGRADE + frame(TEXT, HELLO))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer that all clients share."""
        del sizehint
        return self._progress.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received."""
        view = self._progress.buffer[:nbytes]
        if self._skip:
            step = min(self._skip, nbytes)
            self._skip -= step
            if self._skip:
                return
            self._complete()
            view = view[step:]
        data: bytes | memoryview = self._kept + bytes(view) if self._kept else view
        place = self._start(data)
        while (place := self._take(data, place)) and not self._skip and place < len(data):
            pass

    def _start(self, data: bytes | memoryview) -> int:
        """Return where the frames begin in what was received: after the HTTP response."""
        self._kept = b""
        if self._upgraded:
            return 0
        end = bytes(data).find(b"\r\n\r\n")
        self._upgraded = end >= 0
        return end + 4 if self._upgraded else 0

    def _take(self, data: bytes | memoryview, place: int) -> int:
        """Take the frame at a place; return where the next one begins, or 0 if there is nothing more to take."""
        found = parsed(data, place) if self._upgraded and place < len(data) else None
        complete = found is not None and len(data) >= found.end
        if found is None or (not complete and (self._reads or len(data) < found.start + _HEAD)):
            self._kept = bytes(data[place:])
            return 0
        if found.opcode == TEXT:
            self._begin(data, found)
        if not complete:
            self._skip = found.end - len(data)
            return 0
        if found.opcode == TEXT:
            self._complete()
        elif found.opcode == PING:
            self._transport.write(frame(PONG, bytes(data[found.start : found.end])))
        elif found.opcode == CLOSE:
            self.connection_lost(None)
        return found.end

    def _begin(self, data: bytes | memoryview, found: Frame) -> None:
        self._next = bytes(data[found.start : min(found.end, found.start + _HEAD)])
        if self._reads and self._next.startswith(_EVENTS):
            self._progress.add(bytes(data[found.start : found.end]))

    def _complete(self) -> None:
        if self._next.startswith(_EVENTS):
            self.head = self._next
        elif self._next.startswith(_SNAPSHOT):
            self._progress.greeted += 1
        self._progress.changed.set()

    def connection_lost(self, _: Exception | None) -> None:
        """Report that this client will get no more."""
        self._progress.closed += 1
        self._progress.changed.set()


def _itself(client: Listener) -> Listener:
    return client


async def main(port: int, count: int) -> None:
    """Connect, then answer until standard input ends."""
    loop, progress = asyncio.get_running_loop(), Progress()
    for number in range(count):
        client = Listener(progress, reads=number == 0)
        progress.clients.append(client)
        await loop.create_connection(partial(_itself, client), "127.0.0.1", port)
    while progress.greeted < count:
        progress.changed.clear()
        await progress.changed.wait()
    say({})
    async for line in commands():
        say(await progress.reached(int(line)))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
