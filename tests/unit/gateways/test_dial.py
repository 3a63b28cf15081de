"""Which of a host's addresses is connected to."""

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
    """Give an address that answers nothing: its queue of connections is full, so that packets are dropped."""
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
    """There is no time limit in it: without the second address it would wait for ever."""
    async with Scripted.running() as server:
        with hole() as silent:
            async with asyncio.timeout(PATIENCE):
                found = await first_to_answer([silent, REFUSED, (socket.AF_INET, ("127.0.0.1", server.port))])
            with found:
                assert found.getpeername() == ("127.0.0.1", server.port)


async def test_the_first_address_that_can_be_reached_is_preferred() -> None:
    """A host that refuses is left for the next address at once."""
    async with Scripted.running() as first, Scripted.running() as second:
        addresses = [REFUSED, *((socket.AF_INET, ("127.0.0.1", each.port)) for each in (first, second))]
        with await first_to_answer(addresses) as found:
            assert found.getpeername() == ("127.0.0.1", first.port)


async def test_a_host_that_cannot_be_reached_is_an_error() -> None:
    """It is that of its first address; a cancellation closes what was begun, which a ResourceWarning would show."""
    with pytest.raises(ConnectionRefusedError):
        await first_to_answer([REFUSED, REFUSED])
    with pytest.raises(OSError, match=r"known|resolution|associated"):
        await dial("host.invalid", 25)
    with hole() as silent, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await first_to_answer([silent, silent])
