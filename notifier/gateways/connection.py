"""Connections to the broker. They are never mended: any loss is Unreachable, and whoever goes on opens a new one."""

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.connection import TransportFactory
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

_T = TypeVar("_T")


async def connect(url: str, transport_factory: TransportFactory | None = None) -> AbstractConnection:
    """Open a connection; Unreachable says why there is none."""
    read_all()
    # The default heartbeat of 60 s would let a dead connection pass for alive for over three minutes.
    with_heartbeat = URL(url).update_query(heartbeat="10")
    properties: dict[str, Any] = {"connection_name": "notifier"}
    try:
        return await answered(
            aiormq.connect(with_heartbeat, client_properties=properties, transport_factory=transport_factory)
        )
    except Unreachable as error:
        raise Unreachable(f"broker {with_heartbeat.host}:{with_heartbeat.port}: {error}") from error


@asynccontextmanager
async def connected(url: str, transport_factory: TransportFactory | None = None) -> AsyncIterator[AbstractConnection]:
    """Hold a connection while the block lasts; its loss inside the block is Unreachable."""
    connection = await connect(url, transport_factory)
    try:
        yield connection
    except AMQPError as error:
        raise Unreachable(words(error)) from error
    finally:
        await close(connection)


async def open_channel(connection: AbstractConnection, *, confirms: bool) -> AbstractChannel:
    """Open a channel, with publisher confirms or without."""
    try:
        # The default buffer of 10 frames would make batches of 3 deliveries.
        return await answered(connection.channel(publisher_confirms=confirms, frame_buffer_size=300))
    except Unreachable as error:
        raise Unreachable(f"no channel: {error}") from error


async def answered(
    call: Coroutine[Any, Any, _T], *, within: float = TIMEOUT, unless: "asyncio.Future[Any] | None" = None
) -> _T:
    """Await a call of aiormq for at most `within` seconds, or until the future `unless` is done.

    Raises Unreachable if the broker does not answer or the connection is lost; `__cause__`
    is aiormq's own error. Any other error is raised as it is.

    The call runs in a task of its own. When aiormq misses the broker's heartbeat it cancels
    whoever waits for an answer, and that must not look like a cancellation of our caller. And a
    cancelled call may go on waiting, for room in aiormq's write queue: it is abandoned then, and
    ends with its connection.
    """
    task = asyncio.create_task(call)
    try:
        await asyncio.wait({task, unless} if unless else {task}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
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
    """Close a connection without waiting long for a broker that does not answer."""
    with suppress(TimeoutError, *LOST):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await connection.close()


def words(error: BaseException) -> str:
    """Say an error in one line, the same one each time: aiormq names what is closed by its place in memory, too."""
    text = _OBJECT.sub(lambda found: found[1].lower(), str(error))
    return " ".join(text.split()) or type(error).__name__
