"""What queries return."""

import json
from datetime import timedelta

import pytest
from support.samples import NOW, RULES
from support.stores import ACCEPTED, LATER, RETRY, claimed, message, purge, request

from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Reply, Status, refused, sent
from notifier.storage.sqlite import queries
from notifier.storage.store import Store, Waiting


async def test_pages_run_from_the_newest_to_the_oldest(store: Store) -> None:
    """Every matching mail is on exactly one page, and only the last page has no next one."""
    await store.add([request(n) for n in range(5)], RULES, NOW)
    found: list[str] = []
    before = None
    while True:
        page = await store.page(MailFilter(), before, 2)
        found += [mail.subject for mail in page.mails]
        before = page.next
        if before is None:
            break
    assert found == [f"Number {n}" for n in reversed(range(5))]


async def test_a_filter_ands_its_fields_and_ors_their_values(store: Store) -> None:
    """Status, kind, booking, id and age each narrow the list."""
    (added,) = await store.add([message()], RULES, NOW)
    await store.add([request(1)], RULES, LATER)
    kinds = frozenset({Kind.REMINDER, Kind.NOTIFICATION})
    for wanted, count in (
        (MailFilter(kind=kinds), 2),
        (MailFilter(kind=kinds, booking=frozenset({"RXJ34P"})), 1),
        (MailFilter(mail=frozenset(added.mails)), 2),
        (MailFilter(since=LATER), 1),
        (MailFilter(status=frozenset({Status.SENT})), 0),
    ):
        assert len((await store.page(wanted, None, 10)).mails) == count


async def test_a_snapshot_is_of_one_place_of_the_log(store: Store) -> None:
    """Totals and mails are those after exactly the events up to its `seq`."""
    await store.add([request(1)], RULES, NOW)
    await claimed(store)
    snapshot = await store.snapshot(MailFilter(), 10)
    assert snapshot.seq == (await store.span()).head == 2
    assert snapshot.totals[Status.SENDING] == 1
    assert [mail["status"] for mail in json.loads(snapshot.mails)] == ["sending"]


async def test_totals_always_equal_the_mails(store: Store) -> None:
    """The counts by status are those of the mails after additions, changes and purging."""
    await store.add([request(n) for n in range(6)], RULES, NOW)
    mails = await claimed(store, 4)
    await store.record([sent(mail, ACCEPTED, NOW) for mail in mails[:2]], NOW)
    await purge(store, NOW + timedelta(hours=3))
    page = await store.page(MailFilter(), None, 100)
    counted = {status: sum(mail.status is status for mail in page.mails) for status in Status}
    assert await store.totals() == counted


async def test_one_mail_is_found_by_its_id(store: Store) -> None:
    """It is the mail as it is now, with its content; an unknown id has none."""
    await store.add([request(1), request(2)], RULES, NOW)
    first, _ = await claimed(store)
    assert await store.get(first.id) == first
    assert await store.get("nobody") is None


async def test_the_history_of_a_mail_is_its_events(store: Store) -> None:
    """Events of other mails are not in it."""
    await store.add([request(1), request(2)], RULES, NOW)
    first, _ = await claimed(store)
    await store.record([sent(first, ACCEPTED, NOW)], NOW)
    assert [event.type for event in await store.history(first.id)] == ["mail.pending", "mail.sending", "mail.sent"]
    assert await store.history("nobody") == []


async def test_pending_mails_are_counted_by_what_they_wait_for(store: Store) -> None:
    """A mail waits to be sent, for its time, or for its next attempt, due or not."""
    await store.add([request(n) for n in range(4)], RULES, NOW)
    await store.add([request(n, send_at=(NOW + timedelta(hours=1)).isoformat()) for n in range(4, 7)], RULES, NOW)
    tried, waits = await claimed(store, 2)
    refusal = Reply(450, "later")
    await store.record([refused(tried, refusal, None, RETRY, NOW), refused(waits, refusal, None, RETRY, LATER)], NOW)
    just_due = NOW + RETRY.delays[0]
    assert await store.waiting(just_due) == Waiting(due=2, scheduled=3, retrying=2, oldest_due=NOW)
    await claimed(store, 5, now=just_due)
    assert await store.waiting(just_due) == Waiting(due=0, scheduled=3, retrying=1, oldest_due=None)


async def test_a_page_that_has_read_enough_rows_says_where_the_next_one_begins(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every mail that passes is on exactly one page, however few of a booking's mails pass."""
    monkeypatch.setattr(queries, "MAX_ROWS", 6)
    people = [{"name": f"P {n}", "email": f"p{n}@example.com"} for n in range(9)]
    await store.add([message(id=f"b{n}", booking=f"B{n}", passengers=people) for n in range(3)], RULES, NOW)
    for wanted in (
        MailFilter(booking=frozenset({"B0", "B2"}), kind=frozenset({Kind.REMINDER})),
        MailFilter(booking=frozenset({"B1"}), kind=frozenset({Kind.CONFIRMATION})),
        MailFilter(since=NOW),
        MailFilter(),
    ):
        whole = {"B0", "B1", "B2"} if not wanted.booking else wanted.booking
        expected = 9 * len(whole) * (1 if wanted.kind else 2)
        found: list[str] = []
        pages, before = 0, None
        while pages == 0 or before is not None:
            page = await store.page(wanted, before, 4)
            assert before is None or page.next is None or page.next < before
            found, before, pages = [*found, *(mail.id for mail in page.mails)], page.next, pages + 1
        assert (len(found), len(set(found))) == (expected, expected)
    assert pages > 9


async def test_mails_that_are_too_old_are_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of mails created since a time ends there and does not read all older mails."""
    monkeypatch.setattr(queries, "MAX_ROWS", 3)
    await store.add([request(n) for n in range(20)], RULES, NOW)
    await store.add([request(n) for n in range(100, 102)], RULES, LATER)
    for wanted in (MailFilter(since=LATER), MailFilter(since=LATER, status=frozenset({Status.PENDING, Status.SENT}))):
        page = await store.page(wanted, None, 10)
        assert ([mail.event for mail in page.mails], page.next) == (["r101", "r100"], None)


async def test_what_is_due_is_counted_by_the_minute_if_very_many_are_due_in_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count stays bounded; all mails of the current minute count as due."""
    monkeypatch.setattr(queries, "MAX_ROWS", 3)
    times = [NOW - timedelta(minutes=5), NOW, *[NOW + timedelta(seconds=30 * n) for n in range(1, 5)]]
    await store.add([request(n, send_at=each.isoformat()) for n, each in enumerate(times)], RULES, NOW)
    assert await store.waiting(NOW) == Waiting(due=2, scheduled=4, retrying=0, oldest_due=times[0])
    more = [request(100 + n, send_at=(NOW + timedelta(seconds=40)).isoformat()) for n in range(3)]
    await store.add(more, RULES, NOW)
    assert (await store.waiting(NOW)).due == 6
