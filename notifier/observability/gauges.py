"""What is read for Prometheus when it asks: the same figures as the feed's `stats` and `/readyz`. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

Readiness = tuple[bool, Mapping[str, Any]]


def gauges(
    version: str, readiness: Readiness, stats: Mapping[str, Any] | None, rate: float, clients: int
) -> Iterator[Metric]:
    """Give the gauges; without `stats`, when the store cannot be read, those that need it are missing.

    What does not exist has no gauge: the broker of a service that has none, the quota of a
    transport without one. `rate` is the limit in mails a second (0: none).
    """
    ready, parts = readiness
    yield InfoMetricFamily("notifier_build", "The version that runs.", {"version": version})
    yield _gauge("ready", "1 where the store, the actors and the feed work.", ready)
    actors = {name: actor["state"] == "running" for name, actor in parts["actors"].items()}
    yield _gauges("actor_running", "1 where an actor does its job.", "actor", actors.items())
    if parts["broker"]["state"] != "off":
        connected = parts["broker"]["state"] == "connected"
        yield _gauge("broker_connected", "1 where messages are being consumed from the broker.", connected)
    transports = {lane["transport"]: lane for lane in parts["smtp"]}
    fit = ((name, lane["state"] == "ready") for name, lane in transports.items())
    yield _gauges("transport_ready", "1 where a transport is fit to be used, 0 while it is paused.", "transport", fit)
    left = ((name, lane["quota_left"]) for name, lane in transports.items() if lane["quota_left"] is not None)
    yield _gauges("transport_quota_left_mails", "Mails that a transport may still start.", "transport", left)
    yield _gauge("send_rate_limit", "Mails a second that may be sent; 0 is no limit.", rate)
    yield _gauge("feed_clients", "Clients that watch the feed.", clients)
    if stats is not None:
        yield from _of_the_store(stats)


def _of_the_store(stats: Mapping[str, Any]) -> Iterator[Metric]:
    yield _gauges("mails", "Mails that the store holds, by status.", "status", stats["totals"].items())
    yield _gauges("pending_mails", "Pending mails, by what they wait for.", "waits_for", stats["pending"].items())
    yield _gauge("oldest_due_age_seconds", "How long the longest waiting due mail has been due.", _age(stats))
    yield _gauge("send_paused", "1 while an operator has paused sending.", stats["paused"])
    if queue := stats["queue"]:
        yield _gauge("queue_messages", "Messages that wait in the broker's queue.", queue["messages"])
        yield _gauge("queue_consumers", "Consumers of the broker's queue.", queue["consumers"])


def _age(stats: Mapping[str, Any]) -> float:
    if stats["oldest_due"] is None:
        return 0.0
    return (datetime.fromisoformat(stats["at"]) - datetime.fromisoformat(stats["oldest_due"])).total_seconds()


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"notifier_{name}", what, value=float(value))


def _gauges(name: str, what: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(f"notifier_{name}", what, labels=[label])
    for key, value in values:
        family.add_metric([key], float(value))
    return family
