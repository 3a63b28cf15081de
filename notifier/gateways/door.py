"""Connections before their hello is accepted: how many may wait, how much each may send, and which one gives way."""

import asyncio
import ipaddress
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

MOST_CLIENTS = 2000
MOST_WAITING = 1000
"""Connections that may wait for their hello to be accepted. Beyond that the oldest one is closed of the network that
has most of them: silent connections lock nobody out, and a flood from one network closes its own connections only."""
MOST_HANDSHAKE = 16 * 1024
"""Bytes of the HTTP request: its line and all its headers."""
MOST_HELLO = 24 * 1024
"""Bytes of a hello on the wire, all its parts together: one whose filter has 500 ids of mails takes 20 KB."""
MOST_HELD = 8 * 1024 * 1024
"""Bytes behind a hello, of all connections together, that may wait in memory until it is accepted."""
MAX_VIEWER_FRAME = 64 * 1024
"""Bytes of a viewer's frame after its hello: a filter with 500 values of each field. Only operators submit messages."""
MAX_OUTSTANDING = 64 * 1024 * 1024
"""Bytes that all viewers together may occupy: frames that are not handled yet, also those of commands without their
result, and answers that are being sent. Beyond that the viewer with most of them is disconnected."""
MOST_EARLY_EXTRA_FRAMES = 20
"""Pings, pongs and further parts of messages before the hello is accepted."""
MOST_EXTRA_FRAMES = 1000
EXTRA_WINDOW = 10.0
"""Pings, pongs and further parts of messages that a client may send in this many seconds."""
PORTION = 4096
"""Bytes read from one connection at a time: thousands of empty frames fit into what the loop passes on at once."""
EARLY_PORTION = 256
"""The same before the hello is accepted: what stands in the portion behind the hello is parsed with it."""


MAX_HEADER = 14
"""Bytes before the payload of a client's frame, at most (RFC 6455 section 5.2)."""
_FINAL_TEXT, _SHORT = 0x81, 125


class Stage(Enum):
    """What a connection has been through."""

    REQUEST = auto()
    """Its HTTP request is not complete."""
    UPGRADE = auto()
    """Its request has no answer yet; whatever follows waits."""
    HELLO = auto()
    """It is a WebSocket; whatever follows its first message waits."""
    OPEN = auto()
    """The door has nothing more to do with it: its hello was accepted, or it was turned away."""


class Door:
    """The connections in the order in which they came, before and after their hello."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of all connections that wait for their hello to be accepted."""
        self.outstanding = 0
        """Bytes that all viewers together occupy."""
        self._waiting: dict[str, dict[Connection, None]] = {}
        self._inside: set[Connection] = set()

    @property
    def is_full(self) -> bool:
        """Whether no more clients are taken; those without a hello do not count."""
        return len(self._inside) >= MOST_CLIENTS

    def enter(self, connection: "Connection") -> None:
        """Let it wait for its hello; if too many wait, close the oldest of the network that has most of them."""
        if sum(map(len, self._waiting.values())) >= MOST_WAITING:
            busiest = max(self._waiting, key=lambda network: len(self._waiting[network]))
            oldest = next(iter(self._waiting[busiest]))
            self.leave(oldest)
            oldest.transport.abort()
        self._waiting.setdefault(connection.network, {})[connection] = None

    def welcome(self, connection: "Connection") -> None:
        """Count it among the clients from its hello on."""
        if connection in self._waiting.get(connection.network, ()):
            self.leave(connection)
            self._inside.add(connection)

    def occupy(self, size: int) -> None:
        """Count bytes of a viewer, or fewer of them; beyond the limit disconnect the viewer that occupies most."""
        self.outstanding += size
        while self.outstanding > MAX_OUTSTANDING:
            largest = max(self._inside, key=lambda each: each.outstanding)
            largest.transport.abort()
            largest.release(largest.outstanding)

    def close(self) -> None:
        """Close all connections without a hello: they would delay the end of the service."""
        for connection in [each for network in self._waiting.values() for each in network]:
            connection.transport.abort()

    def leave(self, connection: "Connection") -> None:
        """Count it no longer."""
        self._inside.discard(connection)
        if (of_network := self._waiting.get(connection.network)) is not None:
            of_network.pop(connection, None)
            if not of_network:
                del self._waiting[connection.network]


