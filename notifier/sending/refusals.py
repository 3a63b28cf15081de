"""Whom a failure concerns, seen over several mails. Pure.

The same failure for everybody concerns the account, whatever its words say; one that
meets a single recipient while other mails are accepted concerns that recipient.
"""

import re
from collections import deque
from enum import Enum, auto
from typing import Any

from notifier.domain.mail import Mail, Reply
from notifier.sending.replies import speaks_of_the_recipient, status

SEVERAL = 3
"""Different recipients whose mails failed alike, with nothing accepted in between, from which on it is the account.

It is also how many different bookings or requests these mails must belong to: one request whose content
the server dislikes fails for each of its recipients, and says nothing about the account.
"""
MANY = 12
"""The same where failures in a row are normal: a few wrong addresses, or a server that defers unknown senders."""
REMEMBERED = 20
"""Failed mails of one recipient that are kept, the latest ones, to be tried again if the account was at fault."""
MAX_FAILED = 1000
"""Recipients whose failed mails are kept for that."""
MAX_SPARED = 500
"""How many more recipients a streak needs at most, after one that had suspected the account without reason."""
LONE = 3
"""Times that a recipient must be about to pause the account, with mails accepted in between, to be the cause itself."""
MAX_RECIPIENTS = 10_000
"""Recipients that are remembered for one purpose."""


_VARIES = re.compile(r"[@\d<]")
"""Marks words that differ between two rejections of one kind: addresses, numbers, ids."""


class Cause(Enum):
    """Whom a failure concerns, as far as is known.

    `MAIL`: the mail or its recipient. `ACCOUNT`: it has met too many recipients in a row. `REPEATED`:
    it has met this recipient before, while the account was suspected, so it shows nothing new.
    `CLEARED`: likewise, but since then the account's mails were accepted. `DOUBTFUL`: like `MAIL`,
    but so soon after the account had been suspected that it may be the same failure again.
    """

    MAIL = auto()
    ACCOUNT = auto()
    REPEATED = auto()
    CLEARED = auto()
    DOUBTFUL = auto()


class Streak:
    """Mails in a row that failed alike, with nothing accepted in between.

    They suspect the account if they are to many recipients and of several bookings or requests. From
    then on only a recipient that is new to the streak shows something about the account. One that
    fails again does not count: otherwise a few wrong addresses with no other mail beside them would
    pause the account again and again. When a mail is accepted, the recipients of a streak that had
    suspected the account begin no other one, and the next streak must be longer: a batch of mails
    that are all rejected would interrupt the mails behind it every few recipients. Each mail that
    is accepted after that takes one off again.
    """

    def __init__(self) -> None:
        self._recipients: dict[str, None] = {}
        self._aggregates: set[str] = set()
        self._cleared: dict[str, None] = {}
        self._spared = 0
        self._is_long = False

    def add(self, mail: Mail, limit: int) -> Cause:
        """Note a failure, and return whom it concerns; `limit` recipients in a row make it the account's."""
        if mail.to in self._cleared:
            return Cause.CLEARED
        if self._is_long and mail.to in self._recipients:
            return Cause.REPEATED
        self._recipients[mail.to] = None
        _forget_earliest(self._recipients)
        if len(self._aggregates) < SEVERAL:
            self._aggregates.add(mail.aggregate)
        self._is_long = len(self._recipients) >= limit + self._spared and len(self._aggregates) >= SEVERAL
        if self._is_long:
            return Cause.ACCOUNT
        return Cause.DOUBTFUL if self._spared else Cause.MAIL

    def restart(self) -> None:
        """Begin anew because mails fail in another way now."""
        self._recipients, self._aggregates, self._is_long = {}, set(), False

    def delivered(self, recipient: str) -> None:
        """Begin anew because a mail was accepted."""
        if self._is_long:
            self._cleared |= self._recipients
            self._spared = min(2 * len(self._recipients), MAX_SPARED)
        elif self._spared:
            self._spared -= 1
        self._cleared.pop(recipient, None)
        _forget_earliest(self._cleared)
        self.restart()


class RefusalStreak:
    """Rejections for good of one kind that an account got in a row, and the mails that failed by them."""

    def __init__(self) -> None:
        self._kind = ""
        self._streak = Streak()
        self._failed: dict[str, deque[Mail]] = {}

    def cause(self, mail: Mail, reply: Reply) -> Cause:
        """Note a rejection for good, and return whom it concerns."""
        kind = f"{reply.code} {status(reply) or _constant_words(reply.text)}"
        if kind != self._kind:
            self._kind, self._failed = kind, {}
            self._streak.restart()
        return self._streak.add(mail, MANY if speaks_of_the_recipient(reply) else SEVERAL)

    def failed(self, mail: Mail) -> None:
        """Remember a mail that failed by the rejection just noted."""
        if mail.to in self._failed or len(self._failed) < MAX_FAILED:
            self._failed.setdefault(mail.to, deque(maxlen=REMEMBERED)).append(mail)

    def reprieved(self) -> list[Mail]:
        """Return, once, the mails that failed before it was known that the account was at fault."""
        found, self._failed = self._failed, {}
        return [mail for mails in found.values() for mail in mails]

    def delivered(self, recipient: str) -> None:
        """Begin anew because a mail was accepted."""
        self._streak.delivered(recipient)
        self._failed = {}


class Suspects:
    """Recipients whose rejections speak of the account, although mails to others are accepted.

    Each of the first LONE - 1 rejections pauses the account. The next one is judged as the
    recipient's own, as are all later ones until a mail to that recipient is accepted.
    """

    def __init__(self) -> None:
        self._accepted = 0
        self._times: dict[str, tuple[int, int]] = {}

    def is_alone(self, recipient: str, *, pauses: bool) -> bool:
        """Return whether a rejection that speaks of the account concerns this recipient alone.

        `pauses` is whether the account would be paused by it; one that meets a paused account counts for nothing.
        """
        times, accepted = self._times.pop(recipient, (0, -1))
        if pauses and accepted != self._accepted:
            times, accepted = times + 1, self._accepted
        if times:
            self._times[recipient] = (times, accepted)
        _forget_earliest(self._times)
        return times >= LONE

    def delivered(self, recipient: str) -> None:
        """Note that a mail was accepted."""
        self._accepted += 1
        self._times.pop(recipient, None)


def _forget_earliest(recipients: dict[str, Any]) -> None:
    while len(recipients) > MAX_RECIPIENTS:
        del recipients[next(iter(recipients))]


def _constant_words(text: str) -> str:
    return " ".join(word for word in text.casefold().split() if not _VARIES.search(word))
