"""Clients that disconnect, fall silent, or come during the shutdown leave nothing behind."""

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

import pytest
from support.gate import Gate
from support.pages import scrape
from support.parts import PATIENCE, changed, next_frame, request, serving, submit, wait_event, wait_frame
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.wire import CLOSE, HELLO, TEXT, UPGRADE, dialled, frame, narrow

from notifier.errors import Unreachable
from notifier.feed import connection_limiter, limited_connection, outbox, server, session
from notifier.feed.client import FeedClient
from notifier.settings import Settings

FAR = "2126-01-01T00:00:00Z"
VIEWER = frame(TEXT, json.dumps({"type": "hello", "snapshot": 0, "token": VIEWER_TOKEN}).encode())
OPERATOR = frame(TEXT, json.dumps({"type": "hello", "snapshot": 0, "token": OPERATOR_TOKEN}).encode())


def with_tokens(environ: dict[str, str]) -> Settings:
    """Set both tokens."""
    return changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)


async def until(client: socket.socket, wanted: bytes) -> bytes:
    """Read until the wanted bytes have come; return everything that was read."""
    got = b""
    async with asyncio.timeout(PATIENCE):
        while wanted not in got:
            part = await asyncio.get_running_loop().sock_recv(client, 65536)
            assert part, got
            got += part
    return got


def hung_up(client: socket.socket) -> None:
    """Reset the connection."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()


async def test_a_viewer_that_hangs_up_takes_its_query_with_it(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session of a viewer that disconnects ends while its query still waits, and so can the service."""
    with Gate.before(monkeypatch, "snapshot") as gate:
        async with asyncio.timeout(PATIENCE):
            async with serving(with_tokens(environ)) as feed:
                clients = [await connected(feed, UPGRADE + VIEWER) for _ in range(5)]
                await gate.until(5)
                for client in clients[1:]:
                    hung_up(client)
                await gate.until(1)
            assert gate.inside == 0
            clients[0].close()