class Connection(ServerConnection):
    """A connection that comes through the door and is read in small portions.

    Until its hello is accepted it can occupy a few dozen KiB and no more, whatever it sends.
    """

    door: Door
    """Set by whoever listens, in a subclass of its own."""
    network = ""
    """Where it comes from: see `network_of`."""

    def connection_made(self, transport: Any) -> None:
        """Enter."""
        super().connection_made(transport)
        self._stage = Stage.REQUEST
        self._has_hello = False
        self._received = 0
        self._held = b""
        self.outstanding = 0
        """Bytes that it occupies as a viewer; always 0 for others."""
        self._is_limited = False
        self._message = 0
        self._messages: deque[int] = deque()
        self._extra = 0
        self._extra_since = self.loop.time()
        self.network = network_of(transport.get_extra_info("peername"))
        self.door.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        self._take_held()
        self.release(self.outstanding)
        self._is_limited = False
        self.door.leave(self)
        super().connection_lost(exc)

    def upgraded(self) -> None:
        """Read its hello: it is a WebSocket from now on. Its headers, of up to 16 KiB, are forgotten."""
        if self.request:
            self.request.headers.clear()
        self._go_on(Stage.HELLO)

    def welcome(self, *, is_limited: bool) -> None:
        """Accept its hello: from now on it is a client, and what it sent after the hello is read.

        What a viewer sends and is sent `is_limited`.
        """
        self.door.welcome(self)
        self._messages.popleft()  # the hello
        self._is_limited = is_limited
        if is_limited:
            self.protocol.max_message_size = MAX_VIEWER_FRAME
        self._go_on(Stage.OPEN)

    def taken(self) -> int:
        """Return the bytes on the wire of the message that was received last; they count until they are released."""
        return self._messages.popleft() if self._messages else 0

    def occupy(self, size: int) -> None:
        """Count bytes that it occupies, if it is a viewer; see MAX_OUTSTANDING."""
        if self._is_limited and not self.transport.is_closing():
            self.outstanding += size
            self.door.occupy(size)

    def release(self, size: int) -> None:
        """Count bytes no longer."""
        size = min(size, self.outstanding)
        self.outstanding -= size
        self.door.outstanding -= size

    async def linger(self, seconds: float) -> None:
        """Wait before it gets an answer, at most until it is closed; meanwhile nothing is read."""
        self._take_held()
        if not self.transport.is_closing():
            self.transport.pause_reading()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wait_closed()
        self._resume()

    def turn_away(self, code: int, reason: str) -> None:
        """Close it without a closing handshake: what it sent behind its hello, or still sends, is discarded."""
        self._take_held()
        self._stage = Stage.OPEN
        if self.protocol.state is State.OPEN:
            self.protocol.fail(code, reason)
            self.send_data()
        self._resume()

    async def send_parts(self, parts: Sequence[bytes]) -> None:
        """Send a text frame of several parts without copying them, and wait until the client has taken most of it.

        Clients that get the same answer share its memory. Raises ConnectionClosed.
        """
        if self.protocol.state is State.OPEN:
            self.transport.writelines([_header(sum(map(len, parts))), *parts])
            with suppress(OSError):
                await self.drain()
        if self.protocol.state is not State.OPEN:
            await self.wait_closed()
            raise self.protocol.close_exc

    def data_received(self, data: bytes) -> None:
        """Read on only while nothing is wrong."""
        start = 0
        while start < len(data) and not self.transport.is_closing():
            if self._stage is Stage.UPGRADE or (self._stage is Stage.HELLO and self._has_hello):
                self._hold(data[start:])
                return
            size = PORTION if self._stage is Stage.OPEN else EARLY_PORTION
            portion = data[start : start + size]
            if self._stage is Stage.OPEN:
                self.occupy(len(portion))
            super().data_received(portion)
            self._limit(len(portion))
            start += size

    def process_event(self, event: Any) -> None:
        """Notice the end of the handshake and of the first message, and close who sends too much that is no message.

        It is closed without a word: that would cost more.
        """
        super().process_event(event)
        if not isinstance(event, Frame):
            self._stage, self._received = Stage.UPGRADE, 0
            return
        if event.fin and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._has_hello = True
        self._count_message(event)
        if event.opcode not in (Opcode.TEXT, Opcode.BINARY):
            self._count_extra()

    def _count_message(self, event: Frame) -> None:
        """Note how much of what was received belongs to which message; control frames are done with."""
        size = len(event.data) + MAX_HEADER
        if event.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            self.release(size)
            return
        self._message += size
        if event.fin:
            self._messages.append(self._message)
            self._message = 0

    def _count_extra(self) -> None:
        now = self.loop.time()
        if now - self._extra_since > EXTRA_WINDOW:
            self._extra, self._extra_since = 0, now
        self._extra += 1
        if self._extra > (MOST_EXTRA_FRAMES if self._stage is Stage.OPEN else MOST_EARLY_EXTRA_FRAMES):
            self.transport.abort()

    def _limit(self, received: int) -> None:
        """End a request or a hello that is too large."""
        self._received += received
        if self._stage is Stage.REQUEST and self._received > MOST_HANDSHAKE:
            self._stage = Stage.OPEN
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.protocol.send_response(self.protocol.reject(status, "the request is too large\n"))
            self.send_data()
        elif self._stage is Stage.HELLO and not self._has_hello and self._received > MOST_HELLO:
            self.turn_away(CloseCode.MESSAGE_TOO_BIG, f"more than {MOST_HELLO} bytes before hello")

    def _hold(self, rest: bytes) -> None:
        if self.door.held + len(rest) > MOST_HELD:
            self.transport.abort()
            return
        self.transport.pause_reading()
        self._held += rest
        self.door.held += len(rest)

    def _go_on(self, stage: Stage) -> None:
        self._stage = stage
        self._resume()
        self.data_received(self._take_held())

    def _take_held(self) -> bytes:
        held, self._held = self._held, b""
        self.door.held -= len(held)
        return held

    def _resume(self) -> None:
        """Read on, unless the library has paused reading since too many messages wait."""
        if not (self.transport.is_closing() or self.recv_messages.paused):
            self.transport.resume_reading()


def _header(size: int) -> bytes:
    """Return what precedes the payload of a server's text frame (RFC 6455 section 5.2)."""
    if size <= _SHORT:
        return bytes((_FINAL_TEXT, size))
    return (
        struct.pack("!BBH", _FINAL_TEXT, 126, size) if size < 1 << 16 else struct.pack("!BBQ", _FINAL_TEXT, 127, size)
    )


def network_of(peer: tuple[Any, ...] | None) -> str:
    """Return what a remote host cannot change at will: its IPv4 address, or the /64 network of its IPv6 address."""
    host = str(peer[0]) if peer else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address), 64), strict=False))
