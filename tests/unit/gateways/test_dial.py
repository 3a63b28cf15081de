"""Connecting to one of several addresses of a host."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.parts import PATIENCE
from support.scripted import Scripted

from notifier.gateways.dial import dial, first_to_answer

REFUSED = (socket.AF_INET, ("127.0.0.1", 1))


@contextmanager
def hole() -> Iterator[tuple[int, tuple[str, int]]]:
    """Yield an address that drops packets, because its queue of connections is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        yield socket.AF_INET, listener.getsockname()


async def test_an_address_that_drops_packets_does_not_hide_the_next_one() -> None:
    """The second address is tried while the first one does not answer."""
    async with Scripted.running() as server:
        with hole() as silent:
            async with asyncio.timeout(PATIENCE):
                found = await first_to_answer([silent, REFUSED, (socket.AF_INET, ("127.0.0.1", server.port))])
            with found:
                assert found.getpeername() == ("127.0.0.1", server.port)


async def test_the_first_address_that_can_be_reached_is_preferred() -> None:
    """After a refusal the next address is tried immediately."""
    async with Scripted.running() as first, Scripted.running() as second:
        addresses = [REFUSED, *((socket.AF_INET, ("127.0.0.1", each.port)) for each in (first, second))]
        with await first_to_answer(addresses) as found:
            assert found.getpeername() == ("127.0.0.1", first.port)


async def test_a_host_that_cannot_be_reached_is_an_error() -> None:
    """The error is that of the first address; a cancellation closes all attempts."""
    with pytest.raises(ConnectionRefusedError):
        await first_to_answer([REFUSED, REFUSED])
    with pytest.raises(OSError, match=r"known|resolution|associated"):
        await dial("host.invalid", 25)
    with hole() as silent, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await first_to_answer([silent, silent])
