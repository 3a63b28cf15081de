"""Which due mails are claimed, in which order, and which expire instead."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from support.samples import NOW, RULES, flight_data
from support.stores import ACCEPTED, LATER, MOVED, RETRY, claimed, message, opened, request

from notifier.domain.claims import Quota
from notifier.domain.mail import Kind, Status, handed_back, sent, unknown
from notifier.storage.store import Store


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


async def test_a_booking_of_a_flight_that_has_left_mails_nothing(store: Store) -> None:
    """If the departure is before the message, the confirmation is stored and expires unsent."""
    left = flight_data(departs_at="2026-11-24T10:00:00Z", arrives_at=None)
    await store.add([message(flights=[left])], RULES, LATER)
    assert await claimed(store, now=LATER) == []
    await store.expire(LATER)
    assert {status for status, count in (await store.totals()).items() if count} == {Status.EXPIRED}


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


@pytest.mark.parametrize("short", [False, True])
async def test_expired_mail_in_front_does_not_hide_what_can_go(store: Store, *, short: bool) -> None:
    """A claim passes over expired mails, also if they are more than `expire` ends at once."""
    await store.add([request(n, expires_at=LATER.isoformat()) for n in range(601)], RULES, NOW)
    await store.add([request(9999), request(9998)], RULES, NOW)
    assert await store.expire(LATER)
    claim = await store.claim(5, 0, LATER, Quota("short", 1) if short else None)
    assert len(claim.starts) == (1 if short else 2)
    assert (await store.totals())[Status.EXPIRED] == 500


@pytest.mark.parametrize("kind", [True, False])
async def test_a_mail_that_cannot_be_decoded_stops_no_other(tmp_path: Path, *, kind: bool) -> None:
    """It becomes failed and is logged as an error; other mails are claimed, expire, and their bookings change."""
    async with opened(tmp_path / "notifier.db") as store:
        expires = LATER.isoformat()
        await store.add([request(1), request(2, expires_at=expires), request(3), message()], RULES, NOW)
        spoilt = "event IN ('r1', 'r2', '7f0c') AND kind IN ('notification', 'booking.confirmation')"
        numbers = f"SELECT n FROM mails WHERE {spoilt}"  # noqa: S608 - our own
        damage = [f"UPDATE contents SET content = x'00' WHERE n IN ({numbers})"]  # noqa: S608 - our own
        if kind:
            damage.append(f"UPDATE mails SET kind = 'none' WHERE {spoilt}")  # noqa: S608 - our own
        await store._run(lambda db: [db.execute(each) for each in damage])
        assert [mail.event for mail in await claimed(store)] == ["r3"]
        await store.expire(LATER)
        assert await claimed(store, now=LATER) == []
        await store.add([message(id="v2", type="booking.changed", version=2, flights=[MOVED])], RULES, LATER)
        assert [mail.event for mail in await claimed(store, now=LATER)] == ["v2"]
        failed_ = (await store.totals())[Status.FAILED]
    assert failed_ == (0 if kind else 3)
