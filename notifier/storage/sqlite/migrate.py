"""Upgrade a SQLite database to this version's schema: numbered files, each applied once, in order."""

import sqlite3
from importlib import resources

from notifier.errors import StoreUnusable


def migrate(db: sqlite3.Connection) -> None:
    """Apply the missing migrations, each in a transaction of its own.

    The number of the last one is the database's `user_version`. Raises StoreUnusable if that is higher than the number
    of this version's newest migration.
    """
    migrations = _migrations()
    (current,) = db.execute("PRAGMA user_version").fetchone()
    if current > len(migrations):
        raise StoreUnusable(
            f"the database has schema {current}, newer than this version of notifier (schema {len(migrations)}): "
            "run the version that wrote it, or a newer one"
        )
    for number, script in enumerate(migrations[current:], start=current + 1):
        db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")


def _migrations() -> list[str]:
    folder = resources.files("notifier.storage.sqlite") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]
