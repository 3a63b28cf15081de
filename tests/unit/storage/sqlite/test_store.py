"""The behaviour that every engine of the store must have; run against each of them."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.samples import NOW, RULES, booking_event, flight_data

from notifier.domain.claims import Quota
from notifier.domain.events import MailFilter
from notifier.domain.mail import (
    ERASED,
    Flight,
    Itinerary,
    Kind,
    Mail,
    Reply,
    RetryPolicy,
    Status,
    due_again,
    failed,
    handed_back,
    refused,
    sent,
    unknown,
)
from notifier.domain.messages import Message, Origin, decode
from notifier.storage.sqlite import erasure, queries
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.store import Erased, Store, Waiting

RETRY = RetryPolicy((timedelta(seconds=10),), timedelta(hours=48))
ACCEPTED = Reply(250, "2.0.0 OK")
LATER = NOW + timedelta(minutes=1)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteStore]:
    """Open the store of a folder for the duration of the block."""
    store = await SqliteStore.open(folder / "notifier.db")
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=["sqlite"])
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return an empty store."""
    async with opened(tmp_path) as store:
        yield store


def message(at: datetime = NOW, **changes: object) -> Message:
    """Read a booking as it comes from the broker."""
    return decode(json.dumps(booking_event(**changes)).encode(), Origin(at))


def request(number: int, **data: object) -> Message:
    """Read a notification request."""
    fields = {"to": f"p{number}@example.com", "subject": f"Number {number}", "text": "Hello.", **data}
    event = {"type": "notification.requested", "id": f"r{number}", "source": "/test", "data": fields}
    return decode(json.dumps(event).encode(), Origin(NOW))


async def claimed(store: Store, limit: int = 100, now: datetime = NOW) -> list[Mail]:
    """Claim without a speed limit."""
    return [start.mail for start in (await store.claim(limit, 0, now)).starts]


async def test_a_message_becomes_mails_and_each_mail_an_event(store: Store) -> None:
    """A confirmed booking is a confirmation and a reminder, both pending, both in the log."""
    (added,) = await store.add([message()], RULES, NOW)
    events = await store.events(0, 10)
    assert not added.repeated
    assert [event.mail for event in events] == list(added.mails)
    assert [(event.kind, event.prev, event.status) for event in events] == [
        (Kind.CONFIRMATION, None, Status.PENDING),
        (Kind.REMINDER, None, Status.PENDING),
    ]
    assert (await store.totals())[Status.PENDING] == 2


async def test_a_repeated_message_changes_nothing(store: Store) -> None:
    """The same id and source again, even in one batch, adds no mail and no event, and names the mails there are."""
    first, second = await store.add([message(), message()], RULES, NOW)
    (third,) = await store.add([message()], RULES, LATER)
    assert [first.repeated, second.repeated, third.repeated] == [False, True, True]
    assert first.mails == second.mails == third.mails
    assert len(await store.events(0, 10)) == 2


async def test_a_batch_is_one_transaction(store: Store) -> None:
    """Messages of one booking in one batch are planned with the mails of those before them."""
    moved = flight_data(departs_at="2026-12-02T09:30:00+05:30")
    change = message(id="v2", type="booking.changed", version=2, flights=[moved])
    await store.add([message(), change], RULES, NOW)
    page = await store.page(MailFilter(kind=frozenset({Kind.REMINDER})), None, 10)
    assert sorted(mail.status for mail in page.mails) == [Status.CANCELLED, Status.PENDING]


async def test_no_subject_is_rendered_in_a_transaction(store: Store) -> None:
    """Every mail has the subject of its template, also if the booking's state decides which subjects are needed."""
    loop, rendered = threading.get_ident(), list[int]()

    def subject(kind: Kind, booking: str, flights: Sequence[Flight], locale: str | None) -> str:
        rendered.append(threading.get_ident())
        return f"{kind} {booking} {locale} {','.join(str(flight.seat) for flight in flights)}"

    people = [{"name": n, "email": f"{n}@example.com", "locale": n} for n in ("a", "b")]
    other = flight_data(seat="1F")
    messages = [
        message(id="v1", version=1, passengers=people),
        message(id="v2", version=2, type="booking.changed", passengers=people[1:], flights=[other]),
        message(id="unversioned", version=None, time="2026-11-24T12:00:00Z", passengers=people, flights=[other]),
        message(id="v3", version=3, type="booking.changed", passengers=people, time="2026-11-24T13:00:00Z"),
        message(
            id="v4", version=4, type="booking.cancelled", passengers=None, flights=None, time="2026-11-24T14:00:00Z"
        ),
    ]
    added = await store.add(messages, replace(RULES, subject=subject), NOW)
    assert len(added) == len(messages)
    assert set(rendered) == {loop}
    mails = (await store.page(MailFilter(), None, 100)).mails
    assert len(mails) > len(messages)
    for mail in mails:
        assert isinstance(mail.content, Itinerary)
        assert mail.subject == subject(mail.kind, "RXJ34P", mail.content.flights, mail.content.locale)


async def test_a_withdrawal_that_comes_first_is_remembered(store: Store) -> None:
    """A request that was withdrawn before it arrived is stored and cancelled at once."""
    event = {"type": "notification.cancelled", "id": "c1", "source": "/test", "data": {"id": "r1"}}
    await store.add([decode(json.dumps(event).encode(), Origin(NOW))], RULES, NOW)
    await store.add([request(1)], RULES, NOW)
    assert [event.type for event in await store.events(0, 10)] == ["mail.pending", "mail.cancelled"]
    assert await claimed(store) == []


async def test_a_claim_takes_only_what_is_due_and_asked_for(store: Store) -> None:
    """The limit is kept, a mail that is due later is not claimed, and the claim says when it is due."""
    soon = NOW + timedelta(seconds=30)
    await store.add([request(n) for n in range(3)] + [request(9, send_at=soon.isoformat())], RULES, NOW)
    assert len(await claimed(store, 2)) == 2
    claim = await store.claim(5, 0, NOW)
    assert len(claim.starts) == 1
    assert claim.again_at == soon


