"""How much work one transaction does before others get their turn. Pure."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from notifier.domain.planning import BYTES_PER_MAIL

MAX_WEIGHT = 500
"""Maximum number of mails that one transaction reads, adds, changes or deletes, unless a single message needs more.

A large mail counts as several, see `weight`.
"""
EVENTS_PER_MAIL = 10
"""Number of events that cost as much to delete or to erase as one more mail."""

_T = TypeVar("_T")


class Portion(NamedTuple, Generic[_T]):
    """The work of one transaction."""

    items: list[_T]
    more: bool
    """Whether there are more items."""


def weight(size: int, events: int = 0) -> int:
    """Return the cost of a row in mails, given the bytes of its largest column and the number of its events."""
    return 1 + size // BYTES_PER_MAIL + events // EVENTS_PER_MAIL


def portion(rows: Iterable[tuple[_T, int]]) -> Portion[_T]:
    """Return the first items that together weigh at most MAX_WEIGHT, and at least one; `rows` are items and weights."""
    items: list[_T] = []
    spent = 0
    for item, weighs in rows:
        spent += weighs
        if items and spent > MAX_WEIGHT:
            return Portion(items, more=True)
        items.append(item)
    return Portion(items, more=False)
