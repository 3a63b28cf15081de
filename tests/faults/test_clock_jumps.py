"""The wall clock is set forward or back while mails are sent; the monotonic clock is unchanged."""

from datetime import timedelta

import pytest
from support.faults.clocks import Clock
from support.faults.load import booking
from support.faults.scene import Scene
from support.parts import wait_event

from notifier.feed.client import FeedClient

pytestmark = pytest.mark.faults

RATE = 20
EVERY_SECOND = "* * * * * *"
DAY = timedelta(days=1)


@pytest.mark.parametrize("ahead", [DAY, -DAY], ids=["a day forward", "a day back"])
async def test_a_jump_under_load(scene: Scene, clock: Clock, ahead: timedelta) -> None:
    """Mails are sent at their rate: there is no burst, no mail waits for hours, none is lost or repeated."""
    async with scene.service(SEND_RATE=str(RATE)) as victim:
        async with scene.load.flowing(rate=30):
            await scene.sink.wait_accepted(40)
            clock.set(ahead)
            await scene.sink.wait_accepted(len(scene.sink.accepted) + 60)
        await scene.end(victim)
    assert scene.sink.busiest() <= RATE * 1.5


async def test_a_rejected_mail_is_retried_after_a_jump_forward(scene: Scene, clock: Clock) -> None:
    """The next attempt is due at once and starts at the next tick."""
    await scene.sink.command(phase="RCPT", act="reply", reply="451 4.3.0 come back later")
    async with scene.service(SEND_CRON=EVERY_SECOND, RETRY_DELAYS="12h") as victim:
        async with FeedClient.connect(victim.feed, snapshot=0) as client:
            await scene.load.publish(scene.rabbit.channel, *booking(0))
            await wait_event(client, "mail.retrying")
        clock.set(DAY)
        await scene.sink.wait_accepted(1)
        await scene.end(victim)


@pytest.mark.parametrize(("hours", "end"), [(46, "mail.sent"), (49, "mail.expired")])
async def test_reminders_follow_the_clock(scene: Scene, clock: Clock, hours: float, end: str) -> None:
    """A flight leaves in 48 hours.

    A jump into its last two hours sends the reminder, and a jump past its departure expires the reminder.
    """
    async with scene.service(SEND_CRON=EVERY_SECOND) as victim:
        async with FeedClient.connect(victim.feed, snapshot=0) as client:
            await scene.load.publish(scene.rabbit.channel, *booking(0))
            await wait_event(client, "mail.sent", kind="booking.confirmation")
            clock.set(timedelta(hours=hours))
            await wait_event(client, end, kind="flight.reminder")
        await scene.end(victim)
