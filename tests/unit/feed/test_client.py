"""The client with a server that misbehaves as ours never does; its next hello shows what it has concluded."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import pytest
from support.frames import AT, event, shown
from support.parts import PATIENCE, next_frame, serving
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from notifier.cli import terminal
from notifier.domain.events import MAX_EVENTS
from notifier.domain.mail import Status
from notifier.feed import client
from notifier.feed.client import FeedClient, Lost, ReconnectingClient, Rejected, readiness
from notifier.feed.protocol import MAX_MAILS, PROTOCOL, EventsFrame, SnapshotFrame, WelcomeFrame
from notifier.settings import FeedSettings, Settings

_Frame = TypeVar("_Frame")
Act = Callable[["Visit"], Awaitable[None]]


@pytest.fixture(autouse=True)
def every_frame_is_described() -> None:
    """Check no frame against the document: the server is the tests' own."""


class Visit:
    """One connection of a client to the server below: its hello, and how to talk to it."""

    def __init__(self, websocket: ServerConnection, hello: dict[str, Any]) -> None:
        self.websocket = websocket
        self.hello = hello

    async def say(self, type_: str, **fields: Any) -> None:
        """Send a frame."""
        await self.websocket.send(json.dumps({"type": type_, **fields}))

    async def hear(self) -> dict[str, Any]:
        """Wait for a frame."""
        found: dict[str, Any] = json.loads(await self.websocket.recv())
        return found

    async def reply(self, value: Any) -> None:
        """Wait for a command, and answer it."""
        await self.say("result", id=(await self.hear())["id"], ok=True, value=value)

    async def welcome(self, cursor: str, heartbeat: float = 20) -> None:
        """Greet a client."""
        fields = {"protocol": 1, "server": "s", "role": "viewer", "resumed": True, "replay": 0, "now": AT}
        await self.say("welcome", heartbeat=heartbeat, **fields)
        await self.snapshot(cursor)

    async def snapshot(self, cursor: str, **fields: Any) -> None:
        """Show a state."""
        await self.say("snapshot", cursor=cursor, mails=[], totals=dict.fromkeys(Status, 0), more=False, **fields)


async def rest(visit: Visit) -> None:
    """Keep the connection, and send nothing."""
    await visit.websocket.wait_closed()


@asynccontextmanager
async def playing(*acts: Act) -> AsyncIterator[tuple[FeedSettings, asyncio.Queue[dict[str, Any]]]]:
    """Serve each connection by the next of these acts; yield the address and the hellos."""
    hellos: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    left = iter(acts)

    async def handle(websocket: ServerConnection) -> None:
        visit = Visit(websocket, json.loads(await websocket.recv()))
        hellos.put_nowait(visit.hello)
        await next(left)(visit)

    async with serve(handle, "127.0.0.1", 0, subprotocols=[Subprotocol(PROTOCOL)]) as server:
        port = server.sockets[0].getsockname()[1]
        yield FeedSettings.model_validate({"NOTIFIER_PORT": port}), hellos


@asynccontextmanager
async def following(
    feed: FeedSettings, wanted: Any = None
) -> AsyncIterator[tuple[ReconnectingClient, asyncio.Queue[Any]]]:
    """Follow a feed in a task of its own; yield the client and its frames."""
    follower = ReconnectingClient(feed, wanted)
    frames: asyncio.Queue[Any] = asyncio.Queue()

    async def collect() -> None:
        async for frame in follower:
            frames.put_nowait(frame)

    task = asyncio.create_task(collect())
    try:
        async with asyncio.timeout(PATIENCE):
            yield follower, frames
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the back-off short."""
    monkeypatch.setattr(client, "BACK_OFF", (0.01,))


async def until(frames: asyncio.Queue[Any], type_: type[_Frame]) -> _Frame:
    """Wait for a frame of a type."""
    while not isinstance(frame := await frames.get(), type_):
        pass
    return frame


async def test_a_silent_connection_is_considered_lost() -> None:
    """After 2.5 heartbeats without any frame the client connects again and resumes."""

    async def silent(visit: Visit) -> None:
        await visit.welcome("c1", heartbeat=0.05)
        await rest(visit)

    async with playing(silent, rest) as (feed, hellos), following(feed) as (_, frames):
        assert "resume" not in await hellos.get()
        lost = await until(frames, Lost)
        assert (await hellos.get())["resume"] == "c1"
    assert lost.reason == "no frame was received for 0.125 s"


async def test_a_client_that_waits_for_its_first_state_does_not_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is busy with others may be silent for many heartbeats before its first snapshot."""
    monkeypatch.setattr(client, "HEARTBEAT", 0.01)

    async def busy(visit: Visit) -> None:
        await asyncio.sleep(20 * client.SILENCES * 0.01)
        await visit.welcome("c1", heartbeat=20)
        await rest(visit)

    async with playing(busy) as (feed, hellos), following(feed) as (_, frames):
        assert isinstance(await frames.get(), WelcomeFrame)
        assert (await until(frames, SnapshotFrame)).cursor == "c1"
        assert hellos.qsize() == 1


