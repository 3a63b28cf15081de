"""Wrong tokens: their answers are delayed, those to other clients are not, and they are counted."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from support.pages import get, scrape
from support.parts import PATIENCE, changed, next_frame, serving
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.wire import TEXT, UPGRADE, dialled, drained, frame
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from notifier.feed import auth
from notifier.feed.auth import FIRST_DELAY, GLOBAL_DIVISOR, MAX_DELAY, MAX_NETWORKS, STREAK_TIMEOUT, Tokens
from notifier.feed.client import FeedClient, readiness
from notifier.settings import FeedSettings

WRONG = "not-one-of-the-tokens"
FOREVER = 3600.0


def judge(failed: Callable[[], None] = lambda: None, **given: str) -> Tokens:
    """Build the Tokens of a service, with the two tokens of these tests unless others are given."""
    known = given or {"VIEWER_TOKEN": VIEWER_TOKEN, "OPERATOR_TOKEN": OPERATOR_TOKEN}
    return Tokens(FeedSettings.model_validate({f"NOTIFIER_{name}": value for name, value in known.items()}), failed)


def test_each_further_wrong_token_is_answered_later() -> None:
    """Each answer is delayed twice as long as the one before, up to a limit; after a quiet minute delays begin anew."""
    judged = judge()
    delays = [judged.refused(WRONG, "192.0.2.1", 0.1 * n) for n in range(2000)]
    assert delays[:4] == [FIRST_DELAY * factor for factor in (1, 2, 4, 8)]
    assert delays == sorted(delays)
    assert delays[-1] == MAX_DELAY
    assert judged.refused(WRONG, "192.0.2.1", 200.1 + STREAK_TIMEOUT) == FIRST_DELAY


def test_a_missing_token_is_no_wrong_one() -> None:
    """A client without a token gets at once the answer that one is needed."""
    counted: list[None] = []
    judged = judge(lambda: counted.append(None))
    assert [judged.refused(token, "192.0.2.1", 0) for token in (None, "")] == [0, 0]
    assert counted == []


def test_wrong_tokens_of_one_network_cost_another_nothing() -> None:
    """Hundreds of wrong tokens from many networks delay the answer to each of them."""
    judged = judge()
    for _ in range(20):
        judged.refused(WRONG, "192.0.2.1", 0)
    assert judged.refused(WRONG, "192.0.2.2", 0) == FIRST_DELAY
    delays = [judged.refused(WRONG, f"198.51.{n // 250}.{n % 250}", 0) for n in range(10 * GLOBAL_DIVISOR)]
    assert (delays[0], delays[-1]) == (FIRST_DELAY, MAX_DELAY)


def test_a_guesser_with_many_addresses_fills_no_memory() -> None:
    """Only the latest networks are remembered; the others begin with the first delay again."""
    judged = judge()
    judged.refused(WRONG, "first", 0)
    for n in range(MAX_NETWORKS):
        judged.refused(WRONG, str(n), 0)
    assert len(judged._own) == MAX_NETWORKS
    assert "first" not in judged._own


async def say(feed: FeedSettings, token: str) -> int | None:
    """Send hello and return the close code."""
    async with connect(f"ws://127.0.0.1:{feed.port}/feed") as ws:
        await ws.send(json.dumps({"type": "hello", "token": token}))
        with pytest.raises(ConnectionClosed):
            while True:
                await ws.recv()
        return ws.close_code


async def test_wrong_tokens_are_counted_and_logged(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, logged_lines: list[dict[str, Any]]
) -> None:
    """The metric counts every wrong token, in a hello or as a bearer token; the log has the 1st, 10th and 100th."""
    monkeypatch.setattr(auth, "FIRST_DELAY", 0.0)
    async with serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed:
        for _ in range(10):
            assert await say(feed, WRONG) == 4401
        assert (await get(feed, "/metrics", Authorization=f"Bearer {WRONG}"))[0] == 401
        assert (await get(feed, "/readyz", Authorization=f"Bearer {WRONG}"))[0] == 200
        status, _, body = await get(feed, "/metrics", Authorization=f"Bearer {VIEWER_TOKEN}")
    assert status == 200
    assert b"notifier_feed_auth_failures_total 12.0" in body
    found = [line for line in logged_lines if line["event"] == "wrong tokens were given to the feed"]
    assert [(line["log_level"], line["count"], line["latest_from"]) for line in found] == [
        ("warning", 1, "127.0.0.1"),
        ("warning", 10, "127.0.0.1"),
    ]
    assert WRONG not in str(logged_lines)


async def test_a_right_token_is_never_delayed(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Right tokens are answered at once while wrong ones from the same address wait, and so is the shutdown."""
    monkeypatch.setattr(auth, "FIRST_DELAY", FOREVER)
    monkeypatch.setattr(auth, "MAX_DELAY", FOREVER)
    hello = frame(TEXT, json.dumps({"type": "hello", "token": WRONG}).encode())
    scraping = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {WRONG}\r\n\r\n".encode()
    settings = changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as sockets:
        async with serving(settings) as feed:
            guesser = await sockets.enter_async_context(dialled(feed, UPGRADE, hello))
            scraper = await sockets.enter_async_context(dialled(feed, scraping))
            upgraded = await asyncio.get_running_loop().sock_recv(guesser, 4096)
            for _ in range(3):
                async with FeedClient.connect(feed, snapshot=0) as client:
                    assert (await next_frame(client))["role"] == "operator"
                assert (await get(feed, "/metrics", Authorization=f"Bearer {OPERATOR_TOKEN}"))[0] == 200
            assert upgraded.startswith(b"HTTP/1.1 101")
            for unanswered in (guesser, scraper):
                with pytest.raises(BlockingIOError):
                    unanswered.recv(1)
        # The service has ended: it waited for none of them.
        for cut in (guesser, scraper):
            await drained(cut)


