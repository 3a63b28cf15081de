"""The state of the connection to the broker: what is logged once, and what a session's end resets."""

from typing import Any

from notifier.gateways.broker_status import BrokerStatus, HeldDeadLetters, QueueCounts


def test_a_warning_is_logged_once_across_sessions(logged_lines: list[dict[str, Any]]) -> None:
    """The same warning about another queue is logged as well."""
    broker = BrokerStatus()
    for name in ("a", "b", "a"):
        broker.changed(connected=True)
        broker.warn("queue cannot be consumed; trying again", name=name, reason="locked")
        broker.changed(connected=False)
    assert [line["name"] for line in logged_lines] == ["a", "b"]


def test_a_queue_that_is_consumed_again_is_logged_once(logged_lines: list[dict[str, Any]]) -> None:
    """Only if there was a warning about it; the next warning about it is logged again."""
    broker = BrokerStatus()
    broker.consumed("a")
    broker.warn("queue cannot be consumed; trying again", name="a")
    broker.consumed("a")
    broker.consumed("a")
    broker.warn("queue cannot be consumed; trying again", name="a")
    assert [line["log_level"] for line in logged_lines] == ["warning", "info", "warning"]


def state(broker: BrokerStatus) -> tuple[bool, QueueCounts | None, HeldDeadLetters]:
    """Return what a session changes."""
    return broker.connected, broker.queue, broker.held


def test_the_end_of_a_session_resets_its_status() -> None:
    """The queue is unknown and nothing is held; `since` changes only together with `connected`."""
    broker = BrokerStatus()
    since = broker.since
    broker.changed(connected=False)
    assert (broker.connected, broker.since) == (False, since)
    broker.changed(connected=True)
    began = broker.since
    broker.queue, broker.held = QueueCounts(4, 1), HeldDeadLetters(2, "full")
    assert state(broker) == (True, QueueCounts(4, 1), HeldDeadLetters(2, "full"))
    assert began >= since
    broker.changed(connected=False)
    assert state(broker) == (False, None, HeldDeadLetters(0, None))
    assert broker.since >= began
