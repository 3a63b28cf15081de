"""What failures of several mails in a row are about: the mails, their recipients or the account. Pure.

A failure that meets every recipient is about the account, whatever its words say. One that
meets a single recipient while other mails are accepted is about that recipient.
"""

import re
from collections import deque
from enum import Enum, auto
from typing import Any

from notifier.domain.mail import Mail, Reply
from notifier.sending.replies import is_about_recipient, status

SEVERAL = 3
"""Recipients whose mails must fail alike, with nothing accepted in between, before the account is suspected.

The mails must also belong to as many bookings or requests: a request whose content the server
rejects fails for each of its recipients, and says nothing about the account.
"""
MANY = 12
"""The same for failures that are normal in a row: wrong addresses, or a server that defers unknown senders."""
REMEMBERED = 20
"""The latest failed mails of a recipient that are kept, to be tried again if the account was the cause."""
MAX_FAILED = 1000
"""Recipients whose failed mails are kept to be tried again."""
MAX_EXTRA = 500
"""The most recipients that a streak can need beyond its limit, after one that suspected the account wrongly."""
LONE = 3
"""Times that one recipient must pause the account, with mails accepted in between, to be the cause itself."""
MAX_RECIPIENTS = 10_000
"""Recipients that are kept in each of the collections here; beyond that the earliest one is dropped."""


_VARIES = re.compile(r"[@\d<]")
"""Matches words that differ between two rejections of one kind: addresses, numbers, ids."""


class Cause(Enum):
    """What a failure is about, as far as is known.

    `MAIL`: the mail or its recipient. `ACCOUNT`: the account, because too many recipients in a row met
    it. `REPEATED`: nothing new, because this recipient has met it before and the account is suspected since.
    `CLEARED`: like `REPEATED`, but the account has been cleared by an accepted mail since then.
    `DOUBTFUL`: like `MAIL`, but so soon after a suspicion that it may be the same failure again.
    """

    MAIL = auto()
    ACCOUNT = auto()
    REPEATED = auto()
    CLEARED = auto()
    DOUBTFUL = auto()


class Streak:
    """Mails in a row that failed alike, with nothing accepted in between.

    The account is suspected if the mails are to many recipients and belong to several bookings or requests.
    From then on only recipients that are new to the streak count against the account. Otherwise a few wrong
    addresses, with no other mail beside them, would pause it again and again.

    An accepted mail clears the account. The recipients of the streak do not count in later ones, and the next
    streak must exceed its limit by twice as many recipients as this one had. Otherwise a batch of mails that are
    all rejected would interrupt the mails behind it every few recipients. Each mail that is accepted after that
    makes the required length one shorter again, down to the limit.
    """

    def __init__(self) -> None:
        self._recipients: dict[str, None] = {}
        self._aggregates: set[str] = set()
        self._cleared: dict[str, None] = {}
        self._extra = 0
        self._suspects_account = False

    def add(self, mail: Mail, limit: int) -> Cause:
        """Note a failure and return what it is about; with `limit` recipients in a row it is about the account."""
        if mail.to in self._cleared:
            return Cause.CLEARED
        if self._suspects_account and mail.to in self._recipients:
            return Cause.REPEATED
        self._recipients[mail.to] = None
        _drop_earliest(self._recipients)
        if len(self._aggregates) < SEVERAL:
            self._aggregates.add(mail.aggregate)
        self._suspects_account = len(self._recipients) >= limit + self._extra and len(self._aggregates) >= SEVERAL
        if self._suspects_account:
            return Cause.ACCOUNT
        return Cause.DOUBTFUL if self._extra else Cause.MAIL

    def restart(self) -> None:
        """Begin a new streak because mails now fail in another way."""
        self._recipients, self._aggregates, self._suspects_account = {}, set(), False

    def delivered(self, recipient: str) -> None:
        """Begin a new streak because a mail was accepted."""
        if self._suspects_account:
            self._cleared |= self._recipients
            self._extra = min(2 * len(self._recipients), MAX_EXTRA)
        elif self._extra:
            self._extra -= 1
        self._cleared.pop(recipient, None)
        _drop_earliest(self._cleared)
        self.restart()


class RefusalStreak:
    """Permanent rejections of one kind in a row, and the mails that failed by them."""

    def __init__(self) -> None:
        self._kind = ""
        self._streak = Streak()
        self._failed: dict[str, deque[Mail]] = {}

    def cause(self, mail: Mail, reply: Reply) -> Cause:
        """Note a permanent rejection and return what it is about."""
        kind = f"{reply.code} {status(reply) or _constant_words(reply.text)}"
        if kind != self._kind:
            self._kind, self._failed = kind, {}
            self._streak.restart()
        return self._streak.add(mail, MANY if is_about_recipient(reply) else SEVERAL)

    def failed(self, mail: Mail) -> None:
        """Keep a mail that failed by the rejection just noted."""
        if mail.to in self._failed or len(self._failed) < MAX_FAILED:
            self._failed.setdefault(mail.to, deque(maxlen=REMEMBERED)).append(mail)

    def reprieved(self) -> list[Mail]:
        """Return the mails that failed before the account was suspected, and keep them no longer."""
        found, self._failed = self._failed, {}
        return [mail for mails in found.values() for mail in mails]

    def delivered(self, recipient: str) -> None:
        """Begin a new streak because a mail was accepted."""
        self._streak.delivered(recipient)
        self._failed = {}


class Suspects:
    """Recipients whose rejections seem to be about the account, although mails to others are accepted.

    Each of the first LONE - 1 rejections pauses the account. From the next one on they are
    attributed to the recipient, until a mail to that recipient is accepted.
    """

    def __init__(self) -> None:
        self._accepted = 0
        self._times: dict[str, tuple[int, int]] = {}

    def is_alone(self, recipient: str, *, pauses: bool) -> bool:
        """Return whether a rejection that seems to be about the account is about this recipient alone.

        `pauses` is whether it would pause the account; a rejection on an account that is paused does not count.
        """
        times, accepted = self._times.pop(recipient, (0, -1))
        if pauses and accepted != self._accepted:
            times, accepted = times + 1, self._accepted
        if times:
            self._times[recipient] = (times, accepted)
        _drop_earliest(self._times)
        return times >= LONE

    def delivered(self, recipient: str) -> None:
        """Note that a mail was accepted."""
        self._accepted += 1
        self._times.pop(recipient, None)


def _drop_earliest(recipients: dict[str, Any]) -> None:
    while len(recipients) > MAX_RECIPIENTS:
        del recipients[next(iter(recipients))]


def _constant_words(text: str) -> str:
    return " ".join(word for word in text.casefold().split() if not _VARIES.search(word))
