"""The SMTP server answers with any bytes, in any phase and with any code, while mails are sent."""

import json
import random
from typing import Any

import pytest
from support.faults.scene import Scene
from support.pages import get
from support.parts import wait_frame

from notifier.feed.client import FeedClient

PHASES = ("CONNECT", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "DOT", "RSET")
CODES = ("", "250 ", "354 ", "421 ", "450 4.2.2 ", "535 5.7.8 ", "550 5.1.1 ", "554 ", "250-", "\udcff")
SETTINGS = {"SMTP_TIMEOUT": "1s", "SMTP_DOT_TIMEOUT": "2s", "SMTP_PAUSES": "50ms", "RETRY_DELAYS": "50ms"}
LONGEST = 60
FAULTS = 15
"""Odd replies in each run of the service, and as many odd replies that accept a mail."""


@pytest.fixture(params=[(), ("PIPELINING",)], ids=["one by one", "together"])
def extensions(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Run each test with a server that takes one command at a time, and with one that takes several."""
    offered: tuple[str, ...] = request.param
    return offered


def any_bytes(chance: random.Random) -> str:
    """Return random bytes in the encoding of the ledger: bytes that are not ASCII are lone surrogates."""
    return chance.randbytes(chance.randrange(LONGEST)).decode("ascii", "surrogateescape")


def one_line(chance: random.Random) -> str:
    """Return random bytes without a line end."""
    return any_bytes(chance).replace("\n", "").replace("\r", "")


def odd_reply(chance: random.Random) -> dict[str, Any]:
    """Build a command for a reply of random bytes; a mail that gets 250 counts as accepted."""
    phase, code = chance.choice(PHASES), chance.choice(CODES)
    is_accepted = {"accept": True} if phase == "DOT" and code == "250 " else {}
    return {"phase": phase, "act": "reply", "reply": code + any_bytes(chance), **is_accepted}


@pytest.mark.parametrize("starts", [2, pytest.param(8, marks=pytest.mark.faults)])
async def test_any_bytes_in_replies_under_load(scene: Scene, chance: random.Random, starts: int) -> None:
    """Every mail gets a status, none is sent twice although the service restarts, and `stats` can be encoded."""
    url = f"smtp+plain://user:secret@127.0.0.1:{scene.sink.port}"
    async with scene.load.flowing(rate=60):
        for _ in range(starts):
            async with scene.service(**SETTINGS, SMTP_URL=url) as victim:
                for _ in range(FAULTS):
                    await scene.sink.command(**odd_reply(chance))
                    await scene.sink.command(phase="DOT", act="reply", reply="250 " + one_line(chance), accept=True)
                await scene.sink.command(close=True)
                await scene.sink.wait_accepted(len(scene.sink.accepted) + 2 * FAULTS)
                async with FeedClient.connect(victim.feed, snapshot=0, stats=0.2) as client:
                    for _ in range(2):
                        await wait_frame(client, lambda frame: frame["type"] == "stats")
                assert await victim.terminate() == 0, victim.lines[-10:]
    async with scene.service(**SETTINGS, SMTP_URL=url) as victim:
        await scene.end(victim)


async def test_a_login_rejected_in_latin_1_is_reported(scene: Scene) -> None:
    """The service is ready, and `stats` and `/readyz` show the reason with U+FFFD for the invalid byte."""
    await scene.sink.command(phase="AUTH", act="reply", reply="535 5.7.8 ung\udcfcltig", times=10_000)
    url = f"smtp+plain://user:secret@127.0.0.1:{scene.sink.port}"
    async with scene.service(**SETTINGS, SMTP_URL=url) as victim:
        line = await victim.wait_line(lambda line: line["event"] == "SMTP account paused")
        async with FeedClient.connect(victim.feed, snapshot=0, stats=0.2) as client:
            stats = await wait_frame(client, lambda frame: frame["type"] == "stats" and frame["smtp"][0]["reason"])
        status, _, body = await get(victim.feed, "/readyz")
        found = [line["reason"], stats["smtp"][0]["reason"], json.loads(body)["smtp"][0]["reason"]]
        assert await victim.terminate() == 0
    assert status == 200
    assert all("ung\ufffdltig" in reason for reason in found)
