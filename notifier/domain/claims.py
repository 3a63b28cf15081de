"""The result of a claim: mails that can start, when, and how much of their account's quota is left. Pure."""

from datetime import datetime
from typing import NamedTuple

from notifier.domain.mail import Mail


class Start(NamedTuple):
    """A claimed mail."""

    mail: Mail
    at: datetime
    """The time (UTC) from which it can be handed over."""


class Quota(NamedTuple):
    """The limit of one SMTP account."""

    account: str
    """The name that starts are counted by."""
    mails: int
    """Maximum number of mails that the account starts in any 24 hours."""


class Claim(NamedTuple):
    """The mails that a claim has started."""

    starts: tuple[Start, ...]
    again_at: datetime | None
    """When another claim can find more (UTC); None: not before new mail arrives."""
    quota_left: int | None = None
    """How many more mails the account can start; None if it has no quota."""
