"""Count what was published against what arrived. Pure: knows no broker, no inbox and no clock."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

Confirmation = tuple[str, float]  # the id of the event that caused the mail, and when the mail was accepted


@dataclass(frozen=True)
class Ledger:
    """The final count of a run: each published message was confirmed by mail, dead-lettered, or is still pending."""

    published: Mapping[str, float]
    confirmations: Sequence[Confirmation]
    reminders_scheduled: int = 0
    dead_lettered: Collection[str] = ()

    @cached_property
    def _delivered_ids(self) -> set[str]:
        return {event for event, _ in self.confirmations if event in self.published}

    @cached_property
    def _dead_ids(self) -> set[str]:
        return {event for event in self.dead_lettered if event in self.published}

    @property
    def delivered(self) -> int:
        """How many published messages have at least one confirmation."""
        return len(self._delivered_ids)

    @property
    def dead(self) -> int:
        """How many published messages were dead-lettered."""
        return len(self._dead_ids)

    @property
    def pending(self) -> int:
        """How many published messages have neither a confirmation nor a place among the dead letters."""
        return len(self.published) - len(self._delivered_ids | self._dead_ids)

    @property
    def duplicates(self) -> int:
        """How many confirmations came on top of the first one of their message."""
        return sum(event in self.published for event, _ in self.confirmations) - self.delivered

    @property
    def unknown(self) -> int:
        """How many confirmations and dead letters belong to no published message."""
        strangers = [event for event, _ in self.confirmations] + list(self.dead_lettered)
        return sum(event not in self.published for event in strangers)

    @property
    def balances(self) -> bool:
        """Whether every published message came to exactly one end and nothing else arrived."""
        both = self._delivered_ids & self._dead_ids
        return not (self.pending or self.duplicates or self.unknown or both)

    def lines(self) -> list[str]:
        """Say the count in the lines that the demo prints."""
        ends = f"delivered {self.delivered} + dead-lettered {self.dead} + pending {self.pending}"
        return [
            f"published {len(self.published)} = {ends}, duplicates {self.duplicates}",
            f"reminders scheduled {self.reminders_scheduled}",
        ]


def latencies(published: Mapping[str, float], confirmations: Iterable[Confirmation]) -> list[float]:
    """Give the seconds from each publish to its first confirmation, in order of confirmation."""
    first: dict[str, float] = {}
    for event, accepted_at in confirmations:
        if event in published:
            first.setdefault(event, accepted_at - published[event])
    return list(first.values())


def percentile(values: Iterable[float], q: float) -> float:
    """Give the value below which `q` percent (0 to 100) of the values lie, interpolated between neighbours.

    Raises ValueError when there are no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values, so no percentile")
    position = (len(ordered) - 1) * q / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def most_in_window(times: Iterable[float], seconds: float = 1.0) -> int:
    """Give the largest number of times in any window of that many seconds, its end not included."""
    ordered = sorted(times)
    # A fullest window can always be moved right until it begins with one of the times.
    return max((bisect_left(ordered, start + seconds) - first for first, start in enumerate(ordered)), default=0)


def steady_rate(times: Sequence[float]) -> float:
    """Give the mean rate per second from the first to the last of these times; 0 when they span no time."""
    span = max(times, default=0.0) - min(times, default=0.0)
    return (len(times) - 1) / span if span else 0.0
