"""The feed over real WebSockets: greeting, resuming, following, commands, and every wrong frame."""

import asyncio
import json
import socket
import sqlite3
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.pages import scrape
from support.parts import (
    PATIENCE,
    changed,
    events_until,
    next_frame,
    request,
    result,
    serving,
    submit,
    wait_event,
    wait_frame,
)
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.samples import upcoming_booking
from support.wire import close_code, raw
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from notifier import clock
from notifier.demo.inbox import Inbox
from notifier.domain.timestamps import timestamp
from notifier.feed import session
from notifier.feed.client import FeedClient, ReconnectingClient, Rejected
from notifier.feed.protocol import PROTOCOL, EventsFrame, read_cursor
from notifier.observability.status import ServiceStatus
from notifier.settings import FeedSettings, Settings
from notifier.storage.sqlite import queries
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.store import Missed


async def refusal(client: FeedClient, name: str, args: dict[str, Any]) -> str:
    """Send a command that is refused; return the error's code."""
    id_ = await client.command(name, args)
    frame = await wait_frame(client, lambda frame: frame["type"] == "result" and frame["id"] == id_)
    assert frame["error"]["message"]
    code: str = frame["error"]["code"]
    return code


async def test_a_client_is_welcomed_with_a_snapshot_and_then_follows(settings: Settings) -> None:
    """After hello come welcome and snapshot; a submitted request is seen pending, sending and sent, in this order."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=10) as client:
        welcome, snapshot = await next_frame(client), await next_frame(client)
        await client.command("submit", {"message": request(1)})
        events = await events_until(client, "mail.sent")
    assert (welcome["type"], welcome["protocol"], welcome["role"], welcome["resumed"]) == (
        "welcome",
        1,
        "operator",
        False,
    )
    assert (welcome["reason"], welcome["heartbeat"], welcome["replay"]) == ("none", 20, 0)
    assert (snapshot["type"], snapshot["mails"], snapshot["more"]) == ("snapshot", [], False)
    assert set(snapshot["totals"]) == {"pending", "sending", "sent", "failed", "cancelled", "expired", "uncertain"}
    assert [event["type"] for event in events] == ["mail.pending", "mail.sending", "mail.sent"]
    assert [event["data"]["mail"]["rev"] for event in events] == [1, 2, 3]


async def test_events_are_cloudevents_with_masked_addresses(settings: Settings) -> None:
    """Each event has the CloudEvents fields and the mail as everyone may see it."""
    async with serving(settings) as feed, FeedClient.connect(feed) as client:
        await submit(client, upcoming_booking())
        frame = await wait_frame(client, lambda frame: bool(frame.get("events")))
    event = frame["events"][0]
    assert {"specversion", "id", "source", "type", "time", "subject", "data"} <= event.keys()
    assert event["data"]["mail"]["to"] == "a•••@example.com"
    assert "asha" not in json.dumps(frame)


async def test_a_client_resumes_where_it_was(settings: Settings) -> None:
    """With its last cursor a client gets every event since, once, and no snapshot, also across a restart."""
    async with serving(settings) as feed:
        async with FeedClient.connect(feed) as client:
            await submit(client, request(1))
            await wait_event(client, "mail.sent")
        async with FeedClient.connect(feed) as client:
            cursor = (await wait_frame(client, lambda frame: frame["type"] == "snapshot"))["cursor"]
        async with FeedClient.connect(feed) as client:
            await submit(client, request(2))
            await wait_event(client, "mail.sent")
    async with serving(settings) as feed, FeedClient.connect(feed, resume=cursor) as client:
        welcome = await next_frame(client)
        events = (await next_frame(client))["events"]
    assert (welcome["resumed"], welcome["replay"], "reason" in welcome) == (True, 3, False)
    assert [event["type"] for event in events] == ["mail.pending", "mail.sending", "mail.sent"]


async def test_a_cursor_that_cannot_be_resumed_is_refused_with_the_reason(settings: Settings) -> None:
    """A forged cursor, one of another store, of another filter or from the future each get a snapshot and why."""
    async with serving(settings) as feed:
        async with FeedClient.connect(feed) as client:
            cursor = (await wait_frame(client, lambda frame: frame["type"] == "snapshot"))["cursor"]
        place = read_cursor(cursor)
        assert place
        wrong = {
            "garbage": "invalid",
            f"{'f' * 32}-0-{place.filter_hash}": "restarted",
            f"{place.store}-0-00000000": "filter_changed",
            f"{place.store}-99-{place.filter_hash}": "invalid",
        }
        reasons = {}
        for given in wrong:
            async with FeedClient.connect(feed, resume=given) as client:
                welcome, snapshot = await next_frame(client), await next_frame(client)
                reasons[given] = welcome["reason"]
                assert (welcome["resumed"], snapshot["type"]) == (False, "snapshot")
    assert reasons == wrong


async def test_a_purge_while_a_client_resumes_expires_its_cursor(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If missed events are deleted before they are counted, the cursor has expired."""
    look = SqliteStore.missed

    async def purge_and_look(store: SqliteStore, *args: Any, **options: Any) -> Missed:
        later = clock.now() + timedelta(days=1)
        await store.purge(later, later, None, clock.now())
        return await look(store, *args, **options)

    async with serving(settings) as feed:
        async with FeedClient.connect(feed) as client:
            cursor = (await wait_frame(client, lambda frame: frame["type"] == "snapshot"))["cursor"]
            await submit(client, request(1))
            async with FeedClient.connect(feed, resume=cursor) as other:
                await wait_event(other, "mail.sent")
        monkeypatch.setattr(SqliteStore, "missed", purge_and_look)
        async with FeedClient.connect(feed, resume=cursor) as client:
            welcome, snapshot = await next_frame(client), await next_frame(client)
    assert (welcome["resumed"], welcome["reason"], snapshot["mails"]) == (False, "expired", [])


