"""Connections to the broker. They are never repaired: any loss is Unreachable, and the caller opens a new one."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import AMQPError
from yarl import URL

from notifier.errors import Unreachable
from notifier.gateways.properties import read_all

TIMEOUT = 10.0
"""Seconds to wait for the broker's answer to anything but a publish."""
CLOSE_TIMEOUT = 3.0
"""Seconds to wait for a connection to close; aiormq itself waits 2 s for the broker's answer."""

LOST = (AMQPError, OSError, RuntimeError, asyncio.InvalidStateError)
"""What aiormq raises where a connection or channel is gone."""

_OBJECT = re.compile(r'<(Connection|Channel): "[^"]*" at 0x[0-9a-f]+>')
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

_T = TypeVar("_T")
_Wrap = Callable[[asyncio.StreamReader], asyncio.StreamReader]


class _Transport(TransportFactory):
    """Opens the transport of one connection, with or without TLS as the URL says, and can abort it."""

    def __init__(self, wrap: _Wrap | None) -> None:
        self._wrap = wrap
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open it."""
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **kwargs)
        return self._wrap(reader) if self._wrap else reader, self._writer

    def abort(self) -> None:
        """Close the socket at once, whatever is still to be written."""
        if self._writer:
            self._writer.transport.abort()


_transports: WeakKeyDictionary[AbstractConnection, _Transport] = WeakKeyDictionary()


async def connect(url: str, wrap: _Wrap | None = None) -> AbstractConnection:
    """Open a connection; Unreachable says why there is none.

    What the broker sends is read through `wrap`, if that is given.
    """
    read_all()
    # The default heartbeat of 60 s would let a dead connection pass for alive for over three minutes.
    with_heartbeat = URL(url).update_query(heartbeat="10")
    properties: dict[str, Any] = {"connection_name": "notifier"}
    transport = _Transport(wrap)
    try:
        connection = await answered(
            aiormq.connect(with_heartbeat, client_properties=properties, transport_factory=transport)
        )
    except Unreachable as error:
        transport.abort()
        # aiormq names only the kind of the broker's answer, and this is the only reason for it.
        refused = "Connection.OpenOk" in str(error)
        reason = f"virtual host {with_heartbeat.path!r} does not exist or may not be used" if refused else str(error)
        raise Unreachable(f"broker {with_heartbeat.host}:{with_heartbeat.port}: {reason}") from error
    _transports[connection] = transport
    return connection


@asynccontextmanager
async def connected(url: str, wrap: _Wrap | None = None) -> AsyncIterator[AbstractConnection]:
    """Hold a connection while the block lasts; its loss inside the block is Unreachable."""
    connection = await connect(url, wrap)
    try:
        yield connection
    except AMQPError as error:
        raise Unreachable(words(error)) from error
    finally:
        await close(connection)


async def open_channel(
    connection: AbstractConnection, *, confirms: bool, calls: "Calls | None" = None
) -> AbstractChannel:
    """Open a channel, with publisher confirms or without. Raises Unreachable."""
    # The default buffer of 10 frames would make batches of 3 deliveries.
    opening = connection.channel(publisher_confirms=confirms, frame_buffer_size=300)
    try:
        return await (calls.answered(opening) if calls else answered(opening))
    except Unreachable as error:
        raise Unreachable(f"no channel: {error}") from error


class Calls:
    """Awaits the broker's answers on a connection that also delivers, until the future `ended` is done.

    An answer waits behind all that the broker has sent before, which may take long over a slow connection.
    So the time limit of a call begins anew as long as `received`, a count of what was delivered, grows.
    """

    def __init__(self, ended: "asyncio.Future[Any]", received: Callable[[], int]) -> None:
        self.ended = ended
        self._received = received

    async def answered(self, call: Coroutine[Any, Any, _T], within: float | None = None) -> _T:
        """Await a call of aiormq, as the function of this name does, for TIMEOUT or `within` seconds."""
        within = TIMEOUT if within is None else within
        return await answered(call, within=within, unless=self.ended, received=self._received)


async def answered(
    call: Coroutine[Any, Any, _T],
    *,
    within: float = TIMEOUT,
    unless: "asyncio.Future[Any] | None" = None,
    received: Callable[[], int] = lambda: 0,
) -> _T:
    """Await a call of aiormq for at most `within` seconds, or until the future `unless` is done.

    The seconds begin anew if `received` has grown in them.

    Raises Unreachable if the broker does not answer or the connection is lost; `__cause__`
    is aiormq's own error. Any other error is raised as it is.

    The call runs in a task of its own. When aiormq misses the broker's heartbeat it cancels
    whoever waits for an answer, and that must not look like a cancellation of our caller. And a
    cancelled call may go on waiting, for room in aiormq's write queue: it is abandoned then, and
    ends with its connection.
    """
    task = asyncio.create_task(call)
    ends: set[asyncio.Future[Any]] = {task, unless} if unless else {task}
    try:
        while True:
            before = received()
            done, _ = await asyncio.wait(ends, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if done or received() == before:
                break
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_ignored)
    if not task.done():
        raise Unreachable("the connection was lost" if unless and unless.done() else f"no answer within {within:g} s")
    if task.cancelled():
        raise Unreachable("no heartbeat")
    error = task.exception()
    if isinstance(error, LOST):
        raise Unreachable(words(error)) from error
    return task.result()


def _ignored(task: "asyncio.Task[Any]") -> None:
    """Retrieve the error of an abandoned call, so that asyncio does not report it."""
    if not task.cancelled():
        task.exception()


async def close(connection: AbstractConnection) -> None:
    """Close a connection, and abort its transport if that takes longer than CLOSE_TIMEOUT or is cancelled.

    aiormq answers a cancellation by waiting for the broker again, for ever if that reads nothing.
    So the call runs in a task of its own, which ends with the transport.
    """
    closing = asyncio.create_task(connection.close())
    closing.add_done_callback(_ignored)
    try:
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT)
    finally:
        if not closing.done() and connection in _transports:
            _transports[connection].abort()


def words(error: BaseException) -> str:
    """Return an error's text on one line, the same each time: without the addresses of objects in memory."""
    text = _ADDRESS.sub("", _OBJECT.sub(lambda found: found[1].lower(), str(error)))
    return " ".join(text.split()) or type(error).__name__
