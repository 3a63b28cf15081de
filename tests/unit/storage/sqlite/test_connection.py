"""A function runs on the thread of its connection."""

import asyncio
import threading
from pathlib import Path

import aiosqlite
import pytest

from notifier.errors import StoreUnusable
from notifier.storage.sqlite.connection import connect, run


async def test_a_function_runs_on_the_thread_of_its_connection_in_one_hop(tmp_path: Path) -> None:
    """If this fails after an upgrade of aiosqlite, `executescript` no longer is the way: see sqlite/connection.py."""
    connection = await connect(tmp_path / "n.db")
    try:
        others = await asyncio.gather(*(run(connection, lambda db: (db, threading.get_ident())) for _ in range(3)))
        assert len(set(others)) == 1
        assert others[0][1] != threading.get_ident()
        with pytest.raises(StoreUnusable, match="no such table"):
            await run(connection, lambda db: db.execute("SELECT * FROM nowhere"))
        with pytest.raises(ZeroDivisionError):
            await run(connection, lambda _: 1 // 0)
        await connection.executescript("CREATE TABLE here (a); INSERT INTO here VALUES (1);")
        assert await run(connection, lambda db: db.execute("SELECT a FROM here").fetchall()) == [(1,)]
    finally:
        await connection.close()


async def test_a_version_of_aiosqlite_that_runs_scripts_in_another_way_is_named(tmp_path: Path) -> None:
    """The error says which file must be changed, and the function has not run."""
    connection = await aiosqlite.connect(tmp_path / "n.db")
    try:
        with pytest.raises(RuntimeError, match=r"aiosqlite .* change notifier/storage/sqlite/connection\.py"):
            await run(connection, lambda _: pytest.fail("it has run"))
    finally:
        await connection.close()
