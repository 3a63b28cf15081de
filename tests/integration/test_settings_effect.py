"""Every setting has an effect on `notifier serve`: each test runs the process and fails if its settings are ignored.

The table at the end names the test of each setting, and must be complete.
"""

import asyncio
import inspect
import json
import os
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.faults.sink import Sink
from support.faults.victim import Victim
from support.pages import get, scrape
from support.parts import PATIENCE, next_frame, request, result, submit, wait_event, wait_frame
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.rabbit import Rabbit
from support.samples import booking_event, flight_data
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from notifier import clock
from notifier.demo.inbox import Inbox
from notifier.demo.node import free_ports
from notifier.demo.process import serving
from notifier.domain.timestamps import timestamp
from notifier.errors import Unreachable
from notifier.feed.client import FeedClient, Rejected, readiness
from notifier.settings import FeedSettings, load

FAR = "2126-01-01T00:00:00Z"
EVERY_SECOND = "* * * * * *"
Frame = Mapping[str, Any]


def prefixed(changes: Mapping[str, str]) -> dict[str, str]:
    """Add the prefix to the names of settings."""
    return {f"NOTIFIER_{name}": value for name, value in changes.items()}


@asynccontextmanager
async def served(environ: Mapping[str, str], **changes: str) -> AsyncIterator[FeedSettings]:
    """Run `notifier serve` with changed settings, named without their prefix; yield the settings of its clients."""
    async with Victim.running({**environ, **prefixed(changes)}) as victim:
        yield victim.feed


async def stats_when(client: FeedClient, wanted: Callable[[Frame], Any]) -> dict[str, Any]:
    """Wait for the first `stats` for which `wanted` is true."""
    return await wait_frame(client, lambda frame: frame["type"] == "stats" and wanted(frame))


async def sent_and_purged(client: FeedClient, number: int) -> None:
    """Wait until a mail was sent and then purged."""
    await client.command("submit", {"message": request(number)})
    mail = await wait_event(client, "mail.sent", event=f"r{number}")
    await stats_when(client, lambda frame: frame["at"] > mail["sent_at"] and not frame["totals"]["sent"])


def until(stats: Frame) -> timedelta:
    """Return how long the first account remains paused."""
    paused_until = stats["smtp"][0]["until"]
    return moment(paused_until) - moment(stats["at"]) if paused_until else timedelta(0)


def moment(text: str) -> datetime:
    """Parse a time of the feed."""
    return datetime.fromisoformat(text)


def booking(departs: datetime) -> dict[str, Any]:
    """Build a booking of a flight that leaves at a moment."""
    return booking_event(flights=[flight_data(departs_at=timestamp(departs))])


def most_in_a_second(starts: Sequence[float]) -> int:
    """Count the starts in the busiest second."""
    return max(sum(at <= other < at + 1 for other in starts) for at in starts)


def open_port(sink: Sink) -> str:
    """Return the address of a sink as a value of NOTIFIER_SMTP_URL."""
    return f"smtp+plain://127.0.0.1:{sink.port}"


async def test_messages_are_taken_from_the_named_broker_and_queues(
    environ: dict[str, str], inbox: Inbox, rabbit: Rabbit
) -> None:
    """AMQP_URL, AMQP_EXCHANGE, AMQP_QUEUE, AMQP_EXTRA_QUEUES: each has its consumer, and each message its mail."""
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra, auto_delete=True)
    async with served({**environ, **rabbit.environ}, AMQP_EXTRA_QUEUES=f"{extra}, {extra}-missing") as feed:
        async with FeedClient.connect(feed, stats=0.5) as client:
            await stats_when(client, lambda frame: frame["broker"]["state"] == "connected")
        await rabbit.publish(request(1))
        body = json.dumps(request(2)).encode()
        await rabbit.channel.basic_publish(body, exchange="", routing_key=extra, mandatory=True)
        await inbox.wait_for(2, PATIENCE)
        found = [await rabbit.channel.queue_declare(name, passive=True) for name in (rabbit.queue, extra)]
    assert [queue.consumer_count for queue in found] == [1, 1]
    assert {mail.event for mail in inbox.received} == {"r1", "r2"}


