"""What operators ask of the service, through the feed."""

from parts import changed, result, serving, submit, wait_event, wait_frame
from samples import booking_event

from notifier import clock
from notifier.client import FeedClient
from notifier.demo.inbox import Inbox
from notifier.events import timestamp


async def test_a_failed_mail_of_a_cancelled_booking_cannot_be_retried(environ: dict[str, str]) -> None:
    """Nobody wants to read by now that the booking is confirmed: a conflict that says why."""
    async with Inbox(reply=lambda phase, _: "550 5.1.1 no such user" if phase == "RCPT" else None) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url)
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
            await client.command("submit", {"message": booking_event(time=timestamp(clock.now()))})
            failed = await wait_event(client, "mail.failed", kind="booking.confirmation")
            await submit(client, booking_event(id="end", type="booking.cancelled", version=2))
            id_ = await client.command("mail.retry", {"id": failed["id"]})
            frame = await wait_frame(client, lambda frame: frame.get("id") == id_)
            assert frame["error"] == {
                "code": "conflict",
                "message": "the mail cannot be sent any more: the booking was cancelled",
            }
            shown = await result(client, await client.command("mail.show", {"id": failed["id"]}))
            assert [step["type"] for step in shown["timeline"]][-3:] == [
                "mail.failed",
                "mail.pending",
                "mail.cancelled",
            ]