async def test_a_viewer_that_closes_with_frames_unread_gives_its_place_back(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While reading is paused the end of a connection is not seen, so it is cut when its closing takes too long."""
    monkeypatch.setattr(server, "CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr(server, "PING_EVERY", 3600.0)
    monkeypatch.setattr(connection_limiter, "MAX_CLIENTS", 1)
    refilter = frame(TEXT, b'{"type":"filter","filter":{}}')
    viewer = with_tokens(environ)
    async with asyncio.timeout(PATIENCE), serving(viewer) as feed:
        with Gate.before(monkeypatch, "snapshot") as gate:
            client = await connected(feed, UPGRADE + VIEWER)
            await gate.until(1)
            await asyncio.get_running_loop().sock_sendall(client, refilter * 3 + frame(CLOSE, b"\x03\xe8"))
            await until(client, b"\x88\x02\x03\xe8")
            client.close()
        as_viewer = feed.model_copy(update={"viewer_token": VIEWER_TOKEN, "operator_token": ""})
        while True:
            with suppress(Unreachable):
                async with FeedClient.connect(as_viewer, snapshot=0) as other:
                    assert (await next_frame(other))["type"] == "welcome"
                    return
            await asyncio.sleep(0.05)


async def connected(feed: Any, sent: bytes = b"") -> socket.socket:
    """Connect; the caller closes the connection."""
    client = socket.socket()
    client.setblocking(False)  # noqa: FBT003 - the signature is socket's
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", feed.port))
    await asyncio.get_running_loop().sock_sendall(client, sent)
    return client


async def test_what_an_operator_has_begun_is_done_although_it_hangs_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten mail.cancel commands exactly those are completed that had begun before the disconnection."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as watcher:
        ids = (await submit(watcher, request(1, to=[f"{n}@example.com" for n in range(10)], send_at=FAR)))["mails"]
        orders = [json.dumps({"type": "command", "id": id_, "name": "mail.cancel", "args": {"id": id_}}) for id_ in ids]
        with Gate.before(monkeypatch, "record") as gate:
            client = await connected(feed, UPGRADE + frame(TEXT, HELLO))
            await until(client, b'"mails":[]')
            for order in orders:
                await asyncio.get_running_loop().sock_sendall(client, frame(TEXT, order.encode()))
            await gate.until(session.MAX_OPERATOR_QUERIES)
            await scrape(feed, lambda found: found.get("notifier_feed_clients") == 2)
            hung_up(client)
            await scrape(feed, lambda found: found.get("notifier_feed_clients") == 1)
        cancelled: set[str] = set()
        while len(cancelled) < session.MAX_OPERATOR_QUERIES:
            found = await wait_frame(watcher, lambda frame: bool(frame.get("events")))
            cancelled |= {each["subject"] for each in found["events"] if each["type"] == "mail.cancelled"}
        assert cancelled == set(ids[: session.MAX_OPERATOR_QUERIES])


async def test_a_command_that_takes_too_long_does_not_delay_the_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command of an operator that does not end is cancelled at the end of the service."""
    monkeypatch.setattr(server, "CLOSE_TIMEOUT", 0.2)
    with Gate.before(monkeypatch, "pause") as gate:
        async with asyncio.timeout(PATIENCE):
            async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
                await client.command("send.pause", {})
                await gate.until(1)
                client._websocket.transport.abort()
        assert gate.inside == 0


async def test_a_handshake_that_completes_as_the_feed_closes_is_cut(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that sends hello during the shutdown is not welcomed, and the service does not wait for it."""
    leave, handshake = session.FeedSession.leave, limited_connection.LimitedConnection.handshake
    held, go_on = asyncio.Event(), asyncio.Event()
    got: list[bytes] = []

    async def held_back(self: limited_connection.LimitedConnection, *args: Any, **options: Any) -> None:
        await handshake(self, *args, **options)
        held.set()
        await go_on.wait()

    async with asyncio.timeout(PATIENCE):
        async with serving(settings) as feed:
            client = await connected(feed, UPGRADE + frame(TEXT, HELLO))
            await until(client, b'"mails":[]')
            monkeypatch.setattr(limited_connection.LimitedConnection, "handshake", held_back)
            late = await connected(feed, UPGRADE + frame(TEXT, HELLO))
            await held.wait()

            async def leave_later(self: session.FeedSession) -> None:
                go_on.set()
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(2):
                        while part := await asyncio.get_running_loop().sock_recv(late, 65536):
                            got.append(part)
                await leave(self)

            monkeypatch.setattr(session.FeedSession, "leave", leave_later)
    assert b"welcome" not in b"".join(got)
    late.close()
    client.close()


async def test_a_client_that_downloads_its_own_answer_is_not_too_slow(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of any size does not count as waiting, only events behind it do. Answers come one after the other."""
    asking = b'{"type":"command","id":%d,"name":"mail.list","args":{"limit":500}}'
    async with narrow(settings) as feed:
        async with FeedClient.connect(feed, snapshot=0) as publisher:
            for number in range(5):
                await submit(publisher, request(number, to=[f"{n}@example.com" for n in range(100)], send_at=FAR))
        monkeypatch.setattr(outbox, "MAX_BEHIND", 20_000)
        async with (
            FeedClient.connect(feed, snapshot=0) as watcher,
            dialled(feed, UPGRADE, frame(TEXT, HELLO)) as client,
        ):
            await until(client, b'"mails":[]')
            for number in range(4):
                await asyncio.get_running_loop().sock_sendall(client, frame(TEXT, asking % number))
            got = await until(client, b'"result"')
            await watcher.command("submit", {"message": request(9, send_at=FAR)})
            await wait_event(watcher, "mail.pending", event="r9")
            async with asyncio.timeout(PATIENCE):
                while got.count(b'"result"') < 4 or b'"event":"r9"' not in got:
                    part = await asyncio.get_running_loop().sock_recv(client, 65536)
                    assert part
                    got += part
    assert b"reads too slowly" not in got
