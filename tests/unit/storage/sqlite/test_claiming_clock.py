"""A clock that was wrong holds up no mail and no quota."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from support.samples import NOW, RULES, flight_data
from support.stores import ACCEPTED, DAY, LATER, QUOTA, RETRY, claimed, message, opened, request, started

from notifier.domain.mail import Reply, handed_back, refused, sent
from notifier.storage.store import Store


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


async def test_a_clock_that_is_set_back_is_followed_once_by_calls_at_the_same_time(store: Store) -> None:
    """A sender that was cancelled and started again can claim while its transaction before that still runs."""
    await store.add([request(1)], RULES, NOW)
    (mail,) = await claimed(store)
    await store.record([refused(mail, Reply(450, "later"), None, RETRY, NOW)], NOW)
    back = NOW - timedelta(seconds=8)
    await asyncio.gather(store.expire(back), store.claim(9, 0, back))
    claim = await store.claim(9, 0, back)
    assert (claim.starts, claim.again_at) == ((), back + RETRY.delays[0])


async def test_a_clock_that_was_set_back_between_two_processes_is_noticed(tmp_path: Path) -> None:
    """A machine starts with a wrong clock and is restarted with the right one."""
    async with opened(tmp_path / "notifier.db") as store:
        await store.add([request(1)], RULES, NOW)
    async with opened(tmp_path / "notifier.db") as store:
        assert len(await claimed(store, now=NOW - timedelta(days=400))) == 1


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