async def test_a_client_sees_only_what_its_filter_lets_pass(settings: Settings) -> None:
    """With a filter on `sent` a mail appears when it is sent; changing the filter brings a new snapshot."""
    async with serving(settings) as feed, FeedClient.connect(feed, filter={"status": "sent"}) as client:
        await submit(client, request(1))
        frame = await wait_frame(client, lambda frame: bool(frame.get("events")))
        assert [event["type"] for event in frame["events"]] == ["mail.sent"]
        await client.filter("f1", {"kind": ["flight.reminder"]}, 5)
        snapshot = await wait_frame(client, lambda frame: frame["type"] == "snapshot" and frame.get("id") == "f1")
        assert snapshot["mails"] == []
        await submit(client, upcoming_booking())
        mail = await wait_event(client, "mail.pending")
        assert mail["kind"] == "flight.reminder"


async def test_stats_tell_how_the_service_is(settings: Settings) -> None:
    """A client that asks for stats gets totals, rates, broker, transports and the oldest due mail."""
    async with serving(settings) as feed, FeedClient.connect(feed, stats=0.5) as client:
        stats = await wait_frame(client, lambda frame: frame["type"] == "stats")
    assert stats["broker"] == {"state": "off", "since": None}
    assert stats["queue"] is None
    assert stats["paused"] is False
    assert set(stats["rates"]) == {"received", "sent", "failed"}
    assert [lane["transport"] for lane in stats["smtp"]] == [settings.smtp.servers[0].name]


