"""Connections to the broker. They are never mended: any loss is Unreachable, and whoever goes on opens a new one."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError
from yarl import URL

from notifier.errors import Unreachable
from notifier.gateways.properties import read_all

TIMEOUT = 10.0
"""Seconds to wait for the broker's answer to anything but a publish."""

LOST = (AMQPError, OSError, RuntimeError, asyncio.InvalidStateError)
"""What aiormq raises where a connection or channel is gone."""

_OBJECT = re.compile(r'<(Connection|Channel): "[^"]*" at 0x[0-9a-f]+>')


async def connect(url: str) -> AbstractConnection:
    """Open a connection; Unreachable says why there is none."""
    read_all()
    # The default heartbeat of 60 s would let a dead connection pass for alive for over three minutes.
    with_heartbeat = URL(url).update_query(heartbeat="10")
    try:
        async with asyncio.timeout(TIMEOUT):
            return await aiormq.connect(with_heartbeat, client_properties={"connection_name": "notifier"})
    except TimeoutError:
        reason = f"no answer within {TIMEOUT:g} s"
    except LOST as error:
        reason = words(error)
    raise Unreachable(f"broker {with_heartbeat.host}:{with_heartbeat.port}: {reason}")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AbstractConnection]:
    """Hold a connection while the block lasts; its loss inside the block is Unreachable."""
    connection = await connect(url)
    try:
        yield connection
    except AMQPError as error:
        raise Unreachable(words(error)) from error
    finally:
        await close(connection)


async def open_channel(connection: AbstractConnection, *, confirms: bool) -> AbstractChannel:
    """Open a channel, with publisher confirms or without."""
    try:
        async with asyncio.timeout(TIMEOUT):
            # The default buffer of 10 frames would make batches of 3 deliveries.
            return await connection.channel(publisher_confirms=confirms, frame_buffer_size=300)
    except (*LOST, TimeoutError) as error:
        raise Unreachable(f"no channel: {words(error)}") from error


async def close(connection: AbstractConnection) -> None:
    """Close a connection without waiting long for a broker that does not answer."""
    with suppress(TimeoutError, *LOST):
        async with asyncio.timeout(2):
            await connection.close()


def words(error: BaseException) -> str:
    """Say an error in one line, the same one each time: aiormq names what is closed by its place in memory, too."""
    text = _OBJECT.sub(lambda found: found[1].lower(), str(error))
    return " ".join(text.split()) or type(error).__name__
