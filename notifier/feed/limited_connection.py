"""One connection of the feed, limited before its hello is accepted, and as a viewer's also after that."""

import asyncio
import ipaddress
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from notifier.feed.connection_limiter import MAX_HELD, ConnectionLimiter
from notifier.feed.protocol import CloseCode

MAX_HANDSHAKE = 16 * 1024
"""Bytes of the HTTP request: its line and all its headers."""
MAX_HELLO = 24 * 1024
"""Bytes of a hello on the wire, all its parts together: one whose filter has 500 ids of mails takes 20 KB."""
MAX_VIEWER_FRAME = 64 * 1024
"""Bytes of a viewer's frame after its hello: a filter with 500 values of each field. Only operators submit messages."""
MESSAGE_TIMEOUT = 10.0
"""Seconds in which a viewer must send the whole of a message that it has begun."""
MAX_PARTS = 64
"""Frames of one message: each takes much more memory than its bytes."""
MAX_EARLY_EXTRA_FRAMES = 20
"""Pings and pongs before the hello is accepted."""
MAX_EXTRA_FRAMES = 1000
EXTRA_WINDOW = 10.0
"""A client may send MAX_EXTRA_FRAMES pings and pongs in this many seconds."""
BATCH_SIZE = 4096
"""Bytes that are parsed at a time: thousands of empty frames fit into what the loop passes on at once."""
EARLY_BATCH_SIZE = 256
"""The same before the hello is accepted: whatever follows the hello in its batch is parsed with it."""

_FINAL_TEXT, _SHORT = 0x81, 125


class Stage(Enum):
    """How far a connection has come."""

    REQUEST = auto()
    """Its HTTP request is not complete."""
    UPGRADE = auto()
    """Its request has no answer yet; bytes that follow are held."""
    HELLO = auto()
    """It is a WebSocket; bytes that follow its first message are held."""
    OPEN = auto()
    """Its hello was accepted, or it is being closed."""


class LimitedConnection(ServerConnection):
    """A connection that is read in small batches.

    Until its hello is accepted it can occupy a few dozen KiB and no more, whatever it sends.
    """

    limiter: ConnectionLimiter
    """Set by the server, in a subclass of its own."""
    network = ""
    """The remote network: see `network_of`."""

    def connection_made(self, transport: Any) -> None:
        """Begin to count the connection."""
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
        self.limiter.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no longer."""
        self._take_held()
        self._uncount()
        self.limiter.leave(self)
        super().connection_lost(exc)

    def upgraded(self) -> None:
        """Read the hello: it is a WebSocket from now on. The headers, up to 16 KiB, are freed."""
        if self.request:
            self.request.headers.clear()
        self._advance(Stage.HELLO)

    def promote(self, *, is_limited: bool) -> bool:
        """Accept the hello: from now on this is a client, and the bytes that followed the hello are read.

        `is_limited` for viewers. Return False, and change nothing, if there are too many clients.
        """
        if not self.limiter.promote(self, is_viewer=is_limited):
            return False
        self._messages.popleft()  # the hello
        self._is_limited = is_limited
        if is_limited:
            self.protocol.max_message_size = MAX_VIEWER_FRAME
        self._advance(Stage.OPEN)
        return True

    def taken(self) -> int:
        """Return the size on the wire of the message that was received last; it counts until it is released."""
        return self._messages.popleft() if self._messages else 0

    def release(self, size: int) -> None:
        """Count the bytes of a message no longer, because it is handled."""
        size = min(size, self.incoming)
        self.incoming -= size
        self.limiter.incoming -= size

    @contextmanager
    def answering(self, body: bytes) -> Iterator[None]:
        """Count an answer to a viewer while it waits to be sent and to be read; see MAX_ANSWERS."""
        if self._is_limited and not self.transport.is_closing():
            self.limiter.answers.add(self, body)
        try:
            yield
        finally:
            self.limiter.answers.remove(self)

    def cut(self) -> None:
        """Disconnect without a close code, and count nothing of this connection any more."""
        self.transport.abort()
        self._uncount()

    def _uncount(self) -> None:
        self.release(self.incoming)
        self.limiter.answers.remove(self)
        self._is_limited = False
        self._set_deadline(None)

    async def linger(self, seconds: float) -> None:
        """Wait before an answer is sent, at most until the connection is closed; meanwhile nothing is read."""
        self._take_held()
        if not self.transport.is_closing():
            self.transport.pause_reading()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wait_closed()
        self._resume()

    def turn_away(self, code: CloseCode, reason: str) -> None:
        """Close without a closing handshake; bytes that were held, or still come, are discarded."""
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
            await self._end_closing()
            raise self.protocol.close_exc

    async def _end_closing(self) -> None:
        """Wait for the end of a connection that is being closed; cut it at the deadline of the closing handshake.

        The library does so in its own methods only. The end is never noticed if reading is paused.
        """
        deadline = self.close_deadline
        left = None if deadline is None else max(0.0, deadline - self.loop.time())
        await asyncio.wait((self.connection_lost_waiter,), timeout=left)
        self.transport.abort()
        await self.wait_closed()

    def data_received(self, data: bytes) -> None:
        """Parse bytes in batches, and stop at the first that breaks a limit."""
        start = 0
        while start < len(data) and not self.transport.is_closing():
            if self._stage is Stage.UPGRADE or (self._stage is Stage.HELLO and self._has_hello):
                self._hold(data[start:])
                return
            size = BATCH_SIZE if self._stage is Stage.OPEN else EARLY_BATCH_SIZE
            batch = data[start : start + size]
            if self._stage is Stage.OPEN and self._is_limited:
                self._occupy(len(batch))
            super().data_received(batch)
            self._limit(len(batch))
            start += size

    def process_event(self, event: Any) -> None:
        """Note the end of the handshake and of each message; disconnect a client that sends too many pings and pongs.

        It gets no close code, which would cost more than it is worth.
        """
        super().process_event(event)
        if not isinstance(event, Frame):
            self._stage, self._received = Stage.UPGRADE, 0
        elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._count_part(is_last=event.fin)
        else:
            self._count_extra()

    def _occupy(self, size: int) -> None:
        """Count bytes of a message that is not complete. Up to BATCH_SIZE of them may belong to the next one."""
        self._message += size
        self.incoming += size
        if self._deadline is None:
            self._set_deadline(MESSAGE_TIMEOUT)
        self.limiter.occupy(size)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._on_deadline)

    def _on_deadline(self) -> None:
        """Disconnect a client that did not complete its message, unless the rest waits because we do not read."""
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
        """Refuse a request or a hello that is too large."""
        self._received += received
        if self._stage is Stage.REQUEST and self._received > MAX_HANDSHAKE:
            self._stage = Stage.OPEN
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.protocol.send_response(self.protocol.reject(status, "the request is too large\n"))
            self.send_data()
        elif self._stage is Stage.HELLO and not self._has_hello and self._received > MAX_HELLO:
            self.turn_away(CloseCode.FRAME_TOO_LARGE, f"more than {MAX_HELLO} bytes before hello")

    def _hold(self, rest: bytes) -> None:
        if self.limiter.held + len(rest) > MAX_HELD:
            self.transport.abort()
            return
        self.transport.pause_reading()
        self._held += rest
        self.limiter.held += len(rest)

    def _advance(self, stage: Stage) -> None:
        self._stage = stage
        self._resume()
        self.data_received(self._take_held())

    def _take_held(self) -> bytes:
        held, self._held = self._held, b""
        self.limiter.held -= len(held)
        return held

    def _resume(self) -> None:
        """Read again, unless the library has paused reading because too many messages wait."""
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
    """Return a remote host's IPv4 address, or the /64 network of its IPv6 address, which it cannot change at will."""
    host = str(peer[0]) if peer else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address), 64), strict=False))
