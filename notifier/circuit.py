"""Whether a transport is fit to be used: ready, or paused until its next try. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum


class State(StrEnum):
    """`PROBING` is a pause whose time is over: one login is under way to see whether it can end."""

    READY = "ready"
    PAUSED = "paused"
    PROBING = "probing"


class Circuit:
    """One transport's fitness.

    It begins paused with no time left, so that a first login comes before the first
    mail. Each fault takes the next of `pauses`, the last one repeats; a delivered mail
    goes back to the first. Pauses are measured in monotonic seconds.
    """

    def __init__(self, pauses: Sequence[timedelta]) -> None:
        self._pauses = pauses
        self._step = 0
        self._retry_at = 0.0
        self.state = State.PAUSED
        self.reason: str | None = None
        self.until: datetime | None = None

    def fault(
        self, reason: str, monotonic: float, now: datetime, *, asked: timedelta | None = None, for_long: bool = False
    ) -> bool:
        """Pause; True when that is news. Deliveries that fail side by side are one fault.

        A time that the server `asked` for is obeyed; a fault that will not pass soon
        (`for_long`) takes the last pause at once.
        """
        if self.state is State.PAUSED:
            return False
        last = len(self._pauses) - 1
        pause = asked or self._pauses[last if for_long else min(self._step, last)]
        news = self.reason is None
        self._step += 1
        self._retry_at = monotonic + pause.total_seconds()
        self.state, self.reason, self.until = State.PAUSED, reason, now + pause
        return news

    def wait(self, monotonic: float) -> float | None:
        """Seconds until the next login is due; None while there is nothing to wait for."""
        return max(0.0, self._retry_at - monotonic) if self.state is State.PAUSED else None

    def probe(self) -> None:
        """Note that a login is under way."""
        self.state = State.PROBING

    def admitted(self) -> bool:
        """End the pause after a login; True when that ends a fault."""
        recovered = self.reason is not None
        self.state, self.reason, self.until = State.READY, None, None
        return recovered

    def delivered(self) -> None:
        """Start from the first pause again: the transport has shown that it works."""
        self._step = 0