async def test_no_more_deliveries_are_taken_than_may_be_unacknowledged(environ: dict[str, str], rabbit: Rabbit) -> None:
    """AMQP_PREFETCH: a stopped process gets that many messages, and the others remain in the queue."""
    async with Victim.running({**environ, **rabbit.environ, **prefixed({"AMQP_PREFETCH": "7"})}) as victim:
        async with FeedClient.connect(victim.feed, stats=0.5) as client:
            await stats_when(client, lambda frame: frame["broker"]["state"] == "connected")
        os.kill(victim.pid, signal.SIGSTOP)
        for number in range(20):
            await rabbit.publish(request(number))
        waiting = -1
        async with asyncio.timeout(PATIENCE):
            while waiting != 13:
                waiting = (await rabbit.channel.queue_declare(rabbit.queue, passive=True)).message_count or 0
        os.kill(victim.pid, signal.SIGCONT)


async def test_the_database_is_where_it_should_be(environ: dict[str, str], tmp_path: Path) -> None:
    """DATABASE_URL: the mails are in the named file, and the next service that uses it finds them."""
    path = tmp_path / "elsewhere" / "mails.db"
    path.parent.mkdir()
    url = f"sqlite:///{path}"
    for repeated in (False, True):
        async with served(environ, DATABASE_URL=url) as feed, FeedClient.connect(feed, snapshot=0) as client:
            assert (await submit(client, request(1, send_at=FAR)))["repeated"] is repeated
    assert path.is_file()


async def test_finished_mail_is_forgotten_after_its_time_on_the_schedule(environ: dict[str, str]) -> None:
    """RETENTION, PURGE_CRON: the mail is purged within seconds; its message is still known after that."""
    async with served(environ, RETENTION="1s", PURGE_CRON=EVERY_SECOND) as feed:
        async with FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
            await sent_and_purged(client, 1)
            assert (await submit(client, request(1)))["repeated"]


async def test_finished_mail_is_kept_for_its_time(environ: dict[str, str]) -> None:
    """RETENTION: a purge every second does not delete a mail before its time."""
    async with Victim.running({**environ, **prefixed({"PURGE_CRON": EVERY_SECOND, "RETENTION": "1h"})}) as victim:
        async with FeedClient.connect(victim.feed, snapshot=0) as client:
            await client.command("submit", {"message": request(1)})
            sent = await wait_event(client, "mail.sent")
            later = timestamp(moment(sent["sent_at"]) + timedelta(seconds=2)) or ""
            await victim.wait_line(lambda line: line["event"] == "finished mails purged" and line["timestamp"] > later)
            mails = (await result(client, await client.command("mail.list", {})))["mails"]
    assert [mail["id"] for mail in mails] == [sent["id"]]


async def test_handled_messages_are_remembered_for_their_time(environ: dict[str, str]) -> None:
    """DEDUP_RETENTION: after it a repeat counts as a new message, and an early cancellation has no effect any more."""
    short = {"RETENTION": "1s", "DEDUP_RETENTION": "2s", "PURGE_CRON": EVERY_SECOND}
    withdrawal = {"type": "notification.cancelled", "id": "w", "source": "/test", "data": {"id": "r2"}}
    async with served(environ, **short) as feed, FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
        await submit(client, withdrawal)
        await sent_and_purged(client, 1)
        async with asyncio.timeout(PATIENCE):
            while (await submit(client, request(1)))["repeated"]:
                await stats_when(client, lambda _: True)
        await client.command("submit", {"message": request(2)})
        await wait_event(client, "mail.sent", event="r2")


