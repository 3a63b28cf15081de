"""The whole line in one process: from a message in RabbitMQ to a mail, and its status on the feed and in RabbitMQ."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from support.parts import PATIENCE, changed, events_until, request, serving, wait_event, wait_frame
from support.rabbit import Rabbit, headers
from support.samples import TRACE, booking_event, flight_data

from notifier import clock
from notifier.demo.broker import PrivateNode
from notifier.demo.inbox import Inbox
from notifier.demo.node import free_ports
from notifier.domain.messages import MAX_BYTES
from notifier.domain.timestamps import timestamp
from notifier.errors import Misconfigured, StoreUnusable
from notifier.feed.client import FeedClient, readiness
from notifier.gateways.properties import WireProperties
from notifier.settings import Settings


async def with_broker(environ: Mapping[str, str], rabbit: Rabbit) -> Settings:
    """Return the settings of a service on this test's queue, which exists."""
    await rabbit.prepare()
    return changed({**environ, **rabbit.environ})


def booking(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Build a booking that leaves tomorrow."""
    departs = timestamp(clock.now() + timedelta(days=1))
    fields = {
        "id": f"b{number}",
        "booking": f"REF{number:03}",
        "passengers": [{"name": "Asha Rao", "email": f"asha{number}@example.com"}],
        "flights": [flight_data(departs_at=departs)],
    }
    return booking_event(**{**fields, **changes})


async def take(queue: "asyncio.Queue[DeliveredMessage]", count: int) -> list[DeliveredMessage]:
    """Wait for so many messages."""
    async with asyncio.timeout(PATIENCE):
        return [await queue.get() for _ in range(count)]


async def test_a_booking_becomes_a_mail_and_its_status_is_published_everywhere(
    environ: dict[str, str], inbox: Inbox, rabbit: Rabbit, capfd: pytest.CaptureFixture[str]
) -> None:
    """The confirmation is sent, the reminder scheduled, and each status is on the feed and on notifier.events in order.

    The trace of the message is in each event, and in each line of the log that is about its mails.
    """
    results = await rabbit.listen("notifier.events", "topic", "mail.#")
    environ |= {"NOTIFIER_LOG_FORMAT": "json"}
    async with serving(await with_broker(environ, rabbit)) as feed, FeedClient.connect(feed) as client:
        await rabbit.publish(booking(), correlation_id="c1", headers={"traceparent": TRACE})
        events = await events_until(client, "mail.sent")
        published = await take(results, 4)
    mail = message_from_bytes(inbox.received[0].body, policy=policy.default)
    sent = events[-1]["data"]["mail"]
    assert [(event["type"], event["data"]["mail"]["kind"]) for event in events] == [
        ("mail.pending", "booking.confirmation"),
        ("mail.pending", "flight.reminder"),
        ("mail.sending", "booking.confirmation"),
        ("mail.sent", "booking.confirmation"),
    ]
    assert (mail["X-Notifier-Mail"], mail["X-Notifier-Event"], mail["Message-ID"]) == (
        sent["id"],
        "b1",
        sent["message_id"],
    )
    assert (sent["smtp"]["code"], sent["attempt"], sent["booking"]) == (250, 1, "REF001")
    assert [json.loads(message.body) for message in published] == events
    for message, event in zip(published, events, strict=True):
        properties = message.header.properties
        assert (properties.message_id, properties.correlation_id) == (event["id"], "c1")
        assert (message.routing_key, properties.delivery_mode) == (event["type"], 2)
        assert (headers(message), event["traceparent"]) == ({"traceparent": TRACE}, TRACE)
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert [(line["event"], line["traceparent"], line["booking"]) for line in logged if "mail" in line] == [
        (event["type"], TRACE, "REF001") for event in events
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"service": "CREATE_TICKET", "data": {"subject": "Hi", "content": "Text.", "recepientEmail": "a@example.com"}},
        {"service": "SEND_BASIC_MAIL", "data": {"subject": "Hi", "text": "Text.", "recipientEmail": "a@example.com"}},
        {"recepientEmail": "a@example.com", "subject": "Hi", "message": "Text."},
    ],
)
async def test_older_shapes_are_mailed(
    environ: dict[str, str], inbox: Inbox, rabbit: Rabbit, message: dict[str, Any]
) -> None:
    """A message of an older publisher becomes one notification, however often it is delivered."""
    async with serving(await with_broker(environ, rabbit)) as feed, FeedClient.connect(feed) as client:
        for _ in range(2):
            await rabbit.publish(message, message_id="m1")
        await wait_event(client, "mail.sent", event="m1")
        await rabbit.publish(request(9))
        await wait_event(client, "mail.sent", event="r9")
    assert [mail.subject for mail in inbox.received] == ["Hi", "Number 9"]


BAD = {
    ("not_utf8", "byte 0"): b"\xff\xfe",
    ("not_json", "truncated"): b"{",
    ("invalid", "passengers"): json.dumps(booking(passengers=[{"name": "A"}])).encode(),
    ("unknown_type", "booking.lost"): b'{"type":"booking.lost","id":"x","data":{}}',
    ("too_large", "300000 bytes"): b" " * 300_000,
}


@pytest.mark.parametrize(("why", "body"), BAD.items())
async def test_invalid_messages_are_dead_lettered_and_the_next_ones_are_processed(
    environ: dict[str, str], rabbit: Rabbit, why: tuple[str, str], body: bytes, logged_lines: list[Any]
) -> None:
    """There is one dead letter, which says what is wrong, and the next message is mailed."""
    dead = await rabbit.listen("notifier.dead", "fanout")
    settings = await with_broker(environ, rabbit)
    async with serving(settings) as feed, FeedClient.connect(feed) as client:
        await rabbit.publish(body, message_id="bad")
        await rabbit.publish(request(1))
        await wait_event(client, "mail.sent", event="r1")
        (letter,) = await take(dead, 1)
    found = headers(letter)
    assert (letter.body, found["x-notifier-error"]) == (body[:MAX_BYTES], why[0])
    assert why[1] in str(found["x-notifier-detail"])
    assert dead.empty()
    assert [line["event"] for line in logged_lines if line["log_level"] != "info"] == ["message dead-lettered"]


async def test_a_long_correlation_id_stops_no_result(environ: dict[str, str], rabbit: Rabbit) -> None:
    """An id that is not UTF-8 grows when it is decoded; it is cut, and each result is published once, in order."""
    results = await rabbit.listen("notifier.events", "topic", "mail.#")
    async with serving(await with_broker(environ, rabbit)):
        body = json.dumps(request(1)).encode()
        wire = WireProperties({"correlation_id": b"\xff" * 256})
        await rabbit.channel.basic_publish(body, exchange=rabbit.exchange, routing_key="booking.x", properties=wire)
        await rabbit.publish(request(2))
        published = await take(results, 6)
    assert results.empty()
    assert len({each.header.properties.message_id for each in published}) == 6
    correlations = {each.header.properties.correlation_id for each in published}
    assert correlations == {"\ufffd" * 85, "r2"}


async def test_messages_that_were_published_before_the_service_ran_are_not_lost(
    environ: dict[str, str], inbox: Inbox, rabbit: Rabbit
) -> None:
    """The queue keeps them, a restarted service takes them, and no mail is sent twice."""
    settings = await with_broker(environ, rabbit)
    for n in range(50):
        await rabbit.publish(booking(n))
    async with serving(settings):
        await inbox.wait_for(20, PATIENCE)
    async with serving(settings):
        await inbox.wait_for(50, PATIENCE)
    assert sorted(mail.event for mail in inbox.received) == sorted(f"b{n}" for n in range(50))


async def test_the_service_starts_without_its_peers_and_finds_them(
    environ: dict[str, str], logged_lines: list[Any]
) -> None:
    """Without broker and SMTP server the service is ready, logs each of them once, and recovers automatically."""
    broker_port, smtp_port = free_ports(2)
    settings = changed(
        environ,
        AMQP_URL=f"amqp://127.0.0.1:{broker_port}/",
        SMTP_URL=f"smtp+plain://127.0.0.1:{smtp_port}",
        SMTP_PAUSES="100ms",
    )
    async with serving(settings) as feed, FeedClient.connect(feed, stats=0.5) as client:
        await client.command("submit", {"message": request(1)})
        stats = await wait_frame(client, lambda frame: frame["type"] == "stats" and frame["smtp"][0]["reason"])
        assert stats["broker"]["state"] == "connecting"
        assert stats["smtp"][0]["state"] == "paused"
        health = await asyncio.to_thread(readiness, feed)
        assert health.is_ready
        assert health.states.actors["consumer"].state in ("starting", "waiting")
        async with Inbox(port=smtp_port) as inbox:
            await inbox.wait_for(1, PATIENCE)
            await wait_event(client, "mail.sent")
    logged = [line["event"] for line in logged_lines if line.get("transport")]
    assert logged == ["SMTP account paused", "SMTP account ready again"]
    assert [line["actor"] for line in logged_lines if line.get("actor") == "consumer"] == ["consumer"]


@pytest.fixture
async def node() -> AsyncIterator[PrivateNode]:
    """Provide a broker that the test may stop."""
    node = await asyncio.to_thread(PrivateNode().__enter__)
    yield node
    await asyncio.to_thread(node.close)


async def test_the_service_survives_a_broker_restart(
    environ: dict[str, str], inbox: Inbox, node: PrivateNode, logged_lines: list[Any]
) -> None:
    """While the broker is unavailable mail is sent; afterwards messages are consumed and all results published."""
    async with Rabbit.connected(node.url) as rabbit:
        settings = await with_broker(environ, rabbit)
        async with serving(settings) as feed, FeedClient.connect(feed, stats=0.5) as client:
            await rabbit.publish(booking(1))
            await wait_event(client, "mail.sent", event="b1")
            await asyncio.to_thread(node.stop)
            await client.command("submit", {"message": request(2)})
            await wait_event(client, "mail.sent", event="r2")
            await asyncio.to_thread(node.start)
            async with Rabbit.connected(node.url) as again:
                again.exchange = rabbit.exchange
                results = await again.listen("notifier.events", "topic", "mail.sent")
                await again.publish(booking(3))
                await wait_event(client, "mail.sent", event="b3")
                types = {}
                while "b3" not in types:
                    (result,) = await take(results, 1)
                    event = json.loads(result.body)
                    types[event["data"]["mail"]["event"]] = event["type"]
    assert sorted(mail.event for mail in inbox.received) == ["b1", "b3", "r2"]
    assert [line["event"] for line in logged_lines if line.get("actor") == "consumer"][-1] == "recovered"


async def test_a_port_that_is_taken_is_one_clear_line(environ: dict[str, str], settings: Settings) -> None:
    """The second service does not start, names the setting, and leaves its database closed."""
    async with serving(settings) as feed:
        second = changed(environ, PORT=str(feed.port), DATABASE_URL=environ["NOTIFIER_DATABASE_URL"] + "2")
        for _ in range(2):
            with pytest.raises(Misconfigured, match="NOTIFIER_PORT: cannot listen on"):
                async with serving(second):
                    pass


async def test_an_address_of_another_machine_is_one_clear_line(environ: dict[str, str]) -> None:
    """No free port would help, so the message asks for an address of this machine."""
    elsewhere = changed(environ, HOST="192.0.2.1", INSECURE="1")
    with pytest.raises(Misconfigured, match=r"cannot listen on 192\.0\.2\.1:.*; use an address of this machine, and a"):
        async with serving(elsewhere):
            pass


async def test_a_second_instance_on_the_same_file_does_not_start(settings: Settings) -> None:
    """The first one is not affected."""
    async with serving(settings) as feed:
        with pytest.raises(StoreUnusable, match="another notifier is using this database"):
            async with serving(settings):
                pass
        async with FeedClient.connect(feed) as client:
            await client.command("submit", {"message": request(1)})
            await wait_event(client, "mail.sent")


async def test_a_reminder_is_sent_in_its_window(environ: dict[str, str], inbox: Inbox, tmp_path: Path) -> None:
    """A reminder whose window begins in a moment is scheduled within it and not sent before."""
    del tmp_path
    departs = clock.now() + timedelta(hours=3, seconds=2)
    flight = flight_data(departs_at=timestamp(departs))
    settings = changed(environ, SEND_CRON="* * * * * *")
    async with serving(settings) as feed, FeedClient.connect(feed) as client:
        await client.command("submit", {"message": booking(flights=[flight])})
        pending = await wait_event(client, "mail.pending", kind="flight.reminder")
    opens, closes = timestamp(departs - timedelta(hours=3)), timestamp(departs - timedelta(hours=2))
    assert opens <= pending["send_at"] <= closes
    assert pending["expires_at"] == timestamp(departs)
    assert {mail.subject[:7] for mail in inbox.received} <= {"Booking"}


async def test_the_remaining_quota_is_shown(environ: dict[str, str], inbox: Inbox) -> None:
    """`stats` has it for each account, and shows an account without any as paused, with the reason and the time."""
    async with serving(changed(environ, SEND_QUOTA="2")) as feed, FeedClient.connect(feed, stats=0.2) as client:
        before = await wait_frame(client, lambda frame: frame["type"] == "stats")
        for number in range(3):
            await client.command("submit", {"message": request(number)})
        after = await wait_frame(client, lambda frame: frame["type"] == "stats" and frame["smtp"][0]["quota_left"] == 0)
    assert (before["smtp"][0]["state"], before["smtp"][0]["quota_left"]) == ("ready", 2)
    assert (after["smtp"][0]["state"], len(inbox.received)) == ("paused", 2)
    assert "quota" in after["smtp"][0]["reason"]
    assert after["smtp"][0]["until"] > timestamp(clock.now() + timedelta(hours=23))
