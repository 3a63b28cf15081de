"""The places and the memory that all connections share, and which connection is closed if they run out."""

from collections import Counter
from typing import Protocol

MAX_CLIENTS = 2000
"""Viewers whose hello was accepted, and as many operators: each role has places of its own."""
MAX_WAITING = 1000
"""Connections that may wait for their hello to be accepted. Beyond that the oldest one is closed of the network that
has most of them: silent connections lock nobody out, and a flood from one network closes its own connections only."""
MAX_HELD = 8 * 1024 * 1024
"""Bytes behind a hello, of all connections together, that may wait in memory until the hello is accepted."""
MAX_INCOMING = 32 * 1024 * 1024
"""Bytes of all viewers together that are not handled yet: messages, complete or not, and commands without their
result. Beyond that the viewer with most of them is disconnected, so a viewer that sends little never is."""
MAX_ANSWERS = 32 * 1024 * 1024
"""Bytes of answers to viewers that wait to be sent or to be read; an answer that several of them share counts once.
Beyond that the viewer with the oldest one is disconnected, so a viewer that reads at once never is."""


class Closable(Protocol):
    """A connection, as the limiter needs it."""

    network: str
    """The remote network: see `network_of`."""
    incoming: int
    """Bytes that came from it as a viewer and are not handled yet."""

    def cut(self) -> None:
        """Disconnect it without a close code, and count nothing of it any more."""


class ConnectionLimiter:
    """All connections, in the order in which they came: those that wait for their hello, viewers and operators."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of all connections that came behind a hello which is not accepted yet."""
        self.incoming = 0
        """Bytes that all viewers together have sent and that are not handled yet."""
        self.answers = Answers()
        self._waiting: dict[str, dict[Closable, None]] = {}
        self._viewers: set[Closable] = set()
        self._operators: set[Closable] = set()
        self._is_closed = False

    def enter(self, connection: Closable) -> None:
        """Count a connection that waits for its hello; beyond MAX_WAITING disconnect another one."""
        if self._is_closed:
            connection.cut()
            return
        if sum(map(len, self._waiting.values())) >= MAX_WAITING:
            busiest = max(self._waiting, key=lambda network: len(self._waiting[network]))
            oldest = next(iter(self._waiting[busiest]))
            self.leave(oldest)
            oldest.cut()
        self._waiting.setdefault(connection.network, {})[connection] = None

    def promote(self, connection: Closable, *, is_viewer: bool) -> bool:
        """Count a connection among the viewers or operators from now on; return whether there is a place for it."""
        clients = self._viewers if is_viewer else self._operators
        if len(clients) >= MAX_CLIENTS:
            return False
        if connection in self._waiting.get(connection.network, ()):
            self.leave(connection)
            clients.add(connection)
        return True

    def occupy(self, size: int) -> None:
        """Count bytes that came from a viewer; beyond MAX_INCOMING disconnect the viewer with most of them."""
        self.incoming += size
        while self.incoming > MAX_INCOMING:
            max(self._viewers, key=lambda each: each.incoming).cut()

    def close(self) -> None:
        """Disconnect all connections without a hello, also those that still come: they would delay the shutdown."""
        self._is_closed = True
        for connection in [each for network in self._waiting.values() for each in network]:
            connection.cut()

    def leave(self, connection: Closable) -> None:
        """Count a connection no longer."""
        self._viewers.discard(connection)
        self._operators.discard(connection)
        if (of_network := self._waiting.get(connection.network)) is not None:
            of_network.pop(connection, None)
            if not of_network:
                del self._waiting[connection.network]


class Answers:
    """The answers that viewers wait for or read, oldest first. Viewers that asked the same share one in memory."""

    def __init__(self) -> None:
        self.size = 0
        self._bodies: dict[Closable, bytes] = {}
        self._readers: Counter[int] = Counter()

    def add(self, connection: Closable, body: bytes) -> None:
        """Count the body of an answer; beyond MAX_ANSWERS disconnect the viewers with the oldest ones."""
        self._bodies[connection] = body
        self._readers[id(body)] += 1
        if self._readers[id(body)] == 1:
            self.size += len(body)
        while self.size > MAX_ANSWERS:
            next(iter(self._bodies)).cut()

    def remove(self, connection: Closable) -> None:
        """Count the answer of a viewer no longer."""
        body = self._bodies.pop(connection, None)
        if body is None:
            return
        self._readers[id(body)] -= 1
        if not self._readers[id(body)]:
            del self._readers[id(body)]
            self.size -= len(body)