async def test_a_withdrawal_is_remembered_as_long_as_messages_are(environ: dict[str, str]) -> None:
    """DEDUP_RETENTION: a purge of finished mails does not delete the cancellation of a request."""
    short = {"RETENTION": "1s", "DEDUP_RETENTION": "1h", "PURGE_CRON": EVERY_SECOND}
    withdrawal = {"type": "notification.cancelled", "id": "w", "source": "/test", "data": {"id": "r2"}}
    async with served(environ, **short) as feed, FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
        await submit(client, withdrawal)
        await sent_and_purged(client, 1)
        await client.command("submit", {"message": request(2)})
        await wait_event(client, "mail.cancelled", event="r2")


async def test_mail_goes_to_the_first_of_the_named_servers_and_then_to_the_next(environ: dict[str, str]) -> None:
    """SMTP_URL, SEND_QUOTA: the second account is used once the quota of the first one is used up, and not before."""
    async with Inbox() as first, Inbox() as second:
        urls = f"{first.url},{second.url}"
        async with (
            served(environ, SMTP_URL=urls, SEND_QUOTA="3") as feed,
            FeedClient.connect(feed, stats=0.5) as client,
        ):
            for number in range(3):
                await client.command("submit", {"message": request(number)})
                await wait_event(client, "mail.sent", event=f"r{number}")
            assert (len(first.received), len(second.received)) == (3, 0)
            for number in range(3, 6):
                await client.command("submit", {"message": request(number)})
                await wait_event(client, "mail.sent", event=f"r{number}")
            await client.command("submit", {"message": request(6)})
            stats = await stats_when(client, lambda frame: [each["quota_left"] for each in frame["smtp"]] == [0, 0])
    assert [each["state"] for each in stats["smtp"]] == ["paused", "paused"]
    assert (len(first.received), len(second.received)) == (3, 3)
    assert timedelta(hours=23) < until(stats) <= timedelta(hours=24)


async def test_the_named_authorities_are_trusted(environ: dict[str, str], tmp_path: Path) -> None:
    """SMTP_CA_FILE: a server with a certificate of a named authority gets mail; without the file it gets none."""
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with Inbox(tls=server, implicit_tls=True) as inbox:
        async with served(environ, SMTP_URL=inbox.url, SMTP_CA_FILE=str(tmp_path / "ca.pem")) as feed:
            async with FeedClient.connect(feed) as client:
                await client.command("submit", {"message": request(1)})
                await wait_event(client, "mail.sent")
        async with served(environ, SMTP_URL=inbox.url) as feed, FeedClient.connect(feed, stats=0.5) as client:
            stats = await stats_when(client, lambda frame: frame["smtp"][0]["reason"])
    assert "certificate" in stats["smtp"][0]["reason"].lower()


async def test_an_account_has_no_more_connections_than_it_may(environ: dict[str, str], tmp_path: Path) -> None:
    """SMTP_CONNECTIONS: with three connections to a server that does not answer, three of ten mails are being sent."""
    async with Sink.running(tmp_path / "journal") as sink:
        environ = {**environ, "NOTIFIER_SMTP_URL": open_port(sink)}
        async with served(environ, SMTP_CONNECTIONS="3") as feed, FeedClient.connect(feed, stats=0.5) as client:
            await client.command("submit", {"message": request(1)})
            await wait_event(client, "mail.sent")
            await sink.command(phase="DOT", act="silent", times=10)
            await submit(client, request(2, to=[f"p{n}@example.com" for n in range(10)]))
            stats = await stats_when(client, lambda frame: frame["totals"]["sending"] >= 3)
            await sink.wait(lambda: Counter(each["phase"] for each in sink.entries)["DOT"] == 3)
    assert (stats["totals"]["sending"], stats["totals"]["pending"]) == (3, 7)


