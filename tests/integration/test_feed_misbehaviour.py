"""A client that misbehaves does not disturb the others: they go on receiving every event in order."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from support.any_json import JSON, WORDS
from support.parts import PATIENCE, changed, next_frame, request, result, serving, submit
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.wire import CONTINUED, HELLO, PING, TEXT, UPGRADE, dialled, drained, frame
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from notifier.actors import broadcaster
from notifier.errors import Unreachable
from notifier.feed import connection_limiter, limited_connection, outbox, server, session
from notifier.feed.client import FeedClient
from notifier.settings import FeedSettings, Settings, load

FAR = "2126-01-01T00:00:00Z"
COMMANDS = ["submit", "mail.list", "mail.show", "mail.retry", "mail.cancel", "mail.resolve", "address.erase"]
CODES = {"invalid", "not_found", "conflict", "unknown_command", "unknown_type", "too_large", "not_utf8", "not_json"}


async def poured(client: socket.socket, parts: Iterable[bytes]) -> None:
    """Send until the server cuts the connection, or there is nothing left."""
    with suppress(ConnectionResetError, BrokenPipeError):
        for part in parts:
            await asyncio.get_running_loop().sock_sendall(client, part)


async def never_reads(feed: FeedSettings, others: asyncio.Event) -> None:
    """Send hello and large queries, and read nothing while the others work."""
    asking = b'{"type":"command","id":"%d","name":"mail.list","args":{"limit":500}}'
    async with dialled(feed, UPGRADE, frame(TEXT, HELLO)) as client:
        await poured(client, (frame(TEXT, asking % n) for n in range(300)))
        await others.wait()


async def never_pongs(feed: FeedSettings, _: asyncio.Event) -> None:
    """Read everything, and leave every ping without an answer, until that ends the connection."""
    async with dialled(feed, UPGRADE, frame(TEXT, HELLO)) as client:
        assert b"keepalive ping timeout" in await drained(client)


async def never_says_hello(feed: FeedSettings, others: asyncio.Event) -> None:
    """Hold five hundred connections, half of them without even a request."""
    async with AsyncExitStack() as stack:
        for n in range(500):
            await stack.enter_async_context(dialled(feed, *([UPGRADE] if n % 2 else [])))
        await others.wait()


async def pings(feed: FeedSettings, _: asyncio.Event) -> None:
    """Ping as fast as it goes, and read no pong."""
    async with dialled(feed, UPGRADE, frame(TEXT, HELLO)) as client:
        await poured(client, (frame(PING) * 10_000 for _ in range(1000)))
        await drained(client)


async def sends_crumbs(feed: FeedSettings, _: asyncio.Event) -> None:
    """Send one message in endlessly many empty parts."""
    async with dialled(feed, UPGRADE, frame(TEXT, b"{", fin=False)) as client:
        await poured(client, (frame(CONTINUED, fin=False) * 10_000 for _ in range(1000)))
        await drained(client)


async def sends_megabytes(feed: FeedSettings, _: asyncio.Event) -> None:
    """Send frames that are too long, again and again."""
    for _n in range(20):
        async with dialled(feed, UPGRADE) as client:
            await poured(client, [frame(TEXT, b"x" * 1024 * 1024)])
            await drained(client)


async def forges_cursors(feed: FeedSettings, _: asyncio.Event) -> None:
    """Resume with invalid cursors and with those of another store."""
    for cursor in ("garbage", f"{'f' * 32}-1-00000000", f"{'0' * 32}-{'9' * 18}-ffffffff") * 20:
        async with FeedClient.connect(feed, resume=cursor) as client:
            welcome = await next_frame(client)
            assert (welcome["resumed"], welcome["reason"] in ("invalid", "restarted")) == (False, True)


async def speaks_nonsense(feed: FeedSettings, _: asyncio.Event) -> None:
    """Send bytes that are neither HTTP nor frames nor UTF-8 nor JSON."""
    for sent in (
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
        [b"GET / HTTP/1.1\r\n" + b"x" * 70_000],
        [UPGRADE, b"\xff" * 5000],
        [UPGRADE, frame(TEXT, b"\xff\xfe")],
        [UPGRADE, frame(TEXT, HELLO), b"\x81\x05hello"],
        [UPGRADE, frame(TEXT, b"[" * 100_000)],
    ) * 10:
        async with dialled(feed) as client:
            await poured(client, sent)
            client.shutdown(socket.SHUT_WR)
            await drained(client)


@pytest.mark.parametrize(
    "misbehave",
    [
        never_reads,
        never_pongs,
        never_says_hello,
        pings,
        sends_crumbs,
        sends_megabytes,
        forges_cursors,
        speaks_nonsense,
    ],
)
async def test_one_client_costs_the_others_nothing(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    misbehave: Callable[[FeedSettings, asyncio.Event], Coroutine[Any, Any, None]],
) -> None:
    """Meanwhile another one receives every event in order, without a gap, and its commands are done."""
    monkeypatch.setattr(server, "PING_EVERY", 0.2)
    monkeypatch.setattr(server, "PONG_WITHIN", 1.0 if misbehave is never_pongs else 20.0)
    done = asyncio.Event()
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as watcher:
        bad = asyncio.create_task(misbehave(feed, done))
        seen, number = list[str](), 0
        async with asyncio.timeout(3 * PATIENCE):
            while number < 20 or (not bad.done() and misbehave not in (never_reads, never_says_hello)):
                async with FeedClient.connect(feed, snapshot=0) as operator:
                    number += 1
                    await submit(operator, request(number, to=[f"{n}@example.com" for n in range(20)], send_at=FAR))
            done.set()
            await bad
            while len(seen) < 20 * number:
                seen += [event["data"]["mail"]["event"] for event in (await next_frame(watcher)).get("events", ())]
        assert seen == [f"r{1 + n // 20}" for n in range(20 * number)]


async def test_silent_connections_lock_nobody_out(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """If too many wait without a hello, the oldest of them is disconnected; clients that have sent hello stay."""
    monkeypatch.setattr(connection_limiter, "MAX_WAITING", 10)
    monkeypatch.setattr(server, "HANDSHAKE_TIMEOUT", 10 * PATIENCE)
    monkeypatch.setattr(session, "HELLO_TIMEOUT", 10 * PATIENCE)
    async with AsyncExitStack() as stack, serving(settings) as feed:
        client = await stack.enter_async_context(FeedClient.connect(feed, snapshot=0))
        await next_frame(client)
        oldest = await stack.enter_async_context(dialled(feed, UPGRADE))
        for n in range(30):
            await stack.enter_async_context(dialled(feed, *([UPGRADE] if n % 2 else [])))
            if n % 10 == 0:
                async with FeedClient.connect(feed, snapshot=0) as honest:
                    assert (await next_frame(honest))["type"] == "welcome"
        await drained(oldest)
        await submit(client, request(1))


async def test_a_flood_from_one_network_closes_its_own_connections(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow client of another network keeps its place, however many connections a flood opens meanwhile."""
    monkeypatch.setattr(connection_limiter, "MAX_WAITING", 10)
    async with AsyncExitStack() as stack, serving(settings) as feed:
        url = f"ws://127.0.0.1:{feed.port}/feed"
        slow = await stack.enter_async_context(connect(url, local_addr=("127.0.0.2", 0)))
        flood = [await stack.enter_async_context(dialled(feed, UPGRADE)) for _ in range(50)]
        async with FeedClient.connect(feed, snapshot=0) as honest:
            assert (await next_frame(honest))["type"] == "welcome"
        await slow.send(HELLO.decode())
        assert json.loads(await slow.recv())["type"] == "welcome"
        for cut in flood[:40]:
            await drained(cut)


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (("192.0.2.7", 5000), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5000, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 5000, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::7", 5000, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5000, 0, 2), "fe80::/64"),
        (None, ""),
        ("", ""),
    ],
)
def test_a_network_is_what_a_host_cannot_change_at_will(peer: Any, network: str) -> None:
    """The network is an IPv4 address, or the first 64 bits of an IPv6 address."""
    assert limited_connection.network_of(peer) == network


