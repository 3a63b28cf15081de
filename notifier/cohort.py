"""Whether a refusal still concerns its mail: the same one for everybody concerns the transport. Pure."""

import re

from notifier.mail import Mail, Reply
from notifier.replies import speaks_of_the_recipient, status

SEVERAL = 3
"""Different recipients refused alike, with nothing accepted in between, by which a refusal is the transport's."""
MANY = 12
"""The same for refusals that say that there is no such recipient: a few wrong addresses in a row are normal."""

_VARYING = re.compile(r"\S*[@\d<]\S*")
"""Words that differ between two refusals of one kind: addresses, numbers, ids."""


class Cohort:
    """The refusals of one kind that a transport gave in a row."""

    def __init__(self) -> None:
        self._kind = ""
        self._recipients: set[str] = set()
        self._failed: list[Mail] = []

    def concerns_everyone(self, recipient: str, reply: Reply) -> bool:
        """Note a refusal for good, and say whether by now it is the transport's and not the mail's."""
        kind = f"{reply.code} {status(reply) or _VARYING.sub('', reply.text).casefold()}"
        if kind != self._kind:
            self.delivered()
            self._kind = kind
        self._recipients.add(recipient)
        return len(self._recipients) >= (MANY if speaks_of_the_recipient(reply) else SEVERAL)

    def failed(self, mail: Mail) -> None:
        """Remember a mail that failed by the refusal just noted."""
        self._failed.append(mail)

    def reprieved(self) -> list[Mail]:
        """Give, once, the mails that failed before it was known that the refusal was not theirs."""
        found, self._failed = self._failed, []
        return found

    def delivered(self) -> None:
        """Begin anew: the transport accepts mails."""
        self._kind, self._recipients, self._failed = "", set(), []
