"""Many clients of the feed in one process that only count: `python -m support.benchmarks.listeners PORT COUNT`.

Each line of input is a number of events; the answer comes when every client has received that many in all.
"""

import asyncio
import sys
from typing import Any

import uvloop
from support.benchmarks.children import commands, say
from support.wire import CLOSE, HELLO, PING, PONG, TEXT, UPGRADE, frame

_HEAD = 160
"""Bytes at the beginning of a frame that no other frame has, because its cursor is there."""


class Progress:
    """How many events the clients have received."""

    def __init__(self) -> None:
        self.clients: list[Listener] = []
        self.greeted = 0
        self.closed: list[int] = []
        self.changed = asyncio.Event()
        self._counted: dict[bytes, int] = {}

    def events(self, payload: bytes) -> int:
        """Return the number of events in a frame; most clients get the same one, so it is counted once."""
        head = payload[:_HEAD]
        if head not in self._counted:
            self._counted[head] = payload.count(b'"specversion"')
        return self._counted[head]

    async def reached(self, events: int) -> dict[str, int]:
        """Wait until every client has so many events. Raises RuntimeError if one was closed."""
        while (least := min(client.events for client in self.clients)) < events:
            if self.closed:
                raise RuntimeError(f"{len(self.closed)} clients were closed with {set(self.closed)}")
            self.changed.clear()
            await self.changed.wait()
        return {"events": least}


class Listener(asyncio.Protocol):
    """One client."""

    def __init__(self, progress: Progress) -> None:
        self.events = 0
        self._progress = progress
        self._got = b""
        self._upgraded = False

    def connection_made(self, transport: Any) -> None:
        """Send hello."""
        self._transport = transport
        transport.write(UPGRADE + frame(TEXT, HELLO))

    def data_received(self, data: bytes) -> None:
        """Take complete frames (RFC 6455 section 5.2) from the received bytes."""
        self._got += data
        if not self._upgraded:
            _, end, rest = self._got.partition(b"\r\n\r\n")
            if not end:
                return
            self._got, self._upgraded = rest, True
        place = 0
        while len(self._got) >= place + 2:
            size, start = self._got[place + 1], place + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(self._got[place + 2 : start]) if len(self._got) >= start else sys.maxsize
            if len(self._got) < start + size:
                break
            self._take(self._got[place] & 0xF, self._got[start : start + size])
            place = start + size
        self._got = self._got[place:]

    def connection_lost(self, _: Exception | None) -> None:
        """Report that this client will get no more."""
        self._progress.closed.append(0)
        self._progress.changed.set()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            self._progress.closed.append(int.from_bytes(payload[:2]))
        elif payload.startswith(b'{"type":"events"'):
            self.events += self._progress.events(payload)
        elif payload.startswith(b'{"type":"snapshot"'):
            self._progress.greeted += 1
        self._progress.changed.set()


async def main(port: int, count: int) -> None:
    """Connect, then answer until standard input ends."""
    loop, progress = asyncio.get_running_loop(), Progress()
    for _ in range(count):
        _, client = await loop.create_connection(lambda: Listener(progress), "127.0.0.1", port)
        progress.clients.append(client)
    while progress.greeted < count:
        progress.changed.clear()
        await progress.changed.wait()
    say({})
    async for line in commands():
        say(await progress.reached(int(line)))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