async def test_a_claim_begins_an_attempt(store: Store) -> None:
    """A claimed mail is sending, counts an attempt and keeps the time of its first one."""
    await store.add([request(1)], RULES, NOW)
    (mail,) = await claimed(store)
    assert (mail.status, mail.attempt, mail.first_attempt_at) == (Status.SENDING, 1, NOW)
    assert await store.sending() == [mail]
    assert await claimed(store) == []


async def test_the_rate_is_kept_in_the_store(store: Store) -> None:
    """At 20 per second, two claims at the same time get evenly spaced starts, and only those that can start soon."""
    await store.add([request(n) for n in range(30)], RULES, NOW)
    first = await store.claim(2, 20, NOW)
    second = await store.claim(30, 20, NOW)
    starts = [start.at for start in (*first.starts, *second.starts)]
    gaps = {round((b - a).total_seconds(), 3) for a, b in pairwise(starts)}
    assert gaps <= {0.05, 0.051}
    assert len(starts) <= 4
    assert second.again_at is not None
    assert second.again_at > NOW


async def test_mail_whose_time_has_passed_expires_and_is_never_claimed(store: Store) -> None:
    """`expire` ends it, and `claim` does not start it either before or after that."""
    await store.add([request(1, expires_at=LATER.isoformat())], RULES, NOW)
    assert await claimed(store, now=LATER) == []
    assert not await store.expire(LATER)
    assert [event.type for event in await store.events(0, 10)] == ["mail.pending", "mail.expired"]
    assert await claimed(store, now=LATER) == []


async def test_more_expired_mail_than_one_portion_is_not_claimed_either(store: Store) -> None:
    """`expire` reports that there is more, and `claim` starts none of it meanwhile."""
    await store.add([request(n, expires_at=LATER.isoformat()) for n in range(501)], RULES, NOW)
    assert await store.expire(LATER)
    assert (await store.claim(1000, 0, LATER)).starts == ()
    assert not await store.expire(LATER)
    assert (await store.totals())[Status.EXPIRED] == 501


async def test_outcomes_are_recorded_together_with_their_events(store: Store) -> None:
    """Accepted, temporarily or permanently rejected, and handed back mails have their status and one event each."""
    await store.add([request(n) for n in range(4)], RULES, NOW)
    a, b, c, d = await claimed(store)
    outcomes = [
        sent(a, ACCEPTED, NOW),
        refused(b, Reply(450, "later"), None, RETRY, NOW),
        failed(c, Reply(550, "no"), None),
        handed_back(d),
    ]
    recorded = await store.record(outcomes, NOW)
    assert recorded == await store.events(8, 10)
    events = {event.mail: event.type for event in recorded}
    assert events == {a.id: "mail.sent", b.id: "mail.retrying", c.id: "mail.failed", d.id: "mail.pending"}
    again = await claimed(store, now=NOW)
    assert [(mail.id, mail.attempt) for mail in again] == [(d.id, 1)]
    assert [mail.id for mail in await claimed(store, now=NOW + timedelta(seconds=10))] == [b.id]


async def test_a_change_of_an_outdated_mail_is_ignored(store: Store) -> None:
    """An outcome for a revision that is not the stored one changes nothing and appends no event."""
    await store.add([request(1)], RULES, NOW)
    (mail,) = await claimed(store)
    assert [event.type for event in await store.record([handed_back(mail)], NOW)] == ["mail.pending"]
    assert await store.record([sent(mail, ACCEPTED, NOW)], NOW) == []
    assert (await store.totals())[Status.PENDING] == 1
    assert len(await store.events(0, 10)) == 3


async def test_everything_survives_being_closed_and_opened(tmp_path: Path) -> None:
    """Mails, states, log, cursor, identity and rate are the same after a restart."""
    async with opened(tmp_path) as store:
        await store.add([message(), *[request(n) for n in range(9)]], RULES, NOW)
        claim = await store.claim(100, 20, NOW)
        await store.move_cursor("reader", 2)
        before = (store.id, await store.span(), await store.sending(), await store.events(0, 100))
    async with opened(tmp_path) as store:
        assert (store.id, await store.span(), await store.sending(), await store.events(0, 100)) == before
        assert await store.cursor("reader") == 2
        assert (await store.add([message()], RULES, NOW))[0].repeated
        after = await store.claim(100, 20, NOW)
        assert after.starts == ()
        assert after.again_at == claim.again_at


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


async def test_readers_of_the_log_wait_until_it_grows(store: Store) -> None:
    """Waiting for the log to go beyond a place ends with the first event after it."""
    waiting = asyncio.create_task(store.beyond(0))
    await store.move_cursor("reader", 0)
    assert not waiting.done()
    await store.add([request(1)], RULES, NOW)
    async with asyncio.timeout(5):
        await waiting
        await store.beyond(0)


async def test_arriving_mail_wakes_the_sender(store: Store) -> None:
    """New mail sets `wake`; a repeat does not."""
    await store.add([request(1)], RULES, NOW)
    async with asyncio.timeout(5):
        await store.wake.wait()
    store.wake.clear()
    await store.add([request(1)], RULES, NOW)
    await store.totals()
    assert not store.wake.is_set()


async def purge(store: Store, now: datetime, reader: str | None = None) -> int:
    """Purge all that finished over an hour before `now`."""
    return (await store.purge(now - timedelta(hours=1), now - timedelta(days=7), reader, now)).mails


async def test_purging_forgets_finished_mails_with_their_events_and_nothing_else(store: Store) -> None:
    """Pending, sending and retrying mails stay, however old; `span` says which events can no longer be replayed."""
    await store.add([request(n) for n in range(4)], RULES, NOW)
    a, b, c, d = await claimed(store)
    done = [sent(a, ACCEPTED, NOW), refused(b, None, "x", RETRY, NOW), failed(c, Reply(550, "no"), None)]
    await store.record(done, NOW)
    assert await purge(store, NOW + timedelta(minutes=59)) == 0
    assert await purge(store, NOW + timedelta(hours=2)) == 2
    totals = await store.totals()
    assert {status: n for status, n in totals.items() if n} == {Status.PENDING: 1, Status.SENDING: 1}
    assert {event.mail for event in await store.events(0, 100)} == {b.id, d.id}
    assert (await store.span()).purged_through == 11


