"""The store: the only place where the actors meet, and all of what they may ask of it.

Every method that changes something is one durable transaction: when it returns,
the change is on disk; when it raises StoreUnusable, nothing has changed. (`add`,
`purge` and `erase` work in portions.) A caller that is cancelled may find either, but
`wake` and `paused` always follow what is on disk. Every change of a mail appends one
event to the log in the same transaction.

What watchers and operators look at (`get`, `history`, `missed`, `replay`, `span`, `snapshot`, `page`, `listing`,
`totals`, `waiting`, `is_paused`) never delays what the actors ask for. `urgent` queries,
those of operators and of the service itself, are answered before the others.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from notifier.domain.claims import Claim, Quota
from notifier.domain.events import MailFilter, StoredEvent
from notifier.domain.mail import Mail, Status
from notifier.domain.messages import Message
from notifier.domain.planning import PlanningPolicy


class Added(NamedTuple):
    """What became of one message: the ids of its mails, and whether it had been handled before."""

    mails: tuple[str, ...]
    repeated: bool


class Page(NamedTuple):
    """Mails, newest first; `next` continues behind the last one that was looked at, None where there are no more."""

    mails: tuple[Mail, ...]
    next: int | None


class Snapshot(NamedTuple):
    """The state at one place in the log: exactly the events up to `seq` are in it.

    `mails` is the JSON array of the newest matching mails as everyone may see them, `more` whether there are others.
    """

    seq: int
    totals: Mapping[Status, int]
    mails: bytes
    more: bool


class Waiting(NamedTuple):
    """How the pending mails wait: not tried yet and due, not due yet, or tried before and due or not.

    `oldest_due` is the moment (UTC) since when the longest waiting due mail has been due.
    """

    due: int
    scheduled: int
    retrying: int
    oldest_due: datetime | None


class Span(NamedTuple):
    """The part of the log that can be replayed: every event after `purged_through`, up to `head`."""

    purged_through: int
    head: int


class Missed(NamedTuple):
    """What happened after a place in the log: how many matching events; None if they cannot be replayed."""

    span: Span
    events: int | None


class Portion(NamedTuple):
    """A part of the log up to `seq`: the bodies of its matching events, separated by commas, and their number.

    The events up to `purged_through` have been deleted.
    """

    seq: int
    bodies: bytes
    events: int
    purged_through: int


class Purged(NamedTuple):
    """How much one step of purging forgot; all zero when nothing is left to forget."""

    mails: int
    messages: int
    aggregates: int
    starts: int


class Erased(NamedTuple):
    """What was known of an address: mails erased, those of them that were cancelled for it, and bookings.

    `remaining` mails were being handed over, and are as they were.
    """

    mails: int
    cancelled: int
    bookings: int
    remaining: int


class Store(Protocol):
    """What SQLite offers today and another database can offer tomorrow."""

    wake: asyncio.Event
    """Set when it may be worthwhile to claim: by the store when mail arrives, by others who know of a reason."""

    fault: str | None
    """Why the latest transaction failed; None while all is well."""

    paused: bool
    """Whether an operator has paused sending, as of the latest commit of `pause` or `claim`."""

    @property
    def id(self) -> str:
        """Tells this store from every other one; part of each cursor that leaves the service."""

    async def check(self) -> None:
        """Write something durably, to prove that the store can be written; StoreUnusable if it cannot."""

    async def add(self, messages: Sequence[Message], policy: PlanningPolicy, now: datetime) -> list[Added]:
        """Take messages in: remember each, plan its aggregate anew, and store what that adds and changes.

        A transaction takes as many messages as fit a bounded number of rows; others get their turn between two of
        them. Subjects are rendered before a transaction, never in it. After an error some of the messages, from the
        first on, can be stored; adding all of them again does no harm.
        """

    async def claim(
        self, limit: int, rate: float, now: datetime, quota: Quota | None = None, *, newest: bool = False
    ) -> Claim:
        """Start an attempt for at most `limit` due mails, as `rate` (a second, 0: unlimited) and `quota` allow.

        Mails that have been due longest come first. If the quota is too short for all that are due, those with the
        earliest deadline come first. Of the due mails of one aggregate to one address only the oldest is claimed, and
        none while another one is being sent. A mail that has expired is never claimed, whether or not `expire` has
        ended it yet. With `newest` at most one mail is claimed: the one that became due last, preferably one that has
        not been tried yet.
        """

    async def expire(self, now: datetime) -> bool:
        """End one portion of the mails that have expired; return whether there are more.

        Mails also expire while sending is paused.
        """

    async def record(self, changed: Sequence[Mail], now: datetime) -> list[StoredEvent]:
        """Store mails as they are after a change; return the events that this appended, in the order of the log.

        A mail that was erased, or has another `rev` by now, stays as it is and appends no event. A mail that becomes
        pending can have further events, of what newer messages had decided about it. An attempt that does not count
        for its mail does not count against the quota either. Sets `wake` if a mail becomes pending.
        """

    async def rebook(self, mail: Mail, before: Quota | None, after: Quota | None, now: datetime) -> datetime | None:
        """Count a claimed mail against the quota of another account; None is an account without one.

        If that quota is used up, change nothing and return when there will be some again (UTC); otherwise None.
        """

    async def mark(self, mail: Mail) -> None:
        """Note durably that the message of a mail being sent is about to be transferred."""

    async def sending(self) -> list[Mail]:
        """List the mails that are being handed over; at the start of the only process: orphans."""

    async def pause(self, *, paused: bool) -> None:
        """Let no mail be claimed until that is taken back, also by processes to come; mails expire all the same.

        Sets `paused` and `wake`.
        """

    async def is_paused(self) -> bool:
        """Tell whether an operator has paused sending."""

    async def get(self, id_: str) -> Mail | None:
        """Return a mail; None if there is none with this id, or if it is damaged."""

    async def history(self, mail: str) -> list[StoredEvent]:
        """List what is known to have happened to a mail, oldest first; of very many events the latest 1,000."""

    async def events(self, after: int, limit: int) -> list[StoredEvent]:
        """Read the log in order, without a gap, behind the place `after`; for actors."""

    async def missed(self, after: int, wanted: MailFilter, most: int, *, urgent: bool = False) -> Missed:
        """Count the matching events after a place, if nothing after it was deleted and at most `most` events follow."""

    async def replay(self, after: int, wanted: MailFilter, *, urgent: bool = False) -> Portion:
        """Read the next portion of the log for a watcher: at most 100 events, matching or not.

        Portions end at multiples of 100, so that watchers who begin at different places soon share them.
        """

    async def span(self) -> Span:
        """Tell which part of the log can be read without a gap."""

    async def beyond(self, seq: int) -> None:
        """Wait until the log reaches further than `seq`."""

    async def cursor(self, reader: str) -> int:
        """Tell how far a named reader of the log has come (0: not yet)."""

    async def move_cursor(self, reader: str, seq: int) -> None:
        """Note how far a named reader has come."""

    async def snapshot(self, wanted: MailFilter, limit: int, *, urgent: bool = False) -> Snapshot:
        """Show the totals of all mails and the newest ones that match, at one place of the log."""

    async def page(self, wanted: MailFilter, before: int | None, limit: int, *, urgent: bool = False) -> Page:
        """List matching mails, newest first, from the one that `before` (a page's `next`) stands for.

        It looks at a bounded number of mails, so a page that is not the last may have fewer than `limit`, or none.
        """

    async def listing(self, wanted: MailFilter, before: int | None, limit: int, *, urgent: bool = False) -> bytes:
        """Return the same page as a JSON object: `mails` as everyone may see them, and `next`."""

    async def totals(self) -> Mapping[Status, int]:
        """Count the mails by status."""

    async def waiting(self, now: datetime) -> Waiting:
        """Count what the pending mails wait for."""

    async def purge(
        self, finished_before: datetime, handled_before: datetime, reader: str | None, now: datetime
    ) -> Purged:
        """Forget one small portion of what finished or was handled before; never events that `reader` has not read."""

    async def erase(self, address: str, now: datetime) -> Erased:
        """Forget an address in all that is stored, also in what the disk keeps of deleted rows, but for a salted hash.

        Mails that wait are cancelled. It goes in small portions: after StoreUnusable, a part
        may be done. Mails and bookings that name the address afterwards are new.
        """

    async def close(self) -> None:
        """Let go of the store; it can be opened again."""
