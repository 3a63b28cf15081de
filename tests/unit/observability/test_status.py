"""`stats`, `/readyz`, `/metrics` and `health`, compared with a known state of the service.

The tables must have every field of `stats` and `/readyz` and every metric that the service gives.
"""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from support.cli import run_async, service
from support.pages import Scrape, get, scrape
from support.parts import PATIENCE, changed, request, result, serving, submit, wait_event, wait_frame
from support.places import ROOT
from support.rabbit import Rabbit
from support.readings import READINESS, STATS

from notifier import __version__
from notifier.demo.inbox import Inbox
from notifier.demo.node import free_ports
from notifier.feed.client import FeedClient
from notifier.gateways import watchdog
from notifier.observability.counters import Metrics
from notifier.observability.gauges import gauges
from notifier.settings import FeedSettings
from notifier.storage.sqlite.store import SqliteStore

FAR = "2126-01-01T00:00:00Z"


def reply(phase: str, address: str) -> str | None:
    """Reject one recipient permanently and another one temporarily."""
    refusals = {"failed@example.com": "550 5.1.1 no such user", "busy@example.com": "450 4.2.0 busy"}
    return refusals.get(address) if phase == "RCPT" else None


@asynccontextmanager
async def occupied(environ: Mapping[str, str], rabbit: Rabbit) -> AsyncIterator[tuple[FeedSettings, FeedClient, str]]:
    """Run a service in a known state; yield the feed's settings, a client and the name of the account.

    Two mails are sent, one has failed, one waits for its next attempt, three for their time and one is due while
    sending is paused. Of the account's eleven mails a day seven are left.
    """
    environ = {**environ, **rabbit.environ}
    async with Inbox(reply=reply) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url, SEND_QUOTA="11", RETRY_DELAYS="1h", SEND_RATE="50")
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
            await stats_when(client, lambda frame: frame["broker"]["state"] == "connected" and frame["queue"])
            for number, address in enumerate(("a", "b", "failed", "busy"), start=1):
                await client.command("submit", {"message": request(number, to=f"{address}@example.com")})
                kind = {"failed": "mail.failed", "busy": "mail.retrying"}.get(address, "mail.sent")
                await wait_event(client, kind, event=f"r{number}")
            await submit(client, request(5, to=[f"p{n}@example.com" for n in range(3)], send_at=FAR))
            await result(client, await client.command("send.pause", {}))
            await submit(client, request(6))
            yield feed, client, f"127.0.0.1:{inbox.port}"