async def test_events_that_were_not_reported_are_not_purged(store: Store) -> None:
    """A finished mail stays until the reader of the log has passed its last event."""
    await store.add([request(1)], RULES, NOW)
    (mail,) = await claimed(store)
    await store.record([sent(mail, ACCEPTED, NOW)], NOW)
    later = NOW + timedelta(days=3)
    await store.move_cursor("reporter", 2)
    assert await purge(store, later, "reporter") == 0
    await store.move_cursor("reporter", 3)
    assert await purge(store, later, "reporter") == 1


async def test_the_state_of_a_booking_outlives_its_mails(store: Store) -> None:
    """After the mails are purged, an outdated message still plans nothing, until the booking's state is deleted."""
    await store.add([message(id="v5", version=5)], RULES, NOW)
    later = NOW + timedelta(hours=20)
    await store.record([sent(mail, ACCEPTED, NOW) for mail in await claimed(store)], NOW)
    assert await purge(store, later) == 1
    (old,) = await store.add([message(id="v4", version=4)], RULES, later)
    assert old.mails == ()
    long_after = datetime.fromisoformat("2026-12-09T00:00:00Z")
    purged = await store.purge(NOW, NOW, None, long_after)
    assert purged.aggregates == 1


async def test_a_repeat_after_its_mail_was_purged_makes_no_mail(store: Store) -> None:
    """The id of a message is kept for longer than its mail."""
    await store.add([request(1)], RULES, NOW)
    await store.record([sent(mail, ACCEPTED, NOW) for mail in await claimed(store)], NOW)
    later = NOW + timedelta(hours=2)
    assert await purge(store, later) == 1
    assert (await store.add([request(1)], RULES, later))[0].repeated
    assert await claimed(store, now=later) == []


async def test_totals_always_equal_the_mails(store: Store) -> None:
    """The counts by status are those of the mails after additions, changes and purging."""
    await store.add([request(n) for n in range(6)], RULES, NOW)
    mails = await claimed(store, 4)
    await store.record([sent(mail, ACCEPTED, NOW) for mail in mails[:2]], NOW)
    await purge(store, NOW + timedelta(hours=3))
    page = await store.page(MailFilter(), None, 100)
    counted = {status: sum(mail.status is status for mail in page.mails) for status in Status}
    assert await store.totals() == counted


QUOTA = Quota("user@mail.example.com:587", 3)
DAY = timedelta(hours=24)


async def started(store: Store, quota: Quota | None, now: datetime = NOW) -> list[str]:
    """Claim everything that the quota allows; return the ids of the messages that caused the mails."""
    return [start.mail.event for start in (await store.claim(100, 0, now, quota)).starts]


async def test_a_quota_ends_claims_until_its_oldest_start_is_a_day_old(store: Store) -> None:
    """No 24 hours have more starts than the quota, and the claim says when some of it is free again."""
    await store.add([request(n) for n in range(9)], RULES, NOW)
    assert (await store.claim(1, 0, NOW, QUOTA)).quota_left == 2
    claim = await store.claim(9, 0, LATER, QUOTA)
    assert (len(claim.starts), claim.quota_left, claim.again_at) == (2, 0, NOW + DAY)
    assert await started(store, QUOTA, NOW + DAY - timedelta(milliseconds=1)) == []
    assert await started(store, QUOTA, NOW + DAY) == ["r3"]
    assert await started(store, QUOTA, LATER + DAY) == ["r4", "r5"]


async def test_accounts_have_quotas_of_their_own(store: Store) -> None:
    """Starts of one account do not count against another."""
    await store.add([request(n) for n in range(9)], RULES, NOW)
    assert len(await started(store, QUOTA)) == 3
    assert len(await started(store, Quota("other@mail.example.com:587", 2))) == 2
    assert len(await started(store, None)) == 4


async def test_a_mail_that_is_handed_back_costs_no_quota(store: Store) -> None:
    """An attempt that does not count for the mail does not count against the quota; other attempts do."""
    await store.add([request(n) for n in range(3)], RULES, NOW)
    a, b, c = [start.mail for start in (await store.claim(3, 0, NOW, QUOTA)).starts]
    await store.record([handed_back(a), refused(b, Reply(450, "later"), None, RETRY, NOW), sent(c, ACCEPTED, NOW)], NOW)
    assert (await store.claim(0, 0, NOW, QUOTA)).quota_left == 1


async def test_a_start_can_be_counted_for_another_account(store: Store) -> None:
    """It no longer counts against the first account; an account that has used up its quota accepts no more."""
    other = Quota("other", 1)
    await store.add([request(n) for n in (1, 2)], RULES, NOW)
    first, second = (start.mail for start in (await store.claim(2, 0, NOW, QUOTA)).starts)
    assert [await store.rebook(mail, QUOTA, other, NOW) for mail in (first, second)] == [None, NOW + DAY]
    assert [(await store.claim(0, 0, NOW, each)).quota_left for each in (QUOTA, other)] == [2, 0]
    assert await store.rebook(second, QUOTA, None, NOW) is None
    assert [(await store.claim(0, 0, NOW, each)).quota_left for each in (QUOTA, other)] == [3, 0]


def after(minutes: int) -> str:
    return (NOW + minutes * timedelta(minutes=1)).isoformat()


async def test_the_mail_on_trial_is_the_one_that_became_due_last(store: Store) -> None:
    """Mails that wait for another attempt come after those that were not tried yet; expired ones are never claimed."""
    now = NOW + timedelta(minutes=9)
    expired = request(4, send_at=after(4), expires_at=after(5))
    waiting = [request(number, send_at=after(minute)) for number, minute in ((1, 3), (2, 1), (3, 2))]
    await store.add([*waiting, expired], RULES, NOW)
    (first,) = (start.mail for start in (await store.claim(5, 0, now, newest=True)).starts)
    assert first.event == "r1"
    await store.record([handed_back(first, now)], NOW)
    claims = [await store.claim(5, 0, now, newest=True) for _ in range(4)]
    assert [start.mail.event for claim in claims for start in claim.starts] == ["r3", "r2", "r1"]


