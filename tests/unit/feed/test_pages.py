"""The HTTP pages beside the feed."""

import asyncio
import json
from typing import Any

import pytest
from support.pages import get
from support.parts import result, serving, submit
from support.readings import READINESS
from support.samples import upcoming_booking
from support.wire import dialled, drained
from websockets.datastructures import Headers
from websockets.http11 import Request

from notifier.errors import Unreachable
from notifier.feed.auth import Tokens
from notifier.feed.client import FeedClient, readiness
from notifier.feed.pages import MAX_OFFERS, Pages
from notifier.settings import FeedSettings, Settings


async def test_health_and_readiness(settings: Settings) -> None:
    """/healthz answers while the process lives; /readyz shows the state of every part."""
    async with serving(settings) as feed:
        assert (await get(feed, "/healthz"))[0] == 200
        status, headers, body = await get(feed, "/readyz")
    parts: dict[str, Any] = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert parts["store"]["state"] == "ok"
    assert set(parts["actors"]) == {"sender", "purger", "broadcaster"}
    assert parts["broker"]["state"] == "off"
    assert [lane["state"] for lane in parts["smtp"]] == ["ready"]


async def test_the_page_and_its_parts_are_served_under_a_strict_policy(settings: Settings) -> None:
    """The page may load only its own scripts and style, and nobody may frame it."""
    async with serving(settings) as feed:
        for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/style.css", "text/css")):
            status, headers, body = await get(feed, path)
            assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
            assert body
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/nothing", "/../settings.py", "/dashboard/index.html", "/frames.d.ts", "/feed/x"])
async def test_anything_else_is_not_found(settings: Settings, path: str) -> None:
    """Other paths are answered with 404, also those that point at other files."""
    async with serving(settings) as feed:
        assert (await get(feed, path))[0] == 404


async def test_the_feed_tells_a_plain_client_what_it_is(settings: Settings) -> None:
    """A GET of /feed without an upgrade is answered with 426."""
    async with serving(settings) as feed:
        assert (await get(feed, "/feed"))[0] == 426


async def test_a_foreign_host_name_is_not_served_without_tokens(settings: Settings) -> None:
    """A page whose host name was pointed at loopback can read nothing."""
    async with serving(settings) as feed:
        assert (await get(feed, "/readyz", Host="evil.example"))[0] == 403


HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


@pytest.mark.parametrize(
    ("path", "lines", "status"),
    [
        ("/", ["Host: [::1"], 400),
        ("/", ["Host: a]b"], 400),
        ("/", ["Host: localhost/evil"], 400),
        ("/", ["Host: localhost", "Host: localhost"], 400),
        ("//[", ["Host: localhost"], 400),
        ("/feed", ["Host: [::1", *HANDSHAKE], 400),
        ("/feed", ["Host: localhost", "Origin: http://[", *HANDSHAKE], 403),
        ("/feed", ["Host: localhost", "Origin: http://localhost", "Origin: http://evil", *HANDSHAKE], 400),
        ("/feed", ["Host: localhost", "Upgrade: h2c", "Upgrade: h3"], 426),
        ("/healthz", ["Host: [::1]:80"], 200),
    ],
)
async def test_a_malformed_header_is_the_clients_fault(
    settings: Settings, path: str, lines: list[str], status: int, logged_lines: list[dict[str, Any]]
) -> None:
    """Malformed or repeated headers and paths are answered with a 4xx status, never with 500 and a traceback."""
    async with serving(settings) as feed, dialled(feed) as client:
        head = "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""])
        await asyncio.get_running_loop().sock_sendall(client, head.encode())
        answer = await drained(client)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert not [line for line in logged_lines if line["log_level"] == "error"]


async def test_asking_a_service_that_is_not_there_is_unreachable(settings: Settings) -> None:
    """The error names the address."""
    async with serving(settings) as feed:
        gone = feed
    with pytest.raises(Unreachable, match=f"127.0.0.1:{gone.port}"):
        readiness(gone)


async def test_the_page_of_a_mail_can_be_got_once(settings: Settings) -> None:
    """The preview is sandboxed, runs and loads nothing, and only our own page may frame it."""
    message = upcoming_booking()
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        id_ = (await submit(client, message))["mails"][0]
        shown = await result(client, await client.command("mail.show", {"id": id_, "preview": True}))
        status, headers, body = await get(feed, shown["preview"])
        again, _, _ = await get(feed, shown["preview"])
        plain = await result(client, await client.command("mail.show", {"id": id_}))
    assert (status, body.decode(), again) == (200, shown["html"], 404)
    policy = headers["Content-Security-Policy"]
    assert "sandbox;" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'self'" in policy
    assert headers["Cache-Control"] == "no-store"
    assert "preview" not in plain
    assert [each["name"] for each in plain["calendars"]] == ["flights.ics"]
    assert plain["calendars"][0]["text"].startswith("BEGIN:VCALENDAR")


class Browser:
    """A caller whose answers are never delayed."""

    network = "127.0.0.1"

    async def linger(self, seconds: float) -> None:
        """Wait for nothing: there is no reason to."""
        assert not seconds


async def test_pages_of_mails_that_nobody_gets_are_withdrawn() -> None:
    """Only the latest offers are kept."""

    async def metrics() -> bytes:
        return b""

    feed = FeedSettings()
    pages = Pages(feed, Tokens(feed, lambda: None), lambda: READINESS, metrics)
    offers = [pages.offer(f"<p>{n}</p>") for n in range(MAX_OFFERS + 1)]
    answers = [await pages.answer(Request(path, Headers({"Host": "localhost"})), Browser()) for path in offers]
    assert [answer.status_code for answer in answers if answer] == [404, *[200] * MAX_OFFERS]
