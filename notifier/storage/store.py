"""The port of the store: everything that actors, watchers and operators can ask of it.

Every method that changes something does so in a durable transaction. When it returns, the change is on disk. When it
raises StoreUnusable, nothing has changed. (`add`, `purge` and `erase` work in portions, each of which is done
completely or not at all; `move_cursor` does not wait for the disk.) If the caller is cancelled, the change may or may
not be on disk, but `wake` and `paused` always agree with the disk. Every change of a mail appends one event to the
log, in the same transaction.

Changes are made in the order in which they are asked for. What is asked for while a transaction runs, or in one turn
of the event loop, can share a transaction: a claim that is asked for right after `record` sees what that recorded.

The queries of watchers and operators (`get`, `history`, `missed`, `replay`, `span`, `snapshot`, `page`, `listing`,
`totals`, `waiting`, `is_paused`) never delay the actors. `urgent` queries, those of operators and of the service
itself, are answered before the others. All times are UTC.
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
    """What became of one message."""

    mails: tuple[str, ...]
    """The ids of its mails."""
    repeated: bool
    """Whether it had been handled before, so that it changed nothing now."""


class Page(NamedTuple):
    """Mails, newest first."""

    mails: tuple[Mail, ...]
    next: int | None
    """Where the next page begins, for `before`; None if this is the last one."""


class Snapshot(NamedTuple):
    """The state at one place of the log: exactly the events up to `seq` are in it."""

    seq: int
    totals: Mapping[Status, int]
    """The number of all mails by status, whatever the filter."""
    mails: bytes
    """The newest mails that match, as a JSON array of their public form."""
    more: bool
    """Whether more mails match."""


class Waiting(NamedTuple):
    """What the pending mails wait for."""

    due: int
    """Mails that are due and have not been tried."""
    scheduled: int
    """Mails that are not due yet and have not been tried."""
    retrying: int
    """Mails that have been tried, due or not."""
    oldest_due: datetime | None
    """Since when the mail that has waited longest has been due; None if no mail is due."""


class Span(NamedTuple):
    """The part of the log that can be replayed: the events after `purged_through`, up to `head`."""

    purged_through: int
    """The number of the last event that may have been deleted."""
    head: int
    """The number of the latest event."""


class Missed(NamedTuple):
    """What has happened since a place in the log."""

    span: Span
    events: int | None
    """The number of matching events; None if they cannot be replayed."""


class LogSlice(NamedTuple):
    """The matching events of a part of the log, up to `seq`."""

    seq: int
    bodies: bytes
    """The encoded events, separated by commas."""
    events: int
    """Their number."""
    purged_through: int
    """The number of the last event that may have been deleted when the slice was read."""


class Purged(NamedTuple):
    """How much one portion of a purge deleted; all zero if nothing is left to delete."""

    mails: int
    messages: int
    """Ids of handled messages."""
    aggregates: int
    """States of bookings and requests."""
    starts: int
    """Starts of mails that no longer count against a quota."""


class Erased(NamedTuple):
    """Where an address was found."""

    mails: int
    """Mails that were erased."""
    cancelled: int
    """Those of them that were waiting, and so were cancelled."""
    bookings: int
    """Bookings whose state no longer has the address."""
    remaining: int
    """Mails that were being handed over, and are unchanged."""


class Store(Protocol):
    """What SQLite offers today and another database can offer tomorrow."""

    wake: asyncio.Event
    """Set when a claim may find something: by the store when mail arrives, by others for reasons of their own."""

    fault: str | None
    """Why the latest transaction failed; None if it did not."""

    paused: bool
    """Whether an operator has paused sending, as of the latest commit of `pause` or `claim`."""

    @property
    def id(self) -> str:
        """An id that no other store has. It is part of each cursor that leaves the service."""

    async def check(self) -> None:
        """Write something durably. Raises StoreUnusable if the store cannot be written."""

    async def add(self, messages: Sequence[Message], policy: PlanningPolicy, now: datetime) -> list[Added]:
        """Handle messages: record their ids, plan the mails of their aggregates, and store what that adds and changes.

        A transaction handles as many messages as fit into a bounded number of rows; other callers get their turn
        between two transactions. Subjects are rendered before a transaction, never in it. If this raises an error, some
        of the messages, from the first on, can have been stored; it is safe to add all of them again.
        """

    async def claim(
        self, limit: int, rate: float, now: datetime, quota: Quota | None = None, *, newest: bool = False
    ) -> Claim:
        """Start an attempt for at most `limit` due mails, as `rate` (per second, 0: unlimited) and `quota` allow.

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

        A mail that was erased, or whose stored `rev` is not the one before, stays as it is and appends no event. A mail
        that becomes pending can append further events, for what newer messages have decided about it. An attempt that
        does not count for its mail does not count against the quota either. Sets `wake` if a mail becomes pending.
        """

    async def rebook(self, mail: Mail, before: Quota | None, after: Quota | None, now: datetime) -> datetime | None:
        """Count a claimed mail against the quota of another account; None is an account without one.

        If that quota is used up, change nothing and return when some of it will be free again; otherwise return None.
        """

    async def mark(self, mail: Mail) -> None:
        """Record durably that the message of a mail that is being sent is about to be transferred."""

    async def sending(self) -> list[Mail]:
        """List the mails that are being handed over. When the only process starts, they are orphans."""

    async def pause(self, *, paused: bool) -> None:
        """Pause or resume claiming, also for later processes. Mails that are being handed over are finished.

        Sets `paused` and `wake`.
        """

    async def is_paused(self) -> bool:
        """Return whether an operator has paused sending."""

    async def get(self, id_: str) -> Mail | None:
        """Return a mail; None if no mail has this id, or if it cannot be decoded."""

    async def history(self, mail: str) -> list[StoredEvent]:
        """List the events of a mail, oldest first: the latest 1,000 that have not been purged."""

    async def events(self, after: int, limit: int) -> list[StoredEvent]:
        """Read the log in order and without a gap, from the event after number `after` on; for actors.

        Events that this process has just appended come from memory, the others from the database.
        """

    async def missed(self, after: int, wanted: MailFilter, limit: int, *, urgent: bool = False) -> Missed:
        """Count the matching events after a place, if none of them was deleted and at most `limit` events follow."""

    async def replay(self, after: int, wanted: MailFilter, *, urgent: bool = False) -> LogSlice:
        """Read the next part of the log for a watcher: at most 100 events, whether they match or not.

        The parts end at multiples of 100, so watchers that begin at different places soon share them.
        """

    async def span(self) -> Span:
        """Return which part of the log can be read without a gap."""

    async def beyond(self, seq: int) -> None:
        """Wait until the log has an event after number `seq`."""

    async def cursor(self, reader: str) -> int:
        """Return the number of the last event that a named reader has read; 0 if it has read none."""

    async def move_cursor(self, reader: str, seq: int) -> None:
        """Store the number of the last event that a named reader has read, with the next transaction.

        Return at once: it is on disk with the next commit, after about a second or when the store is closed, whichever
        comes first. After a crash the reader can get the events of that time again. If it cannot be written, that shows
        as `fault`, and it is tried again.
        """

    async def snapshot(self, wanted: MailFilter, limit: int, *, urgent: bool = False) -> Snapshot:
        """Read the totals of all mails and the newest ones that match, at one place of the log."""

    async def page(self, wanted: MailFilter, before: int | None, limit: int, *, urgent: bool = False) -> Page:
        """List matching mails, newest first, after the page whose `next` is `before` (None: from the newest on).

        It reads a bounded number of mails, so a page that is not the last one can have fewer than `limit`, or none.
        """

    async def listing(self, wanted: MailFilter, before: int | None, limit: int, *, urgent: bool = False) -> bytes:
        """Return the same page as a JSON object: `mails` in their public form, and `next`."""

    async def totals(self) -> Mapping[Status, int]:
        """Count the mails by status."""

    async def waiting(self, now: datetime) -> Waiting:
        """Count what the pending mails wait for."""

    async def purge(
        self, finished_before: datetime, handled_before: datetime, reader: str | None, now: datetime
    ) -> Purged:
        """Delete one small portion of what finished or was handled before; never events that `reader` has not read."""

    async def erase(self, address: str, now: datetime) -> Erased:
        """Delete an address everywhere, also where the disk still has deleted rows; only a salted hash is kept.

        Mails that wait are cancelled. It works in small portions: if it raises StoreUnusable, a part can be done. Mails
        and bookings that name the address afterwards are new.
        """

    async def close(self) -> None:
        """Close the store; it can be opened again."""
