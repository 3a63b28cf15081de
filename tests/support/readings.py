"""A sample of a service's readiness and stats, for tests of status and metrics."""

from typing import Any

READINESS: dict[str, Any] = {
    "actors": {"sender": {"state": "running"}, "consumer": {"state": "waiting"}},
    "broker": {"state": "connecting"},
    "smtp": [
        {"transport": "a:587", "state": "ready", "quota_left": 3},
        {"transport": "b:587", "state": "paused", "quota_left": None},
    ],
}
STATS: dict[str, Any] = {
    "at": "2026-11-24T10:01:30.500Z",
    "totals": {"pending": 3, "sent": 5},
    "pending": {"due": 1, "scheduled": 2, "retrying": 0},
    "queue": {"messages": 7, "consumers": 1},
    "paused": True,
    "oldest_due": "2026-11-24T10:00:00.000Z",
}
