"""What one connection may send: unfinished messages, their parts, and the memory that they take."""

import asyncio
import json
import socket
from contextlib import suppress

import pytest
from support.parts import PATIENCE, changed, serving
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.wire import CONTINUED, HELLO, PING, TEXT, UPGRADE, dialled, drained, frame
from websockets.frames import Frame, Opcode

from notifier.feed import connection_limiter, limited_connection, server
from notifier.feed.limited_connection import network_of
from notifier.settings import Settings

VIEWER = frame(TEXT, json.dumps({"type": "hello", "snapshot": 0, "token": VIEWER_TOKEN}).encode())
OPERATOR = frame(TEXT, json.dumps({"type": "hello", "snapshot": 0, "token": OPERATOR_TOKEN}).encode())


async def until(client: socket.socket, wanted: bytes) -> bytes:
    """Read until the wanted bytes have come; return everything that was read."""
    got = b""
    async with asyncio.timeout(PATIENCE):
        while wanted not in got:
            part = await asyncio.get_running_loop().sock_recv(client, 65536)
            assert part, got
            got += part
    return got


async def test_a_viewer_must_complete_what_it_begins(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer that leaves a message unfinished, even in parts, is disconnected; idle ones and operators are not."""
    monkeypatch.setattr(limited_connection, "MESSAGE_TIMEOUT", 0.5)
    monkeypatch.setattr(server, "PING_EVERY", 0.1)
    entrance = connection_limiter.ConnectionLimiter()
    monkeypatch.setattr(server, "ConnectionLimiter", lambda: entrance)
    begun = (frame(TEXT, b"x" * 20_000)[:-1], frame(TEXT, b"x" * 20_000, fin=False))
    asking = frame(TEXT, b'{"type":"command","id":1,"name":"mail.list"}')
    async with (
        serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed,
        dialled(feed, UPGRADE, VIEWER) as idle,
        dialled(feed, UPGRADE, OPERATOR) as operator,
        dialled(feed, UPGRADE, VIEWER) as one,
        dialled(feed, UPGRADE, VIEWER) as other,
    ):
        for client in (idle, operator, one, other):
            await until(client, b'"mails":[]')
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(idle, frame(PING))
        await loop.sock_sendall(operator, frame(TEXT, b'{"type":"other"}', fin=False))
        for client, part in zip((one, other), begun, strict=True):
            await loop.sock_sendall(client, part)
            await drained(client)
        assert entrance.incoming == 0
        await loop.sock_sendall(operator, frame(CONTINUED) + asking)
        await loop.sock_sendall(idle, asking)
        for client in (operator, idle):
            await until(client, b'"result"')


@pytest.mark.parametrize(("parts", "ok"), [(64, True), (65, False)])
async def test_a_message_has_a_bounded_number_of_parts(settings: Settings, parts: int, *, ok: bool) -> None:
    """With one part too many the connection ends; the next message may have as many again."""
    asking = b'{"type":"command","id":1,"name":"mail.list"}'
    empty = frame(CONTINUED, fin=False) * (parts - 2)
    message = frame(TEXT, asking[:9], fin=False) + empty + frame(CONTINUED, asking[9:])
    async with serving(settings) as feed, dialled(feed, UPGRADE, frame(TEXT, HELLO)) as client:
        await until(client, b'"mails":[]')
        await asyncio.get_running_loop().sock_sendall(client, message * 2)
        got = b""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionResetError):
                while got.count(b'"result"') < 2 and (
                    part := await asyncio.get_running_loop().sock_recv(client, 65536)
                ):
                    got += part
    assert got.count(b'"result"') == (2 if ok else 0)


@pytest.mark.parametrize(("size", "length"), [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_the_header_of_a_frame_is_that_of_the_library(size: int, length: int) -> None:
    """Text frames are written without a mask and in one piece, for every length that RFC 6455 distinguishes."""
    text = b"x" * size
    header = limited_connection._header(size)
    assert header + text == Frame(Opcode.TEXT, text).serialize(mask=False)
    assert len(header) == length


def test_the_hosts_of_one_ipv6_network_count_as_one() -> None:
    """A host can change the last 64 bits of its IPv6 address at will, but not the first 64."""
    assert network_of(("2001:db8::1", 1)) == network_of(("2001:db8::ffff:2", 2)) == "2001:db8::/64"
    assert network_of(("::ffff:192.0.2.1", 1)) == network_of(("192.0.2.1", 2)) == "192.0.2.1"
    assert network_of(None) == ""
