"""The places and the memory of all connections together."""

import pytest

from notifier.feed import connection_limiter
from notifier.feed.connection_limiter import Answers, ConnectionLimiter


class Connection:
    """A connection that only counts."""

    def __init__(self, limiter: ConnectionLimiter, network: str = "192.0.2.1") -> None:
        self.network = network
        self.incoming = 0
        self.is_cut = False
        self._limiter = limiter

    def cut(self) -> None:
        """Count nothing of it any more."""
        self.is_cut = True
        self._limiter.incoming -= self.incoming
        self.incoming = 0
        self._limiter.answers.remove(self)
        self._limiter.leave(self)


def test_the_busiest_network_loses_its_oldest_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one connection too many before its hello, another network loses none."""
    monkeypatch.setattr(connection_limiter, "MAX_WAITING", 4)
    limiter = ConnectionLimiter()
    single = Connection(limiter, "192.0.2.1")
    flood = [Connection(limiter, "192.0.2.2") for _ in range(5)]
    for connection in (single, *flood):
        limiter.enter(connection)
    assert [each.is_cut for each in (single, *flood)] == [False, True, True, False, False, False]


def test_viewers_and_operators_have_places_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """If all places of viewers are taken, operators have theirs; a place is free again when its client leaves."""
    monkeypatch.setattr(connection_limiter, "MAX_CLIENTS", 1)
    limiter = ConnectionLimiter()
    viewer, other, operator = (Connection(limiter) for _ in range(3))
    for connection in (viewer, other, operator):
        limiter.enter(connection)
    assert limiter.promote(viewer, is_viewer=True)
    assert not limiter.promote(other, is_viewer=True)
    assert limiter.promote(operator, is_viewer=False)
    limiter.leave(viewer)
    assert limiter.promote(other, is_viewer=True)


def test_the_viewer_with_most_bytes_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of all viewers together the one with most unhandled bytes is disconnected, and no other."""
    monkeypatch.setattr(connection_limiter, "MAX_INCOMING", 100)
    limiter = ConnectionLimiter()
    modest, greedy = Connection(limiter), Connection(limiter)
    for connection, size in ((modest, 30), (greedy, 60), (modest, 20)):
        limiter.enter(connection)
        limiter.promote(connection, is_viewer=True)
        connection.incoming += size
        limiter.occupy(size)
    assert (modest.is_cut, greedy.is_cut, limiter.incoming) == (False, True, 50)


def test_the_oldest_answers_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that many share counts once; beyond the limit the oldest answers are given up, and no more of them."""
    monkeypatch.setattr(connection_limiter, "MAX_ANSWERS", 100)
    limiter = ConnectionLimiter()
    answers = limiter.answers
    viewers = [Connection(limiter) for _ in range(60)]
    shared = b"x" * 50
    for viewer in viewers[:50]:
        answers.add(viewer, shared)
    answers.add(viewers[50], b"y" * 50)
    assert (answers.size, any(each.is_cut for each in viewers)) == (100, False)
    answers.add(viewers[51], b"z" * 10)
    assert (answers.size, [each.is_cut for each in viewers]) == (60, [True] * 50 + [False] * 10)
    for viewer in viewers:
        answers.remove(viewer)
    assert answers.size == 0


def test_after_the_close_nobody_enters() -> None:
    """Connections that wait for their hello are disconnected, and so is every later one."""
    limiter = ConnectionLimiter()
    waiting, viewer, late = (Connection(limiter) for _ in range(3))
    limiter.enter(waiting)
    limiter.enter(viewer)
    limiter.promote(viewer, is_viewer=True)
    limiter.close()
    limiter.enter(late)
    assert [each.is_cut for each in (waiting, viewer, late)] == [True, False, True]


def test_nothing_is_counted_without_an_answer() -> None:
    """Removing an answer that was never added changes nothing."""
    answers = Answers()
    answers.remove(Connection(ConnectionLimiter()))
    assert answers.size == 0
