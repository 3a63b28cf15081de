import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import NOW

from notifier.domain.events import StoredEvent
from notifier.domain.mail import Kind, Status
from notifier.feed.protocol.status import Rates
from notifier.observability.throughput import SPAN, Throughput


def logged(prev: Status | None, status: Status) -> StoredEvent:
    return StoredEvent(1, b"{}", f"mail.{status}", "m.1", "m", prev, status, Kind.NOTIFICATION, None, NOW, "e", None)


NEW = logged(None, Status.PENDING)
SENT = logged(Status.SENDING, Status.SENT)
FAILED = logged(Status.SENDING, Status.FAILED)


@pytest.mark.parametrize(
    ("event", "rates"),
    [
        (NEW, Rates(received=0.1, sent=0.0, failed=0.0)),
        (SENT, Rates(received=0.0, sent=0.1, failed=0.0)),
        (FAILED, Rates(received=0.0, sent=0.0, failed=0.1)),
        (logged(None, Status.FAILED), Rates(received=0.1, sent=0.0, failed=0.1)),
        (logged(Status.PENDING, Status.SENDING), Rates(received=0.0, sent=0.0, failed=0.0)),
        (logged(Status.PENDING, Status.CANCELLED), Rates(received=0.0, sent=0.0, failed=0.0)),
    ],
)
def test_each_event_counts_as_what_it_is(event: StoredEvent, rates: Rates) -> None:
    """A new mail counts as received, a sent one as sent, a failed one as failed, all else not at all."""
    meter = Throughput()
    meter.count([event], 100.2)
    assert meter.rates(101.0) == rates


def test_several_events_of_a_second_are_added_up() -> None:
    """Whether they are logged together or one after the other."""
    meter = Throughput()
    meter.count([NEW, NEW, SENT, SENT, FAILED, FAILED], 100.2)
    meter.count([NEW, SENT, FAILED], 100.9)
    assert meter.rates(101.0) == Rates(received=0.3, sent=0.3, failed=0.3)


def test_the_running_second_does_not_count_yet() -> None:
    """A rate is over whole seconds, so it does not sink at the start of each."""
    meter = Throughput()
    meter.count([SENT], 100.2)
    assert meter.rates(100.9).sent == 0.0
    assert meter.rates(101.0).sent == 0.1


def test_a_count_is_forgotten_after_ten_seconds() -> None:
    """A second counts in exactly the ten seconds behind it."""
    meter = Throughput()
    meter.count([SENT], 100.2)
    assert meter.rates(110.9).sent == 0.1
    assert meter.rates(111.0).sent == 0.0


def test_what_nobody_asks_for_takes_no_more_memory() -> None:
    """Counts are kept for the seconds that a rate can still be asked for."""
    meter = Throughput()
    for second in range(1000):
        for _ in range(3):
            meter.count([NEW, SENT], float(second))
    assert len(meter._seconds) == SPAN + 1
    assert meter.rates(1000.0) == Rates(received=3.0, sent=3.0, failed=0.0)


@given(st.integers(1, 40), st.integers(SPAN, 3 * SPAN), st.floats(0, 0.99))
def test_a_steady_stream_has_its_rate(per_second: int, seconds: int, into: float) -> None:
    """A steady number of events in each second is that rate, however long it goes on."""
    meter = Throughput()
    for second in range(seconds):
        meter.count([SENT] * per_second, second + into)
    assert meter.rates(float(seconds)).sent == per_second
