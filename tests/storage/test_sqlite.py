"""What is particular to the store in a SQLite file."""

import sqlite3
import stat
from pathlib import Path

import pytest

from notifier.errors import StoreUnusable
from notifier.storage.sqlite import SqliteStore


async def test_a_second_process_cannot_open_the_file(tmp_path: Path) -> None:
    """The file belongs to one; who comes second is told so in one line, and can have it afterwards."""
    first = await SqliteStore.open(tmp_path / "n.db")
    with pytest.raises(StoreUnusable, match="another notifier is using this database"):
        await SqliteStore.open(tmp_path / "n.db")
    await first.close()
    await (await SqliteStore.open(tmp_path / "n.db")).close()


async def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    """Garbage in the file's place is an error that names the file, and stays untouched."""
    path = tmp_path / "n.db"
    path.write_bytes(b"this is no database at all, but it may be dear to someone" * 40)
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match=r"n\.db: file is not a database"):
        await SqliteStore.open(path)
    assert path.read_bytes() == before


async def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """A file that cannot be created is one line with the reason."""
    with pytest.raises(StoreUnusable, match="No such file or directory"):
        await SqliteStore.open(tmp_path / "missing" / "n.db")


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database that a newer version wrote is not touched."""
    path = tmp_path / "n.db"
    await (await SqliteStore.open(path)).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnusable, match="schema 99, newer than this version"):
        await SqliteStore.open(path)


async def test_commits_are_durable_and_readable_only_by_their_owner(tmp_path: Path) -> None:
    """The connection syncs every commit to disk; the file holds addresses and is nobody else's."""
    store = await SqliteStore.open(tmp_path / "n.db")
    modes = await store._run(
        lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    await store.close()
    assert modes == ["wal", 2]
    assert stat.S_IMODE((tmp_path / "n.db").stat().st_mode) == 0o600


async def test_a_failing_transaction_changes_nothing_and_shows_as_the_stores_fault(tmp_path: Path) -> None:
    """An error in the middle rolls back what came before it, and the next success clears the fault."""
    store = await SqliteStore.open(tmp_path / "n.db")

    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta VALUES ('half', '1')")
        db.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(StoreUnusable, match="no such table"):
        await store._transact(work)
    faults = [store.fault]
    assert await store._run(lambda db: db.execute("SELECT * FROM meta WHERE name = 'half'").fetchall()) == []
    faults.append(store.fault)
    assert faults == ["no such table: nowhere", None]
    await store.close()
