"""Connections to a real broker: failures to connect, loss, and time limits of calls."""

import asyncio
from typing import Any

import aiormq
import pytest
from support.faults.proxy import Proxy
from support.parts import PATIENCE
from support.rabbit import Rabbit
from yarl import URL

from notifier.demo.node import free_ports
from notifier.errors import Unreachable
from notifier.gateways.connection import _transports, answered, close, connect, error_text, open_channel
from notifier.gateways.topology import EVENTS


async def test_a_broker_that_is_not_there_is_unreachable() -> None:
    """The error names the host and the port."""
    (port,) = free_ports(1)
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        await connect(f"amqp://127.0.0.1:{port}/")


async def test_a_wrong_password_is_unreachable(rabbit: Rabbit) -> None:
    """The broker's refusal is in the error."""
    with pytest.raises(Unreachable, match=r"(?i)refused|login"):
        await connect(rabbit.url.replace("guest:guest", "guest:wrong"))


async def test_a_wrong_virtual_host_is_unreachable(rabbit: Rabbit) -> None:
    """The error names the virtual host, in the same words each time, so that the log has it once."""
    reasons = set()
    for _ in range(3):
        with pytest.raises(Unreachable) as refused:
            await connect(f"{rabbit.url}nowhere")
        reasons.add(str(refused.value))
    (reason,) = reasons
    assert "virtual host '/nowhere' does not exist, or this user may not use it" in reason
    assert error_text(ValueError("got <Connection.Close object at 0x7f3a>")) == "got <Connection.Close object>"


async def test_a_closed_connection_has_the_same_reason_each_time(rabbit: Rabbit) -> None:
    """The reason is the same at each attempt, so that it is logged once, and it contains no password."""
    connection, other = await connect(rabbit.url), await connect(rabbit.url)
    await connection.close()
    with pytest.raises(Unreachable, match=r"^no channel could be opened: connection closed$"):
        await open_channel(connection, confirms=False)
    channel = await open_channel(other, confirms=False)
    await other.close()
    with pytest.raises(aiormq.exceptions.ChannelInvalidStateError) as closed:
        await channel.basic_publish(b"")
    assert error_text(closed.value) == "channel closed"


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_broker_that_reads_nothing_cannot_keep_a_connection_open(rabbit: Rabbit, *, cancelled: bool) -> None:
    """Closing ends although much is still to be written, also if it is cancelled, and the socket is closed."""
    async with Proxy.to(URL(rabbit.url).port or 0) as proxy, asyncio.timeout(PATIENCE):
        connection = await connect(proxy.url(rabbit.url))
        channel = await open_channel(connection, confirms=True)
        proxy.stall()
        publishing = asyncio.create_task(channel.basic_publish(bytes(20_000_000), exchange=EVENTS))
        transport: Any = _transports[connection]._writer
        while not transport.transport.get_write_buffer_size():  # noqa: ASYNC110 - a buffer sends no signal
            await asyncio.sleep(0.01)
        closing = asyncio.create_task(close(connection))
        await asyncio.sleep(0)
        if cancelled:
            closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await asyncio.wait({connection.closing})
        assert transport.transport.is_closing()
        await asyncio.gather(publishing, return_exceptions=True)


async def test_a_cancellation_by_aiormq_is_a_lost_broker() -> None:
    """When aiormq misses heartbeats, it cancels all waiting calls, which must not cancel our own task."""
    with pytest.raises(Unreachable, match="sent no heartbeat"):
        await answered(_cancelled())
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


async def _cancelled() -> None:
    raise asyncio.CancelledError


async def test_a_call_that_ignores_its_cancellation_is_abandoned() -> None:
    """For example, a cancelled call that opens a channel waits for room in the write queue to close it again."""
    released = asyncio.Event()

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await released.wait()

    async with asyncio.timeout(5):
        with pytest.raises(Unreachable, match="no answer"):
            await answered(call(), within=0.01)
        released.set()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if task.get_coro().__name__ == "call":  # type: ignore[union-attr]
                await asyncio.wait({task})
