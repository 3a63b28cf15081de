"""Nothing lost, nothing twice: the equation that every fault must leave true, over sets of ids.

accepted messages = those whose mails are sent + failed + cancelled + expired + pending, + those dead-lettered
a mail is `sent` in the store <=> the ledger accepted it
a mail was accepted again only if it was past the final dot when a fault struck, and then to the byte
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
    """What the store says of one mail."""

    id: str
    event: str
    kind: str
    status: str


def stored(database: Path) -> list[Row]:
    """Read the mails of a service that has ended, from a copy: what it left must stay as it is for the next one.

    One that ended while it created its database has none.
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
    """Find the mails that the ledger had accepted when the service died before it could record that."""
    accepted = {entry["mail"] for entry in entries if entry["phase"] == "ACCEPTED"}
    return Counter(row.id for row in rows if row.status == "sending" and row.id in accepted)


def check_messages(
    expected: Mapping[str, Collection[str]], accepted: AbstractSet[str], dead: AbstractSet[str], rows: Collection[Row]
) -> None:
    """Demand that each accepted message has exactly its mails, or was dead-lettered.

    `expected` are all published messages, each with the kind of each mail that it makes
    (none: to be dead-lettered).
    """
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kinds.setdefault(row.event, []).append(row.kind)
    lost = accepted - kinds.keys() - dead
    assert not lost, f"lost: {sorted(lost)}"
    invented = (kinds.keys() | dead) - expected.keys()
    assert not invented, f"invented: {sorted(invented)}"
    refused = [event for event in dead if expected[event]]
    assert not refused, f"dead-lettered, and there was nothing wrong with them: {sorted(refused)}"
    both = kinds.keys() & dead
    assert not both, f"mailed and dead-lettered: {sorted(both)}"
    wrong = {event: found for event, found in kinds.items() if sorted(found) != sorted(expected[event])}
    assert not wrong, f"mails of other kinds than expected: {wrong}"
    unsettled = [row for row in rows if row.status not in SETTLED]
    assert not unsettled, f"neither waiting nor ended: {unsettled}"


def check_mails(rows: Iterable[Row], entries: Collection[Mapping[str, Any]], struck: Mapping[str, int]) -> None:
    """Demand that `sent` and the ledger agree, and that repeats are those that SMTP itself makes unknowable.

    `struck` are the mails past the final dot when a fault struck, with how often.
    """
    times = Counter[str]()
    bytes_of: dict[str, set[tuple[str, str]]] = {}
    for entry in entries:
        if entry["phase"] == "ACCEPTED":
            times[entry["mail"]] += 1
            bytes_of.setdefault(entry["mail"], set()).add((entry["sha256"], entry["message_id"]))
    sent = {row.id for row in rows if row.status == "sent"}
    assert not sent - times.keys(), f"sent, and nobody got it: {sorted(sent - times.keys())}"
    assert not times.keys() - sent, f"accepted, and not known as sent: {sorted(times.keys() - sent)}"
    repeats = Counter({mail: count - 1 for mail, count in times.items() if count > 1})
    avoidable = repeats - Counter(struck)
    assert not avoidable, f"sent again without need: {dict(avoidable)}"
    bare = [entry["mail"] for entry in entries if entry.get("bare")]
    assert not bare, f"sent with a lone CR or LF, where a second message could hide: {bare}"
    changed = [mail for mail, found in bytes_of.items() if len(found) > 1]
    assert not changed, f"repeated with other bytes: {changed}"