async def test_the_mail_on_trial_is_within_room_quota_and_turn(store: Store) -> None:
    """Without room or quota none is claimed; of one booking's mails to an address it is the oldest, one at once."""
    confirmed = message()
    changed = message(type="booking.changed", id="7f0d", version=2, flights=[flight_data(from_="BOM")])
    for each in (confirmed, changed):
        await store.add([each], RULES, NOW)
    assert (await store.claim(0, 0, NOW, newest=True)).starts == ()
    claims = [await store.claim(1, 0, NOW, Quota("a", 9), newest=True) for _ in range(2)]
    assert [[start.mail.kind for start in claim.starts] for claim in claims] == [[Kind.CONFIRMATION], []]
    await store.add([request(1)], RULES, NOW)
    assert (await store.claim(1, 0, NOW, Quota("a", 1), newest=True)).starts == ()


async def test_a_quota_outlives_mails_and_the_process(tmp_path: Path) -> None:
    """Purged mails and a restart leave the count as it was."""
    async with opened(tmp_path) as store:
        await store.add([request(n) for n in range(5)], RULES, NOW)
        for start in (await store.claim(9, 0, NOW, QUOTA)).starts:
            await store.record([sent(start.mail, ACCEPTED, NOW)], NOW)
        later = NOW + timedelta(hours=2)
        assert await purge(store, later) == 3
    async with opened(tmp_path) as store:
        assert await started(store, QUOTA, later) == []


async def test_a_short_quota_goes_to_the_earliest_deadlines(store: Store) -> None:
    """If the quota is too short for all due mails, those that expire first come first; otherwise those due longest."""
    deadlines = {1: 50, 2: 3, 3: None, 4: 2}
    fields = {n: {"expires_at": (NOW + timedelta(hours=h)).isoformat()} if h else {} for n, h in deadlines.items()}
    await store.add([request(n, **each) for n, each in fields.items()], RULES, NOW)
    assert await started(store, QUOTA) == ["r4", "r2", "r3"]
    await store.add([request(n) for n in (7, 8)], RULES, NOW)
    await store.add([request(9, expires_at=LATER.isoformat())], RULES, NOW)
    assert await started(store, Quota("another", 9)) == ["r1", "r7", "r8", "r9"]


async def test_a_clock_that_went_wrong_does_not_use_up_a_quota_for_ever(store: Store) -> None:
    """Starts that lie more than a day ahead do not count."""
    await store.add([request(n) for n in range(6)], RULES, NOW)
    assert len(await started(store, QUOTA, NOW + timedelta(days=400))) == 3
    assert len(await started(store, QUOTA, NOW)) == 3


async def test_a_clock_that_is_set_back_holds_up_nothing_that_goes_at_once(store: Store) -> None:
    """A mail that was due at once still is, a delay stays as long as it was, and a later `send_at` is waited for."""
    await store.add([request(n) for n in range(2)], RULES, NOW)
    await store.add([request(9, send_at=(NOW + timedelta(minutes=5)).isoformat())], RULES, NOW)
    (first,) = (await store.claim(1, 0, NOW)).starts
    await store.record([refused(first.mail, Reply(450, "later"), None, RETRY, NOW)], NOW)
    back = NOW - timedelta(days=1)
    claim = await store.claim(9, 0, back)
    assert [start.mail.event for start in claim.starts] == ["r1"]
    assert claim.again_at == back + timedelta(seconds=10)
    assert [mail.event for mail in await claimed(store, now=back + timedelta(seconds=10))] == ["r0"]
    assert [mail.event for mail in await claimed(store, now=NOW + timedelta(minutes=5))] == ["r9"]


@pytest.mark.parametrize("back", [timedelta(seconds=2), timedelta(hours=12), timedelta(days=400)])
async def test_after_a_clock_was_set_back_changes_of_a_mail_do_not_let_it_wait_for_the_old_time(
    store: Store, back: timedelta
) -> None:
    """A mail that is handed back or rewritten is due at once, and one that is retried waits as long as before."""
    await store.add([request(1), message()], RULES, NOW)
    other, tried = await claimed(store)
    await store.record([refused(tried, Reply(450, "later"), None, RETRY, NOW), handed_back(other)], NOW)
    now = NOW - back
    for _ in range(2):
        (mail,) = await claimed(store, now=now)
        await store.record([handed_back(mail)], now)
        assert mail.id == other.id
    await store.record([sent(mail, ACCEPTED, now) for mail in await claimed(store, now=now)], now)
    moved = flight_data(departs_at="2026-12-02T09:30:00+05:30")
    await store.add([message(id="v2", version=2, type="booking.changed", flights=[moved])], RULES, now)
    (notice,) = await claimed(store, now=now)
    await store.record([handed_back(notice)], now)
    seat = flight_data(departs_at="2026-12-02T09:30:00+05:30", seat="14C")
    await store.add([message(id="v3", version=3, type="booking.changed", flights=[seat])], RULES, now)
    (newer,) = await claimed(store, now=now)
    assert newer.event == "v3"
    await store.record([sent(newer, ACCEPTED, now)], now)
    assert await claimed(store, now=now + timedelta(seconds=9)) == []
    (again,) = await claimed(store, now=now + timedelta(seconds=10))
    assert again.id == tried.id


async def test_after_a_clock_was_set_back_a_quota_recovers_a_day_after_its_starts(store: Store) -> None:
    """Starts are a day old after a day, whatever the clock showed when they were made."""
    await store.add([request(n) for n in range(9)], RULES, NOW)
    assert len(await started(store, QUOTA)) == 3
    back = NOW - timedelta(hours=12)
    claim = await store.claim(9, 0, back, QUOTA)
    assert (claim.starts, claim.again_at) == ((), back + DAY)
    assert len(await started(store, QUOTA, back + DAY)) == 3


async def test_a_clock_that_is_set_back_is_noticed_while_nothing_is_claimed(store: Store) -> None:
    """While all accounts are paused, only `expire` is called; what it adjusts does not wait for the next claim."""
    await store.add([request(1)], RULES, NOW)
    (mail,) = await claimed(store)
    await store.record([refused(mail, Reply(450, "later"), None, RETRY, NOW)], NOW)
    back = NOW - DAY
    await store.expire(back)
    assert [each.id for each in await claimed(store, now=back + RETRY.delays[0])] == [mail.id]


