"""An erased address is nowhere: not in a mail, a booking or an event, and not on the disk."""

import asyncio
import json
import random
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import parts
from support.samples import NOW, RULES, booking_event
from support.stores import ACCEPTED, LATER, MOVED, claimed, message, opened, purge, request, the_mail

from notifier.domain.events import MailFilter
from notifier.domain.mail import ERASED, Kind, Mail, Reply, Status, failed, retried, sent
from notifier.domain.messages import Message, Origin, decode
from notifier.errors import StoreUnusable
from notifier.storage.sqlite import erasure
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.store import Erased, Store


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
    await store.record([retried(lost)], NOW)
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


async def test_an_erased_mail_does_not_come_back_by_an_amendment(store: Store) -> None:
    """The amendment of a newer message is erased with the address."""
    await store.add([message()], RULES, NOW)
    (mail,) = await claimed(store)
    await store.add([message(id="v2", type="booking.changed", version=2, flights=[MOVED])], RULES, NOW)
    await store.record([failed(mail, Reply(550, "no such user"), None)], NOW)
    await store.erase("asha@example.com", NOW)
    found = await the_mail(store, Kind.CONFIRMATION)
    assert (found.to, found.subject) == ("", "")
    await store.record([retried(found)], NOW)
    assert (await the_mail(store, Kind.CONFIRMATION)).subject == ""


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


def some_message(number: int, chance: random.Random) -> Message:
    """Make a booking or a request, sometimes one for the address that will be erased."""
    email, name = ("asha.rao@example.com", "Asha Rao") if chance.random() < 0.3 else (f"p{number}@example.com", "P")
    booking = {"booking": f"B{chance.randrange(200)}", "passengers": [{"name": name, "email": email}]}
    letter = {"to": email, "subject": f"For {name}", "text": f"Dear {name}. {'x' * chance.randrange(6000)}"}
    event = (
        booking_event(id=f"b{number}", version=number, **booking)
        if chance.random() < 0.5
        else parts.request(number, **letter)
    )
    return decode(json.dumps(event).encode(), Origin(NOW))


def words_on_disk(folder: Path, *words: str) -> set[str]:
    """Return the words that are anywhere in the files of a store."""
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    return {word for word in words if word.encode() in content}


@pytest.mark.parametrize("seed", range(3))
async def test_an_erased_address_is_nowhere_on_the_disk(tmp_path: Path, seed: int) -> None:
    """It is not in free pages, in pages that were divided or in the write-ahead log, while the store is open."""
    chance, personal = random.Random(seed), ("asha.rao@", "Asha Rao")  # noqa: S311 - a test that can be repeated
    async with opened(tmp_path / "n.db") as store:
        for batch in range(20):
            await store.add([some_message(batch * 40 + n, chance) for n in range(40)], RULES, NOW)
            for start in (await store.claim(chance.randrange(20), 0, NOW)).starts:
                await store.record([sent(start.mail, Reply(250, f"OK {start.mail.to}"), NOW)], NOW)
        assert words_on_disk(tmp_path, *personal, "p1@example.com") == {*personal, "p1@example.com"}
        await store.erase("asha.rao@example.com", NOW)
        assert words_on_disk(tmp_path, *personal, "p1@example.com") == {"p1@example.com"}


@pytest.mark.parametrize("address", ["secret@example.com", "Secret@example.com"])
async def test_an_address_is_erased_from_a_state_that_never_came_into_force(tmp_path: Path, address: str) -> None:
    """A booking keeps the state of an outdone message without a version, which can name an address of its own."""
    person = [{"name": "Mira Secret", "email": address}]
    late = booking_event(id="late", version=None, time="2026-11-24T09:00:00Z", passengers=person)
    async with opened(tmp_path / "n.db") as store:
        for event in (booking_event(), late):
            await store.add([decode(json.dumps(event).encode(), Origin(NOW))], RULES, NOW)
        assert words_on_disk(tmp_path, address, "Mira Secret") == {address, "Mira Secret"}
        assert (await store.erase("secret@example.com", NOW)).bookings == 1
        assert words_on_disk(tmp_path, address, "Mira Secret", "Asha Rao") == {"Asha Rao"}


async def test_a_log_that_is_being_read_is_an_error_and_emptied_the_next_time(tmp_path: Path) -> None:
    """While a backup runs, the log keeps the old rows: erasing raises an error, and can be repeated."""
    async with opened(tmp_path / "n.db") as store:
        await store._run(lambda db: db.execute("PRAGMA busy_timeout = 50").close())
        await store.add([decode(json.dumps(booking_event()).encode(), Origin(NOW))], RULES, NOW)
        reader = sqlite3.connect(tmp_path / "n.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM mails").fetchall()
        with pytest.raises(StoreUnusable, match="another program is reading the database"):
            await store.erase("asha@example.com", NOW)
        assert words_on_disk(tmp_path, "asha@", "Asha Rao") == {"asha@", "Asha Rao"}
        reader.close()
        await store.erase("asha@example.com", NOW)
        assert words_on_disk(tmp_path, "asha@", "Asha Rao") == set()


async def test_the_copy_that_erasing_makes_is_beside_the_database(store: SqliteStore, tmp_path: Path) -> None:
    """SQLite would write it to /tmp, which can be small, or memory."""
    # More than SQLite keeps in memory.
    await store.add([request(n, text="x" * 50_000) for n in range(200)], RULES, NOW)
    folders: set[Path] = set()

    def look() -> None:
        files = [each.resolve() for each in Path("/proc/self/fd").iterdir()]
        folders.update(file.parent for file in files if file.name.startswith("etilqs_"))

    await store._writer.set_progress_handler(look, 1000)
    await store.erase("p1@example.com", NOW)
    assert folders == {tmp_path}
