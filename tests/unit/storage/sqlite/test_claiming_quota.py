"""How many mails an account can start in a day, and which are claimed if that is too few."""

from datetime import timedelta
from pathlib import Path

from support.samples import NOW, RULES, flight_data
from support.stores import ACCEPTED, DAY, LATER, QUOTA, RETRY, message, opened, purge, request, started

from notifier.domain.claims import Quota
from notifier.domain.mail import Reply, handed_back, refused, sent
from notifier.storage.store import Store


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


async def test_a_quota_outlives_mails_and_the_process(tmp_path: Path) -> None:
    """Purged mails and a restart leave the count as it was."""
    async with opened(tmp_path / "notifier.db") as store:
        await store.add([request(n) for n in range(5)], RULES, NOW)
        for start in (await store.claim(9, 0, NOW, QUOTA)).starts:
            await store.record([sent(start.mail, ACCEPTED, NOW)], NOW)
        later = NOW + timedelta(hours=2)
        assert await purge(store, later) == 3
    async with opened(tmp_path / "notifier.db") as store:
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


async def test_the_order_of_one_address_holds_under_a_short_quota(store: Store) -> None:
    """The earliest deadline comes first, but a notice never before the mail that it changes."""
    sooner = flight_data(departs_at="2026-11-25T09:30:00+05:30")
    await store.add([message()], RULES, NOW)
    await store.add([message(id="v2", version=2, type="booking.changed", flights=[sooner])], RULES, NOW)
    assert await started(store, Quota("short", 1)) == ["7f0c"]