async def test_a_server_is_waited_for_as_long_as_its_replies_may_take(environ: dict[str, str], tmp_path: Path) -> None:
    """SMTP_TIMEOUT, SMTP_DOT_TIMEOUT: both end a dialogue, and the reply to the message has its own timeout."""
    async with Sink.running(tmp_path / "journal", delay=1.5) as sink:
        environ = {**environ, "NOTIFIER_SMTP_URL": open_port(sink)}
        async with served(environ, SMTP_TIMEOUT="1s", SMTP_DOT_TIMEOUT="3s", RETRY_DELAYS="1h") as feed:
            async with FeedClient.connect(feed) as client:
                await client.command("submit", {"message": request(1)})
                slow = await wait_event(client, "mail.sent")
                await sink.command(phase="RCPT", act="silent")
                await client.command("submit", {"message": request(2)})
                silent = await wait_event(client, "mail.retrying", event="r2")
                await sink.command(phase="DOT", act="silent")
                await client.command("submit", {"message": request(3)})
                lost = await wait_event(client, "mail.retrying", event="r3")
    assert slow["attempt"] == 1
    assert "RCPT" in silent["error"]
    assert "unknown" in lost["error"]


async def test_an_account_pauses_for_its_steps(environ: dict[str, str]) -> None:
    """SMTP_PAUSES: the first failed login takes the first step, the second one takes the second."""
    (port,) = free_ports(1)
    async with served(environ, SMTP_URL=f"smtp+plain://127.0.0.1:{port}", SMTP_PAUSES="2s,3h") as feed:
        async with FeedClient.connect(feed, stats=0.5) as client:
            first = await stats_when(client, until)
            second = await stats_when(client, lambda frame: until(frame) > timedelta(seconds=3))
    # The time of a frame is taken a little earlier than the state of the accounts.
    assert timedelta(seconds=1) < until(first) < timedelta(seconds=3)
    assert timedelta(hours=2, minutes=59) < until(second) <= timedelta(hours=3)


async def test_pauses_begin_anew_after_a_delivered_mail(environ: dict[str, str]) -> None:
    """SMTP_PAUSES: an account that has sent a mail since its last failure takes the first step again."""
    answers = iter(["454 4.7.0 too many messages", None, "454 4.7.0 too many messages"])
    async with Inbox(reply=lambda phase, _: next(answers, None) if phase == "MAIL" else None) as inbox:
        async with served(environ, SMTP_URL=inbox.url, SMTP_PAUSES="1s,3h") as feed:
            async with FeedClient.connect(feed) as client:
                for number in (1, 2):
                    await client.command("submit", {"message": request(number)})
                    await wait_event(client, "mail.sent", event=f"r{number}")


async def test_mail_comes_from_its_sender_and_is_answered_elsewhere(environ: dict[str, str]) -> None:
    """MAIL_FROM, MAIL_REPLY_TO: they are in the headers, in the SMTP dialogue, and in what operators see."""
    said: list[bytes] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := await reader.readline():
            said.append(line)
            writer.write(b"354 go on\r\n" if line == b"DATA\r\n" else b"250 ok\r\n")
            if line == b"DATA\r\n":
                said.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    names = {"MAIL_FROM": "Ada Air <ada@air.example>", "MAIL_REPLY_TO": "Help <help@desk.example>"}
    url = f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with served(environ, SMTP_URL=url, **names) as feed, FeedClient.connect(feed) as client:
        await client.command("submit", {"message": request(1)})
        sent = await wait_event(client, "mail.sent")
        shown = await result(client, await client.command("mail.show", {"id": sent["id"]}))
    server.close()
    await server.wait_closed()
    (body,) = [line for line in said if line.endswith(b"\r\n.\r\n")]
    mail = message_from_bytes(body, policy=policy.default)
    assert {b"EHLO air.example\r\n", b"MAIL FROM:<ada@air.example>\r\n"} <= set(said)
    assert (mail["From"], mail["Reply-To"]) == ("Ada Air <ada@air.example>", "Help <help@desk.example>")
    assert sent["message_id"] == f"<{sent['id']}@air.example>" == mail["Message-ID"]
    assert {"From": mail["From"], "Reply-To": mail["Reply-To"]}.items() <= dict(shown["headers"]).items()


