"""Counters and histograms for Prometheus: messages, changes of mails, and durations. Pure."""

from collections import Counter as Occurrences
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from notifier.domain.events import EVENT_TYPES, StoredEvent
from notifier.domain.messages import Message
from notifier.errors import DeadLetterCode
from notifier.sending.replies import Phase
from notifier.storage.store import Added

RESULTS = ("stored", "repeated", "dead_lettered")

_PHASE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600)
_STORE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The counters and histograms of one run of the service; they begin at zero, as Prometheus expects."""

    def __init__(self) -> None:
        # The library would add a second series to each, with the time at which it began; nothing here needs it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._messages = self._counter("messages", "Messages, by what became of them.", "result")
        self._dead_letters = self._counter("dead_letters", "Messages that could not be used, by the reason.", "code")
        self._flawed = self._counter(
            "flawed_messages", "Messages stored with a flaw, which the error of their mails names."
        )
        self._transitions = self._counter("transitions", "Changes of mails, by the type of their event.", "type")
        self._drops = self._counter("feed_drops", "Clients of the feed that were closed because they read too slowly.")
        self._refused_tokens = self._counter(
            "feed_auth_failures", "Wrong tokens, in a hello of the feed or as a bearer token."
        )
        self._phases = self._histogram(
            "smtp_phase_seconds",
            "Time to an SMTP server's reply; CONNECT is everything up to the login.",
            _PHASE_BUCKETS,
            ("transport", "phase"),
        )
        self._transactions = self._histogram(
            "store_transaction_seconds",
            "Time from the request of a transaction to its end.",
            _STORE_BUCKETS,
            ("operation",),
        )
        self._lag = self._histogram(
            "loop_lag_seconds", "How late the event loop runs timers that are due.", _LAG_BUCKETS
        )
        # rate() sees the first count only if the series existed before it.
        for result in RESULTS:
            self._messages.labels(result)
        for code in get_args(DeadLetterCode):
            self._dead_letters.labels(code)
        for type_ in EVENT_TYPES:
            self._transitions.labels(type_)

    def took(self, messages: Sequence[Message], added: Sequence[Added]) -> None:
        """Count messages that the store has added."""
        for message, each in zip(messages, added, strict=True):
            self._messages.labels("repeated" if each.repeated else "stored").inc()
            if getattr(message, "note", None) and not each.repeated:
                self._flawed.inc()

    def dead_lettered(self, code: DeadLetterCode) -> None:
        """Count a message that was dead-lettered."""
        self._messages.labels("dead_lettered").inc()
        self._dead_letters.labels(code).inc()

    def observe(self, events: Iterable[StoredEvent]) -> None:
        """Count events by type."""
        for type_, count in Occurrences(event.type for event in events).items():
            self._transitions.labels(type_).inc(count)

    def dropped(self) -> None:
        """Count a client of the feed that was too slow."""
        self._drops.inc()

    def refused_token(self) -> None:
        """Count a wrong token."""
        self._refused_tokens.inc()

    def answered(self, transport: str, phase: Phase, seconds: float) -> None:
        """Record how many seconds an SMTP server took to reply."""
        self._phases.labels(transport, phase).observe(seconds)

    def transacted(self, operation: str, seconds: float) -> None:
        """Record how many seconds a transaction of the store took."""
        self._transactions.labels(operation).observe(seconds)

    def lagged(self, seconds: float) -> None:
        """Record by how many seconds the event loop was late."""
        self._lag.observe(seconds)

    def page(self, gauges: Iterable[Metric]) -> bytes:
        """Write everything in Prometheus' text format, with these gauges."""
        return generate_latest(self._registry) + generate_latest(_Read(gauges))

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, namespace="notifier", registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        return Histogram(name, what, labels, namespace="notifier", registry=self._registry, buckets=buckets)


class _Read(Collector):
    """A collector of metrics that exist already."""

    def __init__(self, gauges: Iterable[Metric]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges
