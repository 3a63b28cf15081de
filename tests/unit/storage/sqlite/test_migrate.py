"""A database of an older version is upgraded to this version's schema, and nothing in it is lost."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.faults.victim import Victim
from support.samples import NOW, RULES, booking_event, flight_data

from notifier.domain.claims import Quota
from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Mail, Reply, Status, failed, handed_back
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
"""Something in every table, in the names of the first schema."""
RELEASED = range(1, 8)
"""The schemas of earlier versions."""

DATABASES = [Path(__file__).parents[3] / "support" / "databases" / f"schema_{schema}.sql" for schema in (6, 7)]
of_each_schema = pytest.mark.parametrize("dump", DATABASES, ids=lambda dump: dump.stem)
LATER = NOW + timedelta(minutes=1)


def written(path: Path, schema: int) -> None:
    """Write a database with an older schema: a mail that waits for another attempt, and its event."""
    db = sqlite3.connect(path, isolation_level=None)
    rows = ROWS if schema < 7 else ROWS.replace("matters", "aggregates").replace("matter", "aggregate")
    for script in (*_migrations()[:schema], f"PRAGMA user_version = {schema}", rows):
        db.executescript(script)
    assert all(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables(db))  # noqa: S608 - names of ours
    db.close()


def tables(db: sqlite3.Connection) -> list[str]:
    """List the tables of a database."""
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def version(path: Path) -> int:
    """Return the number of a database's schema."""
    db = sqlite3.connect(path)
    (found,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(found)


@pytest.mark.parametrize("schema", RELEASED)
async def test_an_older_database_is_upgraded_with_everything_in_it(tmp_path: Path, schema: int) -> None:
    """Mail, event, cursor, identity and pause are as they were, new columns are empty, and work continues."""
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


@asynccontextmanager
async def upgraded(dump: Path, path: Path) -> AsyncIterator[SqliteStore]:
    """Open the database that a version with an older schema wrote."""
    restored(dump, path)
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


def restored(dump: Path, path: Path) -> None:
    """Write the database of a dump."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(dump.read_text(encoding="utf-8"))


def content(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read all rows of all tables, with the names that tables and columns have had since schema 7."""
    renamed = {"matters": "aggregates", "matter": "aggregate", "known": "state"}
    found: dict[str, list[dict[str, Any]]] = {}
    with closing(sqlite3.connect(path)) as db:
        for table in tables(db):
            rows = db.execute(f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608 - ours
            columns = [renamed.get(name, name) for name, *_ in rows.description]
            found[renamed.get(table, table)] = [dict(zip(columns, row, strict=True)) for row in rows]
    return found


async def mails_of(store: SqliteStore, **fields: Any) -> list[Mail]:
    """List the mails that pass a filter, newest first."""
    wanted = msgspec.convert({name: [value] for name, value in fields.items()}, MailFilter)
    return list((await store.page(wanted, None, 100)).mails)


@of_each_schema
async def test_an_upgrade_keeps_every_row(tmp_path: Path, dump: Path) -> None:
    """Not a value is changed, only some are in another table, and counts are still those of the mails."""
    path = tmp_path / "n.db"
    async with upgraded(dump, path):
        pass
    restored(dump, tmp_path / "old.db")
    before, after = content(tmp_path / "old.db"), content(path)
    said = {row["n"]: row["content"] for row in after.pop("contents")}
    after["mails"] = [{**row, "content": said.pop(row["n"])} for row in after["mails"]]
    assert not said
    numbers = {row["id"]: row["n"] for row in after["mails"]}
    assert all(row.pop("mail_n") == numbers[row["mail"]] for row in after["events"])
    assert after == before
    statuses = [row[4] for row in _columns(path, "SELECT n, id, rev, kind, status FROM mails")]
    assert {status: statuses.count(status) for status in Status} == dict(_columns(path, "SELECT * FROM totals"))
    assert set(statuses) == set(Status)


def _columns(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


@of_each_schema
async def test_a_booking_from_before_an_upgrade_changes_as_any_other(tmp_path: Path, dump: Path) -> None:
    """Versions, addresses, confirmations and the state that a message without a version left are all still known."""
    asha, ben = (
        {"name": "Asha Rao", "email": "asha@example.com", "locale": "en"},
        {"name": "Ben Bo", "email": "ben@example.com"},
    )
    moved = flight_data(departs_at="2026-12-03T09:30:00+05:30", arrives_at=None)
    change = {"type": "booking.changed", "booking": "KNOWN", "flights": [moved]}
    async with upgraded(dump, tmp_path / "n.db") as store:
        messages = [
            booking_event(id="old", version=1, **{**change, "passengers": [asha]}),
            booking_event(id="k1", booking="KNOWN", passengers=[asha, ben]),
            booking_event(id="new", version=2, **{**change, "passengers": [asha, ben]}),
        ]
        outdated, repeated, newer = await store.add([_decoded(each) for each in messages], RULES, LATER)
        assert (outdated.mails, repeated.repeated, len(repeated.mails)) == ((), True, 5)
        added = [mail for mail in await mails_of(store, booking="KNOWN") if mail.id in newer.mails]
        assert sorted((mail.kind, mail.to) for mail in added) == [
            (kind, to) for kind in (Kind.CHANGE, Kind.REMINDER) for to in ("asha@example.com", "ben@example.com")
        ]
        reminders = await mails_of(store, booking="KNOWN", kind=Kind.REMINDER)
        assert [mail.status for mail in reminders] == [Status.PENDING] * 2 + [Status.CANCELLED] * 2


@of_each_schema
async def test_mails_from_before_an_upgrade_go_on_in_every_status(tmp_path: Path, dump: Path) -> None:
    """An amendment takes effect, an erased address is recognised, and claims, retries and expiry find their mails."""
    async with upgraded(dump, tmp_path / "n.db") as store:
        (orphan,) = await store.sending()
        events = await store.record([handed_back(orphan)], LATER)
        assert [(event.booking, event.status) for event in events] == [("CHANGED", Status.PENDING)]
        rewritten = await store.get(orphan.id)
        assert rewritten is not None
        assert "Wed 2 Dec" in rewritten.subject
        eve = [{"name": "Eve", "email": "eve@example.com"}]
        back = booking_event(id="e2", booking="ERASED", type="booking.changed", version=2, passengers=eve)
        (added,) = await store.add([_decoded(back)], RULES, LATER)
        kinds = [mail.kind for mail in await mails_of(store, booking="ERASED") if mail.id in added.mails]
        assert Kind.CONFIRMATION not in kinds
        claimed = [start.mail for start in (await store.claim(100, 0, LATER)).starts]
        assert {mail.event for mail in claimed} == {"c1", "retried", "e2"}
        await store.record([failed(mail, Reply(550, "no"), None) for mail in claimed], LATER)
        (uncertain,) = await mails_of(store, status=Status.UNCERTAIN)
        assert uncertain.maybe_sent
        assert len(await store.history(uncertain.id)) == 3
        later = LATER + timedelta(days=30)
        await store.expire(later)
        over = later + timedelta(days=1)
        while any(await store.purge(over, over, None, over)):
            pass
        left = [(mail.event, mail.status) for mail in await mails_of(store)]
        assert left == [("waiting", Status.PENDING), ("uncertain", Status.UNCERTAIN)]


def _decoded(event: dict[str, Any]) -> Message:
    return decode(msgspec.json.encode(event), Origin(NOW))


def _request(id_: str) -> Message:
    data = {"to": "asha@example.com", "subject": "Hi", "text": "Text."}
    event = {"type": "notification.requested", "id": id_, "source": "/", "data": data}
    return _decoded(event)


async def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path, environ: dict[str, str]) -> None:
    """The service logs in one line which version to run, and exits with 3; not a byte of the file is changed."""
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
    """It is one transaction: the older version can still use the database, and the error names the file."""
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
    """Somebody may have received it, so newer messages must not change what it says."""
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
