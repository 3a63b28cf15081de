"""Every close code of the feed, each by what causes it."""

import asyncio
import json
import socket
import struct
from typing import Any

import pytest
from support.pages import scrape
from support.parts import PATIENCE, changed, next_frame, request, serving, submit, wait_frame
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.wire import CLOSE, CONTINUED, HELLO, TEXT, UPGRADE, close_code, dialled, drained, frame, narrow, raw

from notifier.feed import outbox, server, session
from notifier.feed.client import FeedClient
from notifier.feed.limited_connection import MAX_HANDSHAKE, MAX_HELLO
from notifier.feed.protocol import CloseCode
from notifier.feed.protocol.fields import MAX_VALUES
from notifier.feed.server import MAX_FRAME
from notifier.settings import Settings
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.store import LogSlice

FAR = "2126-01-01T00:00:00Z"
MUCH = 10**9
WELCOMED = json.dumps({"type": "hello", "snapshot": 0})
LIST = json.dumps({"type": "command", "id": 1, "name": "mail.list", "args": {}})


def closing(code: int, reason: str = "") -> bytes:
    """Begin the close frame that a server sends."""
    return struct.pack(">H", code) + reason.encode()


@pytest.mark.parametrize("size", [MAX_HELLO, MAX_FRAME + 1])
@pytest.mark.parametrize("parts", [1, 3])
async def test_a_hello_that_is_too_large_is_closed_with_1009(settings: Settings, size: int, parts: int) -> None:
    """One frame or several together are too large; the service closes without waiting for the remaining bytes."""
    text = json.dumps({"type": "hello", "snapshot": 0, "filter": {"booking": "x" * size}}).encode()
    step = len(text) // parts
    sent = [frame(TEXT if at == 0 else CONTINUED, text[at : at + step], fin=False) for at in range(0, len(text), step)]
    async with serving(settings) as feed, dialled(feed, UPGRADE) as client:
        assert await asyncio.get_running_loop().sock_recv(client, 4096)  # no frame is sent before the answer (RFC 6455)
        for part in sent:
            try:
                await asyncio.get_running_loop().sock_sendall(client, part)
            except OSError:  # closed for the parts before
                break
        assert closing(1009) in await drained(client)


async def test_a_hello_with_as_many_ids_as_a_filter_takes_is_read(settings: Settings) -> None:
    """Five hundred ids of mails fit into the first frame; afterwards frames may be large, at once and in one piece."""
    ids = [f"{n:08}-0000-5000-8000-000000000000" for n in range(MAX_VALUES)]
    large = request(1, text="x" * 200_000)
    async with serving(settings) as feed, FeedClient.connect(feed, filter={"mail": ids}, resume="0" * 60) as client:
        assert (await submit(client, large))["repeated"] is False
        assert (await submit(client, large))["repeated"] is True


async def test_a_frame_of_a_client_that_is_too_large_is_closed_with_1009(settings: Settings) -> None:
    """Just below the limit it is read, above it the session ends."""
    async with serving(settings) as feed:
        async with raw(feed) as ws:
            await ws.send(WELCOMED)
            await ws.send(json.dumps({"type": "other", "filling": "x" * (MAX_FRAME - 100)}))
            await ws.send(json.dumps({"type": "other", "filling": "x" * MAX_FRAME}))
            assert await close_code(ws) == 1009


