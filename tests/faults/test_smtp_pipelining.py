"""The SMTP server takes MAIL, RCPT and DATA together, or claims to, and misbehaves between its answers."""

from typing import Any

import pytest
from support.faults.scene import Scene

SETTINGS = {"SMTP_TIMEOUT": "1s", "SMTP_DOT_TIMEOUT": "2s", "SMTP_PAUSES": "50ms", "RETRY_DELAYS": "50ms"}
TIMES = 10
"""Dialogues that meet a fault."""

NO_RECIPIENT = {"phase": "RCPT", "act": "reply", "reply": "450 4.2.1 later", "lax": True}

FAULTS: dict[str, list[dict[str, Any]]] = {
    "a recipient is rejected but DATA is accepted": [NO_RECIPIENT],
    "a sender is rejected but DATA is accepted": [{**NO_RECIPIENT, "phase": "MAIL"}],
    "421": [{"phase": phase, "act": "reply", "reply": "421 4.3.2 bye"} for phase in ("MAIL", "RCPT", "DATA", "DOT")],
    "split": [{"phase": phase, "act": "pieces", "accept": True} for phase in ("MAIL", "RCPT", "DATA", "DOT")],
    "joined": [{"phase": phase, "act": "late"} for phase in ("MAIL", "RCPT")],
    "lost between the answers": [{"phase": phase, "act": "hang_up"} for phase in ("RCPT", "DATA")],
    "silent between the answers": [{"phase": "RCPT", "act": "silent"}],
}
"""Commands for the ledger; after each of them the server still speaks PIPELINING."""

UNASKED = {
    "MAIL": ("250 ok\r\n250 ok", "250 ok\r\n550 no", "550 no\r\n250 ok", "354 go on"),
    "RCPT": ("250 ok\r\n250 ok", "250 ok\r\n550 no", "550 no\r\n250 ok", "354 go on"),
    "DATA": ("250 ok", "354 go on\r\n250 ok", "450 later\r\n250 ok"),
}


@pytest.mark.parametrize("fault", [pytest.param(name, marks=pytest.mark.faults) for name in FAULTS])
async def test_a_fault_between_the_answers_under_load(scene: Scene, fault: str) -> None:
    """No mail is lost or sent twice, whatever the server does with commands that travelled together."""
    async with scene.service(**SETTINGS) as victim:
        async with scene.load.flowing(rate=60):
            await scene.sink.wait_accepted(30)
            for command in FAULTS[fault]:
                await scene.sink.command(times=TIMES, **command)
            await scene.sink.wait_accepted(len(scene.sink.accepted) + 120)
        await scene.end(victim)
    assert sum("fault" in entry for entry in scene.sink.read()) >= TIMES


@pytest.mark.parametrize(
    ("phase", "answer"),
    [
        pytest.param(phase, answer, marks=() if answer == "250 ok\r\n550 no" else pytest.mark.faults)
        for phase, answers in UNASKED.items()
        for answer in answers
    ],
)
async def test_answers_that_nobody_asked_for(scene: Scene, phase: str, answer: str) -> None:
    """The server is used one command at a time from then on, and no mail has cost an attempt or met a wrong answer."""
    async with scene.service(**SETTINGS) as victim:
        async with scene.load.flowing(rate=60):
            await scene.sink.wait_accepted(30)
            await scene.sink.command(phase=phase, act="reply", reply=answer)
            await scene.sink.wait_accepted(len(scene.sink.accepted) + 60)
        rows = await scene.settle(victim)
        await scene.end(victim)
    assert {row.status for row in rows if row.kind != "flight.reminder"} == {"sent"}
    assert [entry["phase"] for entry in scene.sink.read() if "fault" in entry] == [phase]