async def test_a_clock_that_was_set_back_between_two_processes_is_noticed(tmp_path: Path) -> None:
    """A machine starts with a wrong clock and is restarted with the right one."""
    async with opened(tmp_path) as store:
        await store.add([request(1)], RULES, NOW)
    async with opened(tmp_path) as store:
        assert len(await claimed(store, now=NOW - timedelta(days=400))) == 1


async def test_a_booking_of_a_flight_that_has_left_mails_nothing(store: Store) -> None:
    """If the departure is before the message, the confirmation is stored and expires unsent."""
    left = flight_data(departs_at="2026-11-24T10:00:00Z", arrives_at=None)
    await store.add([message(flights=[left])], RULES, LATER)
    assert await claimed(store, now=LATER) == []
    await store.expire(LATER)
    assert {status for status, count in (await store.totals()).items() if count} == {Status.EXPIRED}


async def test_of_a_hundred_passengers_one_has_a_bad_address(store: Store) -> None:
    """The others get their mail, and the bad one is reported."""
    people = [{"name": f"P {n}", "email": f"p{n}@example.com" if n else "nobody"} for n in range(100)]
    await store.add([message(passengers=people)], RULES, NOW)
    assert len(await claimed(store)) == 99
    (bad,) = (await store.page(MailFilter(status=frozenset({Status.FAILED})), None, 10)).mails
    assert "'nobody' is not a valid address" in str(bad.error)


async def test_while_sending_is_paused_nothing_is_claimed_and_expiry_goes_on(store: Store) -> None:
    """A claim on a paused store has no `again_at`, so that it is not repeated over and over."""
    await store.add([request(1), request(2, expires_at=LATER.isoformat())], RULES, NOW)
    await store.pause(paused=True)
    claim = await store.claim(9, 0, LATER)
    assert (claim.starts, claim.again_at, await store.is_paused()) == ((), None, True)
    await store.expire(LATER)
    assert (await store.totals())[Status.EXPIRED] == 1
    await store.pause(paused=False)
    assert [mail.event for mail in await claimed(store, now=LATER)] == ["r1"]


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


async def mails_of(store: Store) -> dict[str, Mail]:
    """Return the newest mail of each message."""
    return {mail.event: mail for mail in reversed((await store.page(MailFilter(), None, 500)).mails)}


async def test_an_erased_address_leaves_nothing_personal(store: Store) -> None:
    """Its unsent mails are cancelled, each with an event; all lose address, names, subject, text and SMTP reply."""
    await store.add(
        [message(), request(1, to=["Asha@Example.com", "b@example.com"]), request(2, to="asha@example.com")], RULES, NOW
    )
    first, second, *_ = await claimed(store, 3)
    await store.record([sent(first, Reply(250, "OK asha"), NOW), failed(second, Reply(550, "no asha"), "asha?")], NOW)
    head = (await store.span()).head
    assert await store.erase("ASHA@example.com", LATER) == Erased(mails=4, cancelled=2, bookings=1, remaining=0)
    appended = await store.events(head, 100)
    mails = (await store.page(MailFilter(), None, 100)).mails
    assert [(event.type, event.prev) for event in appended] == [("mail.cancelled", Status.PENDING)] * 2
    assert sorted(mail.to for mail in mails) == ["", "", "", "", "b@example.com"]
    assert {mail.error for mail in mails if not mail.to} == {ERASED}
    left = repr([mail for mail in mails if not mail.to]) + repr(
        [e for e in await store.events(0, 100) if "b•••" not in e.body.decode()]
    )
    for word in ("asha", "Asha", "12A", "Number", "Hello", "Booking RXJ34P is"):
        assert word not in left
    assert json.loads(appended[0].body)["data"]["mail"]["to"] == "•••"
    assert (await store.totals())[Status.CANCELLED] == 2


async def test_a_mail_that_is_being_handed_over_is_erased_afterwards(store: Store) -> None:
    """A mail that is being handed over is counted and stays; once its outcome is recorded, it can be erased."""
    await store.add([request(1), request(2)], RULES, NOW)
    mail, other = await claimed(store)
    assert await store.erase(mail.to, NOW) == Erased(0, 0, 0, remaining=1)
    await store.record([sent(mail, ACCEPTED, NOW), sent(other, ACCEPTED, NOW)], NOW)
    assert await store.erase(mail.to, NOW) == Erased(1, 0, 0, 0)
    assert await store.erase(mail.to, NOW) == Erased(0, 0, 0, 0)
    assert (await mails_of(store))["r2"].to == other.to


async def test_a_change_decided_before_a_mail_was_erased_is_ignored(store: Store) -> None:
    """A change made from the mail as it was is ignored, so that no event shows the erased data again."""
    await store.add([request(1)], RULES, NOW)
    (mail,) = await claimed(store)
    lost = failed(mail, Reply(550, "no"), None)
    await store.record([lost], NOW)
    await store.erase(mail.to, NOW)
    await store.record([due_again(lost)], NOW)
    assert (await store.totals())[Status.FAILED] == 1
    assert await claimed(store) == []


async def test_a_repeat_of_a_message_mails_nothing_after_its_address_was_erased(store: Store) -> None:
    """The ids of handled messages and the states of bookings are kept, also after the mails are purged."""
    old = [message(id="v2", version=2), request(1, to="asha@example.com")]
    await store.add(old, RULES, NOW)
    await store.erase("asha@example.com", NOW)
    later = NOW + timedelta(hours=2)
    assert await purge(store, later) == 3
    again = await store.add([*old, message(id="v1", version=1)], RULES, later)
    assert [(each.repeated, each.mails) for each in again] == [(True, ()), (True, ()), (False, ())]


async def test_a_change_that_names_an_erased_address_mails_it_again(store: Store) -> None:
    """It gets a change notice and new reminders, not a second confirmation; the booking has the address again."""
    await store.add([message()], RULES, NOW)
    await store.erase("asha@example.com", NOW)
    await store.add([message(id="v2", version=2, type="booking.changed")], RULES, LATER)
    kinds = [(mail.kind, mail.status) for mail in (await store.page(MailFilter(), None, 9)).mails if mail.to]
    assert sorted(kinds) == [(Kind.CHANGE, Status.PENDING), (Kind.REMINDER, Status.PENDING)]
    await store.add([message(id="v3", version=3, type="booking.cancelled")], RULES, LATER)
    assert (await mails_of(store))["v3"].to == "asha@example.com"


