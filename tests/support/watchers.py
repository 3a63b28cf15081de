"""Many clients of the feed in one process, with little overhead: which events each gets, in which order, and how late.

    python tests/support/watchers.py PORT WATCHERS

Prints `ready` when all clients have their snapshot. Then it reads from stdin how many events there will be, and prints
a report once every client has that many.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from datetime import datetime
from typing import Any

import uvloop
from support.wire import CLOSE, HELLO, PING, PONG, TEXT, UPGRADE, frame


class Record:
    """The events that all clients of this process have received; each frame is parsed only once."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.late: Counter[int] = Counter()
        self.changed = asyncio.Event()
        self._frames: dict[bytes, tuple[list[int], list[float]]] = {}

    def read(self, payload: bytes, now: float) -> list[int]:
        """Record the delays of a frame's events in milliseconds; return their positions in the order of arrival."""
        if payload not in self._frames:
            if len(self._frames) > 100:
                self._frames.clear()
            events = json.loads(payload)["events"]
            places = [self.places.setdefault(event["id"], len(self.places)) for event in events]
            self._frames[payload] = places, [datetime.fromisoformat(event["time"]).timestamp() for event in events]
        places, times = self._frames[payload]
        for at in times:
            self.late[round((now - at) * 1000)] += 1
        return places


class Watcher(asyncio.Protocol):
    """One client that sends hello and reads."""

    def __init__(self, record: Record) -> None:
        self.seen: list[int] = []
        self.snapshots = 0
        self.code: int | None = None
        self._record = record
        self._got = b""
        self._upgraded = False

    def connection_made(self, transport: Any) -> None:
        """Send hello."""
        self._transport = transport
        transport.write(UPGRADE + frame(TEXT, HELLO))

    def data_received(self, data: bytes) -> None:
        """Take complete frames (RFC 6455 section 5.2) from the received bytes."""
        now = time.time()
        self._got += data
        if not self._upgraded:
            head, end, rest = self._got.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._got, self._upgraded = rest, True
        while len(self._got) >= 2:
            size, start = self._got[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(self._got[2:start]) if len(self._got) >= start else sys.maxsize
            if len(self._got) < start + size:
                return
            opcode, payload = self._got[0] & 0xF, self._got[start : start + size]
            self._got = self._got[start + size :]
            self._take(opcode, payload, now)

    def connection_lost(self, _: Exception | None) -> None:
        """Wake the main task: this client will have fewer events than expected."""
        self._record.changed.set()

    def _take(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == PING:
            self._transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2])
        elif payload.startswith(b'{"type":"events"'):
            self.seen.extend(self._record.read(payload, now))
            self._record.changed.set()
        elif payload.startswith(b'{"type":"snapshot"'):
            self.snapshots += 1
            self._record.changed.set()

    def end(self) -> None:
        """Close the connection."""
        self._transport.abort()


async def watch(port: int, count: int) -> None:
    """Run `count` clients until each has all events."""
    loop = asyncio.get_running_loop()
    record = Record()
    watchers = [(await loop.create_connection(lambda: Watcher(record), "127.0.0.1", port))[1] for _ in range(count)]
    while not all(watcher.snapshots for watcher in watchers):
        record.changed.clear()
        await record.changed.wait()
    print("ready", flush=True)  # noqa: T201 - its output is data
    expected = int(await asyncio.to_thread(sys.stdin.readline))
    while any(len(watcher.seen) < expected and watcher.code is None for watcher in watchers):
        record.changed.clear()
        await record.changed.wait()
    order = list(range(expected))
    report = {
        "wrong": sum(watcher.seen != order for watcher in watchers),
        "codes": Counter(watcher.code for watcher in watchers if watcher.code is not None),
        "ids": list(record.places),
        "late": record.late,
        "cpu": time.process_time(),
    }
    print(json.dumps(report), flush=True)  # noqa: T201 - as above
    for watcher in watchers:
        watcher.end()


if __name__ == "__main__":
    uvloop.run(watch(int(sys.argv[1]), int(sys.argv[2])))
