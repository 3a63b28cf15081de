"""The feed as bytes on a plain socket, for clients that no library would implement."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from support.parts import PATIENCE
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from notifier import service
from notifier.settings import FeedSettings, Settings

UPGRADE = (
    b"GET /feed HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
CONTINUED, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA
HELLO = b'{"type":"hello","snapshot":0}'


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a client's frame, masked with zeros (RFC 6455 section 5.2)."""
    short = len(payload) < 126
    size = bytes([0x80 | len(payload)]) if short else bytes([0x80 | 127]) + struct.pack(">Q", len(payload))
    return bytes([opcode | (0x80 if fin else 0)]) + size + bytes(4) + payload


@asynccontextmanager
async def dialled(feed: FeedSettings, *sent: bytes) -> AsyncIterator[socket.socket]:
    """Connect a plain socket with small buffers and send some bytes; nothing is read."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)  # noqa: FBT003 - the signature is socket's
        await loop.sock_connect(client, ("127.0.0.1", feed.port))
        for part in sent:
            await loop.sock_sendall(client, part)
        yield client


async def drained(client: socket.socket) -> bytes:
    """Read until the server closes the connection; return the bytes."""
    got = b""
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionResetError, BrokenPipeError):
            while part := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
                got += part
    return got


@asynccontextmanager
async def raw(feed: FeedSettings, **options: Any) -> AsyncIterator[ClientConnection]:
    """Connect without sending anything."""
    async with connect(f"ws://127.0.0.1:{feed.port}/feed", **options) as ws:
        yield ws


async def close_code(ws: ClientConnection) -> int:
    """Read until the server closes the connection; return its close code."""
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(10):
            while True:
                await ws.recv()
    assert closed.value.rcvd
    return closed.value.rcvd.code


@asynccontextmanager
async def narrow(settings: Settings) -> AsyncIterator[FeedSettings]:
    """Run a service whose connections have small kernel buffers."""
    async with service.running(settings) as server:
        for each in server.sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield settings.feed.model_copy(update={"port": server.sockets[0].getsockname()[1]})
