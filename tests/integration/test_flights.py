"""Real flights in simulated time, from the message to the store: bookings, delays and cancellations."""

import csv
import heapq
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.places import DATA
from support.samples import RULES, booking_event

from notifier.domain.mail import Kind, Mail, Reply, sent
from notifier.domain.messages import Origin, decode
from notifier.storage.sqlite.store import SqliteStore

FLIGHTS = DATA / "flights.csv"
HOUR = timedelta(hours=1)


class Announcement(NamedTuple):
    """A message of the booking service, when it is sent, and the departure (UTC) by then; None once it is cancelled."""

    at: datetime
    booking: str
    departure: datetime | None
    message: dict[str, Any]


def rows() -> list[dict[str, str]]:
    """Read the flights; without the data the test is skipped, except in CI."""
    if not FLIGHTS.exists():
        assert not os.environ.get("CI"), "CI has the data"
        pytest.skip("the flights are not here")
    with FLIGHTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def announcements(number: int, row: dict[str, str]) -> Iterator[Announcement]:
    """Return the messages about a flight: booked days before, then perhaps delayed or cancelled some hours before."""
    chance = random.Random(number)  # noqa: S311 - the same messages each time
    day = datetime(int(row["year"]), int(row["month"]), int(row["day"]), tzinfo=UTC)
    clock = timedelta(hours=int(row["sched_dep_time"]) // 100, minutes=int(row["sched_dep_time"]) % 100)
    # The data has the hour in UTC, which the test compares with the result for the local time.
    departure = datetime.fromisoformat(row["time_hour"]) + timedelta(minutes=clock.seconds // 60 % 60)
    booked = departure - timedelta(hours=chance.uniform(1, 200))
    known = departure - timedelta(hours=chance.uniform(0.2, 9))
    announcing = partial(message, row, f"F{number}")
    yield Announcement(booked, f"F{number}", departure, announcing("booking.confirmed", booked, day + clock))
    if known > booked and not row["dep_time"].isdigit():
        yield Announcement(known, f"F{number}", None, announcing("booking.cancelled", known, day + clock))
    elif known > booked and row["dep_delay"] != "0":
        late = timedelta(minutes=int(row["dep_delay"]))
        yield Announcement(
            known, f"F{number}", departure + late, announcing("booking.changed", known, day + clock + late)
        )


def message(row: dict[str, str], booking: str, type_: str, at: datetime, local: datetime) -> dict[str, Any]:
    """Build a message as a booking service would: the departure in the airport's local time, without an offset."""
    flight = {
        "number": f"{row['carrier']}{row['flight']}",
        "from": row["origin"],
        "to": row["dest"],
        "departs_at": local.replace(tzinfo=None).isoformat(),
    }
    return booking_event(
        id=f"{booking} {type_}",
        type=type_,
        time=at.isoformat(),
        booking=booking,
        version=None,
        passengers=[{"name": "Asha Rao", "email": f"{booking}@example.com"}],
        flights=[flight],
    )


def is_reminded(announced: Announcement, following: Announcement | None) -> bool:
    """Return whether a reminder is certain, by the contract: this was the latest state for the whole window.

    Reminders are spread over the window, so if the departure changes inside it, the reminder may have been sent or not.
    """
    if announced.departure is None or announced.at >= announced.departure - 3 * HOUR:
        return False
    return following is None or following.at >= announced.departure - 2 * HOUR


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Return an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


async def live(store: SqliteStore, stories: list[list[Announcement]]) -> list[tuple[Mail, datetime, Announcement]]:
    """Simulate time: messages arrive and mail is sent as soon as it is due; return the reminders that were sent."""
    coming = [(each.at, number, place) for number, story in enumerate(stories) for place, each in enumerate(story)]
    heapq.heapify(coming)
    known: dict[str, Announcement] = {}
    went: list[tuple[Mail, datetime, Announcement]] = []
    due: datetime | None = None
    while coming or due:
        now = min(at for at in (due, coming[0][0] if coming else None) if at)
        messages = []
        while coming and coming[0][0] <= now:
            _, number, place = heapq.heappop(coming)
            each = stories[number][place]
            known[each.booking] = each
            messages.append(decode(json.dumps(each.message).encode(), Origin(now)))
        if messages:
            await store.add(messages, RULES, now)
        while await store.expire(now):
            pass
        claim = await store.claim(1000, 0, now)
        mails = [start.mail for start in claim.starts]
        went += [(mail, now, known[str(mail.booking)]) for mail in mails if mail.kind is Kind.REMINDER]
        await store.record([sent(mail, Reply(250, "OK"), now) for mail in mails], now)
        due = claim.again_at
    return went


async def test_no_reminder_goes_outside_its_window(store: SqliteStore) -> None:
    """Each is sent between three and two hours before the latest departure; none is missing or sent twice."""
    stories = [list(announcements(number, row)) for number, row in enumerate(rows())]
    went = await live(store, stories)
    for mail, at, latest in went:
        assert mail.flight
        assert latest.departure, f"{mail.booking} was reminded of a cancelled flight"
        assert latest.departure == mail.flight.departs_at, (
            f"{mail.booking} was reminded of a departure that had changed"
        )
        assert latest.departure - 3 * HOUR <= at <= latest.departure - 2 * HOUR
    reminded = Counter((mail.booking, latest.departure) for mail, _, latest in went)
    certain = {
        (announced.booking, announced.departure)
        for story in stories
        for announced, following in zip(story, [*story[1:], None], strict=True)
        if is_reminded(announced, following)
    }
    assert set(reminded.values()) == {1}
    assert not certain - reminded.keys()
    assert len(certain) > len(stories) / 2
