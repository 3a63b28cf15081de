"""Commits are on disk when they return, and deleted rows are no longer on disk."""

import json
from datetime import timedelta
from pathlib import Path

from support.parts import request
from support.samples import NOW, RULES

from notifier.domain.mail import Reply, sent
from notifier.domain.messages import Origin, decode
from notifier.storage.sqlite.store import SqliteStore

WORDS = "Confidential-Subject-4711"


def on_disk(path: Path) -> bytes:
    """Read all files of a database."""
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


async def test_purged_mails_are_gone_from_the_disk(tmp_path: Path) -> None:
    """No file of a closed store has any of their words, also not in its free pages."""
    path = tmp_path / "n.db"
    store = await SqliteStore.open(path)
    messages = [decode(json.dumps(request(n, subject=f"{WORDS}-{n}")).encode(), Origin(NOW)) for n in range(50)]
    await store.add(messages, RULES, NOW)
    starts = (await store.claim(50, 0, NOW)).starts
    await store.record([sent(start.mail, Reply(250, "OK"), NOW) for start in starts], NOW)
    assert WORDS.encode() in on_disk(path)
    later = NOW + timedelta(days=30)
    assert (await store.purge(later, later, None, later)).mails == 50
    await store.close()
    assert WORDS.encode() not in on_disk(path)


async def test_a_commit_is_on_the_disk(tmp_path: Path) -> None:
    """The write-ahead log is synced to disk with every commit (`FULL` is 2)."""
    store = await SqliteStore.open(tmp_path / "n.db")
    names = ("synchronous", "journal_mode", "secure_delete")
    found = [await store._run(lambda db, name=name: db.execute(f"PRAGMA {name}").fetchone()[0]) for name in names]  # type: ignore[misc]
    await store.close()
    assert found == [2, "wal", 1]
