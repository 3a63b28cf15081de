"""Connections before their hello is accepted: how many may wait, how much each may send, and which one gives way."""

import asyncio
import ipaddress
import struct
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

MAX_CLIENTS = 2000
"""Viewers whose hello was accepted, and as many operators: each of them has places of their own."""
MAX_WAITING = 1000
"""Connections that may wait for their hello to be accepted. Beyond that the oldest one is closed of the network that
has most of them: silent connections lock nobody out, and a flood from one network closes its own connections only."""
MAX_HANDSHAKE = 16 * 1024
"""Bytes of the HTTP request: its line and all its headers."""
MAX_HELLO = 24 * 1024
"""Bytes of a hello on the wire, all its parts together: one whose filter has 500 ids of mails takes 20 KB."""
MAX_HELD = 8 * 1024 * 1024
"""Bytes behind a hello, of all connections together, that may wait in memory until it is accepted."""
MAX_VIEWER_FRAME = 64 * 1024
"""Bytes of a viewer's frame after its hello: a filter with 500 values of each field. Only operators submit messages."""
MAX_INCOMING = 32 * 1024 * 1024
"""Bytes that all viewers together have sent and that are not handled yet: messages, complete or not, and commands
without their result. Beyond that the viewer with most of them is disconnected: who sends little never is."""
MAX_ANSWERS = 32 * 1024 * 1024
"""Bytes of answers of viewers that wait to be sent or to be read, each answer that several of them share counted once.
Beyond that the viewer with the oldest one is disconnected: who reads at once never is."""
MESSAGE_TIMEOUT = 10.0
"""Seconds in which a viewer must send the whole of a message that it has begun."""
MAX_PARTS = 64
"""Frames of one message: each takes much more memory than its bytes."""
MAX_EARLY_EXTRA_FRAMES = 20
"""Pings and pongs before the hello is accepted."""
MAX_EXTRA_FRAMES = 1000
EXTRA_WINDOW = 10.0
"""Pings and pongs that a client may send in this many seconds."""
BATCH_SIZE = 4096
"""Bytes read from one connection at a time: thousands of empty frames fit into what the loop passes on at once."""
EARLY_PORTION = 256
"""The same before the hello is accepted: what stands in the portion behind the hello is parsed with it."""

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


class ConnectionLimiter:
    """The connections in the order in which they came, before and after their hello."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of all connections that wait for their hello to be accepted."""
        self.incoming = 0
        """Bytes that all viewers together have sent and that are not handled yet."""
        self.answers = _Answers()
        self._waiting: dict[str, dict[Connection, None]] = {}
        self._viewers: set[Connection] = set()
        self._operators: set[Connection] = set()
        self._is_closed = False

    def enter(self, connection: "Connection") -> None:
        """Let it wait for its hello; if too many wait, close the oldest of the network that has most of them."""
        if self._is_closed:
            connection.transport.abort()
            return
        if sum(map(len, self._waiting.values())) >= MAX_WAITING:
            busiest = max(self._waiting, key=lambda network: len(self._waiting[network]))
            oldest = next(iter(self._waiting[busiest]))
            self.leave(oldest)
            oldest.transport.abort()
        self._waiting.setdefault(connection.network, {})[connection] = None

    def welcome(self, connection: "Connection", *, is_viewer: bool) -> bool:
        """Count it among the viewers or operators from its hello on; return whether there is a place for it."""
        inside = self._viewers if is_viewer else self._operators
        if len(inside) >= MAX_CLIENTS:
            return False
        if connection in self._waiting.get(connection.network, ()):
            self.leave(connection)
            inside.add(connection)
        return True

    def occupy(self, size: int) -> None:
        """Count bytes that came from a viewer; beyond the limit disconnect the viewer that occupies most."""
        self.incoming += size
        while self.incoming > MAX_INCOMING:
            max(self._viewers, key=lambda each: each.incoming).cut()

    def close(self) -> None:
        """Close all connections without a hello, also those that still come: they would delay the end."""
        self._is_closed = True
        for connection in [each for network in self._waiting.values() for each in network]:
            connection.transport.abort()

    def leave(self, connection: "Connection") -> None:
        """Count it no longer."""
        self._viewers.discard(connection)
        self._operators.discard(connection)
        if (of_network := self._waiting.get(connection.network)) is not None:
            of_network.pop(connection, None)
            if not of_network:
                del self._waiting[connection.network]


class _Answers:
    """The answers that viewers wait for or read, the oldest first. Viewers who asked the same share one in memory."""

    def __init__(self) -> None:
        self.size = 0
        self._bodies: dict[Connection, bytes] = {}
        self._readers: Counter[int] = Counter()

    def add(self, connection: "Connection", body: bytes) -> None:
        """Count the body of its answer; beyond MAX_ANSWERS disconnect the viewers with the oldest ones."""
        self._bodies[connection] = body
        self._readers[id(body)] += 1
        if self._readers[id(body)] == 1:
            self.size += len(body)
        while self.size > MAX_ANSWERS:
            next(iter(self._bodies)).cut()

    def remove(self, connection: "Connection") -> None:
        """Count the answer of a viewer no longer."""
        body = self._bodies.pop(connection, None)
        if body is None:
            return
        self._readers[id(body)] -= 1
        if not self._readers[id(body)]:
            del self._readers[id(body)]
            self.size -= len(body)


