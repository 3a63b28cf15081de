"""The SMTP server misbehaves in each phase of the dialogue."""

from typing import Any

import pytest
from support.faults.equation import stored
from support.faults.load import request
from support.faults.scene import PATIENCE, Scene
from support.parts import result, wait_frame

from notifier.feed.client import FeedClient

PHASES = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT")
OF_THE_MAIL = ("RCPT", "DATA", "DOT")
"""Phases in which a rejection concerns the mail and not the account."""
SETTINGS = {"SMTP_TIMEOUT": "1s", "SMTP_DOT_TIMEOUT": "2s", "SMTP_PAUSES": "100ms", "RETRY_DELAYS": "100ms"}

TEMPORARY_REJECTION = {"act": "reply", "text": "451 4.3.0 come back later"}
PERMANENT_REJECTION = {"act": "reply", "text": "554 not like this"}
HANGS_UP = {"act": "hang_up"}
SILENT = {"act": "silent"}


@pytest.fixture(params=[(), ("PIPELINING",)], ids=["one by one", "together"])
def extensions(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Run each test with a server that takes one command at a time, and with one that takes several."""
    offered: tuple[str, ...] = request.param
    return offered


async def meet(scene: Scene, client: FeedClient, number: int, fault: dict[str, Any]) -> dict[str, Any]:
    """Send one mail that meets a fault; return the mail in its final status."""
    await scene.sink.command(
        **fault, **({"reply": f"{fault['text']} (in {fault['phase']})"} if "text" in fault else {})
    )
    await scene.sink.command(close=True)  # the next dialogue starts with a new connection and meets the fault
    message, makes = request(number)
    await scene.load.publish(scene.rabbit.channel, message, makes)
    mails: list[dict[str, Any]] = []

    def ended(frame: dict[str, Any]) -> bool:
        ours = (event["data"]["mail"] for event in frame.get("events", ()))
        ends = {"sent", "failed", "uncertain"}
        mails.extend(mail for mail in ours if mail["event"] == message["id"] and mail["status"] in ends)
        return bool(mails)

    await wait_frame(client, ended)
    # The journal is read a moment later; this times out if the mail ended without meeting its fault.
    await scene.sink.wait(lambda: _faults_met(scene) > number)
    assert _faults_met(scene) == number + 1
    return mails[0]


def _faults_met(scene: Scene) -> int:
    return sum("fault" in entry for entry in scene.sink.entries)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(TEMPORARY_REJECTION, id="temporary rejection"),
        pytest.param(PERMANENT_REJECTION, id="permanent rejection"),
        pytest.param(HANGS_UP, id="hangs up"),
        pytest.param(SILENT, id="silent", marks=pytest.mark.faults),
    ],
)
async def test_each_phase(scene: Scene, fault: dict[str, Any]) -> None:
    """A failure of the account counts no attempt; a rejection of the mail is retried, or fails the mail."""
    found = {}
    async with scene.service(**SETTINGS) as victim:
        async with FeedClient.connect(victim.feed, snapshot=0) as client:
            for number, phase in enumerate(PHASES):
                mail = await meet(scene, client, number, {"phase": phase, **fault})
                found[phase] = (mail["status"], mail["attempt"])
        await scene.end(victim)
    end = ("failed", 1) if fault is PERMANENT_REJECTION else ("sent", 2)
    assert found == {phase: end if phase in OF_THE_MAIL else ("sent", 1) for phase in PHASES}


@pytest.mark.parametrize("act", [HANGS_UP, pytest.param(SILENT, marks=pytest.mark.faults)], ids=["hangs up", "silent"])
@pytest.mark.parametrize("policy", ["resend", "hold"])
async def test_a_lost_reply_after_the_final_dot(scene: Scene, act: dict[str, Any], policy: str) -> None:
    """The outcome is unknown: the mail is sent again byte for byte, or held for an operator's decision."""
    lost = {"phase": "DOT", "accept": True, **act}
    async with scene.service(**SETTINGS, ON_UNCERTAIN=policy) as victim:
        async with FeedClient.connect(victim.feed, snapshot=0) as client:
            mail = await meet(scene, client, 0, lost)
            if policy == "hold":
                assert mail["status"] == "uncertain"
                await result(client, await client.command("mail.resolve", {"id": mail["id"], "as": "sent"}))
        await scene.end(victim)
    assert len(scene.sink.accepted) == (1 if policy == "hold" else 2)


@pytest.mark.parametrize("phase", ["AUTH", "RSET"])
async def test_silence_at_a_step_that_only_some_dialogues_have(scene: Scene, phase: str) -> None:
    """A login without a reply counts no attempt; a rejection is recorded even if the RSET after it gets no reply."""
    if phase == "RSET":
        await scene.sink.command(phase="RCPT", act="reply", reply=TEMPORARY_REJECTION["text"])
    await scene.sink.command(phase=phase, **SILENT)
    async with scene.service(**SETTINGS, SMTP_URL=with_login(scene)) as victim:
        message, makes = request(0)
        await scene.load.publish(scene.rabbit.channel, message, makes)
        await scene.sink.wait_accepted(1)
        async with FeedClient.connect(victim.feed, snapshot=10) as client:
            snapshot = await wait_frame(client, lambda frame: frame["type"] == "snapshot")
            assert [mail["attempt"] for mail in snapshot["mails"]] == [2 if phase == "RSET" else 1]
        await scene.end(victim)
    assert [entry["phase"] for entry in scene.sink.entries if entry.get("fault") == "silent"] == [phase]


def with_login(scene: Scene) -> str:
    return f"smtp+plain://user:secret@127.0.0.1:{scene.sink.port}"


STARTS = ("CONNECT", "EHLO", "STARTTLS", "HANDSHAKE", "AUTH")
"""Steps before a mail is started; the step after `220` to STARTTLS is the TLS handshake."""


@pytest.mark.parametrize(
    "step",
    [
        *(step if step == "AUTH" else pytest.param(step, marks=pytest.mark.faults) for step in STARTS),
        *(pytest.param(step, marks=pytest.mark.faults) for step in ("MAIL", "RCPT", "DATA", "RSET")),
        "DOT",
    ],
)
async def test_a_stop_while_the_server_is_silent(scene: Scene, step: str) -> None:
    """Before MAIL FROM the service exits at once, whatever its timeouts are, and later within its timeouts.

    The next service sends the mail.
    """
    is_start = step in STARTS
    if step == "RSET":
        await scene.sink.command(phase="RCPT", act="reply", reply=TEMPORARY_REJECTION["text"])
    phase, says = ("STARTTLS", {"reply": "220 go on"}) if step == "HANDSHAKE" else (step, {})
    await scene.sink.command(phase=phase, **SILENT, **says)
    url = with_login(scene)
    if phase == "STARTTLS":
        url = url.replace("smtp+plain", "smtp")
    limits = {"SMTP_TIMEOUT": "1h"} if is_start else {"SMTP_TIMEOUT": "2s", "SMTP_DOT_TIMEOUT": "3s"}
    await scene.load.publish(scene.rabbit.channel, *request(0))
    async with scene.service(**{**SETTINGS, **limits}, SMTP_URL=url) as victim:
        await scene.sink.wait(lambda: any(entry.get("fault") == "silent" for entry in scene.sink.entries))
        assert await victim.terminate() == 0, victim.lines[-10:]
    await scene.sink.wait_idle()
    assert all(row.status == "pending" for row in stored(scene.database))
    async with scene.service(**SETTINGS) as victim:
        await scene.sink.wait_accepted(1)
        await scene.end(victim)


@pytest.mark.faults
async def test_every_phase_at_once_under_load(scene: Scene) -> None:
    """All failures happen several times each under load, and every booking is mailed."""
    async with scene.service(**SETTINGS) as victim:
        async with scene.load.flowing(rate=60):
            for phase in PHASES:
                for fault in (HANGS_UP, SILENT, {"act": "reply", "reply": "451 4.3.0 come back later"}):
                    await scene.sink.command(phase=phase, times=3, **fault)
                if phase in ("CONNECT", "EHLO"):
                    await scene.sink.command(close=True)
            await scene.sink.command(phase="DOT", act="hang_up", accept=True, times=5)
            # The faults alone take many seconds, because an account that recovers has one mail at a time.
            await scene.sink.wait(lambda: bool(scene.sink.unanswered) and len(scene.sink.accepted) > 300, PATIENCE)
        await scene.end(victim)
