"""What depends on how the parts of the service are connected; each part has tests of its own."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from support.cli import run_async, service
from support.pages import get, scrape
from support.parts import PATIENCE, changed, next_frame, request, result, serving, submit, wait_event, wait_frame
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.rabbit import Rabbit

from notifier import __version__, clock
from notifier.demo.inbox import Inbox
from notifier.demo.node import free_ports
from notifier.domain.timestamps import timestamp
from notifier.feed.client import FeedClient
from notifier.gateways.connection import connected
from notifier.settings import Settings

FAR = "2126-01-01T00:00:00Z"
EVERY_SECOND = "* * * * * *"


async def test_results_belong_to_the_message_that_caused_them(environ: dict[str, str], rabbit: Rabbit) -> None:
    """Each has the correlation id of its message, or the id of the message if it has none."""
    results = await rabbit.listen("notifier.events", "topic", "mail.pending")
    await rabbit.prepare()
    async with serving(changed({**environ, **rabbit.environ})):
        await rabbit.publish(request(1, send_at=FAR), correlation_id="c1")
        await rabbit.publish(request(2, send_at=FAR))
        async with asyncio.timeout(PATIENCE):
            received = [await results.get() for _ in range(2)]
    found = {json.loads(each.body)["data"]["mail"]["event"]: each.header.properties.correlation_id for each in received}
    assert found == {"r1": "c1", "r2": "r2"}


async def test_what_was_not_reported_is_not_purged(environ: dict[str, str]) -> None:
    """If the broker is unavailable, finished mails are kept, whatever their age; without a broker they are purged."""
    (port,) = free_ports(1)
    short = {"RETENTION": "1s", "PURGE_CRON": EVERY_SECOND}
    async with serving(changed(environ, AMQP_URL=f"amqp://127.0.0.1:{port}/", **short)) as feed:
        async with FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
            await client.command("submit", {"message": request(1)})
            sent = await wait_event(client, "mail.sent")
            later = timestamp(clock.now() + timedelta(seconds=3)) or ""
            stats = await wait_frame(client, lambda frame: frame["type"] == "stats" and frame["at"] > later)
    assert stats["totals"]["sent"] == 1
    async with serving(changed(environ, **short)) as feed, FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
        await wait_frame(client, lambda frame: frame["type"] == "stats" and not frame["totals"]["sent"])
        assert (await refusal(client, "mail.show", {"id": sent["id"]})) == "not_found"


async def refusal(client: FeedClient, name: str, args: dict[str, Any]) -> str:
    """Send a command that is rejected; return the code of the error."""
    id_ = await client.command(name, args)
    frame = await wait_frame(client, lambda frame: frame["type"] == "result" and frame["id"] == id_)
    return str(frame["error"]["code"])


async def test_mail_expires_while_no_account_can_send_it(environ: dict[str, str]) -> None:
    """While every account is paused, a due mail expires at its time."""
    (port,) = free_ports(1)
    unavailable = {"SMTP_URL": f"smtp+plain://127.0.0.1:{port}", "SMTP_PAUSES": "1h", "SEND_CRON": EVERY_SECOND}
    async with (
        serving(changed(environ, **unavailable)) as feed,
        FeedClient.connect(feed, snapshot=0, stats=0.5) as client,
    ):
        await wait_frame(client, lambda frame: frame["type"] == "stats" and frame["smtp"][0]["reason"])
        expires = clock.now() + timedelta(seconds=1)
        await client.command("submit", {"message": request(1, expires_at=timestamp(expires))})
        expired = await wait_event(client, "mail.expired")
    assert (expired["status"], expired["attempt"]) == ("expired", 0)


async def test_wrong_addresses_in_a_row_pause_no_account(environ: dict[str, str]) -> None:
    """Eleven mails to wrong addresses fail, and the next mail is sent immediately."""
    wrong = [f"wrong{n}@example.com" for n in range(11)]
    async with Inbox(
        reply=lambda phase, to: "550 5.1.1 no such user" if phase == "RCPT" and to in wrong else None
    ) as it:
        async with serving(changed(environ, SMTP_URL=it.url, SMTP_PAUSES="1h", SMTP_CONNECTIONS="1")) as feed:
            async with FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
                await client.command("submit", {"message": request(1, to=wrong)})
                stats = await wait_frame(
                    client, lambda frame: frame["type"] == "stats" and frame["totals"]["failed"] == 11
                )
                await client.command("submit", {"message": request(2)})
                await wait_event(client, "mail.sent", event="r2")
    assert stats["smtp"][0]["state"] == "ready"


async def test_every_actor_ends_with_the_service(settings: Settings) -> None:
    """A service that has ended can be started again on the same database, and its store and port are free."""
    async with serving(settings) as feed:
        port = feed.port
    again = settings._replace(feed=settings.feed.model_copy(update={"port": port}))
    async with serving(again) as feed, FeedClient.connect(feed, snapshot=0) as client:
        await submit(client, request(1))


async def test_clients_are_counted_until_they_leave(settings: Settings) -> None:
    """A client does not count any more, however its connection ends."""
    async with serving(settings) as feed:
        async with FeedClient.connect(feed) as first:
            await wait_frame(first, lambda frame: frame["type"] == "snapshot")
            async with FeedClient.connect(feed) as second:
                await wait_frame(second, lambda frame: frame["type"] == "snapshot")
                await scrape(feed, lambda found: found.get("notifier_feed_clients") == 2)
                second._websocket.transport.abort()
            await scrape(feed, lambda found: found.get("notifier_feed_clients") == 1)
        await scrape(feed, lambda found: found.get("notifier_feed_clients") == 0)


async def test_a_welcome_names_the_server(settings: Settings) -> None:
    """A welcome has the name, the version and the time of the server."""
    before = timestamp(clock.now()) or ""
    async with serving(settings) as feed, FeedClient.connect(feed) as client:
        welcome = await next_frame(client)
    assert welcome["server"] == f"notifier/{__version__}"
    assert before <= welcome["now"] <= (timestamp(clock.now()) or "")


async def test_stats_come_twice_a_second_at_most(settings: Settings) -> None:
    """A client that requests them more often gets them twice a second, and one that requests none gets none."""
    loop = asyncio.get_running_loop()
    async with serving(settings) as feed:
        async with FeedClient.connect(feed, snapshot=0, stats=0.01) as client:
            times = []
            for _ in range(4):
                await wait_frame(client, lambda frame: frame["type"] == "stats")
                times.append(loop.time())
        async with FeedClient.connect(feed, snapshot=0) as client:
            await submit(client, request(1))
            await client.command("mail.list", {})
            seen = [(await next_frame(client))["type"] for _ in range(2)]
    assert times[-1] - times[0] >= 1
    assert "stats" not in seen


@pytest.mark.parametrize("token", ["VIEWER_TOKEN", "OPERATOR_TOKEN"])
async def test_with_a_token_every_host_name_is_served(environ: dict[str, str], token: str) -> None:
    """With tokens the host name need not be checked: a page whose name points to loopback has no token."""
    value = {"VIEWER_TOKEN": VIEWER_TOKEN, "OPERATOR_TOKEN": OPERATOR_TOKEN}[token]
    async with serving(changed(environ, **{token: value})) as feed:
        assert (await get(feed, "/healthz", Host="ops.example"))[0] == 200


async def test_a_request_names_one_host(settings: Settings) -> None:
    """A request without a Host header, or with two of them, is rejected."""
    async with serving(settings) as feed:
        reader, writer = await asyncio.open_connection("127.0.0.1", feed.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_broker_that_is_lost_is_noticed_within_a_minute(rabbit: Rabbit) -> None:
    """The heartbeat is negotiated to ten seconds."""
    async with connected(rabbit.url) as connection:
        assert connection.connection_tune.heartbeat == 10


async def test_an_unknown_setting_is_named(environ: dict[str, str]) -> None:
    """A misspelt variable is logged as one warning at the start."""
    async with service({**environ, "NOTIFIER_SENT_RATE": "5"}) as (process, _):
        lines = [json.loads(line) for line in process.log if "NOTIFIER_SENT_RATE" in line]
    assert [(line["level"], line["name"]) for line in lines] == [("warning", "NOTIFIER_SENT_RATE")]


async def test_every_option_of_a_list_has_its_effect(environ: dict[str, str]) -> None:
    """Status, kind, booking and time select the mails; the limit and the cursor select the page."""
    flight = {"number": "AI101", "from": "DEL", "to": "BLR", "departs_at": FAR}
    data = {"booking": "REF001", "passengers": [{"name": "A", "email": "a@example.com"}], "flights": [flight]}
    async with serving(changed(environ)) as feed, FeedClient.connect(feed, snapshot=0) as client:
        await submit(client, request(1, send_at=FAR))
        await client.command(
            "submit", {"message": {"type": "booking.confirmed", "id": "b1", "source": "/t", "data": data}}
        )
        await wait_event(client, "mail.sent")
        mails = (await result(client, await client.command("mail.list", {})))["mails"]
        at = {"NOTIFIER_PORT": str(feed.port)}
        found = {}
        for option, value in (
            ("--status", "sent"),
            ("--kind", "notification"),
            ("--booking", "REF001"),
            ("--since", mails[0]["created_at"]),
            ("--limit", "1"),
        ):
            code, out, _ = await run_async("mails", "list", option, value, "--json", environ=at)
            assert code == 0
            found[option] = [mail["id"] for mail in json.loads(out)["mails"]]
        _, out, _ = await run_async("mails", "list", "--limit", "1", "--json", environ=at)
        before = str(json.loads(out)["next"])
        _, out, _ = await run_async("mails", "list", "--before", before, "--json", environ=at)
        found["--before"] = [mail["id"] for mail in json.loads(out)["mails"]]
    ids = {mail["kind"]: mail["id"] for mail in mails}
    of_booking = {ids["flight.reminder"], ids["booking.confirmation"]}
    assert set(found["--status"]) == {ids["booking.confirmation"]}
    assert set(found["--kind"]) == {ids["notification"]}
    assert set(found["--booking"]) == set(found["--since"]) == of_booking
    assert found["--limit"] == [mails[0]["id"]]
    assert found["--before"] == [mail["id"] for mail in mails[1:]]


async def test_every_flag_of_send_has_its_effect(environ: dict[str, str], inbox: Inbox) -> None:
    """The mail contains text and HTML, and is sent at the requested time."""
    async with serving(changed(environ)) as feed, FeedClient.connect(feed, snapshot=0) as client:
        at = {"NOTIFIER_PORT": str(feed.port)}
        what = ("--to", "a@example.com", "--to", "b@example.com", "--subject", "Hi", "--text", "Hello.")
        code, _, _ = await run_async("send", *what, "--html", "<p>Hello page.</p>", environ=at)
        await inbox.wait_for(2, PATIENCE)
        later, _, _ = await run_async("send", *what, "--send-at", FAR, environ=at)
        mail = await wait_event(client, "mail.pending", send_at="2126-01-01T00:00:00.000Z")
    assert (code, later, mail["subject"]) == (0, 0, "Hi")
    assert {mail.to for mail in inbox.received} == {"a@example.com", "b@example.com"}
    assert all(b"<p>Hello page.</p>" in mail.body for mail in inbox.received)
