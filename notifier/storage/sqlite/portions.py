"""How much of the work one transaction does before others get their turn. Pure."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from notifier.domain.planning import HEAVY

MAX_WEIGHT = 500
"""Mails that one transaction reads, adds, changes or deletes at most, unless a single message needs more. A large one
weighs as much as several: see `weight`."""
EVENTS = 10
"""Events that are as much work to delete or to erase as one more mail."""

_T = TypeVar("_T")


class Portion(NamedTuple, Generic[_T]):
    """What one transaction does, and whether there is more."""

    items: list[_T]
    more: bool


def weight(size: int, events: int = 0) -> int:
    """Return how much work a row is, in mails, given the bytes of its largest column and how many events it has."""
    return 1 + size // HEAVY + events // EVENTS


def portion(rows: Iterable[tuple[_T, int]]) -> Portion[_T]:
    """Return the first items, given with their weights, that weigh no more than MAX_WEIGHT together; at least one."""
    items: list[_T] = []
    spent = 0
    for item, weighs in rows:
        spent += weighs
        if items and spent > MAX_WEIGHT:
            return Portion(items, more=True)
        items.append(item)
    return Portion(items, more=False)
