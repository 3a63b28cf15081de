"""A client's copy of the mails that it watches."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.feed.replica import Replica

STATUSES = ("pending", "sending", "sent", "failed")
HISTORIES = st.lists(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=5), min_size=1, max_size=4)
FILTERS = st.one_of(
    st.just({}),
    st.builds(lambda status: {"status": status}, st.sampled_from(STATUSES)),
    st.builds(lambda some: {"status": some}, st.lists(st.sampled_from(STATUSES), unique=True)),
)


def shown(id_: str, rev: int, status: str) -> dict[str, Any]:
    """Build a mail with the fields that a replica looks at."""
    return {"id": id_, "rev": rev, "status": status}


def events(*mails: dict[str, Any]) -> dict[str, Any]:
    """Build a frame of events."""
    return {"type": "events", "cursor": "c", "events": [{"data": {"mail": mail}} for mail in mails]}


def snapshot(*mails: dict[str, Any]) -> dict[str, Any]:
    """Build a snapshot."""
    return {"type": "snapshot", "cursor": "c", "mails": list(mails), "totals": {}, "more": False}


@given(histories=HISTORIES, wanted=FILTERS, data=st.data())
def test_repeated_events_change_nothing(
    histories: list[list[str]], wanted: dict[str, Any], data: st.DataObject
) -> None:
    """Told each mail's changes in order, some again at any later time, it has the last of each that passes."""
    told = [shown(str(n), rev, status) for n, history in enumerate(histories) for rev, status in enumerate(history, 1)]
    replica = Replica(wanted)
    for place, mail in enumerate(told):
        replica.apply(events(mail))
        again = data.draw(st.sampled_from(told[: place + 1]))
        if again["id"] in replica.mails:
            replica.apply(events(again))
    last = {str(n): shown(str(n), len(history), history[-1]) for n, history in enumerate(histories)}
    passing = wanted.get("status") or STATUSES
    assert replica.mails == {id_: mail for id_, mail in last.items() if mail["status"] in passing}


def test_an_older_revision_is_not_taken() -> None:
    """What is newer stays, and nothing is told as changed."""
    replica = Replica()
    newer, older = shown("m", 3, "sent"), shown("m", 2, "sending")
    assert replica.apply(events(newer)) == [newer]
    assert replica.apply(events(older, newer)) == []
    assert replica.mails == {"m": newer}


@pytest.mark.parametrize("status", ["pending", ["pending"], ["failed", "pending"]])
def test_a_mail_that_leaves_the_filter_leaves_the_view(status: Any) -> None:
    """It is told as changed once more, and comes back when its status fits again."""
    replica = Replica({"status": status, "kind": ["notification"]})
    left, back = shown("m", 2, "sending"), shown("m", 3, "pending")
    replica.apply(snapshot(shown("m", 1, "pending")))
    assert replica.apply(events(left)) == [left]
    assert replica.mails == {}
    replica.apply(events(back))
    assert replica.mails == {"m": back}


def test_an_empty_list_of_statuses_takes_all() -> None:
    """As on the server an empty field of a filter is none."""
    replica = Replica({"status": []})
    replica.apply(events(shown("m", 2, "sending")))
    assert list(replica.mails) == ["m"]


def test_a_snapshot_replaces_everything() -> None:
    """What it lacks is gone; what it changed is told, the latest last."""
    replica = Replica()
    replica.apply(events(shown("gone", 1, "pending"), shown("same", 1, "pending"), shown("moved", 1, "pending")))
    new, moved, same = shown("new", 1, "pending"), shown("moved", 2, "sending"), shown("same", 1, "pending")
    assert replica.apply(snapshot(new, moved, same)) == [moved, new]
    assert replica.mails == {"new": new, "moved": moved, "same": same}


def test_frames_of_other_types_change_nothing() -> None:
    """Neither those that speak of something else nor those that a newer server may send."""
    replica = Replica()
    for type_ in ("welcome", "stats", "result", "bye", "lost", "dance"):
        assert replica.apply({"type": type_}) == []
    assert replica.mails == {}
