"""The promised limits of the feed: a value just within each of them is accepted, and one just beyond it is not.

The table must have every limit.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.pages import scrape
from support.parts import PATIENCE, changed, events_until, next_frame, request, result, serving, submit, wait_frame
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.samples import NOW, RULES
from support.wire import HELLO, PING, TEXT, UPGRADE, dialled, frame
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from notifier.domain import events, message_shapes
from notifier.domain.events import MailFilter
from notifier.domain.messages import Origin, decode
from notifier.feed import (
    auth,
    connection_limiter,
    frame_rate,
    limited_connection,
    outbox,
    pages,
    resume,
    server,
    session,
    share,
)
from notifier.feed.client import FeedClient
from notifier.feed.protocol import fields, frames
from notifier.gateways import dead_letters, properties, smtp_replies
from notifier.settings import FeedSettings, Settings
from notifier.storage.sqlite import changes
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.store import Snapshot

FAR = "2126-01-01T00:00:00Z"


@asynccontextmanager
async def greeted(feed: FeedSettings, token: str | None = None, **hello: Any) -> AsyncIterator[ClientConnection]:
    """Connect and send hello."""
    async with connect(f"ws://127.0.0.1:{feed.port}/feed", max_size=None) as ws:
        shown = {} if token is None else {"token": token}
        await ws.send(json.dumps({"type": "hello", "snapshot": 0, **shown, **hello}))
        yield ws


async def until_result(ws: ClientConnection, id_: str) -> dict[str, Any]:
    """Read until a command's result."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found: dict[str, Any] = json.loads(await ws.recv())
            if found["type"] == "result" and found["id"] == id_:
                return found


async def close_code(ws: ClientConnection) -> int | None:
    """Read until the server closes; return its close code."""
    with pytest.raises(ConnectionClosed):
        async with asyncio.timeout(PATIENCE):
            while True:
                await ws.recv()
    return ws.close_code


def listing(id_: str, **args: Any) -> str:
    """Write a command that lists mails."""
    return json.dumps({"type": "command", "id": id_, "name": "mail.list", "args": args})


async def test_a_slow_hello_is_waited_for(settings: Settings) -> None:
    """A client that takes half of the ten seconds is welcomed."""
    async with serving(settings) as feed, connect(f"ws://127.0.0.1:{feed.port}/feed") as ws:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await ws.recv()
        await ws.send('{"type":"hello"}')
        assert json.loads(await ws.recv())["type"] == "welcome"


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        ({"snapshot": 500}, {"snapshot": 501}),
        ({"snapshot": 0}, {"snapshot": -1}),
        ({"stats": 3600}, {"stats": 3601}),
        ({"filter": {"booking": ["x"] * 500}}, {"filter": {"booking": ["x"] * 501}}),
    ],
)
async def test_a_hello_asks_for_no_more_than_there_is(
    settings: Settings, within: dict[str, Any], beyond: dict[str, Any]
) -> None:
    """Values within the limits are accepted, and larger ones close with 4400, in a hello and in a later filter."""
    async with serving(settings) as feed:
        async with greeted(feed, **within) as ws:
            assert json.loads(await ws.recv())["type"] == "welcome"
        async with greeted(feed, **beyond) as ws:
            assert await close_code(ws) == 4400
        if "stats" not in within:
            async with greeted(feed) as ws:
                await ws.send(json.dumps({"type": "filter", "id": "f", **within}))
                while json.loads(await ws.recv()).get("id") != "f":
                    pass
                await ws.send(json.dumps({"type": "filter", **beyond}))
                assert await close_code(ws) == 4400


@pytest.mark.parametrize(("limit", "ok"), [(0, False), (1, True), (500, True), (501, False)])
async def test_a_list_has_no_more_than_five_hundred_mails(settings: Settings, limit: int, *, ok: bool) -> None:
    """A limit of 1 to 500 is accepted; any other number is answered with an error."""
    async with serving(settings) as feed, greeted(feed) as ws:
        await ws.send(listing("l", limit=limit))
        assert (await until_result(ws, "l"))["ok"] is ok


