"""A client's copy of the mails that it watches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import AT, events, shown, snapshot
from support.readings import STATS

from notifier.domain.mail import Kind, Status
from notifier.feed.protocol import FilterFields, ResultFrame, WelcomeFrame
from notifier.feed.replica import Replica

STATUSES = (Status.PENDING, Status.SENDING, Status.SENT, Status.FAILED)
HISTORIES = st.lists(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=5), min_size=1, max_size=4)
FILTERS = st.one_of(
    st.just(FilterFields()),
    st.builds(FilterFields, status=st.sampled_from(STATUSES)),
    st.builds(FilterFields, status=st.lists(st.sampled_from(STATUSES), unique=True)),
)


@given(histories=HISTORIES, wanted=FILTERS, data=st.data())
def test_repeated_events_change_nothing(
    histories: list[list[Status]], wanted: FilterFields, data: st.DataObject
) -> None:
    """Given each mail's changes in order, and some again at any later time, it has the last of each that passes."""
    changes = [
        shown(str(n), rev, status) for n, history in enumerate(histories) for rev, status in enumerate(history, 1)
    ]
    replica = Replica(wanted)
    for place, mail in enumerate(changes):
        replica.apply(events(mail))
        again = data.draw(st.sampled_from(changes[: place + 1]))
        if again.id in replica.mails:
            replica.apply(events(again))
    last = {str(n): shown(str(n), len(history), history[-1]) for n, history in enumerate(histories)}
    passing = wanted.status or STATUSES
    assert replica.mails == {id_: mail for id_, mail in last.items() if mail.status in passing}


def test_an_older_revision_is_not_taken() -> None:
    """The newer revision stays, and nothing is reported as changed."""
    replica = Replica()
    newer, older = shown("m", 3, "sent"), shown("m", 2, "sending")
    assert replica.apply(events(newer)) == [newer]
    assert replica.apply(events(older, newer)) == []
    assert replica.mails == {"m": newer}


@pytest.mark.parametrize("status", [Status.PENDING, [Status.PENDING], [Status.FAILED, Status.PENDING]])
def test_a_mail_that_leaves_the_filter_leaves_the_view(status: Status | list[Status]) -> None:
    """The mail is reported as changed once more, and comes back when its status passes again."""
    replica = Replica(FilterFields(status=status, kind=[Kind.NOTIFICATION]))
    left, back = shown("m", 2, "sending"), shown("m", 3, "pending")
    replica.apply(snapshot(shown("m", 1, "pending")))
    assert replica.apply(events(left)) == [left]
    assert replica.mails == {}
    replica.apply(events(back))
    assert replica.mails == {"m": back}


def test_an_empty_list_of_statuses_takes_all() -> None:
    """An empty field of a filter is no condition, as on the server."""
    replica = Replica(FilterFields(status=[]))
    replica.apply(events(shown("m", 2, "sending")))
    assert list(replica.mails) == ["m"]


def test_a_snapshot_replaces_everything() -> None:
    """Mails that it lacks are gone; mails that it changed are reported, the latest last."""
    replica = Replica()
    replica.apply(events(shown("gone", 1, "pending"), shown("same", 1, "pending"), shown("moved", 1, "pending")))
    new, moved, same = shown("new", 1, "pending"), shown("moved", 2, "sending"), shown("same", 1, "pending")
    assert replica.apply(snapshot(new, moved, same)) == [moved, new]
    assert replica.mails == {"new": new, "moved": moved, "same": same}


def test_frames_of_other_types_change_nothing() -> None:
    """Only snapshots and events carry mails."""
    replica = Replica()
    welcome = WelcomeFrame(protocol=1, server="s", role="viewer", resumed=True, replay=0, heartbeat=20, now=AT)
    for frame in (welcome, STATS, ResultFrame(id=1, ok=True), None):
        assert replica.apply(frame) == []
    assert replica.mails == {}
