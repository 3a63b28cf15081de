"""Whether an SMTP account may be used: a circuit breaker that is closed, open or half-open. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

SUSPECTED_PAUSE = timedelta(seconds=60)
"""The longest pause of an account that is only suspected: a batch of invalid mails looks like its fault, too."""


class State(StrEnum):
    """The states of a circuit breaker, in the order in which an account goes through them after a fault.

    `OPEN`: the account is paused and nothing is sent. `PROBING`: the pause is over and one login is under way.
    `HALF_OPEN`: the login succeeded, and one mail at a time is sent until one of them has shown that the account
    works. `CLOSED`: mail is sent on all connections.
    """

    OPEN = "open"
    PROBING = "probing"
    HALF_OPEN = "half-open"
    CLOSED = "closed"


class Trial:
    """The permission for one mail to start while the breaker is half-open; each mail on trial gets a new object."""


class CircuitBreaker:
    """The circuit breaker of one account.

    It begins open with no time left, so that a login and then one mail precede all others. Each fault takes
    the next of `pauses`, and the last one repeats; an accepted mail goes back to the first. Pauses are measured
    by the event loop's clock (`monotonic`, in seconds), so that a jump of the wall clock does not change them.

    A fault is known if the login failed or the server says that it is about the account. Otherwise the account
    is only suspected, because mails failed in a row. Then times that the server names are ignored, no pause is
    longer than SUSPECTED_PAUSE, and an accepted mail ends the pause at once.

    `reason` and `until` (UTC) are those of the current pause, or None if there was no fault since the latest login.
    """

    def __init__(self, pauses: Sequence[timedelta]) -> None:
        self._pauses = pauses
        self._step = 0
        self._pause = timedelta(0)
        self._retry_at = 0.0
        self._trial: Trial | None = None
        self._is_suspected = False
        self.state = State.OPEN
        self.reason: str | None = None
        self.until: datetime | None = None

    @property
    def is_recovering(self) -> bool:
        """Whether no mail has been accepted since the latest fault, although the login succeeded."""
        return self.state is State.HALF_OPEN and self._step > 0

    @property
    def tries_newest(self) -> bool:
        """Whether the mail on trial should be the one that is due last, as those before it may have failed."""
        return self._is_suspected and self.state is State.HALF_OPEN

    def fault(
        self, reason: str, monotonic: float, now: datetime, *, asked: timedelta | None = None, for_long: bool = False
    ) -> bool:
        """Pause the account for a known fault; return whether the pause should be reported.

        Deliveries that fail at the same time are one fault, so during a pause no further step is taken. A pause
        that the server `asked` for is obeyed, also if it makes the current pause longer. A fault that lasts, such
        as a daily limit (`for_long`), takes the last pause at once.
        """
        self._is_suspected = False
        named = asked or (self._pauses[-1] if for_long else None)
        if self.state is State.OPEN:
            if named is None or named <= self._pause:
                return False
            self._pause_for(reason, named, monotonic, now)
            return True
        is_new = self.reason is None
        self._pause_for(reason, named or self._next_pause(), monotonic, now)
        self._step += 1
        return is_new

    def suspect(self, reason: str, monotonic: float, now: datetime) -> bool:
        """Pause the account because mails failed in a row; return whether the pause should be reported.

        Only pauses shorter than SUSPECTED_PAUSE are steps, so that a known fault afterwards does not begin with a
        long one.
        """
        if self.state is State.OPEN:
            return False
        is_new = self.reason is None
        pause = min(self._next_pause(), SUSPECTED_PAUSE)
        self._pause_for(reason, pause, monotonic, now)
        self._is_suspected = True
        self._step = max(1, self._step + (pause < SUSPECTED_PAUSE))
        return is_new

    def _next_pause(self) -> timedelta:
        return self._pauses[min(self._step, len(self._pauses) - 1)]

    def _pause_for(self, reason: str, pause: timedelta, monotonic: float, now: datetime) -> None:
        self._pause, self._retry_at = pause, monotonic + pause.total_seconds()
        self.state, self.reason, self.until = State.OPEN, reason, now + pause

    def seconds_until_login(self, monotonic: float) -> float | None:
        """Return the seconds until the next login is due; None if the breaker is not open."""
        return max(0.0, self._retry_at - monotonic) if self.state is State.OPEN else None

    def begin_probe(self) -> None:
        """Note that a login is under way."""
        self.state = State.PROBING

    def cancel_probe(self) -> None:
        """Note that the login was cancelled, so that the next one is due at once."""
        if self.state is State.PROBING:
            self.state = State.OPEN

    def login_succeeded(self) -> bool:
        """End the pause after a login, for one mail at a time; return whether that ends a fault.

        The login does not end a fault that came while it was under way, such as a late reply to an earlier mail.
        """
        if self.state is not State.PROBING:
            return False
        recovered = self.reason is not None
        self.state, self.reason, self.until = State.HALF_OPEN, None, None
        return recovered

    def room(self, free: int) -> int:
        """Return how many of `free` connections may start a mail now."""
        if self.state is State.CLOSED:
            return free
        return min(free, 1) if self.state is State.HALF_OPEN and self._trial is None else 0

    def lets_start(self, trial: Trial | None) -> bool:
        """Return whether a mail that was claimed may still start: the account may have been paused since then."""
        on_trial = trial is not None and trial is self._trial
        return self.state is State.CLOSED or (self.state is State.HALF_OPEN and on_trial)

    def begin_trial(self) -> Trial | None:
        """Put a mail on trial, until `end_trial`; return None if no trial is needed or another mail is on trial."""
        if self.state is not State.HALF_OPEN or self._trial is not None:
            return None
        self._trial = Trial()
        return self._trial

    def end_trial(self, trial: Trial | None) -> None:
        """End a trial, whatever it has shown; does nothing if that trial has ended before."""
        if trial is self._trial:
            self._trial = None

    def worked(self) -> None:
        """Close the breaker: the server has judged a mail, and the account is not at fault."""
        if self.state is State.HALF_OPEN:
            self.state = State.CLOSED

    def delivered(self) -> None:
        """Note an accepted mail: close the breaker, and begin with the first pause again.

        If the account was only suspected, its pause ends, and the next login is due at once.
        """
        self._step = 0
        if self._is_suspected:
            self._is_suspected = False
            self._pause, self._retry_at = timedelta(0), 0.0
        self.worked()
