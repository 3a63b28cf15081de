"""Each message that is added and each change that is recorded, with the events that it appends."""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace
from support.samples import NOW, RULES, flight_data
from support.stores import ACCEPTED, LATER, MOVED, RETRY, claimed, message, opened, request, the_mail

from notifier.domain.events import MailFilter
from notifier.domain.mail import (
    Flight,
    Itinerary,
    Kind,
    Reply,
    Status,
    failed,
    handed_back,
    refused,
    retried,
    sent,
    unknown,
)
from notifier.domain.messages import Origin, decode
from notifier.storage.store import Store


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


async def test_others_get_their_turn_between_two_slow_subjects(store: Store) -> None:
    """An operator's own template can be slow; the event loop waits for one subject at a time."""
    turns, rendered_at = 0, list[int]()

    def subject(kind: Kind, booking: str, flights: Sequence[Flight], locale: str | None) -> str:
        time.sleep(0.002)
        rendered_at.append(turns)
        return f"{kind} {booking} {locale} {flights[0].number}"

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    people = [{"name": n, "email": f"{n}@example.com", "locale": n} for n in "abcdefghijklmnop"]
    await store.add([message(passengers=people)], replace(RULES, subject=subject), NOW)
    others.cancel()
    assert len(rendered_at) == 2 * len(people)
    assert len(set(rendered_at)) == len(rendered_at)


async def test_a_withdrawal_that_comes_first_is_remembered(store: Store) -> None:
    """A request that was withdrawn before it arrived is stored and cancelled at once."""
    event = {"type": "notification.cancelled", "id": "c1", "source": "/test", "data": {"id": "r1"}}
    await store.add([decode(json.dumps(event).encode(), Origin(NOW))], RULES, NOW)
    await store.add([request(1)], RULES, NOW)
    assert [event.type for event in await store.events(0, 10)] == ["mail.pending", "mail.cancelled"]
    assert await claimed(store) == []


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


async def test_messages_of_one_booking_in_a_batch_see_each_other(store: Store, tmp_path: Path) -> None:
    """A confirmation, a change and a cancellation make of its mails what they would make one after the other."""
    batch = [
        message(),
        message(id="v2", type="booking.changed", version=2, flights=[MOVED]),
        message(id="end", type="booking.cancelled", version=3),
        message(),
    ]
    together = await store.add(batch, RULES, NOW)
    async with opened(tmp_path / "other.db") as other:
        assert together == [each for one in batch for each in await other.add([one], RULES, NOW)]
        assert await store.events(0, 100) == await other.events(0, 100)
        assert await store.page(MailFilter(), None, 100) == await other.page(MailFilter(), None, 100)


async def test_two_steps_of_one_mail_can_be_recorded_together(store: Store) -> None:
    """The second one is made from the first, and both are in the log, in order."""
    await store.add([request(n) for n in range(3)], RULES, NOW)
    a, b, c = await claimed(store)
    refused_ = failed(b, Reply(550, "no"), None)
    steps = [sent(a, ACCEPTED, NOW), refused_, retried(refused_), sent(c, ACCEPTED, NOW)]
    appended = await store.record(steps, NOW)
    assert [(event.mail, event.status) for event in appended] == [(mail.id, mail.status) for mail in steps]
    assert await store.get(b.id) == retried(refused_)
    assert await store.events(6, 10) == appended


async def test_of_a_hundred_passengers_one_has_a_bad_address(store: Store) -> None:
    """The others get their mail, and the bad one is reported."""
    people = [{"name": f"P {n}", "email": f"p{n}@example.com" if n else "nobody"} for n in range(100)]
    await store.add([message(passengers=people)], RULES, NOW)
    assert len(await claimed(store)) == 99
    (bad,) = (await store.page(MailFilter(status=frozenset({Status.FAILED})), None, 10)).mails
    assert "'nobody' is not a valid address" in str(bad.error)


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