async def test_beyond_the_most_viewers_one_is_asked_to_come_later(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client beyond the limit is closed with 1013 until another one leaves; operators have places of their own."""
    monkeypatch.setattr(connection_limiter, "MAX_CLIENTS", 2)
    async with (
        serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as operators,
        dialled(operators, UPGRADE),
        dialled(operators, UPGRADE),
    ):
        viewers = operators.model_copy(update={"operator_token": None})
        for known in (viewers, operators):
            async with FeedClient.connect(known) as first, FeedClient.connect(known) as second:
                await next_frame(first)
                await next_frame(second)
                with pytest.raises(Unreachable, match="1013"):
                    async with FeedClient.connect(known) as third:
                        await next_frame(third)
                if known is viewers:
                    async with FeedClient.connect(operators, snapshot=0) as operator:
                        await result(operator, await operator.command("send.pause", {}))
            async with asyncio.timeout(PATIENCE), FeedClient.connect(known) as third_again:
                while (await next_frame(third_again))["type"] != "welcome":
                    pass


async def test_a_client_that_takes_nothing_is_let_go(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unread snapshot closes the session, however small it is, and the place is free again."""
    monkeypatch.setattr(outbox, "STALLED", 0.5)
    monkeypatch.setattr(session, "CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr(server, "PING_EVERY", 10 * PATIENCE)
    monkeypatch.setattr(broadcaster, "HEARTBEAT", 10 * PATIENCE)
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as operator:
        for n in range(5):
            await submit(operator, request(n, to=[f"{i}@example.com" for i in range(100)], send_at=FAR))
        asking = b'{"type":"command","id":1,"name":"mail.list","args":{"limit":500}}'
        async with dialled(feed, UPGRADE, frame(TEXT, HELLO), *[frame(TEXT, asking)] * 200) as client:
            await until_gone(client)


async def until_gone(client: socket.socket) -> None:
    """Wait, without reading, until the server has cut the connection: then nothing more can be sent."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            while True:
                await asyncio.get_running_loop().sock_sendall(client, frame(PING))
                await asyncio.sleep(0.05)


async def test_a_message_in_parts_is_a_message(settings: Settings) -> None:
    """Fragments are put together (RFC 6455 section 5.4), with a ping between them."""
    async with serving(settings) as feed:
        parts = [frame(TEXT, HELLO[:9], fin=False), frame(PING), frame(CONTINUED, HELLO[9:])]
        async with dialled(feed, UPGRADE, *parts) as client:
            got = b""
            async with asyncio.timeout(PATIENCE):
                while b'"snapshot"' not in got:
                    got += await asyncio.get_running_loop().sock_recv(client, 65536)
        assert b'"welcome"' in got


async def test_an_operator_with_too_many_commands_under_way_is_closed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More commands without their result than the limit close with 4429."""
    monkeypatch.setattr(session, "MAX_COMMANDS", 3)
    asking = json.dumps({"type": "command", "id": 1, "name": "mail.list", "args": {"limit": 500}}).encode()
    async with serving(settings) as feed, dialled(feed, UPGRADE, frame(TEXT, HELLO) + frame(TEXT, asking) * 50) as ws:
        assert struct.pack(">H", 4429) + b"more than 3 commands" in await drained(ws)


HELLOS = st.fixed_dictionaries(
    {"type": st.just("hello")}, optional=dict.fromkeys(["token", "resume", "filter", "snapshot", "stats"], JSON)
)
ARGS = st.dictionaries(WORDS | st.sampled_from(["message", "email", "limit", "before", "as", "data"]), JSON)
MESSAGES = st.fixed_dictionaries({"message": st.dictionaries(WORDS, JSON)})
IDS = st.text() | st.integers() | JSON
FRAMES = (
    st.fixed_dictionaries(
        {"type": st.just("command"), "name": st.sampled_from(COMMANDS), "args": ARGS | MESSAGES}, optional={"id": IDS}
    )
    | st.fixed_dictionaries({"type": WORDS}, optional={"filter": JSON, "snapshot": JSON, "name": JSON, "args": JSON})
    | JSON
)


def test_no_frame_is_more_than_refused(
    tmp_path_factory: pytest.TempPathFactory, logged_lines: list[dict[str, Any]], pytestconfig: pytest.Config
) -> None:
    """Any hello, filter or command leads to 4400 or a known error code, and never to an internal error."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        feed = runner.run(stack.enter_async_context(serving(lonely(tmp_path_factory.mktemp("feed")))))

        @given(HELLOS, st.lists(FRAMES, max_size=4))
        @examples(
            max_examples=400 if pytestconfig.getoption("--faults") else 50, suppress_health_check=[HealthCheck.too_slow]
        )
        def each(hello: Any, following: list[Any]) -> None:
            assert runner.run(ended(feed, [hello, *following])) == set()

        try:
            each()
        finally:
            runner.run(stack.aclose())
    assert not [line for line in logged_lines if line["log_level"] in ("error", "critical")]


def lonely(folder: Any) -> Settings:
    """Return the settings of a service without peers."""
    return load(
        {
            "NOTIFIER_DATABASE_URL": f"sqlite:///{folder / 'notifier.db'}",
            "NOTIFIER_SMTP_URL": "smtp+plain://127.0.0.1:9",
            "NOTIFIER_MAIL_FROM": "fly@example.org",
            "NOTIFIER_PORT": "0",
        }
    )


async def ended(feed: FeedSettings, sent: list[Any]) -> set[Any]:
    """Send frames and a valid one; return every unknown code in the answers."""
    last = {"type": "command", "id": "the last", "name": "mail.list", "args": {"limit": 1}}
    codes = set[Any]()
    async with asyncio.timeout(PATIENCE), connect(f"ws://127.0.0.1:{feed.port}/feed", max_size=None) as ws:
        with suppress(ConnectionClosed):
            for each in [*sent, last]:
                await ws.send(json.dumps(each))
            while (answer := json.loads(await ws.recv())).get("id") != "the last":
                codes.add(answer.get("error", {}).get("code"))
        codes.add(ws.close_code)
    return codes - CODES - {4400, None}
