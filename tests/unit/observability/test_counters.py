"""The counters and histograms of what a service has done."""

from support.pages import scrape
from support.parts import changed, events_until, request, serving, submit, wait_event
from support.rabbit import Rabbit

from notifier.demo.inbox import Inbox
from notifier.feed.client import FeedClient


async def test_what_went_through_a_service_is_counted(environ: dict[str, str], inbox: Inbox, rabbit: Rabbit) -> None:
    """The counters and histograms have what went through: messages, dead letters, changes, replies, transactions."""
    await rabbit.prepare()
    settings = changed({**environ, **rabbit.environ}, SEND_QUOTA="50")
    async with serving(settings) as feed, FeedClient.connect(feed) as client:
        fresh = await scrape(feed)
        for message in (request(1), request(1), b"{", request(2)):
            await rabbit.publish(message)
        await wait_event(client, "mail.sent", event="r2")
        await submit(client, request(3))
        await events_until(client, "mail.sent")
        found = await scrape(feed, lambda found: found.get("notifier_mails", status="sent") == 3)
    name = f"127.0.0.1:{inbox.port}"
    grown = {
        "stored": found.get("notifier_messages_total", result="stored"),
        "repeated": found.get("notifier_messages_total", result="repeated"),
        "dead-lettered": found.get("notifier_messages_total", result="dead_lettered"),
        "not JSON": found.get("notifier_dead_letters_total", code="not_json"),
        "too large": found.get("notifier_dead_letters_total", code="too_large"),
        "pending": found.get("notifier_transitions_total", type="mail.pending"),
        "sent": found.get("notifier_transitions_total", type="mail.sent"),
        "failed": found.get("notifier_transitions_total", type="mail.failed"),
    }
    assert list(grown.values()) == [3, 1, 1, 1, 0, 3, 3, 0]
    assert fresh.get("notifier_messages_total", result="stored") == 0
    for phase in ("MAIL", "RCPT", "DATA", "DOT"):
        assert found.get("notifier_smtp_phase_seconds_count", transport=name, phase=phase) == 3
    assert found.get("notifier_smtp_phase_seconds_count", transport=name, phase="CONNECT") >= 1
    assert found.get("notifier_store_transaction_seconds_count", operation="record") >= 1
    assert found.get("notifier_transport_quota_left_mails", transport=name) == 47
    assert found.get("notifier_broker_connected") == 1
    assert found.get("notifier_feed_clients") == 1
    assert found.get("notifier_loop_lag_seconds_count") > fresh.get("notifier_loop_lag_seconds_count")


async def test_a_flaw_that_lost_no_booking_is_counted(environ: dict[str, str]) -> None:
    """A departure from an unknown airport is stored, and the metric counts it once."""
    flight = {"number": "XX1", "from": "QQQ", "to": "BLR", "departs_at": "2030-01-01T10:00"}
    data = {"booking": "B1", "passengers": [{"name": "A", "email": "a@example.com"}], "flights": [flight]}
    booking = {"type": "booking.confirmed", "id": "b1", "source": "/test", "data": data}
    async with serving(changed(environ)) as feed, FeedClient.connect(feed) as client:
        for _ in range(2):
            await submit(client, booking)
        assert (await scrape(feed)).get("notifier_flawed_messages_total") == 1