async def test_readiness_shows_states_only_to_those_without_a_token(environ: dict[str, str]) -> None:
    """Without a token no host name, no reason and no server reply is shown; with either token everything is."""
    settings = changed(
        environ, SMTP_URL="smtp+plain://127.0.0.1:9", VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN
    )
    async with serving(settings) as feed:
        async with FeedClient.connect(feed, snapshot=0) as client:
            await client.command("submit", {"message": {"type": "x"}})
        shown = [
            json.loads((await get(feed, "/readyz", **headers))[2])
            for headers in ({}, {"Authorization": f"Bearer {WRONG}"})
        ]
        whole = [
            json.loads((await get(feed, "/readyz", Authorization=f"Bearer {token}"))[2])
            for token in (VIEWER_TOKEN, OPERATOR_TOKEN)
        ]
        asked = json.loads((await asyncio.to_thread(readiness, feed)).body)
    for each in shown:
        assert each["status"] == "ok"
        assert each["store"] == {"state": "ok"}
        assert each["broker"] == {"state": "off"}
        assert set(each["actors"]) == {"sender", "purger", "broadcaster"}
        assert all(actor.keys() == {"state"} for actor in each["actors"].values())
        assert [transport.keys() for transport in each["smtp"]] == [{"state"}]
    for each in (*whole, asked):
        assert each["smtp"][0]["transport"] == "127.0.0.1:9"
        assert each["actors"]["sender"].keys() == {"state", "since", "reason"}


async def test_a_failed_scrape_is_counted_where_the_feed_is(environ: dict[str, str]) -> None:
    """Without tokens everyone is operator, and no token is a wrong one."""
    async with serving(changed(environ)) as feed:
        assert (await get(feed, "/metrics", Authorization=f"Bearer {WRONG}"))[0] == 200
        assert (await scrape(feed)).get("notifier_feed_auth_failures_total") == 0
