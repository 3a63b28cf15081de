"""Whether a client can resume where its last connection ended, and why not."""

from typing import NamedTuple

from notifier.domain.events import MailFilter
from notifier.feed.protocol import ResumeRefusal, filter_hash, read_cursor
from notifier.storage.store import Store

MAX_REPLAYED = 10_000
"""Events that are read for a resuming client, whether they match or not. A client that missed more gets a snapshot."""


class Resumption(NamedTuple):
    """Where a client resumes, or why it cannot.

    It has every matching event up to number `after` of the log, and `missed` ones follow. If there is a `refusal` it
    gets a snapshot instead.
    """

    after: int
    missed: int
    refusal: ResumeRefusal | None


async def resumption(store: Store, cursor: str | None, wanted: MailFilter, *, urgent: bool) -> Resumption:
    """Decide whether a client with this cursor and filter can resume; `urgent` as in the store's queries.

    Raises StoreUnusable.
    """
    if cursor is None:
        return _refused("none")
    place = read_cursor(cursor)
    if place is None:
        return _refused("invalid")
    if place.store != store.id:
        return _refused("restarted")
    if place.filter_hash != filter_hash(wanted):
        return _refused("filter_changed")
    missed = await store.missed(place.seq, wanted, MAX_REPLAYED, urgent=urgent)
    if missed.events is None:
        return _refused("invalid" if place.seq > missed.span.head else "expired")
    return Resumption(place.seq, missed.events, None)


def _refused(reason: ResumeRefusal) -> Resumption:
    return Resumption(0, 0, reason)
