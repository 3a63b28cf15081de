"""The metrics of a running service, and who may scrape them."""

import asyncio
import re
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from support.pages import get
from support.parts import PATIENCE, changed, serving
from support.places import DOCS
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.readings import READINESS, STATS

from notifier import service
from notifier.actors.broadcaster import Hub
from notifier.domain.mail import Status
from notifier.feed.protocol import Readiness, StatsFrame
from notifier.feed.protocol.status import BrokerState
from notifier.observability.counters import Metrics
from notifier.observability.gauges import gauges
from notifier.observability.status import ServiceStatus
from notifier.settings import Settings
from notifier.storage.sqlite.store import SqliteStore
from notifier.supervisor import Supervisor

OPERATIONS = DOCS / "operations.md"
GIVEN = ("1.2.3", READINESS, STATS, 20, 4)
"""Version, readiness, stats, rate limit and clients of the feed."""


def read(readiness: Readiness, stats: StatsFrame | None) -> dict[tuple[str, ...], float]:
    """Return the gauges by name and label values."""
    found = gauges("1.2.3", readiness, stats, 20, 4)
    return {(each.name, *each.labels.values()): each.value for family in found for each in family.samples}


def test_gauges_say_what_stats_and_readiness_say() -> None:
    """In base units: ages in seconds, yes and no as 1 and 0; what does not exist has no gauge."""
    expected: dict[tuple[str, ...], float] = {
        ("notifier_build_info", "1.2.3"): 1,
        ("notifier_ready",): 0,
        ("notifier_actor_running", "sender"): 1,
        ("notifier_actor_running", "consumer"): 0,
        ("notifier_broker_connected",): 0,
        ("notifier_transport_ready", "a:587"): 1,
        ("notifier_transport_ready", "b:587"): 0,
        ("notifier_transport_quota_left_mails", "a:587"): 3,
        ("notifier_send_rate_limit",): 20,
        ("notifier_feed_clients",): 4,
        **{("notifier_mails", str(status)): 0 for status in Status},
        ("notifier_mails", "pending"): 3,
        ("notifier_mails", "sent"): 5,
        ("notifier_pending_mails", "due"): 1,
        ("notifier_pending_mails", "scheduled"): 2,
        ("notifier_pending_mails", "retrying"): 0,
        ("notifier_oldest_due_age_seconds",): 90.5,
        ("notifier_send_paused",): 1,
        ("notifier_queue_messages",): 7,
        ("notifier_queue_consumers",): 1,
    }
    assert read(READINESS, STATS) == expected


def test_two_accounts_of_one_server_do_not_make_a_series_twice() -> None:
    """Accounts are named by host and port; Prometheus rejects a series that occurs twice in a page."""
    first, second = (replace(each, transport="a:587", quota_left=3) for each in READINESS.smtp)
    found = gauges("1.2.3", replace(READINESS, smtp=[first, second]), STATS, 20, 4)
    names = [(each.name, *each.labels.values()) for family in found for each in family.samples]
    assert sorted(names) == sorted(set(names))


def test_the_labels_of_the_gauges_are_promised() -> None:
    """Dashboards and alerts select series by them."""
    found = {family.name: set().union(*(each.labels for each in family.samples)) for family in gauges(*GIVEN)}
    assert {name: labels for name, labels in found.items() if labels} == {
        "notifier_build": {"version"},
        "notifier_actor_running": {"actor"},
        "notifier_transport_ready": {"transport"},
        "notifier_transport_quota_left_mails": {"transport"},
        "notifier_mails": {"status"},
        "notifier_pending_mails": {"waits_for"},
    }


def test_a_quota_that_is_used_up_has_a_gauge() -> None:
    """Nothing left is not the same as no quota."""
    spent = [replace(each, quota_left=0) for each in READINESS.smtp[:1]]
    assert read(replace(READINESS, smtp=spent), None)["notifier_transport_quota_left_mails", "a:587"] == 0


