"""Messages arrive while the mail that they concern is being sent."""

from typing import Any

import pytest
from support.faults.load import booking, request
from support.faults.scene import Scene
from support.parts import wait_event

from notifier.feed.client import FeedClient

STEPS = ("CONNECT", "MAIL", "RCPT", "DATA", "DOT")
PHASES = [pytest.param(phase, marks=() if phase == "RCPT" else pytest.mark.faults) for phase in STEPS]
SETTINGS = {"SMTP_PAUSES": "100ms", "RETRY_DELAYS": "300ms", "SMTP_DOT_TIMEOUT": "60s"}

DEFERRED = {"act": "hold", "reply": "451 4.3.0 come back later"}
SHUTS_DOWN = {"act": "hold", "reply": "421 4.3.2 service shutting down"}
ACCEPTS = {"act": "hold", "reply": "250 ok"}
HANGS_UP = {"act": "hold", "accept": True, "then": "hang_up"}

END = "booking.cancelled"
CHANGE = "booking.changed"


def newer_message(scene: Scene, first: dict[str, Any], type_: str) -> dict[str, Any]:
    """Build the newer message of a booking: its cancellation, or a change of its flight."""
    data = {**first["data"], "version": 2}
    data["flights"] = [{**flight, "seat": "30F", "number": "AI909"} for flight in data["flights"]]
    return {**first, "id": f"m{len(scene.load.published):06}", "type": type_, "data": data}


async def warm_up(scene: Scene) -> None:
    """Send one mail: an account that has accepted nothing yet gets one mail at a time."""
    message, makes = request(len(scene.load.published))
    await scene.load.publish(scene.rabbit.channel, message, makes)
    await scene.sink.wait_accepted(1)


async def meet(scene: Scene, victim_feed: Any, fault: dict[str, Any], type_: str) -> dict[str, Any]:
    """Hold a confirmation at the fault, publish the newer message, and release it; return the first message."""
    await warm_up(scene)
    await scene.sink.command(**fault)
    if fault["phase"] == "CONNECT":
        await scene.sink.command(close=True)
    first, makes = booking(len(scene.load.published))
    notice = {END: "booking.cancellation", CHANGE: "booking.change"}[type_]
    async with FeedClient.connect(victim_feed, snapshot=0) as client:
        await scene.load.publish(scene.rabbit.channel, first, makes)
        await scene.sink.wait(lambda: any(entry.get("fault") == "hold" for entry in scene.sink.entries))
        follow = {notice} if type_ == END else {notice, "flight.reminder"}
        await scene.load.publish(scene.rabbit.channel, newer_message(scene, first, type_), follow)
        await wait_event(client, "mail.pending", kind=notice)
        if fault["phase"] != "CONNECT":
            # A mail to another recipient is sent first, so that any other mail that can be sent has had the time.
            other, makes = booking(len(scene.load.published))
            await scene.load.publish(scene.rabbit.channel, other, makes)
            await wait_event(client, "mail.sent", booking=other["data"]["booking"])
        await scene.sink.command(release=True)
        await wait_event(client, "mail.sent", kind=notice)
    return first


def subjects(scene: Scene, first: dict[str, Any]) -> list[str]:
    """Return the subjects of all accepted mails of a booking, in order."""
    return [entry["subject"] for entry in scene.sink.accepted if first["data"]["booking"] in entry["subject"]]


def confirming(subjects: list[str]) -> list[bool]:
    """Return for each subject whether it is that of a confirmation."""
    return ["is confirmed" in subject for subject in subjects]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("refusal", [DEFERRED, SHUTS_DOWN], ids=["deferred", "shutting down"])
async def test_a_booking_is_cancelled_while_its_confirmation_is_deferred(
    scene: Scene, phase: str, refusal: dict[str, Any]
) -> None:
    """The confirmation is not sent any more, at whichever step the server rejected it.

    If the server shuts the connection down, the same attempt uses another connection and can succeed. The cancellation
    follows.
    """
    async with scene.service(**SETTINGS) as victim:
        first = await meet(scene, victim.feed, {"phase": phase, **refusal}, END)
        await scene.end(victim)
    expected = [[False]] if refusal is DEFERRED else [[False], [True, False]]
    assert confirming(subjects(scene, first)) in expected


@pytest.mark.parametrize("phase", PHASES)
async def test_a_booking_changes_while_its_confirmation_is_deferred(scene: Scene, phase: str) -> None:
    """The confirmation that follows shows the changed state."""
    async with scene.service(**SETTINGS) as victim:
        first = await meet(scene, victim.feed, {"phase": phase, **DEFERRED}, CHANGE)
        await scene.end(victim)
    found = subjects(scene, first)
    assert sorted(confirming(found)) == [False, True]
    assert all("AI909" in subject for subject in found)


@pytest.mark.parametrize("type_", [END, CHANGE])
async def test_a_newer_mail_waits_for_the_confirmation_that_is_being_sent(scene: Scene, type_: str) -> None:
    """The server accepts the confirmation first, and only then gets the newer mail to the same recipient."""
    async with scene.service(**SETTINGS) as victim:
        first = await meet(scene, victim.feed, {"phase": "RCPT", **ACCEPTS}, type_)
        await scene.end(victim)
    assert confirming(subjects(scene, first)) == [True, False]


async def test_a_booking_is_cancelled_while_the_outcome_of_its_confirmation_is_unknown(scene: Scene) -> None:
    """The confirmation may have arrived and is not sent again; the cancellation is the last mail to its recipient."""
    async with scene.service(**SETTINGS) as victim:
        first = await meet(scene, victim.feed, {"phase": "DOT", **HANGS_UP}, END)
        rows = await scene.settle(victim)
        assert await victim.terminate() == 0
    assert confirming(subjects(scene, first)) == [True, False]
    confirmations = [row for row in rows if row.event == first["id"] and row.kind == "booking.confirmation"]
    assert [row.status for row in confirmations] == ["cancelled"]


async def test_a_crash_after_a_booking_is_cancelled_while_its_confirmation_is_sent(scene: Scene) -> None:
    """After a crash, a mail that was being sent is decided again with the messages that arrived meanwhile."""
    async with scene.service(**SETTINGS) as victim:
        await warm_up(scene)
        await scene.sink.command(phase="RCPT", act="silent")
        first, makes = booking(1)
        await scene.load.publish(scene.rabbit.channel, first, makes)
        await scene.sink.wait(lambda: any(entry.get("fault") for entry in scene.sink.entries))
        async with FeedClient.connect(victim.feed, snapshot=0) as client:
            later = newer_message(scene, first, END)
            await scene.load.publish(scene.rabbit.channel, later, {"booking.cancellation"})
            await wait_event(client, "mail.pending", kind="booking.cancellation")
        await scene.kill(victim)
    async with scene.service(**SETTINGS) as victim:
        await scene.end(victim)
    assert not any(confirming(subjects(scene, first)))
