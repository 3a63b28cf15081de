"""A database that an older version wrote becomes this version's, with all that is in it."""

import sqlite3
from pathlib import Path

import msgspec
import pytest
from support.faults.victim import Victim
from support.samples import NOW, RULES, booking_event

from notifier.domain.claims import Quota
from notifier.domain.events import MailFilter
from notifier.domain.mail import Status
from notifier.domain.messages import Message, Origin, decode
from notifier.errors import StoreUnusable
from notifier.storage.sqlite.migrate import _migrations
from notifier.storage.sqlite.store import SqliteStore

NEWEST = len(_migrations())

ROWS = """
INSERT INTO mails (id, rev, matter, kind, status, address, subject, content, event, correlation, message_id, attempt,
                   created_at, send_at, next_attempt_at, first_attempt_at, past_data, due_at)
VALUES ('m1', 2, 'request:/ r1', 'notification', 'pending', 'asha@example.com', 'Hi',
        CAST('{"type":"letter","text":"Text.","html":null}' AS BLOB), 'r1', 'c1', '<m1@example.com>', 1,
        1795514400000, 1795514400000, 1795514405000, 1795514400000, 0, 1795514405000);
INSERT INTO events (body, type, id, mail, status, kind, created_at, event, correlation)
VALUES (CAST('{}' AS BLOB), 'mail.pending', 'm1.1', 'm1', 'pending', 'notification', 1795514400000, 'r1', 'c1');
INSERT INTO messages VALUES ('/', 'r1', 1795514400000);
INSERT INTO messages VALUES ('/', 'c2', 1795514400000);
INSERT INTO matters VALUES ('request:/ r2', CAST('{"type":"request","withdrawn":true}' AS BLOB), 1800000000000);
INSERT INTO starts (account, at, mail) VALUES ('account', 1795514400000, 'm1');
INSERT INTO cursors VALUES ('reporter', 1);
INSERT INTO meta VALUES ('store', 'b7e1'), ('paused', '1');
"""
"""Something in every table, in the columns of the first schema, with which every later one can still be filled."""


def written(path: Path, schema: int) -> None:
    """Write a database as a version with an older schema left it: a mail that is being tried again, and its event."""
    db = sqlite3.connect(path, isolation_level=None)
    for script in (*_migrations()[:schema], f"PRAGMA user_version = {schema}", ROWS):
        db.executescript(script)
    assert all(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables(db))  # noqa: S608 - names of ours
    db.close()


def tables(db: sqlite3.Connection) -> list[str]:
    """List the tables of a database."""
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def version(path: Path) -> int:
    """Tell the schema of a database."""
    db = sqlite3.connect(path)
    (found,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(found)


@pytest.mark.parametrize("schema", range(1, NEWEST))
async def test_an_older_database_is_brought_up_with_all_that_is_in_it(tmp_path: Path, schema: int) -> None:
    """Mail, event, cursor, identity and pause are as they were, what is new is empty, and work goes on."""
    path = tmp_path / "n.db"
    written(path, schema)
    store = await SqliteStore.open(path)
    (mail,) = (await store.page(MailFilter(), None, 10)).mails
    (event,) = await store.events(0, 10)
    assert (mail.id, mail.rev, mail.to, mail.correlation, mail.traceparent) == ("m1", 2, "asha@example.com", "c1", None)
    assert (event.id, event.body, event.traceparent) == ("m1.1", b"{}", None)
    assert (store.id, await store.cursor("reporter"), await store.is_paused()) == ("b7e1", 1, True)
    assert (await store.totals())[Status.PENDING] == 1
    await store.pause(paused=False)
    (added,) = await store.add([decode(msgspec.json.encode(booking_event()), Origin(NOW))], RULES, NOW)
    claim = await store.claim(10, 0, mail.due_at)
    assert {start.mail.id for start in claim.starts} == {"m1", added.mails[0]}
    assert len(await store.events(1, 10)) == 4
    quota = Quota("account", 1)
    assert (await store.claim(10, 0, mail.due_at, quota)).quota_left == 0
    repeated, withdrawn = await store.add([_request("r1"), _request("r2")], RULES, NOW)
    assert (repeated.repeated, withdrawn.repeated) == (True, False)
    (late,) = (await store.page(MailFilter(mail=frozenset(withdrawn.mails)), None, 10)).mails
    assert late.status is Status.CANCELLED
    await store.close()
    assert version(path) == NEWEST
    await (await SqliteStore.open(path)).close()


def _request(id_: str) -> Message:
    data = {"to": "asha@example.com", "subject": "Hi", "text": "Text."}
    event = {"type": "notification.requested", "id": id_, "source": "/", "data": data}
    return decode(msgspec.json.encode(event), Origin(NOW))


async def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path, environ: dict[str, str]) -> None:
    """The service says in one line which version to run, and exits 3; not a byte of the file is changed."""
    path = tmp_path / "notifier.db"
    written(path, 1)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA user_version = {NEWEST + 1}")
    db.close()
    before = path.read_bytes()
    victim = await Victim.started(environ)
    assert await victim.ended() == 3
    (line,) = victim.lines
    assert f"schema {NEWEST + 1}, newer than this version of notifier (schema {NEWEST})" in line["event"]
    assert path.read_bytes() == before


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """It is one transaction: the database stays what the older version can use, and the error names the file."""
    path = tmp_path / "n.db"
    written(path, 3)
    db = sqlite3.connect(path)
    db.execute("ALTER TABLE mails ADD COLUMN counted_since INTEGER")
    db.close()
    with pytest.raises(StoreUnusable, match=r"n\.db: duplicate column name"):
        await SqliteStore.open(path)
    assert version(path) == 3
    db = sqlite3.connect(path)
    assert "amendment" not in {row[1] for row in db.execute("PRAGMA table_info(mails)")}
    db.close()


async def test_a_mail_whose_outcome_was_unknown_before_the_upgrade_still_is_afterwards(tmp_path: Path) -> None:
    """Somebody may have it, so newer messages must not change what it says."""
    path = tmp_path / "n.db"
    written(path, 3)
    db = sqlite3.connect(path)
    db.execute("UPDATE mails SET error = 'outcome unknown: connection lost'")
    db.commit()
    db.close()
    store = await SqliteStore.open(path)
    (mail,) = (await store.page(MailFilter(), None, 10)).mails
    await store.close()
    assert mail.maybe_sent