class Connection(ServerConnection):
    """A connection that comes through the door and is read in small portions.

    Until its hello is accepted it can occupy a few dozen KiB and no more, whatever it sends.
    """

    door: ConnectionLimiter
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
        self.incoming = 0
        """Bytes that came from it as a viewer and are not handled yet; always 0 for others."""
        self._is_limited = False
        self._message = 0
        self._messages: deque[int] = deque()
        self._parts = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._extra = 0
        self._extra_since = self.loop.time()
        self.network = network_of(transport.get_extra_info("peername"))
        self.door.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        self._take_held()
        self._forget()
        self.door.leave(self)
        super().connection_lost(exc)

    def upgraded(self) -> None:
        """Read its hello: it is a WebSocket from now on. Its headers, of up to 16 KiB, are forgotten."""
        if self.request:
            self.request.headers.clear()
        self._go_on(Stage.HELLO)

    def welcome(self, *, is_limited: bool) -> bool:
        """Accept its hello: from now on it is a client, and what it sent after the hello is read.

        What a viewer sends and is sent `is_limited`. Returns False, and does nothing, if there are too many clients.
        """
        if not self.door.welcome(self, is_viewer=is_limited):
            return False
        self._messages.popleft()  # the hello
        self._is_limited = is_limited
        if is_limited:
            self.protocol.max_message_size = MAX_VIEWER_FRAME
        self._go_on(Stage.OPEN)
        return True

    def taken(self) -> int:
        """Return the bytes on the wire of the message that was received last; they count until they are released."""
        return self._messages.popleft() if self._messages else 0

    def release(self, size: int) -> None:
        """Count the bytes of a message no longer: it is handled."""
        size = min(size, self.incoming)
        self.incoming -= size
        self.door.incoming -= size

    @contextmanager
    def answering(self, body: bytes) -> Iterator[None]:
        """Count an answer while it waits to be sent and to be read, if this is a viewer; see MAX_ANSWERS."""
        if self._is_limited and not self.transport.is_closing():
            self.door.answers.add(self, body)
        try:
            yield
        finally:
            self.door.answers.remove(self)

    def cut(self) -> None:
        """Disconnect it without a close code, and count nothing of it any more."""
        self.transport.abort()
        self._forget()

    def _forget(self) -> None:
        self.release(self.incoming)
        self.door.answers.remove(self)
        self._is_limited = False
        self._set_deadline(None)

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
            size = BATCH_SIZE if self._stage is Stage.OPEN else EARLY_PORTION
            portion = data[start : start + size]
            if self._stage is Stage.OPEN and self._is_limited:
                self._occupy(len(portion))
            super().data_received(portion)
            self._limit(len(portion))
            start += size

    def process_event(self, event: Any) -> None:
        """Notice the end of the handshake and of each message, and close who sends too many frames that are no message.

        It is closed without a word: that would cost more.
        """
        super().process_event(event)
        if not isinstance(event, Frame):
            self._stage, self._received = Stage.UPGRADE, 0
        elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._count_part(is_last=event.fin)
        else:
            self._count_extra()

    def _occupy(self, size: int) -> None:
        """Count bytes of a message that is not complete. They may belong to the next one: that is at most a PORTION."""
        self._message += size
        self.incoming += size
        if self._deadline is None:
            self._set_deadline(MESSAGE_TIMEOUT)
        self.door.occupy(size)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._end_of_patience)

    def _end_of_patience(self) -> None:
        """Disconnect a client that did not complete its message, unless it is we who do not read the rest."""
        if self.recv_messages.paused:
            self._set_deadline(MESSAGE_TIMEOUT)
        else:
            self.cut()

    def _count_part(self, *, is_last: bool) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            self.transport.abort()
        elif is_last:
            self._has_hello = True
            self._messages.append(self._message)
            self._message = self._parts = 0
            self._set_deadline(None)

    def _count_extra(self) -> None:
        if not self._parts:  # no message is under way
            self.release(self._message)
            self._message = 0
            self._set_deadline(None)
        now = self.loop.time()
        if now - self._extra_since > EXTRA_WINDOW:
            self._extra, self._extra_since = 0, now
        self._extra += 1
        if self._extra > (MAX_EXTRA_FRAMES if self._stage is Stage.OPEN else MAX_EARLY_EXTRA_FRAMES):
            self.transport.abort()

    def _limit(self, received: int) -> None:
        """End a request or a hello that is too large."""
        self._received += received
        if self._stage is Stage.REQUEST and self._received > MAX_HANDSHAKE:
            self._stage = Stage.OPEN
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.protocol.send_response(self.protocol.reject(status, "the request is too large\n"))
            self.send_data()
        elif self._stage is Stage.HELLO and not self._has_hello and self._received > MAX_HELLO:
            self.turn_away(CloseCode.MESSAGE_TOO_BIG, f"more than {MAX_HELLO} bytes before hello")

    def _hold(self, rest: bytes) -> None:
        if self.door.held + len(rest) > MAX_HELD:
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