async def test_a_request_with_large_headers_is_refused_with_431(settings: Settings) -> None:
    """A request that is too large is refused at once, whether in one line or in many."""
    head = UPGRADE.removesuffix(b"\r\n")
    async with serving(settings) as feed:
        for lines in ((b"x: " + b"y" * 1000 + b"\r\n") * (MAX_HANDSHAKE // 1000 + 1), b"x: " + b"y" * MAX_HANDSHAKE):
            async with dialled(feed, head + lines) as client:
                client.shutdown(socket.SHUT_WR)
                assert (await drained(client)).startswith(b"HTTP/1.1 431")
        async with dialled(feed, head + (b"x: " + b"y" * 1000 + b"\r\n") * 14 + b"\r\n", frame(TEXT, HELLO)) as client:
            assert (await asyncio.get_running_loop().sock_recv(client, 100)).startswith(b"HTTP/1.1 101")


async def test_a_client_that_does_not_answer_pings_is_closed_with_1011(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that answers no ping can be gone without having closed the connection."""
    monkeypatch.setattr(server, "PING_EVERY", 0.1)
    monkeypatch.setattr(server, "PONG_WITHIN", 0.2)
    async with serving(settings) as feed, dialled(feed, UPGRADE, frame(TEXT, HELLO)) as client:
        assert closing(1011, "keepalive ping timeout") in await drained(client)


@pytest.mark.parametrize(
    "sent",
    ["no json", "[]", "5", "{}", '{"type":5}', b'{"type":"other"}', '{"type":"hello"}', "[" * 100_000,
     '{"type":"filter","filter":7}', '{"type":"filter","filter":{"status":["lost"]}}',
     '{"type":"filter","snapshot":501}',
     '{"type":"filter","filter":{"since":"2026-01-01"}}', '{"type":"filter","filter":{"mail":7}}',
     json.dumps({"type": "filter", "filter": {"mail": ["x"] * 501}}),
     '{"type":"command","name":7}',
     '{"type":"filter","id":' + "[" * 985 + "]" * 985 + "}"],
)  # fmt: skip
async def test_a_frame_that_breaks_the_protocol_is_closed_with_4400(settings: Settings, sent: Any) -> None:
    """Bad frames close with 4400 before and after a valid hello, and so does a second hello."""
    async with serving(settings) as feed, raw(feed) as ws:
        await ws.send(WELCOMED)
        await ws.send(sent)
        assert await close_code(ws) == 4400


async def test_a_client_that_says_nothing_is_closed_with_4408(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that begins a hello and never completes it is closed as well."""
    monkeypatch.setattr(session, "HELLO_TIMEOUT", 0.2)
    async with serving(settings) as feed:
        async with raw(feed) as ws:
            assert await close_code(ws) == 4408
        async with dialled(feed, UPGRADE, frame(TEXT, HELLO)[:-1]) as client:
            assert closing(4408, "no hello") in await drained(client)


@pytest.mark.parametrize("refused", [4400, 4401, 4408])
async def test_a_client_that_is_turned_away_hears_why_although_it_goes_on_sending(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """Bytes behind a refused hello are read and discarded; unread, they would reset the connection before the close."""
    monkeypatch.setattr(session, "HELLO_TIMEOUT", 0.2)
    first = {4400: b"nonsense", 4401: b'{"type":"hello","token":"not-one-of-the-tokens"}', 4408: b""}[refused]
    settings = changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)
    sent = frame(TEXT, first) if first else b""
    behind = frame(TEXT, b"x" * 300_000) if first else b""
    async with serving(settings) as feed, dialled(feed, UPGRADE, sent) as client:
        await asyncio.get_running_loop().sock_sendall(client, behind)
        client.shutdown(socket.SHUT_WR) if first else None
        assert closing(refused) in await drained(client)


@pytest.mark.parametrize(("limit", "value"), [("MAX_BEHIND", 50_000), ("MAX_EVENTS_BEHIND", 50), ("STALLED", 0.2)])
async def test_a_client_that_reads_too_slowly_is_closed_with_4508(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    """A client is too slow by bytes, by events or by time; it can read the close code behind the waiting frames."""
    for name in ("MAX_BEHIND", "MAX_EVENTS_BEHIND", "STALLED"):
        monkeypatch.setattr(outbox, name, value if name == limit else MUCH)
    monkeypatch.setattr(session, "CLOSE_TIMEOUT", PATIENCE)
    async with narrow(settings) as feed, dialled(feed, UPGRADE, frame(TEXT, HELLO)) as slow:
        async with asyncio.timeout(PATIENCE), FeedClient.connect(feed, filter={"mail": "none"}) as operator:
            number = 0
            while (await scrape(feed)).get("notifier_feed_drops_total") < 1:
                number += 1
                await submit(operator, request(number, to=[f"{n}@example.com" for n in range(50)], send_at=FAR))
        client_closes = frame(CLOSE, closing(4508))
        got = b""
        async with asyncio.timeout(PATIENCE):
            while closing(4508, "reads too slowly") not in got:
                part = await asyncio.get_running_loop().sock_recv(slow, 1 << 16)
                assert part, "closed without a reason"
                got = got[-200:] + part
        await asyncio.get_running_loop().sock_sendall(slow, client_closes)


async def test_a_client_that_takes_no_results_is_closed_with_4508(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own answers count as well: they are sent one at a time, as long as the client reads some of each."""
    monkeypatch.setattr(outbox, "STALLED", 1.0)
    write, stuck = outbox.Outbox.send, asyncio.Event()

    async def noted(self: outbox.Outbox, parts: Any, answer: int = 0) -> None:
        if self._websocket.transport.get_write_buffer_size() and answer:
            stuck.set()
        await write(self, parts, answer)

    monkeypatch.setattr(outbox.Outbox, "send", noted)
    monkeypatch.setattr(session, "CLOSE_TIMEOUT", PATIENCE)
    async with narrow(settings) as feed, FeedClient.connect(feed, snapshot=0) as operator:
        await submit(operator, request(1, to=[f"{n}@example.com" for n in range(100)], send_at=FAR))
        async with dialled(feed, UPGRADE, frame(TEXT, HELLO), *[frame(TEXT, LIST.encode())] * 5) as slow:
            await stuck.wait()
            unknown = frame(TEXT, b'{"type":"command","name":"none"}')
            await asyncio.get_running_loop().sock_sendall(slow, unknown * 20)
            await scrape(feed, lambda found: found.get("notifier_feed_drops_total") == 1)
            got = b""
            async with asyncio.timeout(PATIENCE):
                while closing(4508, "reads too slowly") not in got:
                    part = await asyncio.get_running_loop().sock_recv(slow, 1 << 16)
                    assert part, "closed without a reason"
                    got = got[-200:] + part
            await asyncio.get_running_loop().sock_sendall(slow, frame(CLOSE, closing(4508)))
        assert (await scrape(feed)).get("notifier_feed_drops_total") == 1


async def test_a_client_that_is_too_slow_in_two_ways_is_counted_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event and an answer can meet their limits at the same moment."""
    run, found = session.FeedSession.run, list[session.FeedSession]()

    async def noted(self: session.FeedSession) -> None:
        found.append(self)
        await run(self)

    monkeypatch.setattr(session.FeedSession, "run", noted)
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        await next_frame(client)
        await asyncio.gather(*(found[0]._close(CloseCode.TOO_SLOW, "too slow") for _ in range(2)))
        assert (await scrape(feed)).get("notifier_feed_drops_total") == 1


async def test_missed_events_that_are_deleted_meanwhile_close_with_4508(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads so slowly that missed events are purged is closed, instead of missing them silently."""
    replay = SqliteStore.replay

    async def purged(store: SqliteStore, *args: Any, **options: Any) -> LogSlice:
        return (await replay(store, *args, **options))._replace(purged_through=MUCH)

    async with narrow(settings) as feed, FeedClient.connect(feed) as operator:
        cursor = (await wait_frame(operator, lambda frame: frame["type"] == "snapshot"))["cursor"]
        for number in range(30):
            await submit(operator, request(number, to=[f"{n}@example.com" for n in range(100)], send_at=FAR))
        hello = json.dumps({"type": "hello", "resume": cursor}).encode()
        async with dialled(feed, UPGRADE, frame(TEXT, hello)) as slow:
            got = b""
            while b'"type":"events"' not in got:
                got += await asyncio.get_running_loop().sock_recv(slow, 4096)
            monkeypatch.setattr(SqliteStore, "replay", purged)
            assert closing(4508, "reads too slowly") in await drained(slow)