async def test_no_second_has_more_starts_than_the_rate_and_one(environ: dict[str, str], inbox: Inbox) -> None:
    """SEND_RATE: the rate is never exceeded, and nearly reached."""
    async with served(environ, SEND_RATE="6") as feed:
        async with FeedClient.connect(feed, snapshot=0) as client:
            await submit(client, request(1, to=[f"p{n}@example.com" for n in range(19)]))
        await inbox.wait_for(19, PATIENCE)
    assert most_in_a_second(inbox.started) <= 7
    assert inbox.started[-1] - inbox.started[0] >= 18 / 6.5


async def test_due_mail_is_looked_for_on_a_schedule(environ: dict[str, str]) -> None:
    """SEND_CRON: the sender claims at each tick, even if nothing else happens."""
    async with served(environ, SEND_CRON=EVERY_SECOND) as feed:
        name, labels = "notifier_store_transaction_seconds_count", {"operation": "claim"}
        before = await scrape(feed, lambda found: found.get("notifier_transport_ready", transport=_only(found)) == 1)
        claims = before.get(name, **labels)
        async with asyncio.timeout(15):
            await scrape(feed, lambda found: found.get(name, **labels) >= claims + 3)


def _only(found: Any) -> str:
    (name,) = [each.labels["transport"] for each in found.samples if each.name == "notifier_transport_ready"]
    return str(name)


async def test_a_reminder_leaves_in_the_hour_from_its_time_on(environ: dict[str, str]) -> None:
    """REMIND_BEFORE: a reminder is sent that long before departure at the earliest, and at most an hour later."""
    departs = clock.now() + timedelta(days=2)
    async with served(environ, REMIND_BEFORE="7h") as feed, FeedClient.connect(feed) as client:
        await client.command("submit", {"message": booking(departs)})
        reminder = await wait_event(client, "mail.pending", kind="flight.reminder")
    assert timedelta(hours=6) <= departs - moment(reminder["send_at"]) <= timedelta(hours=7)


async def test_a_refused_mail_waits_for_its_delays_and_is_given_up(environ: dict[str, str]) -> None:
    """RETRY_DELAYS, GIVE_UP_AFTER: the delays apply in turn, until the next attempt would be too late."""
    async with Inbox(reply=lambda phase, _: "450 4.2.0 busy" if phase == "RCPT" else None) as inbox:
        environ = {**environ, "NOTIFIER_SMTP_URL": inbox.url}
        async with served(environ, RETRY_DELAYS="20m,2h", GIVE_UP_AFTER="3h") as feed:
            async with FeedClient.connect(feed) as client:
                await client.command("submit", {"message": request(1)})
                waits = []
                for attempt in (1, 2):
                    mail = await wait_event(client, "mail.retrying", attempt=attempt)
                    waits.append(moment(mail["next_attempt_at"]) - clock.now())
                    await client.command("mail.retry", {"id": mail["id"]})
        async with served(environ, RETRY_DELAYS="4h", GIVE_UP_AFTER="3h") as feed:
            async with FeedClient.connect(feed) as client:
                await client.command("submit", {"message": request(2)})
                given_up = await wait_event(client, "mail.failed", event="r2")
    assert timedelta(minutes=15) < waits[0] <= timedelta(minutes=25)
    assert timedelta(minutes=90) < waits[1] <= timedelta(minutes=150)
    assert "given up" in given_up["error"]


async def test_a_lost_reply_is_answered_as_an_operator_wants(environ: dict[str, str], tmp_path: Path) -> None:
    """ON_UNCERTAIN: with `hold` the mail becomes uncertain and is not sent again."""
    async with Sink.running(tmp_path / "journal") as sink:
        await sink.command(phase="DOT", act="hang_up", accept=True)
        async with served(environ, SMTP_URL=open_port(sink), ON_UNCERTAIN="hold") as feed:
            async with FeedClient.connect(feed) as client:
                await client.command("submit", {"message": request(1)})
                mail = await wait_event(client, "mail.uncertain")
        assert (mail["attempt"], len(sink.accepted)) == (1, 1)


