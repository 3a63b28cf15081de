"""Nothing lost, nothing sent twice: the equation that must hold after every fault, over sets of ids.

accepted messages = those whose mails are sent + failed + cancelled + expired + pending, + those dead-lettered
a mail is `sent` in the store <=> the ledger accepted it
a mail was accepted again only if it was past the final dot when a fault struck, and then byte for byte
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

SETTLED = {"sent", "failed", "cancelled", "expired", "pending"}


class Row(NamedTuple):
    """The state of one mail in the store."""

    id: str
    event: str
    kind: str
    status: str


def stored(database: Path) -> list[Row]:
    """Read the mails of a stopped service from a copy of its database, which stays unchanged for the next service.

    A service that ended while it created its database has none.
    """
    with TemporaryDirectory() as folder:
        for file in (database, Path(f"{database}-wal"), Path(f"{database}-journal")):
            if file.exists():
                copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / database.name)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'mails'").fetchone():
                return []
            return [Row(*each) for each in db.execute("SELECT id, event, kind, status FROM mails")]


def past_the_dot(rows: Iterable[Row], entries: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Return the mails that the ledger had accepted when the service died before it could record that."""
    accepted = {entry["mail"] for entry in entries if entry["phase"] == "ACCEPTED"}
    return Counter(row.id for row in rows if row.status == "sending" and row.id in accepted)


def check_messages(
    expected: Mapping[str, Collection[str]], accepted: AbstractSet[str], dead: AbstractSet[str], rows: Collection[Row]
) -> None:
    """Assert that each accepted message has exactly its mails, or was dead-lettered.

    `expected` maps each published message to the kinds of mail that it makes (none if it must be dead-lettered).
    """
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kinds.setdefault(row.event, []).append(row.kind)
    lost = accepted - kinds.keys() - dead
    assert not lost, f"lost: {sorted(lost)}"
    invented = (kinds.keys() | dead) - expected.keys()
    assert not invented, f"invented: {sorted(invented)}"
    refused = [event for event in dead if expected[event]]
    assert not refused, f"dead-lettered although they are valid: {sorted(refused)}"
    both = kinds.keys() & dead
    assert not both, f"mailed and dead-lettered: {sorted(both)}"
    wrong = {event: found for event, found in kinds.items() if sorted(found) != sorted(expected[event])}
    assert not wrong, f"mails of other kinds than expected: {wrong}"
    unsettled = [row for row in rows if row.status not in SETTLED]
    assert not unsettled, f"neither waiting nor finished: {unsettled}"


def check_mails(rows: Iterable[Row], entries: Collection[Mapping[str, Any]], struck: Mapping[str, int]) -> None:
    """Assert that `sent` and the ledger agree, and that only mails with an unknown outcome were repeated.

    `struck` counts the mails that were past the final dot when a fault struck.
    """
    times = Counter[str]()
    bytes_of: dict[str, set[tuple[str, str]]] = {}
    for entry in entries:
        if entry["phase"] == "ACCEPTED":
            times[entry["mail"]] += 1
            bytes_of.setdefault(entry["mail"], set()).add((entry["sha256"], entry["message_id"]))
    sent = {row.id for row in rows if row.status == "sent"}
    assert not sent - times.keys(), f"sent in the store, but not accepted by the ledger: {sorted(sent - times.keys())}"
    assert not times.keys() - sent, f"accepted by the ledger, but not sent in the store: {sorted(times.keys() - sent)}"
    repeats = Counter({mail: count - 1 for mail, count in times.items() if count > 1})
    avoidable = repeats - Counter(struck)
    assert not avoidable, f"sent again although the outcome was known: {dict(avoidable)}"
    bare = [entry["mail"] for entry in entries if entry.get("bare")]
    assert not bare, f"sent with a lone CR or LF, which could hide a second message: {bare}"
    changed = [mail for mail, found in bytes_of.items() if len(found) > 1]
    assert not changed, f"repeated with other bytes: {changed}"