async def test_any_frame_breaks_the_silence() -> None:
    """Frames closer than 2.5 heartbeats keep a connection, also those of types that this version does not know."""

    async def chatty(visit: Visit) -> None:
        await visit.welcome("c1", heartbeat=0.2)
        for _ in range(10):
            await asyncio.sleep(0.1)
            await visit.say("dance")
        await visit.say("events", cursor="c2", events=[])
        await rest(visit)

    async with playing(chatty) as (feed, _), following(feed) as (_, frames):
        received = [type(await frames.get()) for _ in range(3)]
    assert received == [WelcomeFrame, SnapshotFrame, EventsFrame]


async def test_a_bye_without_reconnect_ends_the_client() -> None:
    """After a `bye` with `reconnect: false` the client does not connect again."""

    async def farewell(visit: Visit) -> None:
        await visit.welcome("c1")
        await visit.say("bye", code=1001, reconnect=False, after_ms=0)
        await rest(visit)

    async with playing(farewell) as (feed, hellos):
        with pytest.raises(Rejected, match="for good"):
            async for _ in ReconnectingClient(feed):
                pass
        assert hellos.qsize() == 1


async def test_a_bye_says_when_to_reconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits as long as `bye` says instead of the back-off, even if that is no time at all."""
    monkeypatch.setattr(client, "BACK_OFF", (3600.0,))

    async def farewell(visit: Visit) -> None:
        await visit.welcome("c1")
        await visit.say("bye", code=1012, reconnect=True, after_ms=0)
        await visit.websocket.close(1012)

    async with playing(farewell, rest) as (feed, hellos), following(feed):
        await hellos.get()
        assert (await hellos.get())["resume"] == "c1"


async def test_a_cursor_of_another_filter_is_never_used() -> None:
    """If the connection is lost before the new filter is answered, the next hello has the filter and no cursor."""

    async def stubborn(visit: Visit) -> None:
        await visit.welcome("old")
        asked = await visit.hear()
        await visit.say("events", cursor="still old", events=[])
        await visit.snapshot("of an older filter", id="none of it")
        assert asked == {"type": "filter", "id": asked["id"], "filter": {"status": "sent"}}
        visit.websocket.transport.abort()

    async with playing(stubborn, rest) as (feed, hellos), following(feed) as (follower, frames):
        assert (await hellos.get())["filter"] == {}
        await until(frames, SnapshotFrame)
        await follower.refilter({"status": "sent"})
        hello = await hellos.get()
        assert (hello["filter"], "resume" in hello) == ({"status": "sent"}, False)
        assert isinstance(await frames.get(), Lost)


async def test_frames_of_the_filter_before_are_not_yielded() -> None:
    """Between a new filter and its snapshot no frame with a cursor is yielded, and only the new cursor is used."""

    async def slow(visit: Visit) -> None:
        await visit.welcome("old")
        first, second = await visit.hear(), await visit.hear()
        await visit.snapshot("first", id=first["id"])
        await visit.say("events", cursor="first and later", events=[])
        await visit.snapshot("second", id=second["id"])
        visit.websocket.transport.abort()

    async with playing(slow, rest) as (feed, hellos), following(feed) as (follower, frames):
        await hellos.get()
        await until(frames, SnapshotFrame)
        await follower.refilter({"status": "sent"})
        await follower.refilter({"status": "failed"})
        assert (await frames.get()).cursor == "second"
        hello = await hellos.get()
        assert (hello["filter"], hello["resume"]) == ({"status": "failed"}, "second")


async def test_a_filter_that_changes_while_connecting_is_asked_for() -> None:
    """A hello that is being sent has the old filter, so a `filter` frame follows it."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def greeting(visit: Visit) -> None:
        await visit.welcome("old")
        await visit.snapshot("new", id=(await visit.hear())["id"])
        await rest(visit)

    async def late(connection: ServerConnection, request: object) -> None:  # noqa: ARG001 - the library's signature
        arrived.set()
        await go_on.wait()

    async def handle(websocket: ServerConnection) -> None:
        await greeting(Visit(websocket, json.loads(await websocket.recv())))

    async with serve(handle, "127.0.0.1", 0, process_request=late, subprotocols=[Subprotocol(PROTOCOL)]) as server:
        feed = FeedSettings.model_validate({"NOTIFIER_PORT": server.sockets[0].getsockname()[1]})
        async with following(feed) as (follower, frames):
            await arrived.wait()
            await follower.refilter({"status": "sent"})
            go_on.set()
            assert (await until(frames, SnapshotFrame)).cursor == "new"


async def test_a_proxy_of_the_environment_is_not_asked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is reached directly, even if the environment sets a proxy for other hosts."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as connected:
        assert (await next_frame(connected))["type"] == "welcome"


async def test_an_error_of_the_caller_is_raised_unchanged(settings: Settings) -> None:
    """An error in the caller's block, such as a closed pipe, is raised unchanged and not as an unreachable service."""
    async with serving(settings) as feed:
        with pytest.raises(BrokenPipeError):
            async with FeedClient.connect(feed, snapshot=0):
                raise BrokenPipeError


