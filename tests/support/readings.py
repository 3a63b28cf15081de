"""The state of a service that never ran, for tests of what shows it."""

from notifier.feed.protocol import Readiness, StatsFrame, Totals
from notifier.feed.protocol.status import (
    ActorState,
    BrokerState,
    DeadLettersState,
    PendingMails,
    QueueStatus,
    Rates,
    StoreState,
    TransportState,
)

SINCE = "2026-11-24T10:00:00.000Z"
TRANSPORTS = [
    TransportState(transport="a:587", state="ready", reason=None, until=None, quota_left=3),
    TransportState(transport="b:587", state="paused", reason="connection refused", until=SINCE, quota_left=None),
]
READINESS = Readiness(
    status="not ready",
    store=StoreState(state="unusable", reason="disk full"),
    actors={
        "sender": ActorState(state="running", since=SINCE, reason=None),
        "consumer": ActorState(state="waiting", since=SINCE, reason="connection refused"),
    },
    broker=BrokerState(state="connecting", since=SINCE),
    dead_letters=DeadLettersState(state="ok", waiting=0, reason=None),
    smtp=TRANSPORTS,
)
STATS = StatsFrame(
    at="2026-11-24T10:01:30.500Z",
    totals=Totals(pending=3, sending=0, sent=5, failed=0, cancelled=0, expired=0, uncertain=0),
    pending=PendingMails(due=1, scheduled=2, retrying=0),
    rates=Rates(received=0.5, sent=0.4, failed=0.0),
    queue=QueueStatus(messages=7, consumers=1),
    broker=READINESS.broker,
    smtp=TRANSPORTS,
    paused=True,
    oldest_due=SINCE,
)
