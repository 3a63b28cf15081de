"""Who may stand in the feed's door: connections that have not said hello, and those that flood it with empty frames."""

from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode

MOST_CLIENTS = 2000
MOST_WAITING = 1000
"""Connections that may be without their hello. One more, and the one that has waited longest is cut off: so silent ones
lock nobody out, and who says hello at once is not among the oldest."""
MOST_EXTRA_FRAMES = 1000
EXTRA_WINDOW = 10.0
"""Pings, pongs and further parts of messages that one connection may send in this many seconds."""
PORTION = 4096
"""Bytes read from one connection at a time: thousands of empty frames fit into what the loop hands over at once."""


class Door:
    """The connections in the order in which they came, before and after their hello."""

    def __init__(self) -> None:
        self._waiting: dict[ServerConnection, None] = {}
        self._inside: set[ServerConnection] = set()

    @property
    def is_full(self) -> bool:
        """Whether no more clients are taken; those without a hello do not count."""
        return len(self._inside) >= MOST_CLIENTS

    def enter(self, connection: ServerConnection) -> None:
        """Let it wait for its hello, in the place of the one that waited longest if there is no other."""
        if len(self._waiting) >= MOST_WAITING:
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            oldest.transport.abort()
        self._waiting[connection] = None

    def welcome(self, connection: ServerConnection) -> None:
        """Count it among the clients from its hello on."""
        if connection in self._waiting:
            self._waiting.pop(connection)
            self._inside.add(connection)

    def close(self) -> None:
        """Cut off who has not even asked to come in: they would hold up the end of the service."""
        for connection in list(self._waiting):
            connection.transport.abort()

    def leave(self, connection: ServerConnection) -> None:
        """Count it no longer."""
        self._waiting.pop(connection, None)
        self._inside.discard(connection)


class Connection(ServerConnection):
    """A connection that comes through the door and is read in small portions."""

    door: Door
    """Set by whoever listens, in a subclass of its own."""

    def connection_made(self, transport: Any) -> None:
        """Enter."""
        super().connection_made(transport)
        self._extra = 0
        self._extra_since = self.loop.time()
        self.door.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        self.door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on only while nothing is wrong."""
        for start in range(0, len(data), PORTION):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + PORTION])

    def process_event(self, event: Any) -> None:
        """Cut off who sends too much that is no message, without a word: that would cost more."""
        super().process_event(event)
        if isinstance(event, Frame) and event.opcode not in (Opcode.TEXT, Opcode.BINARY):
            now = self.loop.time()
            if now - self._extra_since > EXTRA_WINDOW:
                self._extra, self._extra_since = 0, now
            self._extra += 1
            if self._extra > MOST_EXTRA_FRAMES:
                self.transport.abort()
