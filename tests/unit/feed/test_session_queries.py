"""How many queries of the store the clients of the feed have under way at once."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from support.gate import Gate
from support.parts import PATIENCE, changed, next_frame, request, result, serving, submit, wait_frame
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN

from notifier.domain.events import MailFilter
from notifier.feed import session
from notifier.feed.client import FeedClient
from notifier.feed.protocol import cursor as cursor_of
from notifier.feed.protocol import read_cursor
from notifier.feed.share import Share
from notifier.settings import Settings
from notifier.storage.sqlite import queries, reader
from notifier.storage.sqlite.reader import Reader
from notifier.storage.store import LogSlice, Snapshot

FAR = "2126-01-01T00:00:00Z"


@asynccontextmanager
async def with_role(environ: dict[str, str], role: str) -> AsyncIterator[FeedClient]:
    """Serve a client that has one of the two tokens."""
    async with serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed:
        known = feed if role == "operator" else feed.model_copy(update={"operator_token": None})
        async with FeedClient.connect(known, snapshot=0) as client:
            assert (await next_frame(client))["role"] == role
            yield client


@pytest.mark.parametrize(("role", "most"), [("viewer", 1), ("operator", session.MAX_OPERATOR_QUERIES)])
async def test_a_client_has_few_queries_under_way(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, role: str, most: int
) -> None:
    """A viewer has one query under way, an operator several; further ones wait, and all are answered in order."""
    async with with_role(environ, role) as client:
        with Gate.before(monkeypatch, "listing") as gate:
            asked = [await client.command("mail.list", {"limit": 1}) for _ in range(20)]
            last = await client.command("no.command", {})
            await wait_frame(client, lambda frame: frame.get("id") == last)
            assert gate.inside == most
        answered = [(await wait_frame(client, lambda frame: frame["type"] == "result"))["id"] for _ in asked]
    assert gate.most == most
    assert answered == asked


async def test_a_filter_waits_for_the_query_before_it(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot that answers a filter counts as a query of the client."""
    async with with_role(environ, "viewer") as client:
        with Gate.before(monkeypatch, "listing") as lists, Gate.before(monkeypatch, "snapshot") as snapshots:
            await client.command("mail.list", {"limit": 1})
            last = await client.command("no.command", {})
            await wait_frame(client, lambda frame: frame.get("id") == last)
            await client.filter("f", {"status": "sent"}, 10)
            await (await client._websocket.ping())
            assert (lists.inside, snapshots.inside) == (1, 0)
        await wait_frame(client, lambda frame: frame["type"] == "snapshot" and frame.get("id") == "f")


async def test_what_an_operator_submits_waits_for_no_query(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages that come together are stored together, whatever is being listed."""
    async with with_role(environ, "operator") as client:
        with Gate.before(monkeypatch, "listing"):
            for _ in range(20):
                await client.command("mail.list", {"limit": 1})
            await submit(client, request(1))


async def test_what_operators_ask_goes_before_what_viewers_ask(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hello and the lists of an operator are urgent queries, those of a viewer are not."""
    asked: set[bool] = set()
    query = Reader.query

    async def noted(reader: Reader, what: Any, *args: Any, urgent: bool = False) -> Any:
        if what in (queries.listing, queries.snapshot, queries.replay, queries.missed):
            asked.add(urgent)
        return await query(reader, what, *args, urgent=urgent)

    monkeypatch.setattr(Reader, "query", noted)
    async with serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed:
        for role in ("operator", "viewer"):
            asked.clear()
            known = feed if role == "operator" else feed.model_copy(update={"operator_token": None})
            async with FeedClient.connect(known) as client:
                await result(client, await client.command("mail.list", {}))
            assert asked == {role == "operator"}


async def test_those_who_come_back_at_once_share_an_answer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot for many clients at the same moment is read and encoded once, and messages are stored meanwhile."""
    calls = [0]
    read = queries.snapshot

    def counted(*args: Any) -> Snapshot:
        calls[0] += 1
        return read(*args)

    monkeypatch.setattr(queries, "snapshot", counted)
    async with serving(settings) as feed, AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        operator = await stack.enter_async_context(FeedClient.connect(feed, snapshot=0))
        await wait_frame(operator, lambda frame: frame["type"] == "snapshot")
        calls[0] = 0
        with Gate.before(monkeypatch, "snapshot") as gate:
            watchers = [await stack.enter_async_context(FeedClient.connect(feed)) for _ in range(20)]
            for watcher in watchers:
                assert (await next_frame(watcher))["type"] == "welcome"
            await submit(operator, request(1, send_at=FAR))
        for watcher in watchers:
            snapshot = await wait_frame(watcher, lambda frame: frame["type"] == "snapshot")
            assert [mail["event"] for mail in snapshot["mails"]] == ["r1"]
    assert (gate.most, calls[0]) == (20, 1)


async def test_those_who_resume_share_the_reading_of_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty clients whose cursors differ by a few events cost hardly more queries than one, and miss nothing."""
    asked: list[Any] = []
    query = queries.replay

    def counted(db: sqlite3.Connection, after: int, wanted: MailFilter) -> LogSlice:
        asked.append(after)
        return query(db, after, wanted)

    # One processor-second of rest for each query: whoever is at the same portion meets there.
    monkeypatch.setattr(reader, "thread_time", iter(range(1000)).__next__)
    monkeypatch.setattr(reader, "MAX_REST", 0.05)
    async with serving(settings) as feed, AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        operator = await stack.enter_async_context(FeedClient.connect(feed))
        cursor = (await wait_frame(operator, lambda frame: frame["type"] == "snapshot"))["cursor"]
        for number in range(12):
            await submit(operator, request(number, to=[f"{n}@example.com" for n in range(100)], send_at=FAR))
        place = read_cursor(cursor)
        assert place
        monkeypatch.setattr(queries, "replay", counted)
        clients = [
            await stack.enter_async_context(
                FeedClient.connect(feed, resume=cursor_of(place.store, place.seq + n, place.filter_hash))
            )
            for n in range(20)
        ]
        for n, client in enumerate(clients):
            welcome, seen = await next_frame(client), 0
            assert (welcome["resumed"], welcome["replay"]) == (True, 1200 - n)
            while seen < welcome["replay"]:
                seen += len((await next_frame(client)).get("events", ()))
            assert seen == welcome["replay"]
    assert len(asked) < 20 * 12 / 2


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_the_share_of_viewers_concerns_their_answers_alone(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Lists and snapshots of a viewer count by their bytes and those of an operator do not."""
    taken: list[int] = []

    async def take(_: Share, size: int) -> None:
        taken.append(size)

    monkeypatch.setattr(Share, "take", take)
    async with with_role(environ, role) as client:
        await wait_frame(client, lambda frame: frame["type"] == "snapshot")
        await result(client, await client.command("mail.list", {}))
    assert len(taken) == (2 if role == "viewer" else 0)
    assert all(size > 50 for size in taken)
