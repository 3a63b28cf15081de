"""The newest events in memory: never a gap, bounded, and the same as in the log."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import NOW

from notifier.domain.events import StoredEvent
from notifier.domain.mail import Kind, Status
from notifier.storage import recent_events
from notifier.storage.recent_events import MAX_RECENT, RecentEvents


def events(first: int, last: int, size: int = 10) -> list[StoredEvent]:
    """Build events with these numbers."""
    body = b"x" * size
    return [
        StoredEvent(n, body, "mail.sent", f"m.{n}", "m", None, Status.SENT, Kind.CHANGE, None, NOW, "e", None)
        for n in range(first, last + 1)
    ]


class Run(msgspec.Struct):
    """Events that are appended, and what is read afterwards."""

    count: int
    cleared: bool
    after: int
    limit: int


RUNS = st.lists(
    st.builds(Run, count=st.integers(0, 9), cleared=st.booleans(), after=st.integers(0, 99), limit=st.integers(0, 9))
)


@given(st.integers(0, 50), RUNS)
def test_an_answer_is_what_the_log_would_answer(head: int, runs: list[Run]) -> None:
    """Whatever is appended, cleared and asked: the events that follow, without a gap, or no answer."""
    log = events(1, head)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_events, "MAX_RECENT", 12)
        recent = RecentEvents(head)
        for run in runs:
            log += events(len(log) + 1, len(log) + run.count)
            recent.append(log[len(log) - run.count :] if run.count else [])
            if run.cleared:
                recent.clear()
            found = recent.after(run.after, run.limit)
            assert found is None or found == log[run.after : run.after + run.limit]
            # Whoever has read everything is never sent to the log.
            assert recent.after(len(log), run.limit) == []


def test_the_newest_events_are_kept() -> None:
    """At most MAX_RECENT events, and who needs an older one must read the log."""
    recent = RecentEvents(0)
    recent.append(events(1, MAX_RECENT + 5))
    assert recent.after(4, 1) is None
    assert [event.seq for event in recent.after(5, 2) or ()] == [6, 7]


def test_large_events_are_fewer() -> None:
    """The size of all events together is bounded, so large bodies cannot fill the memory."""
    recent = RecentEvents(0)
    for n in range(1, 101):
        recent.append(events(n, n, size=1_000_000))
    kept = [seq for seq in range(100) if recent.after(seq, 1)]
    assert 10 < len(kept) < 20
    assert kept[-1] == 99


def test_a_gap_is_never_filled_with_what_comes_later() -> None:
    """If events are missing, those before them are forgotten, so that whoever is there reads the log."""
    recent = RecentEvents(0)
    recent.append(events(1, 3))
    recent.append(events(5, 6))
    assert recent.after(3, 9) is None
    assert [event.seq for event in recent.after(4, 9) or ()] == [5, 6]