async def test_a_viewer_may_send_fifty_frames_in_ten_seconds(environ: dict[str, str]) -> None:
    """The fiftieth frame is answered, and the next one closes with 4429."""
    async with serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed:
        async with greeted(feed, VIEWER_TOKEN) as ws:
            for _ in range(49):
                await ws.send('{"type":"other"}')
            await ws.send(listing("fiftieth"))
            assert (await until_result(ws, "fiftieth"))["ok"]
            await ws.send('{"type":"other"}')
            assert await close_code(ws) == 4429
        async with greeted(feed, OPERATOR_TOKEN) as ws:
            for _ in range(200):
                await ws.send('{"type":"other"}')
            await ws.send(listing("after all"))
            assert (await until_result(ws, "after all"))["ok"]


async def test_a_viewer_may_send_512_kib_in_ten_seconds(environ: dict[str, str]) -> None:
    """Eight frames of 63 KiB are read, and the next one closes with 4429; an operator may send more."""
    large = json.dumps({"type": "other", "x": "x" * 63 * 1024})
    async with serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed:
        for token, limited in ((VIEWER_TOKEN, True), (OPERATOR_TOKEN, False)):
            async with greeted(feed, token) as ws:
                for _ in range(8):
                    await ws.send(large)
                await ws.send(listing("eighth"))
                assert (await until_result(ws, "eighth"))["ok"]
                await ws.send(large)
                if limited:
                    assert await close_code(ws) == 4429
                else:
                    await ws.send(listing("after all"))
                    assert (await until_result(ws, "after all"))["ok"]


