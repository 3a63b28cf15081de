"""Whether a client can resume, and the reason if it cannot."""

from typing import Any

import pytest
from support.parts import next_frame, request, serving, submit, wait_frame
from support.places import DOCS

from notifier.domain.events import MailFilter
from notifier.domain.mail import Status
from notifier.feed import resume
from notifier.feed.client import FeedClient
from notifier.feed.protocol import cursor as cursor_of
from notifier.feed.protocol import filter_hash, read_cursor
from notifier.feed.resume import Resumption, resumption
from notifier.settings import Settings
from notifier.storage.store import Missed, Span

FAR = "2126-01-01T00:00:00Z"
STORE = "0123456789abcdef" * 2
WANTED = MailFilter(status=frozenset({Status.SENT}))


class Log:
    """A store whose events 1 to 20 exist, of which those up to 10 were deleted."""

    id = STORE

    async def missed(self, seq: int, wanted: MailFilter, most: int, *, urgent: bool) -> Missed:
        """Count as a store does."""
        assert (wanted, most, urgent) == (WANTED, resume.MAX_REPLAYED, True)
        return Missed(Span(10, 20), 20 - seq if 10 <= seq <= 20 else None)


@pytest.mark.parametrize(
    ("cursor", "found"),
    [
        (None, Resumption(0, 0, "none")),
        ("garbage", Resumption(0, 0, "invalid")),
        (cursor_of("f" * 32, 15, filter_hash(WANTED)), Resumption(0, 0, "restarted")),
        (cursor_of(STORE, 15, filter_hash(MailFilter())), Resumption(0, 0, "filter_changed")),
        (cursor_of(STORE, 9, filter_hash(WANTED)), Resumption(0, 0, "expired")),
        (cursor_of(STORE, 21, filter_hash(WANTED)), Resumption(0, 0, "invalid")),
        (cursor_of(STORE, 15, filter_hash(WANTED)), Resumption(15, 5, None)),
        (cursor_of(STORE, 20, filter_hash(WANTED)), Resumption(20, 0, None)),
    ],
)
async def test_a_cursor_is_resumed_or_refused_with_the_reason(cursor: str | None, found: Resumption) -> None:
    """Only a cursor of this store and filter, at a place of the log that still exists, can be resumed."""
    store: Any = Log()
    assert await resumption(store, cursor, WANTED, urgent=True) == found


def test_the_documentation_has_the_most_events_that_are_replayed() -> None:
    """A client that missed more gets a snapshot instead."""
    assert resume.MAX_REPLAYED == 10_000
    assert f"more than {resume.MAX_REPLAYED:,} of them" in (DOCS / "feed.md").read_text(encoding="utf-8")


async def test_a_client_that_missed_too_much_gets_a_snapshot(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many events as the limit are replayed; with one more the cursor has expired. One beyond the log is invalid."""
    monkeypatch.setattr(resume, "MAX_REPLAYED", 30)
    async with serving(settings) as feed, FeedClient.connect(feed) as client:
        cursor = (await wait_frame(client, lambda frame: frame["type"] == "snapshot"))["cursor"]
        await submit(client, request(1, to=[f"p{n}@example.com" for n in range(31)], send_at=FAR))
        place = read_cursor(cursor)
        assert place
        found = []
        for seq in (place.seq, place.seq + 1, place.seq + 31, place.seq + 32):
            given = cursor_of(place.store, seq, place.filter_hash)
            async with FeedClient.connect(feed, resume=given) as other:
                found.append((await next_frame(other)).get("reason"))
    assert found == ["expired", None, None, "invalid"]
