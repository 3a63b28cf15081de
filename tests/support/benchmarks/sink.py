"""A fast SMTP server that accepts every mail and counts: `python -m support.benchmarks.sink [DELAY] [--no-pipelining]`.

It is as small as possible, so that it does not limit the client that is measured. DELAY is in seconds and delays every
reply, as a network with this round trip would. Each line of input is a number of mails; the answer comes when that
many have been accepted since the last one:

    {"accepted": 2, "distinct": 2, "connections": 1, "times": [["<id of the message>", 1764547200.5], …]}
"""

import asyncio
import sys
import time
from typing import cast

import uvloop
from support.benchmarks.children import commands, say

_END = b"\r\n.\r\n"
_OK, _BYE = b"250 2.0.0 OK\r\n", b"221 bye\r\n"
_REPLIES = {b"DATA": b"354 go on\r\n", b"QUIT": _BYE}


class Counted:
    """What has been accepted since the last report."""

    def __init__(self) -> None:
        self.connections = 0
        self._grown = asyncio.Event()
        self._clear()

    def _clear(self) -> None:
        self._mails = set[bytes]()
        self._times: list[tuple[bytes, float]] = []

    def accept(self, message: bytes) -> None:
        """Count one mail."""
        self._mails.add(_header(message, b"X-Notifier-Mail: "))
        self._times.append((_header(message, b"X-Notifier-Event: "), time.time()))
        self._grown.set()

    async def report(self, count: int) -> dict[str, object]:
        """Wait for so many mails, return what was accepted, and begin again with none."""
        while len(self._times) < count:
            self._grown.clear()
            await self._grown.wait()
        report = {
            "accepted": len(self._times),
            "distinct": len(self._mails),
            "connections": self.connections,
            "times": [(event.decode(), at) for event, at in self._times],
        }
        self._clear()
        return report


class Dialogue(asyncio.Protocol):
    """One connection."""

    def __init__(self, counted: Counted, greeting: bytes, delay: float) -> None:
        self._counted = counted
        self._greeting = greeting
        self._delay = delay
        self._got = b""
        self._in_message = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self._counted.connections += 1
        self._say(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer everything that is complete, in one write."""
        self._got += data
        replies = []
        while (reply := self._next()) is not None:
            replies.append(reply)
        if replies:
            self._say(b"".join(replies))

    def _next(self) -> bytes | None:
        """Take one command or message from what was received; return its reply, or None if it is not complete."""
        if self._in_message:
            message, end, rest = self._got.partition(_END)
            if not end:
                return None
            self._got, self._in_message = rest, False
            self._counted.accept(message)
            return _OK
        line, end, rest = self._got.partition(b"\r\n")
        if not end:
            return None
        self._got = rest
        verb = line[:4].upper()
        self._in_message = verb == b"DATA"
        return self._greeting if verb == b"EHLO" else _REPLIES.get(verb, _OK)

    def _say(self, reply: bytes) -> None:
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._write, reply)
        else:
            self._write(reply)

    def _write(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)
            if reply.endswith(_BYE):
                self._transport.close()


def _header(message: bytes, name: bytes) -> bytes:
    start = message.find(name)
    return message[start + len(name) : message.find(b"\r\n", start)].strip() if start >= 0 else b""


def ehlo(*, pipelining: bool) -> bytes:
    """Return the reply to EHLO."""
    words = ["sink", *(["PIPELINING"] if pipelining else []), "SIZE 52428800", "SMTPUTF8", "8BITMIME"]
    return b"".join(b"250%c%s\r\n" % (b" " if n == len(words) - 1 else b"-", w.encode()) for n, w in enumerate(words))


async def main(delay: float, *, pipelining: bool) -> None:
    """Serve until standard input ends."""
    counted, greeting = Counted(), ehlo(pipelining=pipelining)
    server = await asyncio.get_running_loop().create_server(
        lambda: Dialogue(counted, greeting, delay), "127.0.0.1", 0, backlog=1000
    )
    say({"port": server.sockets[0].getsockname()[1]})
    async for line in commands():
        say(await counted.report(int(line)))


if __name__ == "__main__":
    numbers = [word for word in sys.argv[1:] if not word.startswith("--")]
    uvloop.run(main(float(numbers[0]) if numbers else 0.0, pipelining="--no-pipelining" not in sys.argv))