async def test_mails_say_what_the_own_templates_say(environ: dict[str, str], inbox: Inbox, tmp_path: Path) -> None:
    """TEMPLATES: subject and text of the templates are sent, and shown to operators."""
    folder = tmp_path / "own" / "en"
    folder.mkdir(parents=True)
    (folder / "booking.confirmation.subject").write_text("Ahoy {{ booking }}", encoding="utf-8")
    (folder / "booking.confirmation.txt").write_text("Welcome aboard, {{ booking }}.\n", encoding="utf-8")
    async with served(environ, TEMPLATES=str(folder.parent)) as feed, FeedClient.connect(feed) as client:
        await client.command("submit", {"message": booking(clock.now() + timedelta(days=2))})
        sent = await wait_event(client, "mail.sent")
        shown = await result(client, await client.command("mail.show", {"id": sent["id"]}))
    assert (inbox.received[0].subject, sent["subject"]) == ("Ahoy RXJ34P", "Ahoy RXJ34P")
    assert b"Welcome aboard, RXJ34P." in inbox.received[0].body
    assert shown["text"].strip() == "Welcome aboard, RXJ34P."


async def test_the_feed_listens_where_it_should(environ: dict[str, str]) -> None:
    """HOST, PORT: the feed listens on this address and port, and on no other address."""
    (port,) = free_ports(1)
    async with serving({**environ, **prefixed({"HOST": "127.0.0.2", "PORT": str(port)})}) as process:
        assert process.url == f"http://127.0.0.2:{port}"
        here = FeedSettings.model_validate(prefixed({"HOST": "127.0.0.2", "PORT": str(port)}))
        assert (await asyncio.to_thread(readiness, here))[0]
        with pytest.raises(Unreachable):
            await asyncio.to_thread(readiness, here.model_copy(update={"host": "127.0.0.1"}))


async def test_each_token_lets_in_its_role(environ: dict[str, str]) -> None:
    """VIEWER_TOKEN, OPERATOR_TOKEN: a client with one of them has its role, and any other client is rejected."""
    async with served(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN) as feed:
        roles = {}
        for token in (VIEWER_TOKEN, OPERATOR_TOKEN):
            async with FeedClient.connect(feed.model_copy(update={"viewer_token": token})) as client:
                roles[token] = (await next_frame(client))["role"]
        for wrong in (None, VIEWER_TOKEN + OPERATOR_TOKEN):
            with pytest.raises(Rejected, match="4401"):
                async with FeedClient.connect(feed.model_copy(update={"viewer_token": wrong})) as client:
                    await next_frame(client)
    assert roles == {VIEWER_TOKEN: "viewer", OPERATOR_TOKEN: "operator"}


async def test_a_token_is_made_and_kept(environ: dict[str, str], tmp_path: Path) -> None:
    """MAKE_TOKEN: the file contains the token after the first start, and a client with it is an operator."""
    path = tmp_path / "token"
    for _ in range(2):
        async with served(environ, MAKE_TOKEN=str(path)) as feed:
            with pytest.raises(Rejected, match="4401"):
                async with FeedClient.connect(feed) as client:
                    await next_frame(client)
            token = path.read_text(encoding="utf-8").strip()
            async with FeedClient.connect(feed.model_copy(update={"operator_token": token})) as client:
                assert (await next_frame(client))["role"] == "operator"


