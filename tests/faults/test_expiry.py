"""A mail expires while it waits for a connection, by the real clock or by a clock that jumps."""

import asyncio
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.faults import load
from support.faults.clocks import Clock
from support.faults.proxy import Proxy
from support.faults.scene import Scene
from support.parts import wait_event

from notifier.feed.client import FeedClient

SOON = timedelta(seconds=3)
LATER = timedelta(hours=1)


Message = tuple[dict[str, Any], AbstractSet[str]]


def mail(number: int, expires_at: datetime | None = None) -> Message:
    """Build a request for one mail, and the kinds of mail that it makes."""
    message, makes = load.request(number)
    if expires_at:
        message["data"]["expires_at"] = expires_at.isoformat()
    return message, makes


@pytest.mark.parametrize("jumps", [False, pytest.param(True, marks=pytest.mark.faults)], ids=["waits", "jumps"])
async def test_nothing_starts_after_its_expiry(scene: Scene, request: pytest.FixtureRequest, *, jumps: bool) -> None:
    """Once there is a connection, the expired mail is not sent, but a mail that has not expired is."""
    clock: Clock | None = request.getfixturevalue("clock") if jumps else None
    expires_at = datetime.now(UTC) + (LATER if jumps else SOON)
    async with Proxy.to(scene.sink.port) as proxy:
        url = f"smtp+plain://127.0.0.1:{proxy.port}"
        async with scene.service(SMTP_URL=url, SMTP_TIMEOUT="1h") as victim:
            async with FeedClient.connect(victim.feed, snapshot=0) as client:
                await scene.load.publish(scene.rabbit.channel, *mail(0))
                await wait_event(client, "mail.sent")
                await scene.sink.command(close=True)
                await scene.sink.wait_idle()
                proxy.stall()
                connections = proxy.connections
                await scene.load.publish(scene.rabbit.channel, *mail(1, expires_at))
                await scene.load.publish(scene.rabbit.channel, *mail(2))
                async with proxy.new_connection:
                    await proxy.new_connection.wait_for(lambda: proxy.connections > connections)
                if clock:
                    clock.set(2 * LATER)
                else:
                    await asyncio.sleep((expires_at - datetime.now(UTC)).total_seconds() + 0.1)
                proxy.flow()
                await wait_event(client, "mail.expired", event="m000001")
                await wait_event(client, "mail.sent", event="m000002")
            await scene.end(victim)
    assert [entry["event"] for entry in scene.sink.accepted] == ["m000000", "m000002"]
