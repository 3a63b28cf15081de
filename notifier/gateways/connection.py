"""Connections to the broker. A lost one is never repaired: it raises Unreachable, and the caller opens a new one."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import AMQPError, InvalidFrameError
from yarl import URL

from notifier.errors import Unreachable
from notifier.gateways.pamqp_tolerance import tolerate_malformed_properties

TIMEOUT = 10.0
"""Seconds to wait for the broker's answer to anything but a publish."""
CLOSE_TIMEOUT = 3.0
"""Seconds to wait for a connection to close; aiormq itself waits 2 s for the broker's answer."""
MIN_FRAME_MAX = 4096
"""Bytes of a frame that every broker accepts (AMQP 0-9-1 section 4.2.3)."""

LOST = (AMQPError, OSError, RuntimeError, asyncio.InvalidStateError)
"""What aiormq raises if a connection or channel is lost."""

_OBJECT = re.compile(r'<(Connection|Channel): "[^"]*" at 0x[0-9a-f]+>')
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

_T = TypeVar("_T")
_Wrap = Callable[[asyncio.StreamReader], asyncio.StreamReader]


class _Transport(TransportFactory):
    """Opens the transport of one connection, with TLS if the URL's scheme is amqps, and can abort it."""

    def __init__(self, wrap: _Wrap | None) -> None:
        self._wrap = wrap
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the transport and return its streams."""
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **kwargs)
        return self._wrap(reader) if self._wrap else reader, self._writer

    def abort(self) -> None:
        """Close the socket at once and discard what is still to be written."""
        if self._writer:
            self._writer.transport.abort()


_transports: WeakKeyDictionary[AbstractConnection, _Transport] = WeakKeyDictionary()


async def connect(url: str, wrap: _Wrap | None = None) -> AbstractConnection:
    """Open a connection; what the broker sends is read through `wrap` if that is given.

    Raises Unreachable with the address of the broker and the reason.
    """
    tolerate_malformed_properties()
    # With the default heartbeat of 60 s a dead connection would be noticed only after three minutes.
    with_heartbeat = URL(url).update_query(heartbeat="10")
    properties: dict[str, Any] = {"connection_name": "notifier"}
    transport = _Transport(wrap)
    try:
        connection = await answered(
            aiormq.connect(with_heartbeat, client_properties=properties, transport_factory=transport)
        )
    except Unreachable as error:
        transport.abort()
        reason = str(error)
        if _is_virtual_host_refused(error):
            reason = f"virtual host {with_heartbeat.path!r} does not exist, or this user may not use it"
        raise Unreachable(f"broker {with_heartbeat.host}:{with_heartbeat.port}: {reason}") from error
    _transports[connection] = transport
    return connection


def _is_virtual_host_refused(error: Unreachable) -> bool:
    """Return whether the broker refused to open the virtual host.

    aiormq reads the broker's answer, but reports only that it is not the expected one, and only in a text.
    """
    return isinstance(error.__cause__, InvalidFrameError) and "Connection.OpenOk" in str(error)


@asynccontextmanager
async def connected(url: str, wrap: _Wrap | None = None) -> AsyncIterator[AbstractConnection]:
    """Keep a connection open while the block lasts. Its loss inside the block raises Unreachable."""
    connection = await connect(url, wrap)
    try:
        yield connection
    except AMQPError as error:
        raise Unreachable(error_text(error)) from error
    finally:
        await close(connection)


async def open_channel(
    connection: AbstractConnection, *, confirms: bool, calls: "Calls | None" = None
) -> AbstractChannel:
    """Open a channel, with or without publisher confirms. Raises Unreachable."""
    opening = connection.channel(publisher_confirms=confirms)
    try:
        return await (calls.answered(opening) if calls else answered(opening))
    except Unreachable as error:
        raise Unreachable(f"no channel could be opened: {error}") from error


class Calls:
    """Awaits the broker's answers on a connection that also delivers, until the future `ended` is done.

    An answer arrives after everything that the broker has sent before it, which can take long over a slow
    connection. So the time limit of a call starts again as long as `received`, a count of what has
    arrived, grows.
    """

    def __init__(self, ended: "asyncio.Future[Any]", received: Callable[[], int]) -> None:
        self.ended = ended
        self._received = received

    async def answered(self, call: Coroutine[Any, Any, _T], within: float | None = None) -> _T:
        """Await a call of aiormq like the function `answered`, for at most `within` seconds (TIMEOUT by default)."""
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

    The time limit starts again if `received` has grown meanwhile.

    Raises Unreachable if the broker does not answer or the connection is lost; `__cause__`
    is aiormq's own error. Any other error is raised as it is.

    The call runs in a task of its own, for two reasons. When aiormq misses the broker's heartbeat, it
    cancels every task that waits for an answer, which must not look like a cancellation of our caller.
    And a cancelled call can continue to wait for room in aiormq's write queue: it is abandoned then,
    and ends with its connection.
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
        raise Unreachable("the broker sent no heartbeat")
    error = task.exception()
    if isinstance(error, LOST):
        raise Unreachable(error_text(error)) from error
    return task.result()


def _ignored(task: "asyncio.Task[Any]") -> None:
    """Retrieve the error of an abandoned call, so that asyncio does not report it."""
    if not task.cancelled():
        task.exception()


async def close(connection: AbstractConnection) -> None:
    """Close a connection; abort its transport if that takes longer than CLOSE_TIMEOUT or is cancelled.

    When aiormq is cancelled while it closes, it waits for the broker once more, for ever if the broker
    reads nothing. So the call runs in a task of its own, which ends with the transport.
    """
    closing = asyncio.create_task(connection.close())
    closing.add_done_callback(_ignored)
    try:
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT)
    finally:
        if not closing.done() and connection in _transports:
            _transports[connection].abort()


def frame_max(connection: AbstractConnection) -> int:
    """Return how many bytes a frame may have on a connection."""
    return connection.connection_tune.frame_max or MIN_FRAME_MAX


def closing_reason(future: "asyncio.Future[Any]") -> str:
    """Return why a connection or a channel was closed, from the future that aiormq completes."""
    if future.cancelled():
        return "the broker sent no heartbeat"
    error = future.exception()
    return error_text(error) if error else "closed"


def error_text(error: BaseException) -> str:
    """Return an error's text on one line, without the addresses of objects, so that it is the same each time."""
    text = _ADDRESS.sub("", _OBJECT.sub(lambda found: found[1].lower(), str(error)))
    return " ".join(text.split()) or type(error).__name__