async def stats_when(client: FeedClient, wanted: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
    """Wait for the first `stats` that are as wanted."""
    return await wait_frame(client, lambda frame: frame["type"] == "stats" and wanted(frame))


async def test_stats_say_how_the_service_is(environ: dict[str, str], rabbit: Rabbit) -> None:
    """Every field of `stats` is right in a known state of the service."""
    async with occupied(environ, rabbit) as (_, client, account):
        stats = await stats_when(client, lambda frame: frame["oldest_due"] and any(frame["rates"].values()))
        listed = await result(client, await client.command("mail.list", {"filter": {"status": "pending"}}))
    (due,) = [mail for mail in listed["mails"] if mail["event"] == "r6"]
    totals = {"pending": 5, "sending": 0, "sent": 2, "failed": 1, "cancelled": 0, "expired": 0, "uncertain": 0}
    assert stats == {
        "type": "stats",
        "at": stats["at"],
        "totals": totals,
        "pending": {"due": 1, "scheduled": 3, "retrying": 1},
        "rates": stats["rates"],
        "queue": {"messages": 0, "consumers": 1},
        "broker": {"state": "connected", "since": stats["broker"]["since"]},
        "smtp": [{"transport": account, "state": "ready", "reason": None, "until": None, "quota_left": 7}],
        "paused": True,
        "oldest_due": due["send_at"],
    }
    assert stats["broker"]["since"] < due["created_at"] <= stats["at"]


async def test_rates_are_of_the_last_ten_seconds(environ: dict[str, str], rabbit: Rabbit) -> None:
    """Mails received, sent and failed, each a tenth of their number while all of them are in that time."""
    async with occupied(environ, rabbit) as (_, client, _):
        wanted = {"received": 0.8, "sent": 0.2, "failed": 0.1}
        stats = await stats_when(client, lambda frame: frame["rates"]["received"] >= wanted["received"])
    assert stats["rates"] == wanted


async def test_the_queue_is_counted(environ: dict[str, str], rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five messages one is being taken in and four wait, for one consumer; in `stats` and in the metrics."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.1)
    await rabbit.prepare()
    add, go_on = SqliteStore.add, asyncio.Event()

    async def add_later(*args: Any) -> Any:
        await go_on.wait()
        return await add(*args)

    monkeypatch.setattr(SqliteStore, "add", add_later)
    settings = changed({**environ, **rabbit.environ}, AMQP_PREFETCH="1")
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
        for number in range(5):
            await rabbit.publish(request(number, send_at=FAR))
        try:
            await stats_when(client, lambda frame: frame["queue"] == {"messages": 4, "consumers": 1})
            found = await scrape(feed)
        finally:
            go_on.set()
        await stats_when(client, lambda frame: frame["queue"] == {"messages": 0, "consumers": 1})
    assert (found.get("notifier_queue_messages"), found.get("notifier_queue_consumers")) == (4, 1)


async def test_the_metrics_say_how_the_service_is(environ: dict[str, str], rabbit: Rabbit) -> None:
    """Every sample of every metric is right in a known state of the service; of durations only the count."""
    async with occupied(environ, rabbit) as (feed, _, account):
        for message in (request(6), b"{", b'{"type":"booking.lost","id":"x","data":{}}'):
            await rabbit.publish(message)
        letters = {"code": "unknown_type"}
        found = await scrape(
            feed,
            lambda found: (
                found.get("notifier_dead_letters_total", **letters) == 1
                and found.get("notifier_mails", status="pending") == 5
            ),
        )
    assert counted(found, account) == COUNTED
    assert 0 < found.get("notifier_oldest_due_age_seconds") < PATIENCE
    for name in TIMES:
        assert [each for each in found.samples if each.name == f"{name}_count" and each.value > 0], name


ACTORS = ("sender", "purger", "broadcaster", "reporter", "consumer")
COUNTED: dict[tuple[str, ...], float] = {
    ("notifier_build_info", f"version={__version__}"): 1,
    ("notifier_ready",): 1,
    **{("notifier_actor_running", f"actor={name}"): 1 for name in ACTORS},
    ("notifier_broker_connected",): 1,
    ("notifier_transport_ready", "transport=ACCOUNT"): 1,
    ("notifier_transport_quota_left_mails", "transport=ACCOUNT"): 7,
    ("notifier_send_rate_limit",): 50,
    ("notifier_feed_clients",): 1,
    ("notifier_mails", "status=pending"): 5,
    ("notifier_mails", "status=sent"): 2,
    ("notifier_mails", "status=failed"): 1,
    ("notifier_pending_mails", "waits_for=due"): 1,
    ("notifier_pending_mails", "waits_for=scheduled"): 3,
    ("notifier_pending_mails", "waits_for=retrying"): 1,
    ("notifier_send_paused",): 1,
    ("notifier_queue_consumers",): 1,
    ("notifier_messages_total", "result=stored"): 6,
    ("notifier_messages_total", "result=repeated"): 1,
    ("notifier_messages_total", "result=dead_lettered"): 2,
    ("notifier_dead_letters_total", "code=not_json"): 1,
    ("notifier_dead_letters_total", "code=unknown_type"): 1,
    ("notifier_transitions_total", "type=mail.pending"): 8,
    ("notifier_transitions_total", "type=mail.sending"): 4,
    ("notifier_transitions_total", "type=mail.sent"): 2,
    ("notifier_transitions_total", "type=mail.failed"): 1,
    ("notifier_transitions_total", "type=mail.retrying"): 1,
    ("notifier_smtp_phase_seconds_count", "phase=MAIL", "transport=ACCOUNT"): 4,
    ("notifier_smtp_phase_seconds_count", "phase=RCPT", "transport=ACCOUNT"): 4,
    ("notifier_smtp_phase_seconds_count", "phase=DATA", "transport=ACCOUNT"): 2,
    ("notifier_smtp_phase_seconds_count", "phase=DOT", "transport=ACCOUNT"): 2,
}
"""Every sample that is not zero in that situation, after one message more was repeated and two were bad."""
TIMES = ("notifier_smtp_phase_seconds", "notifier_store_transaction_seconds", "notifier_loop_lag_seconds")
"""Metrics that measure how long something takes."""
UNSTEADY = ("notifier_oldest_due_age_seconds", "notifier_loop_lag_seconds_count", "notifier_queue_messages")
"""Samples that differ in every run."""
ELSEWHERE = {
    "notifier_flawed_messages": "unit/observability/test_counters.py::test_a_flaw_that_lost_no_booking_is_counted",
    "notifier_feed_auth_failures": "unit/feed/test_auth.py::test_wrong_tokens_are_counted_and_logged",
    "notifier_feed_drops": "unit/feed/test_session.py::test_a_stuck_client_neither_slows_others_nor_hangs_the_end",
    "notifier_queue_messages": "unit/observability/test_status.py::test_the_queue_is_counted",
}
"""Metrics that are zero in that situation, and the tests of them."""


def counted(found: Scrape, account: str) -> dict[tuple[str, ...], float]:
    """Return the samples by name and labels, without zeros, measured times and what differs in every run."""
    kept = {}
    for each in found.samples:
        labels = {name: value.replace(account, "ACCOUNT") for name, value in each.labels.items()}
        is_time = each.name.startswith(TIMES) and not each.name.endswith("_count")
        is_steady = each.name not in UNSTEADY and "operation" not in labels and labels.get("phase") != "CONNECT"
        if each.name.startswith("notifier_") and each.value and not is_time and is_steady:
            kept[each.name, *(f"{name}={value}" for name, value in sorted(labels.items()))] = each.value
    return kept


def test_no_metric_is_forgotten() -> None:
    """Every metric of the service has a value above or an existing test elsewhere."""
    text = Metrics().page(gauges("1", READINESS, STATS, 20, 0)).decode()
    given = {name.removesuffix("_total") for name in re.findall(r"^# TYPE (notifier_\w+)", text, re.MULTILINE)}
    valued = {re.sub("_(total|count)$", "", name) for name, *_ in COUNTED}
    assert given == {*valued, *ELSEWHERE, *TIMES, "notifier_oldest_due_age_seconds"}
    for test in ELSEWHERE.values():
        file, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("has_broker", [True, False])
async def test_a_ready_service_says_so(environ: dict[str, str], rabbit: Rabbit, *, has_broker: bool) -> None:
    """`/readyz` is 200 with the state of every part, and every part is there."""
    broker = rabbit.environ if has_broker else {}
    state = "connected" if has_broker else "off"

    def is_fit(figures: Mapping[str, Any]) -> bool:
        return figures["broker"]["state"] == state and _is_fit(figures)

    async with serving(changed({**environ, **broker}, SEND_QUOTA="5")) as feed:
        status, parts = await readiness(feed, lambda parts: "starting" not in str(parts["actors"]) and is_fit(parts))
        async with FeedClient.connect(feed, snapshot=0, stats=0.5) as client:
            stats = await stats_when(client, is_fit)
    actors = ACTORS if has_broker else ACTORS[:3]
    assert (status, parts["status"], parts["store"]) == (200, "ok", {"state": "ok", "reason": None})
    assert {name: (each["state"], each["reason"]) for name, each in parts["actors"].items()} == dict.fromkeys(
        actors, ("running", None)
    )
    assert all(each["since"] <= stats["at"] for each in parts["actors"].values())
    assert (parts["broker"], parts["smtp"]) == (stats["broker"], stats["smtp"])
    assert set(parts) == {"status", "store", "actors", "broker", "dead_letters", "smtp"}
    assert parts["dead_letters"] == {"state": "ok" if has_broker else "off", "waiting": 0, "reason": None}


def _is_fit(stats: Mapping[str, Any]) -> bool:
    return bool(stats["smtp"][0]["state"] == "ready" and stats["smtp"][0]["quota_left"] == 5)


async def readiness(feed: FeedSettings, wanted: Callable[[dict[str, Any]], bool]) -> tuple[int, dict[str, Any]]:
    """Read `/readyz` until it is as wanted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status, _, body = await get(feed, "/readyz")
            parts: dict[str, Any] = json.loads(body)
            if wanted(parts):
                return status, parts


async def test_a_service_whose_peers_are_unavailable_is_ready_and_says_which(environ: dict[str, str]) -> None:
    """An unavailable broker or SMTP server is a normal state: 200, `connecting` and `paused`, also in the metrics."""
    smtp_port, amqp_port = free_ports(2)
    away = {"SMTP_URL": f"smtp+plain://127.0.0.1:{smtp_port}", "AMQP_URL": f"amqp://127.0.0.1:{amqp_port}/"}
    async with serving(changed(environ, **away, SMTP_PAUSES="1h")) as feed:
        status, parts = await readiness(
            feed, lambda parts: parts["smtp"][0]["state"] == "paused" and "starting" not in str(parts["actors"])
        )
        found = await scrape(feed)
    assert (status, parts["status"], parts["broker"]["state"]) == (200, "ok", "connecting")
    assert {name for name, each in parts["actors"].items() if each["state"] == "waiting"} == {"consumer", "reporter"}
    assert parts["smtp"][0]["until"] > parts["broker"]["since"]
    account = f"127.0.0.1:{smtp_port}"
    assert (found.get("notifier_ready"), found.get("notifier_broker_connected")) == (1, 0)
    assert found.get("notifier_transport_ready", transport=account) == 0
    assert found.get("notifier_actor_running", actor="consumer") == 0


async def test_a_service_that_cannot_write_is_not_ready_until_it_can(environ: dict[str, str]) -> None:
    """While another process holds the database `/readyz` is 503 with the reason and `health` exits 1; both recover."""
    database = Path(environ["NOTIFIER_DATABASE_URL"].removeprefix("sqlite:///"))
    message = json.dumps(request(1, send_at=FAR)).encode()
    async with service(environ) as (process, client):
        feed = FeedSettings.model_validate({"NOTIFIER_PORT": process.port})
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = await run_async("send", "-", environ=client, stdin=message)
            status, parts = await readiness(feed, lambda _: True)
            ill = await run_async("health", environ=client)
            ill_json = await run_async("health", "--json", environ=client)
            found = await scrape(feed)
            other.execute("ROLLBACK")
        accepted = await run_async("send", "-", environ=client, stdin=message)
        well = await run_async("health", environ=client)
    assert (refused[0], refused[2].startswith("notifier: unavailable")) == (1, True)
    assert (status, parts["status"]) == (503, "not ready")
    assert "locked" in json.dumps(parts)
    assert (ill[0], ill[1].startswith("not ready: store ")) == (1, True)
    assert (ill_json[0], json.loads(ill_json[1])["status"]) == (1, "not ready")
    assert found.get("notifier_ready") == 0
    assert (accepted[0], well[0]) == (0, 0)
    assert re.fullmatch(r"ok: store ok, (\w+ running(, )?){3}\n", well[1])


async def test_a_service_of_which_an_actor_fails_is_not_ready(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An internal error in one actor makes `/readyz` 503 and names the actor; the others go on."""

    async def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("notifier.service.Sender.run", fail)
    async with serving(changed(environ)) as feed:
        status, parts = await readiness(feed, lambda parts: parts["actors"]["sender"]["state"] != "starting")
        found = await scrape(feed)
    assert (status, parts["status"], parts["actors"]["sender"]["state"]) == (503, "not ready", "restarting")
    assert "ZeroDivisionError" in parts["actors"]["sender"]["reason"]
    assert parts["actors"]["purger"]["state"] == "running"
    assert (found.get("notifier_ready"), found.get("notifier_actor_running", actor="sender")) == (0, 0)
