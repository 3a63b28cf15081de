"""What a claim hands to the sender: mails that may start, when, and what their account's quota has left."""

from datetime import datetime
from typing import NamedTuple

from notifier.domain.mail import Mail


class Start(NamedTuple):
    """A claimed mail and the moment (UTC) from which it may be handed over."""

    mail: Mail
    at: datetime


class Quota(NamedTuple):
    """How many mails one SMTP account may start in any 24 hours; `account` is what they are counted by."""

    account: str
    mails: int


class Claim(NamedTuple):
    """Mails to hand over now, and when (UTC) it is worth asking again; None: when new mail arrives.

    `quota_left` is how many more the account may start, None if it has no quota.
    """

    starts: tuple[Start, ...]
    again_at: datetime | None
    quota_left: int | None = None