async def test_stats_go_on_after_a_failed_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that could not be read once costs the client one `stats` frame, and no more."""
    failed = threading.Event()

    def fail_once(_: sqlite3.Connection) -> None:
        totals.undo()
        failed.set()
        raise sqlite3.OperationalError("disk I/O error")

    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
        await wait_frame(client, lambda frame: frame["type"] == "stats")
        with monkeypatch.context() as totals:
            totals.setattr(queries, "totals", fail_once)
            assert await asyncio.to_thread(failed.wait, PATIENCE)
        # The frames on their way when the read failed come first; the last of these was sent after it.
        for _ in range(3):
            await wait_frame(client, lambda frame: frame["type"] == "stats")


async def test_a_fault_of_ours_in_the_stats_of_a_session_ends_only_that(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """Its client is closed with 1011 instead of waiting for stats that never come; the log has the trace."""
    async with serving(settings) as feed:
        with monkeypatch.context() as broken:
            broken.setattr(ServiceStatus, "_collect", lambda _: 1 / 0)
            async with raw(feed) as ws:
                await ws.send('{"type":"hello","stats":1}')
                assert await close_code(ws) == 1011
        async with FeedClient.connect(feed, snapshot=0, stats=1) as client:
            await wait_frame(client, lambda frame: frame["type"] == "stats")
    assert [line["event"] for line in logged_lines if line["log_level"] == "error"] == ["session failed"]


async def test_mails_can_be_listed_page_by_page(settings: Settings) -> None:
    """mail.list returns the newest mails first, and `next` continues with the older ones."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        for n in range(3):
            await submit(client, request(n))
        first = await result(client, await client.command("mail.list", {"limit": 2}))
        rest = await result(client, await client.command("mail.list", {"limit": 2, "before": first["next"]}))
    assert [mail["subject"] for mail in first["mails"] + rest["mails"]] == ["Number 2", "Number 1", "Number 0"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("name", "args", "code"),
    [
        ("mail.destroy", {}, "unknown_command"),
        ("submit", {}, "invalid"),
        ("submit", {"message": {"type": "booking.unheard"}}, "unknown_type"),
        ("submit", {"message": request(1, subject="x" * 201)}, "invalid"),
        ("submit", {"message": request(1, text="x" * 300_000)}, "too_large"),
        ("mail.list", {"limit": 501}, "invalid"),
        ("mail.list", {"before": "x"}, "invalid"),
        ("mail.list", {"before": 2**63}, "invalid"),
        ("mail.list", {"filter": {"mail": ["x"] * 501}}, "invalid"),
        ("mail.list", {"filter": {"status": "lost"}}, "invalid"),
        ("mail.resolve", {"id": "x", "as": "lost"}, "invalid"),
        ("mail.resolve", {"id": "x", "as": ["sent"]}, "invalid"),
    ],
)
async def test_a_command_that_cannot_be_done_says_why(settings: Settings, name: str, args: Any, code: str) -> None:
    """The result has a code and a sentence, and the session goes on."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        assert await refusal(client, name, args) == code
        await submit(client, request(2))


@pytest.mark.parametrize(
    "frame",
    ["no json", "[]", "{}", '{"type":"filter"}', b'{"type":"hello"}', '{"type":"hello","snapshot":501}',
     '{"type":"hello","filter":{"status":["lost"]}}', '{"type":"hello","token":7}', "[" * 20_000],
)  # fmt: skip
async def test_a_first_frame_that_is_no_proper_hello_is_closed_with_4400(settings: Settings, frame: Any) -> None:
    """A first frame that is not a valid hello closes the session with 4400."""
    async with serving(settings) as feed, raw(feed) as ws:
        await ws.send(frame)
        assert await close_code(ws) == 4400


@pytest.mark.parametrize("letter", ["x", "é", "€", "🔑"])
async def test_a_close_reason_of_any_length_and_letters_is_sent(settings: Settings, letter: str) -> None:
    """It may quote what the client sent. It is cut to the bytes of a close frame, so that its code arrives."""
    since = letter * 500
    async with serving(settings) as feed, raw(feed) as ws:
        await ws.send(json.dumps({"type": "hello", "filter": {"since": since}}))
        assert await close_code(ws) == 4400
        assert (ws.close_reason or "").startswith(f"filter.since: '{letter * 15}")
    async with serving(settings) as feed, raw(feed) as ws:
        await ws.send('{"type":"hello"}')
        await ws.send(json.dumps({"type": "filter", "filter": {"since": since}}))
        assert await close_code(ws) == 4400


async def test_a_second_hello_is_closed_with_4400(settings: Settings) -> None:
    """A second hello closes with 4400."""
    async with serving(settings) as feed, raw(feed) as ws:
        await ws.send('{"type":"hello"}')
        await ws.send('{"type":"hello"}')
        assert await close_code(ws) == 4400


async def test_unknown_frames_and_fields_are_ignored(settings: Settings) -> None:
    """A newer client may send fields and frames that this server does not know."""
    async with serving(settings) as feed, raw(feed) as ws, asyncio.timeout(PATIENCE):
        await ws.send(json.dumps({"type": "hello", "snapshot": 0, "colour": "blue"}))
        await ws.send(json.dumps({"type": "dance", "steps": 3}))
        await ws.send(json.dumps({"type": "command", "id": 1, "name": "mail.list", "colour": "blue"}))
        while (frame := json.loads(await ws.recv()))["type"] != "result":
            pass
    assert frame["ok"]


async def test_who_says_no_hello_is_closed_with_4408(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a hello is closed after the time limit."""
    monkeypatch.setattr(session, "HELLO_TIMEOUT", 1.0)
    async with serving(settings) as feed, raw(feed) as ws:
        assert await close_code(ws) == 4408


