"""The counters and histograms of what a service has done."""

from typing import get_args

import pytest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from support.bookings import confirmed
from support.pages import Scrape, scrape
from support.parts import changed, events_until, request, serving, submit, wait_event
from support.rabbit import Rabbit
from support.samples import NOW

from notifier.demo.inbox import Inbox
from notifier.domain.events import EVENT_TYPES, StoredEvent
from notifier.domain.mail import Kind, Status
from notifier.domain.notification import NotificationCancelled
from notifier.errors import DeadLetterCode
from notifier.feed.client import FeedClient
from notifier.observability.counters import Metrics
from notifier.sending.replies import Phase
from notifier.storage.store import Added

REPLY = NotificationCancelled(id="c1", source="/tickets", request="r1")
"""A message that cannot have a flaw."""


def read(metrics: Metrics) -> Scrape:
    """Return what Prometheus would read."""
    families = text_string_to_metric_families(metrics.page([]).decode())
    return Scrape(sample for family in families for sample in family.samples)


def test_every_series_of_a_known_label_begins_at_zero() -> None:
    """rate() sees the first count only if the series existed before it."""
    found = read(Metrics())
    for result in ("stored", "repeated", "dead_lettered"):
        assert found.get("notifier_messages_total", result=result) == 0
    for code in get_args(DeadLetterCode):
        assert found.get("notifier_dead_letters_total", code=code) == 0
    for type_ in EVENT_TYPES:
        assert found.get("notifier_transitions_total", type=type_) == 0
    for name in ("flawed_messages", "feed_drops", "feed_auth_failures"):
        assert found.get(f"notifier_{name}_total") == 0
    assert found.get("process_open_fds") > 0


def test_a_message_counts_as_stored_or_repeated() -> None:
    """Its flaw counts once, however often the message is repeated."""
    metrics = Metrics()
    flawed = confirmed(note="the gate is left out")
    metrics.took(
        [flawed, flawed, confirmed(), REPLY], [Added((), repeated=each) for each in (False, True, True, False)]
    )
    found = read(metrics)
    assert found.get("notifier_messages_total", result="stored") == 2
    assert found.get("notifier_messages_total", result="repeated") == 2
    assert found.get("notifier_flawed_messages_total") == 1
    with pytest.raises(ValueError, match="zip"):
        metrics.took([flawed], [])


def test_each_count_has_its_own_series() -> None:
    """A dead letter, a change of a mail, a slow client and a wrong token."""
    metrics = Metrics()
    metrics.dead_lettered("invalid")
    metrics.observe([logged("mail.sent"), logged("mail.sent"), logged("mail.failed")])
    metrics.dropped()
    for _ in range(3):
        metrics.refused_token()
    found = read(metrics)
    assert found.get("notifier_messages_total", result="dead_lettered") == 1
    assert found.get("notifier_dead_letters_total", code="invalid") == 1
    assert found.get("notifier_transitions_total", type="mail.sent") == 2
    assert found.get("notifier_transitions_total", type="mail.failed") == 1
    assert (found.get("notifier_feed_drops_total"), found.get("notifier_feed_auth_failures_total")) == (1, 3)
    assert found.get("notifier_messages_total", result="stored") == 0


def logged(type_: str) -> StoredEvent:
    return StoredEvent(1, b"{}", type_, "m.1", "m", None, Status.SENT, Kind.NOTIFICATION, None, NOW, "e", None)


def test_each_duration_has_its_own_histogram() -> None:
    """It is in seconds, and its buckets reach from a quick answer to the longest that is waited for."""
    metrics = Metrics()
    metrics.answered("a:587", Phase.DOT, 0.3)
    metrics.transacted("record", 0.002)
    metrics.lagged(0.004)
    found = read(metrics)
    for name, labels, seconds, first, last in (
        ("smtp_phase", {"transport": "a:587", "phase": "DOT"}, 0.3, "0.005", "600.0"),
        ("store_transaction", {"operation": "record"}, 0.002, "0.0005", "5.0"),
        ("loop_lag", {}, 0.004, "0.001", "10.0"),
    ):
        whole = f"notifier_{name}_seconds"
        assert found.get(f"{whole}_sum", **labels) == seconds
        assert found.get(f"{whole}_count", **labels) == 1
        bounds = [each.labels["le"] for each in found.samples if each.name == f"{whole}_bucket"]
        assert (bounds[0], bounds[-2:]) == (first, [last, "+Inf"])
        assert [float(each) for each in bounds] == sorted({float(each) for each in bounds})
        assert len(bounds) >= 14
        counts = [each.value for each in found.samples if each.name == f"{whole}_bucket"]
        assert counts == [float(float(bound) >= seconds) for bound in bounds]


def test_a_page_has_the_gauges_that_it_is_given() -> None:
    """They are read anew for every scrape, and two services in one process share no counter."""
    metrics = Metrics()
    gauge = GaugeMetricFamily("notifier_ready", "1 if ready.", value=1.0)
    metrics.dropped()
    assert b"\nnotifier_ready 1.0\n" in metrics.page([gauge])
    assert b"notifier_ready" not in metrics.page([])
    assert read(Metrics()).get("notifier_feed_drops_total") == 0


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
