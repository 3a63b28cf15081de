"""Cursors: places in the event log, opaque to clients and valid across restarts. Pure."""

import re
from typing import NamedTuple

_CURSOR = re.compile(r"([0-9a-f]{32})-(\d{1,18})-([0-9a-f]{8})")


class Cursor(NamedTuple):
    """The content of a cursor.

    `store` is the id of the database, `seq` the number of the last event that the client has, and `filter_hash`
    identifies the filter under which it got the events up to there.
    """

    store: str
    seq: int
    filter_hash: str


def cursor(store: str, seq: int, hashed: str) -> str:
    """Write a cursor. `hashed` is the `filter_hash` of the client's filter."""
    return f"{store}-{seq}-{hashed}"


def read_cursor(text: str) -> Cursor | None:
    """Read a cursor; return None if the text is not a cursor of this version."""
    match = _CURSOR.fullmatch(text)
    return Cursor(match[1], int(match[2]), match[3]) if match else None
