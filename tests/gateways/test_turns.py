"""How many questions the store is asked at once on behalf of the clients of the feed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Self

import pytest
from parts import PATIENCE, changed, request, result, serving, submit, wait_frame
from privacy import OPERATOR_TOKEN, VIEWER_TOKEN

from notifier.client import FeedClient
from notifier.gateways import session
from notifier.settings import Settings
from notifier.storage import queries
from notifier.storage.reader import Reader
from notifier.storage.sqlite import SqliteStore

FAR = "2126-01-01T00:00:00Z"


class Gate:
    """Lets the calls of one method of the store begin, and holds them until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.inside = 0
        self.most = 0
        self._open = asyncio.Event()
        self._call = getattr(SqliteStore, method)
        gate = self

        async def held(store: SqliteStore, *args: Any, **options: Any) -> Any:
            async with gate:
                return await gate._call(store, *args, **options)

        monkeypatch.setattr(SqliteStore, method, held)

    @classmethod
    @contextmanager
    def before(cls, monkeypatch: pytest.MonkeyPatch, method: str) -> Iterator[Self]:
        """Put one before a method of the store, to be opened within the block or at its end."""
        gate = cls(monkeypatch, method)
        try:
            yield gate
        finally:
            gate.open()

    def open(self) -> None:
        """Let all go on."""
        self._open.set()

    async def __aenter__(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self._open.wait()

    async def __aexit__(self, *_: object) -> None:
        self.inside -= 1


@asynccontextmanager
async def with_role(environ: dict[str, str], role: str) -> AsyncIterator[FeedClient]:
    """Serve a client that has one of the two tokens."""
    async with serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed:
        known = feed if role == "operator" else feed.model_copy(update={"operator_token": None})
        async with FeedClient.connect(known, snapshot=0) as client:
            assert (await client.frame())["role"] == role
            yield client


@pytest.mark.parametrize(("role", "most"), [("viewer", 1), ("operator", session.MOST_OPERATOR_QUERIES)])
async def test_a_client_has_few_queries_under_way(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, role: str, most: int
) -> None:
    """A viewer one, an operator some: further ones wait, and all of them are answered in their order."""
    async with with_role(environ, role) as client:
        with Gate.before(monkeypatch, "page") as gate:
            asked = [await client.command("mail.list", {"limit": 1}) for _ in range(20)]
            last = await client.command("no.command", {})
            await wait_frame(client, lambda frame: frame.get("id") == last)
            assert gate.inside == most
        answered = [(await wait_frame(client, lambda frame: frame["type"] == "result"))["id"] for _ in asked]
    assert gate.most == most
    assert answered == asked


async def test_a_filter_waits_for_the_query_before_it(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot that it brings is a query of the same client."""
    async with with_role(environ, "viewer") as client:
        with Gate.before(monkeypatch, "page") as lists, Gate.before(monkeypatch, "snapshot") as snapshots:
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
        with Gate.before(monkeypatch, "page"):
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
        if what in (queries.page, queries.snapshot, queries.events):
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


async def test_those_who_come_back_at_once_take_turns(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few snapshots are read at the same time and the others wait; meanwhile mail is taken in."""
    async with serving(settings) as feed, AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        operator = await stack.enter_async_context(FeedClient.connect(feed, snapshot=0))
        await wait_frame(operator, lambda frame: frame["type"] == "snapshot")
        with Gate.before(monkeypatch, "snapshot") as gate:
            watchers = [await stack.enter_async_context(FeedClient.connect(feed)) for _ in range(20)]
            for watcher in watchers:
                assert (await watcher.frame())["type"] == "welcome"
            await submit(operator, request(1, send_at=FAR))
            assert gate.inside == session.MOST_CATCHING_UP
        for watcher in watchers:
            snapshot = await wait_frame(watcher, lambda frame: frame["type"] == "snapshot")
            assert [mail["event"] for mail in snapshot["mails"]] == ["r1"]
        assert gate.most == session.MOST_CATCHING_UP
        assert (await result(operator, await operator.command("mail.list", {})))["next"] is None