async def test_only_known_pages_and_hosts_are_answered(environ: dict[str, str]) -> None:
    """ALLOWED_ORIGINS, INSECURE: one allows an origin and its host name, the other one every host name."""
    ours = "https://ops.example"
    async with served(environ, ALLOWED_ORIGINS=ours) as feed:
        url = f"ws://127.0.0.1:{feed.port}/feed"
        async with connect(url, origin=ours):  # type: ignore[arg-type]
            pass
        with pytest.raises(InvalidStatus, match="403"):
            await connect(url, origin="https://other.example")  # type: ignore[arg-type]
        hosts = [(await get(feed, "/readyz", Host=name))[0] for name in ("ops.example", "other.example")]
    async with served(environ, INSECURE="1") as feed:
        insecure = (await get(feed, "/readyz", Host="other.example"))[0]
    assert (hosts, insecure) == ([200, 403], 200)


@pytest.mark.parametrize("format_", ["console", "json"])
async def test_the_log_has_its_format(environ: dict[str, str], format_: str) -> None:
    """LOG_FORMAT: the log consists of lines for people, or of JSON."""
    async with Victim.running({**environ, **prefixed({"LOG_FORMAT": format_})}) as victim:
        await victim.terminate()
    assert {line.startswith(b"{") for line in victim.raw} == {format_ == "json"}


async def test_the_log_has_what_its_level_asks_for(environ: dict[str, str]) -> None:
    """LOG_LEVEL: at ERROR neither the start nor a warning is logged."""
    (port,) = free_ports(1)
    quiet = prefixed({"LOG_LEVEL": "ERROR", "PORT": str(port), "UNHEARD_OF": "x"})
    victim = await Victim.started({**environ, **quiet})
    feed = FeedSettings.model_validate(quiet)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(_is_ready, feed):
                assert not victim.lines
        assert await victim.terminate() == 0
    finally:
        await victim.kill()
    assert not victim.lines


def _is_ready(feed: FeedSettings) -> bool:
    try:
        return readiness(feed).is_ready
    except Unreachable:
        return False


TESTS: Mapping[str, Callable[..., Any]] = {
    "AMQP_EXCHANGE": test_messages_are_taken_from_the_named_broker_and_queues,
    "AMQP_EXTRA_QUEUES": test_messages_are_taken_from_the_named_broker_and_queues,
    "AMQP_PREFETCH": test_no_more_deliveries_are_taken_than_may_be_unacknowledged,
    "AMQP_QUEUE": test_messages_are_taken_from_the_named_broker_and_queues,
    "AMQP_URL": test_messages_are_taken_from_the_named_broker_and_queues,
    "ALLOWED_ORIGINS": test_only_known_pages_and_hosts_are_answered,
    "DATABASE_URL": test_the_database_is_where_it_should_be,
    "DEDUP_RETENTION": test_handled_messages_are_remembered_for_their_time,
    "GIVE_UP_AFTER": test_a_refused_mail_waits_for_its_delays_and_is_given_up,
    "HOST": test_the_feed_listens_where_it_should,
    "INSECURE": test_only_known_pages_and_hosts_are_answered,
    "LOG_FORMAT": test_the_log_has_its_format,
    "LOG_LEVEL": test_the_log_has_what_its_level_asks_for,
    "MAIL_FROM": test_mail_comes_from_its_sender_and_is_answered_elsewhere,
    "MAIL_REPLY_TO": test_mail_comes_from_its_sender_and_is_answered_elsewhere,
    "MAKE_TOKEN": test_a_token_is_made_and_kept,
    "ON_UNCERTAIN": test_a_lost_reply_is_answered_as_an_operator_wants,
    "OPERATOR_TOKEN": test_each_token_lets_in_its_role,
    "PORT": test_the_feed_listens_where_it_should,
    "PURGE_CRON": test_finished_mail_is_forgotten_after_its_time_on_the_schedule,
    "REMIND_BEFORE": test_a_reminder_leaves_in_the_hour_from_its_time_on,
    "RETENTION": test_finished_mail_is_forgotten_after_its_time_on_the_schedule,
    "RETRY_DELAYS": test_a_refused_mail_waits_for_its_delays_and_is_given_up,
    "SEND_CRON": test_due_mail_is_looked_for_on_a_schedule,
    "SEND_QUOTA": test_mail_goes_to_the_first_of_the_named_servers_and_then_to_the_next,
    "SEND_RATE": test_no_second_has_more_starts_than_the_rate_and_one,
    "SMTP_CA_FILE": test_the_named_authorities_are_trusted,
    "SMTP_CONNECTIONS": test_an_account_has_no_more_connections_than_it_may,
    "SMTP_DOT_TIMEOUT": test_a_server_is_waited_for_as_long_as_its_replies_may_take,
    "SMTP_PAUSES": test_an_account_pauses_for_its_steps,
    "SMTP_TIMEOUT": test_a_server_is_waited_for_as_long_as_its_replies_may_take,
    "SMTP_URL": test_mail_goes_to_the_first_of_the_named_servers_and_then_to_the_next,
    "TEMPLATES": test_mails_say_what_the_own_templates_say,
    "VIEWER_TOKEN": test_each_token_lets_in_its_role,
}
"""Every setting, without its prefix, and the test that fails if it is ignored."""

