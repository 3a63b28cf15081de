"""How `notifier serve` ends: what is under way is finished and reported first, and a second signal ends it at once."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.faults.equation import stored
from support.faults.sink import Sink
from support.faults.victim import Victim
from support.parts import PATIENCE, next_frame, request, submit, wait_event
from support.rabbit import Rabbit

from notifier.feed.client import FeedClient

FAR = "2126-01-01T00:00:00Z"


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Sink]:
    """An SMTP server that replies to each message after 2.5 s."""
    async with Sink.running(tmp_path / "journal", delay=2.5) as sink:
        yield sink


async def being_sent(victim: Victim, sink: Sink) -> None:
    """Submit a mail and wait until its message has gone, but not the reply to it."""
    async with FeedClient.connect(victim.feed, snapshot=0) as client:
        await submit(client, request(1))
    await sink.wait(lambda: any(entry["phase"] == "ACCEPTED" for entry in sink.entries))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_outcome_at_the_stop_is_still_published(
    environ: dict[str, str], slow: Sink, rabbit: Rabbit, number: signal.Signals
) -> None:
    """The reply to a message that has gone is waited for, and its result is on notifier.events before the exit."""
    results = await rabbit.listen("notifier.events", "topic", "mail.sent")
    environ = {**environ, **rabbit.environ, "NOTIFIER_SMTP_URL": f"smtp+plain://127.0.0.1:{slow.port}"}
    async with Victim.running(environ) as victim:
        await being_sent(victim, slow)
        os.kill(victim.pid, number)
        assert await victim.ended() == 0
        async with asyncio.timeout(PATIENCE):
            published = await results.get()
    assert json.loads(published.body)["data"]["mail"]["event"] == "r1"
    assert victim.lines[-1]["event"] == "stopped"
    assert not slow.unanswered


async def test_clients_see_an_outcome_at_the_stop(environ: dict[str, str], slow: Sink) -> None:
    """A client sees that the mail was sent before it gets the frame that announces the restart."""
    environ = {**environ, "NOTIFIER_SMTP_URL": f"smtp+plain://127.0.0.1:{slow.port}"}
    async with Victim.running(environ) as victim:
        await being_sent(victim, slow)
        async with FeedClient.connect(victim.feed, snapshot=0) as watcher:
            await next_frame(watcher)
            os.kill(victim.pid, signal.SIGTERM)
            assert (await wait_event(watcher, "mail.sent"))["event"] == "r1"
            while (frame := await next_frame(watcher))["type"] != "bye":
                pass
        assert await victim.ended() == 0
    assert (frame["code"], frame["reconnect"]) == (1012, True)


async def test_nothing_new_is_begun_at_the_stop(environ: dict[str, str], slow: Sink) -> None:
    """While the last dialogue ends, mail that arrives is stored and not sent."""
    changes = {"NOTIFIER_SMTP_URL": f"smtp+plain://127.0.0.1:{slow.port}", "NOTIFIER_SEND_CRON": "* * * * * *"}
    async with Victim.running({**environ, **changes}) as victim:
        await being_sent(victim, slow)
        async with FeedClient.connect(victim.feed, snapshot=0) as client:
            await next_frame(client)
            os.kill(victim.pid, signal.SIGTERM)
            await victim.wait_line(lambda line: line["event"] == "stopping")
            await submit(client, request(2))
        assert await victim.ended() == 0
    database = Path(environ["NOTIFIER_DATABASE_URL"].removeprefix("sqlite:///"))
    assert sorted((row.event, row.status) for row in stored(database)) == [("r1", "sent"), ("r2", "pending")]
    assert {entry["event"] for entry in slow.accepted} == {"r1"}


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_service_at_once(
    environ: dict[str, str], tmp_path: Path, second: signal.Signals
) -> None:
    """A dialogue that never ends holds up the first one, and not the second, which exits 1."""
    async with Sink.running(tmp_path / "journal") as sink:
        await sink.command(phase="DOT", act="silent")
        environ = {**environ, "NOTIFIER_SMTP_URL": f"smtp+plain://127.0.0.1:{sink.port}"}
        async with Victim.running(environ) as victim:
            async with FeedClient.connect(victim.feed, snapshot=0) as client:
                await submit(client, request(1))
            await sink.wait(lambda: any(entry["phase"] == "DOT" for entry in sink.entries))
            os.kill(victim.pid, signal.SIGTERM)
            await victim.wait_line(lambda line: line["event"] == "stopping")
            os.kill(victim.pid, second)
            assert await victim.ended() == 1
    assert "stopped" not in {line["event"] for line in victim.lines}
