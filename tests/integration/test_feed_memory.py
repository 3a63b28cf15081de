"""The memory that many connections take together before their hello is accepted."""

import asyncio
import gc
import json
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import psutil
import pytest
from support.faults.victim import Victim
from support.parts import PATIENCE, next_frame, request, submit, wait_frame
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.wire import CONTINUED, PING, TEXT, UPGRADE, dialled, frame, narrow

from notifier.domain.events import MAX_EVENTS, MailFilter, StoredEvent
from notifier.feed.client import FeedClient
from notifier.feed.connection_limiter import MAX_WAITING
from notifier.feed.limited_connection import EARLY_BATCH_SIZE, MAX_HANDSHAKE, MAX_HELLO
from notifier.feed.protocol import cursor as cursor_of
from notifier.feed.protocol import filter_hash, read_cursor
from notifier.settings import Settings

FAR = "2126-01-01T00:00:00Z"
CONNECTIONS = MAX_WAITING - 10
MOST_GROWTH = 64 * 1024 * 1024
"""Bytes that so many connections may take together: they took 540 MB when each could send a frame of 512 KiB."""


def unfinished(size: int, sent: int) -> bytes:
    """Begin a text frame of `size` bytes, and send so many of them."""
    return bytes([0x81, 0x80 | 127]) + struct.pack(">Q", size) + bytes(4) + b"x" * sent


WRONG_HELLO = frame(TEXT, json.dumps({"type": "hello", "token": "not-one-of-the-tokens"}).encode())
ATTACKS = {
    "the largest frame of a client": unfinished(512 * 1024, 500 * 1024),
    "the largest hello": unfinished(MAX_HELLO - 100, MAX_HELLO - 200),
    "a hello in many parts": frame(TEXT, b"{", fin=False) + frame(CONTINUED, fin=False) * 20_000,
    "pings before a hello": frame(PING, b"x" * 125) * 4000,
    "a request of many lines": UPGRADE.removesuffix(b"\r\n") + b"x: " + (b"y" * 8000 + b"\r\nx: ") * 120,
    "the largest request": UPGRADE.removesuffix(b"\r\n")
    + (b"x: " + b"y" * 1019 + b"\r\n") * (MAX_HANDSHAKE // 1024 - 1),
    "much behind a wrong token": WRONG_HELLO + frame(TEXT, b"x" * 120) * 4000,
    "small frames behind a wrong token": WRONG_HELLO + frame(TEXT) * (EARLY_BATCH_SIZE // 6),
}


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow this process a socket for each connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("attack", ATTACKS)
async def test_strangers_take_little_memory(environ: dict[str, str], attack: str) -> None:
    """A thousand connections without a valid token take a few dozen KiB each, and other clients are still served."""
    tokens = {"NOTIFIER_VIEWER_TOKEN": VIEWER_TOKEN, "NOTIFIER_OPERATOR_TOKEN": OPERATOR_TOKEN}
    async with Victim.running({**environ, **tokens}) as victim, AsyncExitStack() as stack:
        before = psutil.Process(victim.pid).memory_info().rss
        sockets = [await stack.enter_async_context(dialled(victim.feed)) for _ in range(CONNECTIONS)]
        sending = [asyncio.create_task(sent(each, ATTACKS[attack])) for each in sockets]
        # Who is closed for it cannot send the rest.
        await asyncio.wait(sending, timeout=3)
        feed = victim.feed.model_copy(update={"operator_token": OPERATOR_TOKEN})
        async with FeedClient.connect(feed, snapshot=0) as honest:
            assert (await next_frame(honest))["type"] == "welcome"
        for each in sending:
            each.cancel()
        with suppress(BaseExceptionGroup):
            await asyncio.gather(*sending, return_exceptions=True)
        grown = peak(victim.pid) - before
        print(f"{attack}: {grown / 2**20:.1f} MiB")  # noqa: T201 - pytest shows it beside a failure
        assert grown < MOST_GROWTH
        await stack.aclose()
        assert await victim.terminate() == 0


async def sent(client: socket.socket, attack: bytes) -> None:
    """Send a request, or become a WebSocket and send what follows."""
    loop = asyncio.get_running_loop()
    if not attack.startswith(b"GET"):
        await loop.sock_sendall(client, UPGRADE)
        await loop.sock_recv(client, 4096)
    await loop.sock_sendall(client, attack)


def peak(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def events_in_memory() -> int:
    """Count the events that anything holds."""
    return sum(type(each) is StoredEvent for each in gc.get_objects())


async def test_clients_that_resume_and_read_nothing_hold_no_events(settings: Settings) -> None:
    """Missed events are read from the log as the clients take them, a frame at a time."""
    async with narrow(settings) as feed, AsyncExitStack() as stack:
        async with FeedClient.connect(feed, filter={"booking": "none"}) as operator:
            cursor = (await wait_frame(operator, lambda frame: frame["type"] == "snapshot"))["cursor"]
            place = read_cursor(cursor)
            assert place
            everything = cursor_of(place.store, place.seq, filter_hash(MailFilter()))
            for number in range(30):
                await submit(operator, request(number, to=[f"{n}@example.com" for n in range(100)], send_at=FAR))
            hello = frame(TEXT, json.dumps({"type": "hello", "resume": everything}).encode())
            kept_by_the_store = events_in_memory()
            stuck = [await stack.enter_async_context(dialled(feed, UPGRADE, hello)) for _ in range(10)]
            for each in stuck:
                got = b""
                async with asyncio.timeout(PATIENCE):
                    while b'"type":"events"' not in got:
                        got += await asyncio.get_running_loop().sock_recv(each, 4096)
                assert b'"resumed":true,"replay":3000' in got
            held = events_in_memory() - kept_by_the_store
    assert held < 10 * 2 * MAX_EVENTS