async def test_a_frame_beyond_the_limit_is_refused(settings: Settings) -> None:
    """A megabyte in one frame closes the connection that sent it (1009, RFC 6455 section 7.4.1)."""
    async with serving(settings) as feed, raw(feed) as ws:
        await ws.send("x" * 1024 * 1024)
        assert await close_code(ws) == 1009


async def test_a_waiting_mail_can_be_cancelled_once(settings: Settings) -> None:
    """An operator's cancel ends a pending mail; the second one is a conflict, and an unknown id is not found."""
    tomorrow = timestamp(clock.now() + timedelta(days=1))
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        (id_,) = (await submit(client, request(1, send_at=tomorrow)))["mails"]
        mail = await result(client, await client.command("mail.cancel", {"id": id_}))
        assert (mail["status"], mail["error"]) == ("cancelled", "cancelled by an operator")
        for args, code in (({"id": id_}, "conflict"), ({"id": "x"}, "not_found"), ({}, "invalid")):
            assert await refusal(client, "mail.cancel", args) == code


async def test_a_whole_mail_is_shown_to_an_operator(settings: Settings) -> None:
    """It has the address, the history with the server's replies, and headers, text and HTML as sent."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        await client.command("submit", {"message": request(1, html="<p>Hello.</p>")})
        sent = await wait_event(client, "mail.sent")
        mail = await result(client, await client.command("mail.show", {"id": sent["id"]}))
        assert await refusal(client, "mail.show", {"id": "x"}) == "not_found"
    assert [step["type"] for step in mail["timeline"]] == ["mail.pending", "mail.sending", "mail.sent"]
    assert mail["timeline"][-1]["smtp"]["code"] == 250
    assert (mail["to"], mail["status"], dict(mail["headers"])["Message-ID"]) == (
        "p1@example.com",
        "sent",
        sent["message_id"],
    )
    assert (mail["text"].strip(), mail["html"].strip()) == ("Hello.", "<p>Hello.</p>")


async def test_sending_is_paused_until_an_operator_resumes_it(environ: dict[str, str], inbox: Inbox) -> None:
    """While paused no mail is begun, even after a restart, and `stats` shows it; after `send.resume` all are sent."""
    settings = changed(environ)
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        assert await result(client, await client.command("send.pause", {})) == {"paused": True}
        await submit(client, request(1))
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0, stats=0.2) as client:
        await submit(client, request(2))
        for _ in range(3):
            stats = await wait_frame(client, lambda frame: frame["type"] == "stats")
        assert (stats["paused"], stats["totals"]["pending"], inbox.received) == (True, 2, [])
        assert await result(client, await client.command("send.resume", {})) == {"paused": False}
        await inbox.wait_for(2, PATIENCE)


async def test_a_failed_mail_can_be_retried(environ: dict[str, str]) -> None:
    """After its cause is fixed the same mail is sent, under the same id."""
    refusals = iter(["550 5.1.1 no such user"])
    async with Inbox(reply=lambda phase, _: next(refusals, None) if phase == "RCPT" else None) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url)
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
            await client.command("submit", {"message": request(1)})
            failed = await wait_event(client, "mail.failed")
            await client.command("mail.retry", {"id": failed["id"]})
            sent = await wait_event(client, "mail.sent")
    assert (sent["id"], sent["attempt"]) == (failed["id"], 2)


async def test_a_mail_that_waits_for_its_next_attempt_is_tried_at_once(environ: dict[str, str]) -> None:
    """A retry by an operator skips the delay; a mail that waits for its `send_at` is refused."""
    refusals = iter(["450 4.2.0 busy"])
    async with Inbox(reply=lambda phase, _: next(refusals, None) if phase == "RCPT" else None) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url, RETRY_DELAYS="1h")
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
            await client.command("submit", {"message": request(1)})
            waiting = await wait_event(client, "mail.retrying")
            hurried = await result(client, await client.command("mail.retry", {"id": waiting["id"]}))
            sent = await wait_event(client, "mail.sent")
            (later,) = (await submit(client, request(2, send_at="2099-01-01T00:00:00Z")))["mails"]
            assert await refusal(client, "mail.retry", {"id": later}) == "conflict"
    assert (hurried["status"], hurried["next_attempt_at"], hurried["attempt"]) == ("pending", None, 1)
    assert (sent["id"], sent["attempt"]) == (waiting["id"], 2)


@pytest.mark.parametrize(("answer", "received"), [("sent", 0), ("resend", 1)])
async def test_an_uncertain_mail_is_resolved_by_an_operator(
    environ: dict[str, str], inbox: Inbox, answer: str, received: int
) -> None:
    """Resolved as sent, no further mail is sent; resolved as resend, it is sent once more."""
    async with serving(changed(environ, SMTP_URL="smtp+plain://127.0.0.1:1")) as feed:
        async with FeedClient.connect(feed, snapshot=0) as client:
            (id_,) = (await submit(client, request(1)))["mails"]
    store = await SqliteStore.open(Path(environ["NOTIFIER_DATABASE_URL"].removeprefix("sqlite:///")))
    (start,) = (await store.claim(1, 0, clock.now())).starts
    await store.mark(start.mail)
    await store.close()
    async with serving(changed(environ, ON_UNCERTAIN="hold")) as feed, FeedClient.connect(feed) as client:
        snapshot = await wait_frame(client, lambda frame: frame["type"] == "snapshot")
        if snapshot["mails"][0]["status"] != "uncertain":
            await wait_event(client, "mail.uncertain")
        await client.command("mail.resolve", {"id": id_, "as": answer})
        await wait_event(client, "mail.sent")
    assert len(inbox.received) == received


async def test_a_fault_of_ours_is_a_result_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error in a command is answered with `internal`, and the log has the traceback."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        await next_frame(client)
        monkeypatch.setattr(SqliteStore, "listing", lambda *_, **__: 1 / 0)
        id_ = await client.command("mail.list", {})
        frame = await wait_frame(client, lambda frame: frame.get("id") == id_)
    assert frame["error"]["code"] == "internal"


async def test_a_fault_of_ours_in_a_session_ends_only_that(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """Its client is closed with 1011 and may come back; the log has the trace."""
    async with serving(settings) as feed:
        with monkeypatch.context() as broken:
            broken.setattr(session, "timestamp", lambda _: 1 / 0)
            async with raw(feed) as ws:
                await ws.send('{"type":"hello"}')
                assert await close_code(ws) == 1011
        async with FeedClient.connect(feed, snapshot=0) as client:
            await submit(client, request(1))
    assert [line["event"] for line in logged_lines if line["log_level"] == "error"] == ["session failed"]


async def test_tokens_decide_who_may_do_what(environ: dict[str, str]) -> None:
    """Without a valid token 4401; a viewer may list but not submit; an operator may both."""
    settings = changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)
    async with serving(settings) as feed:
        for token in (None, "wrong", ""):
            async with raw(feed) as ws:
                await ws.send(json.dumps({"type": "hello", "token": token}))
                assert await close_code(ws) == 4401
        viewer = feed.model_copy(update={"operator_token": None})
        async with FeedClient.connect(viewer, snapshot=0) as client:
            assert (await next_frame(client))["role"] == "viewer"
            await result(client, await client.command("mail.list", {}))
            id_ = await client.command("submit", {"message": request(1)})
            frame = await wait_frame(client, lambda frame: frame.get("id") == id_)
            assert frame["error"]["code"] == "forbidden"
        async with FeedClient.connect(feed, snapshot=0) as client:
            assert (await next_frame(client))["role"] == "operator"
            await submit(client, request(1))


async def test_a_viewer_that_sends_too_much_is_closed_with_4429(environ: dict[str, str]) -> None:
    """More than fifty frames of a viewer in ten seconds close its session with 4429."""
    settings = changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)
    async with serving(settings) as feed, raw(feed) as ws:
        await ws.send(json.dumps({"type": "hello", "token": VIEWER_TOKEN}))
        for _ in range(51):
            await ws.send('{"type":"other"}')
        assert await close_code(ws) == 4429


async def test_foreign_pages_cannot_open_the_feed(settings: Settings) -> None:
    """A page of another origin is refused with HTTP 403."""
    async with serving(settings) as feed:
        with pytest.raises(InvalidStatus) as refused:
            async with raw(feed, origin="http://evil.example"):
                pass
    assert refused.value.response.status_code == 403


async def test_allowed_origins_can_open_the_feed(environ: dict[str, str]) -> None:
    """The page's own origin and those of NOTIFIER_ALLOWED_ORIGINS may; so may clients that are no browser."""
    settings = changed(environ, ALLOWED_ORIGINS="https://ops.example")
    async with serving(settings) as feed:
        for origin in ("https://ops.example", f"http://127.0.0.1:{feed.port}"):
            async with raw(feed, origin=origin, subprotocols=[PROTOCOL]) as ws:
                assert ws.subprotocol == PROTOCOL


