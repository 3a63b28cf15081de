"""What a piece of work collects and writes; see also `test_changes.py`, and `test_counts.py` for the counts."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.samples import NOW, mail

from notifier.domain.mail import Status
from notifier.storage import rows
from notifier.storage.sqlite.migrate import migrate
from notifier.storage.sqlite.writes import Writes


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open a new database with the newest schema, in a transaction."""
    connection = sqlite3.connect(tmp_path / "mails.db", isolation_level=None)
    migrate(connection)
    connection.execute("BEGIN")
    yield connection
    connection.close()


def add(writes: Writes, *ids: str) -> None:
    """Add a mail with its event for each id."""
    for id_ in ids:
        new = mail(id=id_)
        n = writes.add_mail(new, rows.content_value(new), NOW)
        writes.append(n, "mail.pending", None, new, NOW)


def test_nothing_is_written_before_the_flush(db: sqlite3.Connection) -> None:
    """The rows are collected, and then each table is written with one statement."""
    writes = Writes(db)
    add(writes, "a", "b")
    assert db.execute("SELECT count(*) FROM mails").fetchone() == (0,)
    writes.flush()
    writes.flush()
    assert db.execute("SELECT n, id FROM mails ORDER BY n").fetchall() == [(1, "a"), (2, "b")]
    assert db.execute("SELECT seq, mail, mail_n FROM events ORDER BY seq").fetchall() == [(1, "a", 1), (2, "b", 2)]
    assert db.execute("SELECT n FROM contents ORDER BY n").fetchall() == [(1,), (2,)]
    assert db.execute("SELECT mails FROM totals WHERE status = ?", (Status.PENDING,)).fetchone() == (2,)


def test_the_events_in_memory_are_those_of_the_log(db: sqlite3.Connection) -> None:
    """They have the same numbers and bodies, in the same order."""
    writes = Writes(db)
    add(writes, "a", "b")
    writes.flush()
    stored = db.execute("SELECT seq, mail, body FROM events ORDER BY seq").fetchall()
    assert [(event.seq, event.mail, event.body) for event in writes.events] == stored


def test_numbers_go_on_after_those_of_another_piece_of_work(db: sqlite3.Connection) -> None:
    """Works that share a transaction give no number twice, nor one of a row that was deleted."""
    for id_ in ("a", "b"):
        writes = Writes(db)
        add(writes, id_)
        writes.flush()
    db.execute("DELETE FROM mails WHERE id = 'b'")
    writes = Writes(db)
    add(writes, "c")
    writes.flush()
    assert db.execute("SELECT n, id FROM mails ORDER BY n").fetchall() == [(1, "a"), (3, "c")]


def test_a_new_mail_with_a_stored_id_is_an_error(db: sqlite3.Connection) -> None:
    """Ignoring it would lose a mail that its reader is waiting for."""
    writes = Writes(db)
    add(writes, "a")
    writes.flush()
    add(writes, "b", "a")
    with pytest.raises(RuntimeError, match="already"):
        writes.flush()