async def test_a_booking_that_continues_without_an_erased_address_sends_it_nothing(store: Store) -> None:
    """Neither its removal nor the cancellation makes a mail to an erased address."""
    both = [{"name": "Asha Rao", "email": "asha@example.com"}, {"name": "Ben", "email": "ben@example.com"}]
    await store.add([message(passengers=both)], RULES, NOW)
    await store.erase("asha@example.com", NOW)
    await store.add([message(id="v2", version=2, type="booking.changed", passengers=both[1:], price=None)], RULES, NOW)
    await store.add([message(id="v3", version=3, type="booking.cancelled", passengers=None, flights=None)], RULES, NOW)
    mails = (await store.page(MailFilter(), None, 99)).mails
    assert {mail.to for mail in mails if mail.event in ("v2", "v3")} == {"ben@example.com"}


@pytest.mark.parametrize(("before", "notices"), [([], 1), (["booking.cancelled"], 0)])
async def test_a_cancellation_that_names_an_erased_address_notifies_it_once(
    store: Store, before: list[str], notices: int
) -> None:
    """An address that already had its cancellation notice gets no second one."""
    await store.add([message()], RULES, NOW)
    for type_ in before:
        await store.add([message(id="v2", version=2, type=type_)], RULES, NOW)
    await store.erase("asha@example.com", NOW)
    (added,) = await store.add([message(id="v3", version=3, type="booking.cancelled")], RULES, NOW)
    assert len(added.mails) == notices