REQUIRED = {"SMTP_URL": "smtp://mail.example.com", "MAIL_FROM": "Air <fly@example.org>"}
OTHER_VALUES = {
    "AMQP_EXCHANGE": "other",
    "AMQP_EXTRA_QUEUES": "one,two",
    "AMQP_PREFETCH": "7",
    "AMQP_QUEUE": "other",
    "AMQP_URL": "amqp://broker.example.com/",
    "ALLOWED_ORIGINS": "https://ops.example",
    "DATABASE_URL": "sqlite:///other.db",
    "DEDUP_RETENTION": "9d",
    "GIVE_UP_AFTER": "3h",
    "HOST": "::1",
    "INSECURE": "1",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "ERROR",
    "MAIL_FROM": "Other <other@example.org>",
    "MAIL_REPLY_TO": "help@example.org",
    "MAKE_TOKEN": "/other/token",
    "ON_UNCERTAIN": "hold",
    "OPERATOR_TOKEN": OPERATOR_TOKEN,
    "PORT": "9",
    "PURGE_CRON": "1 2 * * *",
    "REMIND_BEFORE": "7h",
    "RETENTION": "2d",
    "RETRY_DELAYS": "1s,2s",
    "SEND_CRON": "7 * * * *",
    "SEND_QUOTA": "8",
    "SEND_RATE": "3.5",
    "SMTP_CA_FILE": "/other/ca.pem",
    "SMTP_CONNECTIONS": "3",
    "SMTP_DOT_TIMEOUT": "4m",
    "SMTP_PAUSES": "8s",
    "SMTP_TIMEOUT": "9s",
    "SMTP_URL": "smtps://other.example.com",
    "TEMPLATES": "/other/templates",
    "VIEWER_TOKEN": VIEWER_TOKEN,
}
"""A value of each setting that is not its default."""


def names() -> set[str]:
    """Return the names of all settings, without their prefix, as `shown()` has them."""
    return {name.removeprefix("NOTIFIER_") for name in load(prefixed(REQUIRED)).shown()}


def test_no_setting_is_forgotten() -> None:
    """Every setting has a test that names it, and a value that is not its default."""
    assert set(TESTS) == set(OTHER_VALUES) == names()
    for name, test in TESTS.items():
        assert test.__name__.startswith("test_")
        assert name in inspect.getsource(test), f"{test.__name__} does not name {name}"


@pytest.mark.parametrize("name", sorted(OTHER_VALUES))
def test_each_setting_can_be_read_from_a_file(tmp_path: Path, name: str) -> None:
    """A file named by `NAME_FILE` has the same effect as the variable, which differs from the default."""
    (tmp_path / "value").write_text(f"{OTHER_VALUES[name]}\n", encoding="utf-8")
    default = load(prefixed(REQUIRED))
    direct = load(prefixed({**REQUIRED, name: OTHER_VALUES[name]}))
    from_file = load(prefixed({**REQUIRED, f"{name}_FILE": str(tmp_path / "value")}))
    assert default != direct == from_file
