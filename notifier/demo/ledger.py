"""Compare the messages that were published with the mails that arrived. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

Confirmation = tuple[str, float]
"""The id of the event that caused a mail, and when the mail was accepted (wall clock, seconds)."""


@dataclass(frozen=True)
class Ledger:
    """The final count of a run: each published message was confirmed by mail, dead-lettered, or is still pending.

    `published` has the id of each message and when it was published (wall clock, seconds); `dead_lettered` has ids.
    """

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
        """How many published messages have neither a confirmation nor a dead letter."""
        return len(self.published) - len(self._delivered_ids | self._dead_ids)

    @property
    def duplicates(self) -> int:
        """How many confirmations arrived after the first one of their message."""
        return sum(event in self.published for event, _ in self.confirmations) - self.delivered

    @property
    def unknown(self) -> int:
        """How many confirmations and dead letters belong to no published message."""
        others = [event for event, _ in self.confirmations] + list(self.dead_lettered)
        return sum(event not in self.published for event in others)

    @property
    def balances(self) -> bool:
        """Whether every published message had exactly one outcome and nothing else arrived."""
        both = self._delivered_ids & self._dead_ids
        return not (self.pending or self.duplicates or self.unknown or both)

    def lines(self) -> list[str]:
        """Return the lines that the demo prints."""
        ends = f"delivered {self.delivered} + dead-lettered {self.dead} + pending {self.pending}"
        return [
            f"published {len(self.published)} = {ends}, duplicates {self.duplicates}",
            f"reminders scheduled {self.reminders_scheduled}",
        ]
