"""The gauges for Prometheus, read when it scrapes: the figures of `stats` and `/readyz`. Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec.structs import asdict
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

from notifier.feed.protocol import Readiness, StatsFrame


def gauges(version: str, readiness: Readiness, stats: StatsFrame | None, rate: float, clients: int) -> Iterator[Metric]:
    """Yield the gauges; without `stats`, because the store cannot be read, those that need it are missing.

    What does not exist has no gauge: the broker of a service without one, the quota of a
    transport without one. `rate` is the limit in mails a second (0: none).
    """
    yield InfoMetricFamily("notifier_build", "The version that runs.", {"version": version})
    yield _gauge("ready", "1 if the store, the actors and the feed work.", readiness.is_ready)
    actors = ((name, actor.state == "running") for name, actor in readiness.actors.items())
    yield _gauges("actor_running", "1 if an actor does its job.", "actor", actors)
    if readiness.broker.state != "off":
        connected = readiness.broker.state == "connected"
        yield _gauge("broker_connected", "1 if messages are being consumed from the broker.", connected)
    # Accounts with the same host and port share a name, and a series must not occur twice: the last account counts.
    transports = {each.transport: each for each in readiness.smtp}.values()
    usable = ((each.transport, each.state == "ready") for each in transports)
    yield _gauges("transport_ready", "1 if a transport can be used, 0 while it is paused.", "transport", usable)
    left = ((each.transport, each.quota_left) for each in transports if each.quota_left is not None)
    yield _gauges("transport_quota_left_mails", "Mails that a transport may still start.", "transport", left)
    yield _gauge("send_rate_limit", "Mails a second that may be sent; 0 means no limit.", rate)
    yield _gauge("feed_clients", "Clients that watch the feed.", clients)
    if stats is not None:
        yield from _of_the_store(stats)


def _of_the_store(stats: StatsFrame) -> Iterator[Metric]:
    yield _gauges("mails", "Mails in the store, by status.", "status", asdict(stats.totals).items())
    yield _gauges("pending_mails", "Pending mails, by what they wait for.", "waits_for", asdict(stats.pending).items())
    yield _gauge("oldest_due_age_seconds", "How long the longest waiting due mail has been due.", _age(stats))
    yield _gauge("send_paused", "1 while an operator has paused sending.", stats.paused)
    if stats.queue:
        yield _gauge("queue_messages", "Messages that wait in the broker's queue.", stats.queue.messages)
        yield _gauge("queue_consumers", "Consumers of the broker's queue.", stats.queue.consumers)


def _age(stats: StatsFrame) -> float:
    """Return how many seconds before `stats` its oldest due mail became due; 0 if no mail is due."""
    if stats.oldest_due is None:
        return 0.0
    return (datetime.fromisoformat(stats.at) - datetime.fromisoformat(stats.oldest_due)).total_seconds()


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"notifier_{name}", what, value=float(value))


def _gauges(name: str, what: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(f"notifier_{name}", what, labels=[label])
    for key, value in values:
        family.add_metric([key], float(value))
    return family