async def test_an_operator_may_have_five_hundred_commands_under_way(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five hundred commands are all answered; a few more without their result close with 4429."""
    read, go_on = SqliteStore.listing, asyncio.Event()

    async def list_later(*args: Any, **options: Any) -> Any:
        await go_on.wait()
        return await read(*args, **options)

    monkeypatch.setattr(SqliteStore, "listing", list_later)
    async with serving(settings) as feed:
        async with greeted(feed) as ws:
            for number in range(500):
                await ws.send(listing(str(number)))
            # Answered at once, so all those before it were read, and none of them was too many.
            await ws.send('{"type":"command","id":"last","name":"no.command"}')
            assert not (await until_result(ws, "last"))["ok"]
            go_on.set()
            await until_result(ws, "499")
            go_on.clear()
            for number in range(502):
                await ws.send(listing(str(number)))
            assert await close_code(ws) == 4429


@pytest.mark.parametrize(("size", "ok"), [(512 * 1024, True), (512 * 1024 + 1, False)])
async def test_a_frame_has_at_most_half_a_megabyte(settings: Settings, size: int, *, ok: bool) -> None:
    """A larger frame closes with 1009."""
    async with serving(settings) as feed, greeted(feed) as ws:
        await json_frame(ws, "welcome")
        start, end = '{"type":"other","x":"', '"}'
        await ws.send(f"{start}{'x' * (size - len(start) - len(end))}{end}")
        if ok:
            await ws.send(listing("l"))
            assert (await until_result(ws, "l"))["ok"]
        else:
            assert await close_code(ws) == 1009


@pytest.mark.parametrize(("size", "ok"), [(64 * 1024, True), (64 * 1024 + 1, False)])
async def test_a_frame_of_a_viewer_has_at_most_64_kib(environ: dict[str, str], size: int, *, ok: bool) -> None:
    """A larger frame closes with 1009; a filter with as many values as it may have fits in."""
    wanted = {name: [f"{n:036}" for n in range(500)] for name in ("booking", "mail")}
    async with (
        serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed,
        greeted(feed, VIEWER_TOKEN) as ws,
    ):
        await json_frame(ws, "snapshot")
        await ws.send(json.dumps({"type": "filter", "filter": wanted}))
        await json_frame(ws, "snapshot")
        start, end = '{"type":"other","x":"', '"}'
        await ws.send(f"{start}{'x' * (size - len(start) - len(end))}{end}")
        if ok:
            await ws.send(listing("l"))
            assert (await until_result(ws, "l"))["ok"]
        else:
            assert await close_code(ws) == 1009


async def test_all_viewers_together_occupy_a_bounded_number_of_bytes(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The viewer with most bytes is disconnected and no other client; at the end nothing is counted."""
    monkeypatch.setattr(connection_limiter, "MAX_INCOMING", 150_000)
    entrance = connection_limiter.ConnectionLimiter()
    monkeypatch.setattr(server, "ConnectionLimiter", lambda: entrance)
    read, go_on = SqliteStore.listing, asyncio.Event()

    async def list_later(*args: Any, **options: Any) -> Any:
        await go_on.wait()
        return await read(*args, **options)

    monkeypatch.setattr(SqliteStore, "listing", list_later)
    large = json.dumps({"type": "command", "id": "l", "name": "mail.list", "args": {"x": "x" * 40_000}})
    async with (
        serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed,
        greeted(feed, VIEWER_TOKEN) as modest,
        greeted(feed, VIEWER_TOKEN) as greedy,
        greeted(feed, OPERATOR_TOKEN) as operator,
    ):
        await modest.send(large)
        await operator.send(large)
        for _ in range(3):
            await greedy.send(large)
        assert await close_code(greedy) is None or greedy.close_code == 1006
        assert 40_000 < entrance.incoming < 50_000
        go_on.set()
        for ws in (modest, operator):
            assert (await until_result(ws, "l"))["ok"]
    assert (entrance.incoming, entrance.answers.size) == (0, 0)


async def test_a_viewer_has_a_bounded_number_of_commands_in_memory(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its commands have no result nothing more is read from it; one answer at a time is kept for it."""
    monkeypatch.setattr(frame_rate, "FRAMES_WINDOW", 0)
    waiting: list[int] = []
    command = session.FeedSession._run

    async def counted(self: session.FeedSession, *args: Any) -> None:
        waiting.append(len(self._tasks))
        await command(self, *args)

    monkeypatch.setattr(session.FeedSession, "_run", counted)
    async with (
        serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed,
        greeted(feed, VIEWER_TOKEN) as ws,
    ):
        for number in range(300):
            await ws.send(listing(str(number)))
        await until_result(ws, "299")
    assert len(waiting) == 300
    assert max(waiting) <= frame_rate.MAX_FRAMES + 1


async def json_frame(ws: ClientConnection, type_: str) -> dict[str, Any]:
    """Read until a frame of a type."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found: dict[str, Any] = json.loads(await ws.recv())
            if found["type"] == type_:
                return found


@pytest.mark.parametrize(("pings", "ok"), [(1000, True), (1001, False)])
async def test_a_thousand_pings_are_answered(settings: Settings, pings: int, *, ok: bool) -> None:
    """One more ping in ten seconds ends the connection without a close code."""
    command = b'{"type":"command","id":"l","name":"mail.list","args":{}}'
    async with serving(settings) as feed:
        parts = (UPGRADE, frame(TEXT, HELLO), frame(PING) * pings, frame(TEXT, command))
        async with dialled(feed, *parts) as client:
            got = b""
            async with asyncio.timeout(PATIENCE):
                try:
                    while b'"result"' not in got:
                        part = await asyncio.get_running_loop().sock_recv(client, 65536)
                        if not part:
                            break
                        got += part
                except ConnectionResetError:
                    pass
    assert (b'"result"' in got) is ok


async def test_a_client_that_reads_too_slowly_is_closed_with_4508(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is too far behind is closed with 4508, and the events that it has read until then have no gap."""
    monkeypatch.setattr(session, "CLOSE_TIMEOUT", PATIENCE)
    monkeypatch.setattr(server, "CLOSE_TIMEOUT", PATIENCE)
    async with serving(settings) as feed, dialled(feed, UPGRADE, frame(TEXT, HELLO)) as lazy:
        number, dropped = 0, 0.0
        async with asyncio.timeout(PATIENCE):
            while not dropped:
                async with FeedClient.connect(feed, snapshot=0) as client:
                    number += 1
                    await submit(client, request(number, to=[f"p{n}@example.com" for n in range(100)], send_at=FAR))
                dropped = (await scrape(feed)).get("notifier_feed_drops_total")
        got = await ended(lazy)
    assert (4508).to_bytes(2) + b"reads too slowly" in got
    seen = re.findall(rb'"data":\{"prev":null,"mail":\{"id":"([^"]+)"', got)
    assert len(seen) == len(set(seen))


async def ended(client: Any) -> bytes:
    """Read until the close frame has come."""
    got = b""
    async with asyncio.timeout(PATIENCE):
        while b"reads too slowly" not in got:
            got += await asyncio.get_running_loop().sock_recv(client, 1 << 20)
    return got


async def test_catching_up_takes_as_many_frames_as_it_needs(settings: Settings) -> None:
    """A client that missed 250 events gets them all, a hundred in a frame at most."""
    async with serving(settings) as feed:
        async with FeedClient.connect(feed) as client:
            cursor = (await wait_frame(client, lambda frame: frame["type"] == "snapshot"))["cursor"]
        async with FeedClient.connect(feed, snapshot=0) as client:
            for number in range(5):
                await submit(client, request(number, to=[f"p{n}@example.com" for n in range(50)], send_at=FAR))
        async with FeedClient.connect(feed, resume=cursor) as client:
            welcome = await next_frame(client)
            found = [len((await next_frame(client))["events"]) for _ in range(3)]
    assert (welcome["resumed"], welcome["replay"], found) == (True, 250, [100, 100, 50])


async def test_what_happens_during_the_greeting_is_not_missed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """250 events between a client's snapshot and its joining the others come in frames behind the snapshot."""
    look = SqliteStore.snapshot
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as operator:
        await next_frame(operator)

        async def look_and_go_on(store: SqliteStore, wanted: MailFilter, limit: int, **options: Any) -> Snapshot:
            found = await look(store, wanted, limit, **options)
            for number in range(5):
                await submit(operator, request(number, to=[f"p{n}@example.com" for n in range(50)], send_at=FAR))
            await submit(operator, request(5))
            await events_until(operator, "mail.sent")
            return found

        monkeypatch.setattr(SqliteStore, "snapshot", look_and_go_on)
        seen: list[str] = []
        async with FeedClient.connect(feed, snapshot=0) as client:
            async with asyncio.timeout(PATIENCE):
                while "mail.sent" not in seen:
                    events = (await next_frame(client)).get("events", ())
                    assert len(events) <= 100
                    seen += [event["type"] for event in events]
    assert seen == [*["mail.pending"] * 251, "mail.sending", "mail.sent"]


async def json_snapshot(client: FeedClient) -> dict[str, Any]:
    """Wait for a snapshot."""
    return await wait_frame(client, lambda frame: frame["type"] == "snapshot")


async def test_what_was_purged_cannot_be_replayed(tmp_path: Path) -> None:
    """A cursor at the end of what was purged can go on, one before it has expired."""
    store = await SqliteStore.open(tmp_path / "n.db")
    try:
        message = decode(json.dumps(request(1, to=[f"p{n}@example.com" for n in range(9)])).encode(), Origin(NOW))
        await store.add([message], RULES, NOW)
        await store._transact("purge", lambda writes: changes.set_meta(writes.db, "purged_through", 5))
        found = [(await store.missed(seq, MailFilter(), 10)).events for seq in (4, 5, 9, 10)]
    finally:
        await store.close()
    assert found == [None, 4, 0, None]


async def test_a_client_has_its_place_until_it_leaves(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promised number of connections can wait without a hello, and all of them are welcomed then."""
    monkeypatch.setattr(connection_limiter, "MAX_WAITING", 5)
    async with AsyncExitStack() as stack, serving(settings) as feed:
        waiting = [await stack.enter_async_context(dialled(feed, UPGRADE)) for _ in range(5)]
        for client in waiting:
            await asyncio.get_running_loop().sock_sendall(client, frame(TEXT, HELLO))
        for client in waiting:
            got = b""
            async with asyncio.timeout(PATIENCE):
                while b'"welcome"' not in got:
                    got += await asyncio.get_running_loop().sock_recv(client, 65536)


LIMITS: Mapping[tuple[ModuleType, str], float] = {
    (message_shapes, "MAX_BYTES"): 256 * 1024,
    (message_shapes, "MAX_ADDRESSES"): 100,
    (message_shapes, "MAX_FLIGHTS"): 20,
    (message_shapes, "MAX_SUBJECT"): 200,
    (message_shapes, "MAX_WORD"): 200,
    (message_shapes, "MAX_ID_BYTES"): 200,
    (message_shapes, "MAX_VERSION"): 2**53,
    (dead_letters, "MAX_DETAIL"): 500,
    (dead_letters, "MAX_SHORT_STRING"): 255,
    (properties, "MAX_SHORT_STRING"): 255,
    (fields, "MAX_MAILS"): 500,
    (events, "MAX_EVENTS"): 100,
    (fields, "MAX_VALUES"): 500,
    (frames, "MAX_SECONDS"): 3600,
    (frames, "HEARTBEAT"): 20,
    (connection_limiter, "MAX_CLIENTS"): 2000,
    (connection_limiter, "MAX_WAITING"): 1000,
    (limited_connection, "MAX_HANDSHAKE"): 16 * 1024,
    (limited_connection, "MAX_HELLO"): 24 * 1024,
    (connection_limiter, "MAX_HELD"): 8 * 1024 * 1024,
    (limited_connection, "MAX_VIEWER_FRAME"): 64 * 1024,
    (connection_limiter, "MAX_INCOMING"): 32 * 1024 * 1024,
    (connection_limiter, "MAX_ANSWERS"): 32 * 1024 * 1024,
    (limited_connection, "MESSAGE_TIMEOUT"): 10,
    (limited_connection, "MAX_PARTS"): 64,
    (limited_connection, "MAX_EARLY_EXTRA_FRAMES"): 20,
    (limited_connection, "MAX_EXTRA_FRAMES"): 1000,
    (limited_connection, "EXTRA_WINDOW"): 10,
    (pages, "MAX_OFFERS"): 20,
    (session, "HELLO_TIMEOUT"): 10,
    (outbox, "MAX_BEHIND"): 1024 * 1024,
    (outbox, "MAX_EVENTS_BEHIND"): 1000,
    (resume, "MAX_REPLAYED"): 10_000,
    (frame_rate, "MAX_FRAMES"): 50,
    (frame_rate, "MAX_VIEWER_BYTES"): 512 * 1024,
    (frame_rate, "FRAMES_WINDOW"): 10,
    (session, "MAX_COMMANDS"): 500,
    (session, "MAX_OPERATOR_QUERIES"): 4,
    (outbox, "STALLED"): 60,
    (session, "RECONNECT_AFTER"): 1000,
    (share, "MAX_RATE"): 32 * 1024 * 1024,
    (share, "MIN_ANSWER"): 16 * 1024,
    (smtp_replies, "MAX_REPLY"): 1000,
    (smtp_replies, "MAX_LINE_BYTES"): 8192,
    (smtp_replies, "MAX_REPLY_BYTES"): 32_768,
    (auth, "MAX_DELAY"): 5,
    (auth, "MAX_NETWORKS"): 1000,
    (server, "MAX_FRAME"): 512 * 1024,
    (server, "MAX_QUEUE"): 1,
    (server, "HANDSHAKE_TIMEOUT"): 10,
    (server, "PING_EVERY"): 20,
    (server, "PONG_WITHIN"): 20,
}
"""The limits that users are promised. Their effects are tested here and elsewhere, often with a smaller one."""


@pytest.mark.parametrize(("module", "name"), LIMITS, ids=lambda part: getattr(part, "__name__", part))
def test_a_limit_is_what_users_are_promised(module: ModuleType, name: str) -> None:
    """A limit is a promise: it does not change by accident."""
    assert getattr(module, name) == LIMITS[module, name]


def test_no_limit_is_forgotten() -> None:
    """The table has every limit of the messages and of the feed."""
    modules = (
        message_shapes,
        dead_letters,
        fields,
        frames,
        connection_limiter,
        frame_rate,
        limited_connection,
        outbox,
        resume,
        pages,
        properties,
        session,
        share,
        smtp_replies,
        auth,
        server,
    )
    found = {name for each in modules for name in vars(each) if name.startswith("MAX_")}
    assert found <= {name for _, name in LIMITS}  # a module that uses a limit of another one has its name too


@pytest.mark.parametrize("name", ["id", "subject"])
async def test_the_longest_words_of_a_message_are_taken(settings: Settings, name: str) -> None:
    """Two hundred characters of an id and of a subject, and a hundred addresses, make their mails."""
    addresses = [f"p{n}@example.com" for n in range(100)]
    message = request(1, to=addresses, send_at=FAR, **({"subject": "x" * 200} if name == "subject" else {}))
    message |= {"id": "x" * 200} if name == "id" else {}
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        assert len((await submit(client, message))["mails"]) == 100
        listed = await result(client, await client.command("mail.list", {"limit": 500}))
    assert {len(mail["event" if name == "id" else "subject"]) for mail in listed["mails"]} == {200}
