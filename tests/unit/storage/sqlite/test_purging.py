"""A purge deletes finished mails and handled ids, each after its own retention."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.samples import NOW, RULES, flight_data
from support.stores import ACCEPTED, DAY, MOVED, RETRY, claimed, message, purge, request, started

from notifier.domain.claims import Quota
from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Reply, Status, failed, refused, sent
from notifier.domain.messages import Message
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.store import Store


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


async def test_starts_of_an_account_without_a_quota_are_purged(store: Store) -> None:
    """Starts older than a day are deleted also if the quota is unset; others still count."""
    await store.add([request(n) for n in range(4)], RULES, NOW)
    assert len(await started(store, Quota("former", 3))) == 3
    assert len(await started(store, Quota("other", 3), NOW + DAY)) == 1
    purged = await store.purge(NOW, NOW, None, NOW + DAY)
    assert purged.starts == 3
    assert (await store.claim(0, 0, NOW + DAY, Quota("former", 3))).quota_left == 3
    assert (await store.claim(0, 0, NOW + DAY, Quota("other", 3))).quota_left == 2


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


WORDS = "Confidential-Subject-4711"
TEXT = "what-a-mail-says"


def on_disk(path: Path) -> bytes:
    """Read all files of a database."""
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


async def test_purged_mails_are_gone_from_the_disk(tmp_path: Path) -> None:
    """No file of a closed store has any of their words, also not in its free pages."""
    path = tmp_path / "n.db"
    store = await SqliteStore.open(path)
    messages = [request(n, subject=f"{WORDS}-{n}", text=f"{TEXT}-{n}") for n in range(50)]
    await store.add(messages, RULES, NOW)
    starts = (await store.claim(50, 0, NOW)).starts
    await store.record([sent(start.mail, Reply(250, "OK"), NOW) for start in starts], NOW)
    assert all(words.encode() in on_disk(path) for words in (WORDS, TEXT))
    later = NOW + timedelta(days=30)
    assert (await store.purge(later, later, None, later)).mails == 50
    await store.close()
    assert not any(words.encode() in on_disk(path) for words in (WORDS, TEXT))