def test_without_a_broker_or_a_due_mail_there_is_no_gauge_or_no_age() -> None:
    """A service without a broker has no gauge of it; if no mail is due, the age is 0."""
    found = read(
        replace(READINESS, broker=BrokerState(state="off", since=None)), replace(STATS, queue=None, oldest_due=None)
    )
    assert found["notifier_oldest_due_age_seconds",] == 0
    assert not [name for name, *_ in found if "broker" in name or "queue" in name]


def test_a_store_that_cannot_be_read_leaves_the_rest() -> None:
    """The gauges of peers and actors are still there, and those of the store are missing instead of outdated."""
    found = read(READINESS, None)
    assert found["notifier_ready",] == 0
    assert "notifier_transport_ready" in {name for name, *_ in found}
    assert not [name for name, *_ in found if name.startswith(("notifier_mails", "notifier_oldest"))]


async def test_a_store_that_is_busy_does_not_hold_up_a_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a query keeps the store busy, a scrape lacks only the store's gauges; afterwards it has them again."""
    monkeypatch.setattr(service, "SCRAPE_TIMEOUT", 0.2)
    store, begun, done = await SqliteStore.open(tmp_path / "n.db"), threading.Event(), threading.Event()
    figures, hub = ServiceStatus(store, None, [], Supervisor()), Hub(store.id, 0)

    def wait(_: object) -> bool:
        begun.set()
        return done.wait(PATIENCE)

    busy = asyncio.create_task(store._reads.query(wait))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    without = await service._scrape(Metrics(), figures, hub, 20)
    done.set()
    await busy
    monkeypatch.setattr(service, "SCRAPE_TIMEOUT", PATIENCE)
    again = await service._scrape(Metrics(), figures, hub, 20)
    await store.close()
    assert (b"notifier_ready 1.0" in without, b"notifier_mails{" in without) == (True, False)
    assert b"notifier_mails{" in again


def test_names_are_as_prometheus_wants_them() -> None:
    """Counters end in _total, durations in _seconds, everything has help, and there are no _created series."""
    text = Metrics().page(gauges("1", READINESS, STATS, 20, 0)).decode()
    families = [each for each in text_string_to_metric_families(text) if each.name.startswith("notifier_")]
    assert len(families) >= 20
    assert all(family.documentation.endswith(".") for family in families)
    assert "_created" not in text
    for family in families:
        if family.type == "counter":
            assert {each.name for each in family.samples} <= {f"{family.name}_total"}
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_every_metric_is_explained_in_the_operations_page() -> None:
    """The page names each once, without the prefix, and nothing that is not there."""
    text = Metrics().page(gauges("1", READINESS, STATS, 20, 0)).decode()
    given = set(re.findall(r"^# TYPE notifier_(\w+)", text, re.MULTILINE))
    table = OPERATIONS.read_text(encoding="utf-8").partition("| `notifier_…` ")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert sorted(name for cell in first for name in re.findall(r"`(\w+)`", cell)) == sorted(given)


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        (f"Basic {VIEWER_TOKEN}", 401),
        (f"Bearer {VIEWER_TOKEN}\xff", 401),
        (f"Bearer {VIEWER_TOKEN}", 200),
        (f"bearer {OPERATOR_TOKEN}", 200),
    ],
)
async def test_with_tokens_set_metrics_need_one(
    environ: dict[str, str], authorization: str | None, status: int
) -> None:
    """A viewer's or an operator's, as a bearer token; health and readiness stay open."""
    headers = {} if authorization is None else {"Authorization": authorization}
    async with serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)) as feed:
        got, answered, body = await get(feed, "/metrics", **headers)
        assert (await get(feed, "/readyz"))[0] == 200
    assert got == status
    assert (b"notifier_ready" in body) == (status == 200)
    assert answered.get("WWW-Authenticate") == (None if status == 200 else "Bearer")


async def test_without_tokens_metrics_are_open_on_this_machine(settings: Settings) -> None:
    """As text that every Prometheus reads, without a credential in it."""
    async with serving(settings) as feed:
        status, headers, body = await get(feed, "/metrics")
        foreign, *_ = await get(feed, "/metrics", Host="evil.example")
    assert (status, foreign) == (200, 403)
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"@" not in body