async def test_an_address_is_erased_in_more_mails_than_one_portion(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every mail and every booking is searched."""
    monkeypatch.setattr(erasure, "BATCH_SIZE", 3)
    await store.add([request(n, to="asha@example.com") for n in range(7)], RULES, NOW)
    await store.add([message(id=f"b{n}", booking=f"REF{n}") for n in range(7)], RULES, NOW)
    assert await store.erase("asha@example.com", NOW) == Erased(mails=21, cancelled=21, bookings=7, remaining=0)


# --- Newer messages and mails that do not wait ------------------------------------------------------------------------

MOVED = flight_data(departs_at="2026-12-02T09:30:00+05:30")


async def the_mail(store: Store, kind: Kind) -> Mail:
    """Return the only mail of a kind."""
    (mail,) = (await store.page(MailFilter(kind=frozenset({kind})), None, 10)).mails
    return mail


async def test_a_mail_that_comes_back_after_its_booking_was_cancelled_is_cancelled(store: Store) -> None:
    """Both steps are in the log, in one transaction, and only the cancellation notice is left to be sent."""
    await store.add([message()], RULES, NOW)
    (mail,) = await claimed(store)
    await store.add([message(id="end", type="booking.cancelled", version=2)], RULES, NOW)
    assert await the_mail(store, Kind.CONFIRMATION) == mail
    before = (await store.span()).head
    events = await store.record([refused(mail, Reply(451, "greylisted"), None, RETRY, NOW)], NOW)
    assert events == await store.events(before, 10)
    assert [(event.type, event.prev, event.id) for event in events] == [
        ("mail.retrying", Status.SENDING, f"{mail.id}.3"),
        ("mail.cancelled", Status.PENDING, f"{mail.id}.4"),
    ]
    found = await the_mail(store, Kind.CONFIRMATION)
    assert (found.status, found.error, found.rev) == (Status.CANCELLED, "the booking was cancelled", 4)
    assert [mail.kind for mail in await claimed(store, now=LATER)] == [Kind.CANCELLATION]


async def test_a_mail_that_comes_back_after_its_booking_changed_gets_the_new_content(store: Store) -> None:
    """Its next attempt, and the event with which it becomes pending, have the new subject and departure."""
    await store.add([message()], RULES, NOW)
    (mail,) = await claimed(store)
    await store.add([message(id="v2", type="booking.changed", version=2, flights=[MOVED])], RULES, NOW)
    await store.record([handed_back(mail)], NOW)
    again = next(each for each in await claimed(store) if each.id == mail.id)
    assert "Wed 2 Dec" in again.subject
    assert mail.expires_at
    assert again.expires_at == mail.expires_at + timedelta(days=1)
    event = next(each for each in await store.history(mail.id) if each.id == f"{mail.id}.3")
    assert again.subject.encode() in event.body


async def test_a_request_that_was_withdrawn_while_its_mail_was_being_sent_is_not_sent_again(store: Store) -> None:
    """This also holds for an orphan after a crash."""
    event = {"type": "notification.cancelled", "id": "c1", "source": "/test", "data": {"id": "r1"}}
    await store.add([request(1)], RULES, NOW)
    await claimed(store)
    await store.add([decode(json.dumps(event).encode(), Origin(NOW))], RULES, NOW)
    (orphan,) = await store.sending()
    await store.record([unknown(orphan, "the service ended", RETRY, NOW)], NOW)
    assert await claimed(store, now=LATER) == []
    assert (await store.totals())[Status.CANCELLED] == 1


async def test_a_rewritten_mail_raises_its_revision_and_says_so_in_the_log(store: Store) -> None:
    """Watchers see the new content, and two snapshots of one revision never differ."""
    await store.add([message()], RULES, NOW)
    before = await the_mail(store, Kind.CONFIRMATION)
    await store.add([message(id="v2", type="booking.changed", version=2, flights=[MOVED])], RULES, NOW)
    after = await the_mail(store, Kind.CONFIRMATION)
    assert (after.rev, after.status) == (before.rev + 1, Status.PENDING)
    assert after.subject != before.subject
    event = (await store.history(before.id))[-1]
    assert (event.type, event.prev, event.status) == ("mail.pending", Status.PENDING, Status.PENDING)
    assert after.subject.encode() in event.body


async def test_a_mail_of_unknown_outcome_is_sent_again_as_it_was(store: Store) -> None:
    """Its reader may have it, so the same bytes are sent again, whatever the booking's state is now."""
    await store.add([message()], RULES, NOW)
    (mail,) = await claimed(store)
    await store.add([message(id="v2", type="booking.changed", version=2, flights=[MOVED])], RULES, NOW)
    await store.record([unknown(mail, "connection lost", RETRY, NOW)], NOW)
    again = next(each for each in await claimed(store, now=LATER) if each.id == mail.id)
    assert (again.content, again.subject, again.expires_at) == (mail.content, mail.subject, mail.expires_at)


async def test_a_confirmation_is_not_lost_to_an_older_mail_with_its_name(store: Store) -> None:
    """If mails are kept longer than the states of bookings, a reference that is used again is confirmed."""
    await store.add([message()], RULES, NOW)
    for mail in await claimed(store):
        await store.record([sent(mail, ACCEPTED, NOW)], NOW)
    much_later = NOW + timedelta(days=60)
    while any(await store.purge(NOW - timedelta(days=90), much_later - timedelta(days=7), None, much_later)):
        pass
    again = message(id="next", time=much_later.isoformat(), flights=[flight_data(departs_at="2027-02-01T09:30:00Z")])
    await store.add([again], RULES, much_later)
    mails = (await store.page(MailFilter(kind=frozenset({Kind.CONFIRMATION})), None, 10)).mails
    assert [mail.status for mail in mails] == [Status.PENDING, Status.SENT]
    assert len({mail.message_id for mail in mails}) == 2


async def test_an_erased_mail_does_not_come_back_by_an_amendment(store: Store) -> None:
    """The amendment of a newer message is erased with the address."""
    await store.add([message()], RULES, NOW)
    (mail,) = await claimed(store)
    await store.add([message(id="v2", type="booking.changed", version=2, flights=[MOVED])], RULES, NOW)
    await store.record([failed(mail, Reply(550, "no such user"), None)], NOW)
    await store.erase("asha@example.com", NOW)
    found = await the_mail(store, Kind.CONFIRMATION)
    assert (found.to, found.subject) == ("", "")
    await store.record([due_again(found)], NOW)
    assert (await the_mail(store, Kind.CONFIRMATION)).subject == ""


async def test_mails_of_one_booking_to_one_address_go_one_after_the_other(store: Store) -> None:
    """A confirmation and the notices after it never overtake each other; other addresses do not wait."""
    both = [{"name": "Asha Rao", "email": "asha@example.com"}, {"name": "Ben", "email": "ben@example.com"}]
    await store.add([message(passengers=both)], RULES, NOW)
    await store.add([message(id="v2", version=2, type="booking.changed", passengers=both, flights=[MOVED])], RULES, NOW)
    first = await store.claim(9, 0, NOW)
    assert [(start.mail.kind, start.mail.to) for start in first.starts] == [
        (Kind.CONFIRMATION, "asha@example.com"),
        (Kind.CONFIRMATION, "ben@example.com"),
    ]
    # Nothing more can be claimed before an outcome is recorded, so nobody is asked to try at once.
    assert first.again_at is not None
    assert first.again_at > NOW
    assert await claimed(store) == []
    await store.record([sent(first.starts[1].mail, ACCEPTED, NOW)], NOW)
    assert [(mail.kind, mail.to) for mail in await claimed(store)] == [(Kind.CHANGE, "ben@example.com")]
    await store.record([handed_back(first.starts[0].mail)], NOW)
    assert [(mail.kind, mail.to) for mail in await claimed(store)] == [(Kind.CONFIRMATION, "asha@example.com")]


async def test_an_older_mail_that_is_due_again_goes_before_newer_ones(store: Store) -> None:
    """A mail that is due for another attempt is sent before the notices that were stored meanwhile."""
    await store.add([message()], RULES, NOW)
    (mail,) = await claimed(store)
    await store.add([message(id="v2", version=2, type="booking.changed", flights=[MOVED])], RULES, NOW)
    await store.record([unknown(mail, "connection lost", RETRY, NOW)], NOW)
    assert [each.kind for each in await claimed(store, now=LATER)] == [Kind.CONFIRMATION]


async def test_different_requests_to_one_address_do_not_wait_for_each_other(store: Store) -> None:
    """Only the mails of one booking or request have an order."""
    await store.add([request(n, to="asha@example.com") for n in range(3)], RULES, NOW)
    assert len(await claimed(store)) == 3


async def test_the_order_of_one_address_holds_under_a_short_quota(store: Store) -> None:
    """The earliest deadline comes first, but a notice never before the mail that it changes."""
    sooner = flight_data(departs_at="2026-11-25T09:30:00+05:30")
    await store.add([message()], RULES, NOW)
    await store.add([message(id="v2", version=2, type="booking.changed", flights=[sooner])], RULES, NOW)
    assert await started(store, Quota("short", 1)) == ["7f0c"]


@pytest.mark.parametrize("short", [False, True])
async def test_expired_mail_in_front_does_not_hide_what_can_go(store: Store, *, short: bool) -> None:
    """A claim passes over expired mails, also if they are more than `expire` ends at once."""
    await store.add([request(n, expires_at=LATER.isoformat()) for n in range(601)], RULES, NOW)
    await store.add([request(9999), request(9998)], RULES, NOW)
    assert await store.expire(LATER)
    claim = await store.claim(5, 0, LATER, Quota("short", 1) if short else None)
    assert len(claim.starts) == (1 if short else 2)
    assert (await store.totals())[Status.EXPIRED] == 500


async def test_starts_of_an_account_without_a_quota_are_purged(store: Store) -> None:
    """Starts older than a day are deleted also if the quota is unset; others still count."""
    await store.add([request(n) for n in range(4)], RULES, NOW)
    assert len(await started(store, Quota("former", 3))) == 3
    assert len(await started(store, Quota("other", 3), NOW + DAY)) == 1
    purged = await store.purge(NOW, NOW, None, NOW + DAY)
    assert purged.starts == 3
    assert (await store.claim(0, 0, NOW + DAY, Quota("former", 3))).quota_left == 3
    assert (await store.claim(0, 0, NOW + DAY, Quota("other", 3))).quota_left == 2


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


# --- What must not be seen in between, or again -----------------------------------------------------------------------


async def test_a_message_in_the_middle_of_erasing_writes_to_nobody_who_is_erased(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message no longer names the address, which would get a cancellation notice if its booking still had it."""
    both = [{"name": "A", "email": "a@example.com"}, {"name": "B", "email": "b@example.com"}]
    await store.add([message(passengers=both)], RULES, NOW)
    await store.record([sent(mail, ACCEPTED, NOW) for mail in await claimed(store)], NOW)
    erased = asyncio.Event()
    transact = SqliteStore._transact

    async def in_between(self: SqliteStore, operation: str, *args: Any, **options: Any) -> Any:
        done = await transact(self, operation, *args, **options)
        if operation == "erase" and not erased.is_set():
            erased.set()
            await store.add([message(id="m2", type="booking.changed", version=2, passengers=both[1:])], RULES, NOW)
        return done

    monkeypatch.setattr(SqliteStore, "_transact", in_between)
    await store.erase("a@example.com", NOW)
    page = await store.page(MailFilter(), None, 100)
    assert {mail.to for mail in page.mails} == {"", "b@example.com"}


async def test_a_notice_takes_over_the_changes_of_one_that_came_back(store: Store) -> None:
    """If a change notice was not sent, the newer one that was written meanwhile has the changes of both."""
    await store.add([message()], RULES, NOW)
    await store.record([sent(mail, ACCEPTED, NOW) for mail in await claimed(store)], NOW)
    later = flight_data(departs_at="2026-12-01T11:30:00+05:30", arrives_at="2026-12-01T14:20:00+05:30")
    await store.add([message(id="v2", type="booking.changed", version=2, flights=[later])], RULES, NOW)
    (first,) = await claimed(store)
    await store.add(
        [message(id="v3", type="booking.changed", version=3, flights=[{**later, "seat": "14C"}])], RULES, NOW
    )
    appended = await store.record([handed_back(first)], NOW)
    (second,) = await claimed(store)
    assert [(event.mail, event.status) for event in appended] == [
        (first.id, Status.PENDING),
        (first.id, Status.CANCELLED),
        (second.id, Status.PENDING),
    ]
    assert isinstance(first.content, Itinerary)
    assert isinstance(second.content, Itinerary)
    assert second.content.before == first.content.before
    assert [flight.seat for flight in second.content.flights] == ["14C"]


async def test_mails_from_a_clock_far_ahead_are_given_up_and_purged_in_time(store: Store) -> None:
    """Once the clock is right, a mail is retried for as long as any other, and finished ones are purged in time."""
    ahead = NOW + timedelta(days=365)
    await store.add([request(1), request(2)], RULES, ahead)
    first, second = await claimed(store, now=ahead)
    await store.record([refused(first, Reply(452, "full"), None, RETRY, ahead), sent(second, ACCEPTED, ahead)], ahead)
    await store.expire(NOW)
    (retried,) = await claimed(store, now=LATER)
    assert retried.counted_since == NOW
    later = NOW + timedelta(days=8)
    purged = await store.purge(later - timedelta(days=1), later - timedelta(days=7), None, later)
    assert (purged.mails, purged.messages) == (1, 2)


@pytest.mark.parametrize("again", [request(1), message()])
async def test_no_id_comes_back_after_everything_was_forgotten(store: Store, again: Message) -> None:
    """A message that is sent again long after makes new mails with new ids and events."""
    ids: list[str] = []
    for now in (NOW, NOW + timedelta(days=30)):
        (added,) = await store.add([again], RULES, now)
        ids += [*added.mails, *(event.id for event in await store.events(0, 100))]
        while mails := await claimed(store, now=now):
            await store.record([sent(mail, ACCEPTED, now) for mail in mails], now)
        await store.expire(now + timedelta(days=20))
        over = now + timedelta(days=25)
        assert (await store.purge(over, over, None, over)).mails == len(added.mails)
        assert not any(await store.purge(over, over, None, over))
    assert len(ids) == len(set(ids))


async def test_a_request_that_is_forgotten_but_not_sent_makes_no_second_mail(store: Store) -> None:
    """The request is for a time in a month, and arrives again after its id was deleted."""
    month = (NOW + timedelta(days=30)).isoformat()
    await store.add([request(1, send_at=month)], RULES, NOW)
    later = NOW + timedelta(days=8)
    assert (await store.purge(later, later, None, later)).messages == 1
    (added,) = await store.add([request(1, send_at=month)], RULES, later)
    assert (added.repeated, added.mails) == (False, ())


async def test_an_address_that_no_mail_can_go_to_is_reported_once(store: Store) -> None:
    """This also holds if the report was purged before the next change of the booking."""
    people = [{"name": "A", "email": "a@example.com"}, {"name": "B", "email": "no address"}]
    (added,) = await store.add([message(passengers=people)], RULES, NOW)
    assert len(added.mails) == 3
    assert await purge(store, NOW + timedelta(hours=2)) == 1
    moved = message(id="m2", type="booking.changed", version=2, passengers=people, flights=[MOVED])
    await store.add([moved], RULES, NOW + timedelta(hours=2))
    assert (await store.totals())[Status.FAILED] == 0


@pytest.mark.parametrize("damage", ["content = x'00'", "content = x'00', kind = 'none'"])
async def test_a_mail_that_cannot_be_decoded_stops_no_other(tmp_path: Path, damage: str) -> None:
    """It becomes failed and is logged as an error; other mails are claimed, expire, and their bookings change."""
    async with opened(tmp_path) as store:
        expires = LATER.isoformat()
        await store.add([request(1), request(2, expires_at=expires), request(3), message()], RULES, NOW)
        spoilt = "event IN ('r1', 'r2', '7f0c') AND kind IN ('notification', 'booking.confirmation')"
        await store._run(lambda db: db.execute(f"UPDATE mails SET {damage} WHERE {spoilt}").close())  # noqa: S608 - our own
        assert [mail.event for mail in await claimed(store)] == ["r3"]
        await store.expire(LATER)
        assert await claimed(store, now=LATER) == []
        await store.add([message(id="v2", type="booking.changed", version=2, flights=[MOVED])], RULES, LATER)
        assert [mail.event for mail in await claimed(store, now=LATER)] == ["v2"]
        failed_ = (await store.totals())[Status.FAILED]
    assert failed_ == (3 if damage == "content = x'00'" else 0)
