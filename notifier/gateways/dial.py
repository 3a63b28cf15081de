"""Connects to the first address of a host that answers: an address that drops packets must not hide the next."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

NEXT_AFTER = 0.25
"""Seconds after which the next address is tried as well, if none has answered (RFC 8305 section 8)."""


async def dial(host: str, port: int) -> socket.socket:
    """Return a TCP socket connected to a host. Raises OSError; see `first_to_answer`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await first_to_answer([(family, address) for family, _, _, _, address in found])


async def first_to_answer(addresses: Sequence[tuple[int, Any]]) -> socket.socket:
    """Return a socket connected to one of several addresses (family and address), preferably an early one.

    There is no time limit. A cancellation closes all attempts. Raises the OSError of the first
    attempt that failed if no address can be reached.
    """
    untried = list(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    faults: list[BaseException] = []
    try:
        while untried or running:
            if untried:
                running.add(asyncio.create_task(_connected(*untried.pop(0))))
            timeout = NEXT_AFTER if untried else None
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            running -= done
            faults += [error for each in done if (error := each.exception())]
            connected = [each.result() for each in done if not each.exception()]
            for surplus in connected[1:]:
                surplus.close()
            if connected:
                return connected[0]
    finally:
        for each in running:
            each.cancel()
            each.add_done_callback(_close)
    raise faults[0] if faults else OSError("the host has no address")


async def _connected(family: int, address: Any) -> socket.socket:
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.settimeout(0)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connecting, address)
    except BaseException:
        connecting.close()
        raise
    return connecting


def _close(attempt: asyncio.Task[socket.socket]) -> None:
    """Close the connection of an attempt that succeeded too late."""
    if not attempt.cancelled() and not attempt.exception():
        attempt.result().close()