@pytest.mark.parametrize("token", ["пароль-пароль-пароль", "é" * 20 + "à", "correct horse battery staple", "🔑" * 16])
async def test_a_token_of_any_letters_is_known_on_every_way(settings: Settings, token: str) -> None:
    """A token of any letters is valid as a bearer token and in the hello."""
    feed = settings.feed.model_copy(update={"operator_token": token})
    async with serving(settings._replace(feed=feed)) as here:
        health = await asyncio.to_thread(readiness, here)
        assert "since" in json.loads(health.body)["actors"]["sender"]  # without a right token there are only states
        async with FeedClient.connect(here) as hello:
            assert (await next_frame(hello))["role"] == "operator"


async def test_a_mail_that_is_sent_between_two_lists_is_known_to_be_sent() -> None:
    """Its only event comes before the list of other mails does, and `send --wait` still sees its end."""
    ids = [f"m{number}" for number in range(MAX_MAILS + 1)]

    async def service(visit: Visit) -> None:
        await visit.welcome("c1")
        await visit.reply({"mails": ids, "repeated": False})
        await visit.reply({"mails": [listed(id_) for id_ in ids[:-1]], "next": None})
        sent = [msgspec.to_builtins(event(shown(id_, 3, "sent"))) for id_ in ids]
        for first in range(0, len(sent), MAX_EVENTS):
            await visit.say("events", cursor="c2", events=sent[first : first + MAX_EVENTS])
        await visit.reply({"mails": [listed(ids[-1])], "next": None})
        await visit.websocket.close()

    async with playing(service) as (feed, _), asyncio.timeout(PATIENCE):
        await terminal.submit(feed, {}, wait=True, as_json=True)


def listed(id_: str) -> Any:
    """Build a mail as a list shows it while it is being sent."""
    return msgspec.to_builtins(shown(id_, 2, "sending"))


async def test_a_frame_that_cannot_be_read_ends_the_client() -> None:
    """A frame without its fields comes from a service that this version does not understand."""

    async def strange(visit: Visit) -> None:
        await visit.say("welcome", heartbeat="soon")
        await rest(visit)

    async with playing(strange) as (feed, _):
        with pytest.raises(Rejected, match="cannot read"):
            async for _ in ReconnectingClient(feed):
                pass


LATER = {
    "status": "parked",
    "kind": "flight.upgrade",
    "account": "a:587",
    "smtp": {"code": 250, "text": "ok", "tls": 1},
}
"""A status, a kind and fields that this version does not know."""


async def test_words_of_a_newer_service_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    """Unknown statuses, kinds, types, reasons, roles and fields neither end the client nor cost it its place."""
    mail = {**listed("m1"), **LATER}
    hello = {"protocol": 1, "server": "s", "role": "auditor", "resumed": False, "replay": 0, "now": AT}

    async def newer(visit: Visit) -> None:
        await visit.say("welcome", heartbeat=20, reason="moved", **hello)
        await visit.say("weather", cursor="no cursor of ours", clouds=True)
        totals = dict.fromkeys([*Status, "parked"], 0)
        await visit.say("snapshot", cursor="c1", mails=[mail], totals=totals, more=False, hint="x")
        data = {"prev": "waiting", "mail": {**mail, "rev": 9}, "by": "o"}
        happened = {**msgspec.to_builtins(event(shown("m1", 9, "sent"))), "type": "mail.parked", "data": data}
        await visit.say("events", cursor="c2", events=[happened])
        visit.websocket.transport.abort()

    async with playing(newer, rest) as (feed, hellos):
        watching = asyncio.create_task(terminal.watch(feed, as_json=False))
        try:
            async with asyncio.timeout(PATIENCE):
                await hellos.get()
                assert (await hellos.get())["resume"] == "c2"
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["parked", "flight.upgrade"]] * 2


@pytest.mark.parametrize("as_json", [True, False])
async def test_results_of_a_newer_service_are_shown(capfd: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    """Commands print mails in a status that this version does not know; as JSON also their unknown fields."""

    async def newer(visit: Visit) -> None:
        await visit.welcome("c1")
        await visit.reply({"mails": [{**listed("m1"), **LATER}], "next": None, "total": 1})
        await rest(visit)

    async with playing(newer) as (feed, _), asyncio.timeout(PATIENCE):
        await terminal.run_command(feed, "mail.list", {}, as_json=as_json)
    printed = capfd.readouterr().out
    assert "parked" in printed
    assert ("a:587" in printed) is as_json


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_result_that_cannot_be_read_is_an_error(capfd: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    """As JSON it is printed as it came; otherwise the error says that this version cannot read it."""

    async def strange(visit: Visit) -> None:
        await visit.welcome("c1")
        await visit.reply({"mails": [{"id": "m1"}]})
        await rest(visit)

    async with playing(strange) as (feed, _), asyncio.timeout(PATIENCE):
        if as_json:
            await terminal.run_command(feed, "mail.list", {}, as_json=True)
        else:
            with pytest.raises(Rejected, match="cannot read"):
                await terminal.run_command(feed, "mail.list", {}, as_json=False)
    assert ("m1" in capfd.readouterr().out) is as_json