async def test_clients_get_a_bye_when_the_service_ends(settings: Settings) -> None:
    """They get a `bye` that asks them to reconnect, and then the close code for a restart."""
    async with serving(settings) as feed:
        ws = await connect(f"ws://127.0.0.1:{feed.port}/feed")
        await ws.send('{"type":"hello","snapshot":0}')
        await ws.recv()
        await ws.recv()
    bye = json.loads(await ws.recv())
    assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", 1012, True)
    assert await close_code(ws) == 1012
    await ws.close()


async def stuck(feed: FeedSettings) -> socket.socket:
    """Open the feed, send hello, and never read again."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)  # noqa: FBT003 - the signature is socket's
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", feed.port))
    fields = ("Host: localhost", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    hello = b'{"type":"hello","snapshot":0}'
    frame = bytes([0x81, 0x80 | len(hello)]) + bytes(4) + hello
    upgrade = "\r\n".join(["GET /feed HTTP/1.1", *fields, key, "", ""])
    await asyncio.get_running_loop().sock_sendall(client, upgrade.encode() + frame)
    await asyncio.get_running_loop().sock_recv(client, 16)
    return client


async def test_a_stuck_client_neither_slows_others_nor_hangs_the_end(settings: Settings) -> None:
    """A client that stops reading is closed at the limit; another one gets every event, and the service still ends."""
    tomorrow = timestamp(clock.now() + timedelta(days=1))
    seen = 0
    async with asyncio.timeout(60), serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        lazy = await stuck(feed)
        for n in range(100):
            addresses = [f"p{n}.{i}@example.com" for i in range(100)]
            await client.command("submit", {"message": request(n, to=addresses, send_at=tomorrow)})
        async for frame in client:
            seen += len(frame.events) if isinstance(frame, EventsFrame) else 0
            if seen == 10_000:
                break
        found = await scrape(feed)
    got = b""
    with suppress(ConnectionResetError):
        while part := await asyncio.get_running_loop().sock_recv(lazy, 1 << 20):
            got += part
    lazy.close()
    assert got.count(b'"specversion"') < 10_000
    assert (found.get("notifier_feed_drops_total"), found.get("notifier_feed_clients")) == (1, 1)


async def test_the_client_follows_across_a_restart(settings: Settings) -> None:
    """A reconnecting client reports the loss, connects again, and neither loses nor repeats an event."""
    seen: list[str] = []
    async with serving(settings) as feed:
        fixed = settings._replace(feed=settings.feed.model_copy(update={"port": feed.port}))
    following = aiter(ReconnectingClient(fixed.feed, snapshot=0))
    async with asyncio.timeout(30):
        async with serving(fixed):
            await anext(following)
            async with FeedClient.connect(fixed.feed, snapshot=0) as client:
                await submit(client, request(1))
                await wait_event(client, "mail.sent")
        async with serving(fixed):
            async with FeedClient.connect(fixed.feed, snapshot=0) as client:
                await submit(client, request(2))
            async for frame in following:
                seen += [event.id for event in frame.events] if isinstance(frame, EventsFrame) else []
                if len(seen) == 6:
                    break
    await following.aclose()
    assert len(set(seen)) == 6


async def test_a_rejected_client_does_not_try_again(environ: dict[str, str]) -> None:
    """A wrong token ends a reconnecting client with the server's reason."""
    settings = changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)
    async with serving(settings) as feed:
        wrong = feed.model_copy(update={"viewer_token": "wrong", "operator_token": None})
        with pytest.raises(Rejected, match="4401"):
            async for _ in ReconnectingClient(wrong):
                pass
