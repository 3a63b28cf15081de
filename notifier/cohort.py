"""Whom a rejection concerns, seen over several mails. Pure.

The same rejection for everybody concerns the account, whatever its words say; one that
meets a single recipient while other mails are accepted concerns that recipient.
"""

import re
from collections import deque

from notifier.mail import Mail, Reply
from notifier.replies import speaks_of_the_recipient, status

SEVERAL = 3
"""Different recipients rejected alike, with nothing accepted in between, from which on a rejection is the account's."""
MANY = 12
"""The same for rejections that say that there is no such recipient: a few wrong addresses in a row are normal."""
REMEMBERED = 20
"""Failed mails of one recipient that are kept, the latest ones, to be tried again if the account was at fault."""
LONE = 3
"""Times that a recipient must be about to pause the account, with mails accepted in between, to be the cause itself."""
MOST_SUSPECTS = 1000
"""Recipients that are remembered for having paused the account."""

_VARIES = re.compile(r"[@\d<]")
"""Marks words that differ between two rejections of one kind: addresses, numbers, ids."""


class Cohort:
    """The rejections of one kind that an account got in a row."""

    def __init__(self) -> None:
        self._kind = ""
        self._recipients: set[str] = set()
        self._failed: dict[str, deque[Mail]] = {}

    def concerns_everyone(self, recipient: str, reply: Reply) -> bool:
        """Note a rejection for good, and return whether by now it is the account's and not the mail's."""
        kind = f"{reply.code} {status(reply) or _constant_words(reply.text)}"
        if kind != self._kind:
            self.delivered()
            self._kind = kind
        if len(self._recipients) < MANY:
            self._recipients.add(recipient)
        return len(self._recipients) >= (MANY if speaks_of_the_recipient(reply) else SEVERAL)

    def failed(self, mail: Mail) -> None:
        """Remember a mail that failed by the rejection just noted."""
        self._failed.setdefault(mail.to, deque(maxlen=REMEMBERED)).append(mail)

    def reprieved(self) -> list[Mail]:
        """Return, once, the mails that failed before it was known that the account was at fault."""
        found, self._failed = self._failed, {}
        return [mail for mails in found.values() for mail in mails]

    def delivered(self) -> None:
        """Begin anew: the account's mails are accepted."""
        self._kind, self._recipients, self._failed = "", set(), {}


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
        if len(self._times) > MOST_SUSPECTS:
            del self._times[next(iter(self._times))]
        return times >= LONE

    def delivered(self, recipient: str) -> None:
        """Note that a mail was accepted."""
        self._accepted += 1
        self._times.pop(recipient, None)


def _constant_words(text: str) -> str:
    return " ".join(word for word in text.casefold().split() if not _VARIES.search(word))
