"""Messages as a store gets them, and steps on a store that many of its tests need."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from support import parts
from support.samples import NOW, booking_event, flight_data

from notifier.domain.claims import Quota
from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Mail, Reply, RetryPolicy
from notifier.domain.messages import Message, Origin, decode
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.store import Store

RETRY = RetryPolicy((timedelta(seconds=10),), timedelta(hours=48))
ACCEPTED = Reply(250, "2.0.0 OK")
LATER = NOW + timedelta(minutes=1)
DAY = timedelta(hours=24)
QUOTA = Quota("user@mail.example.com:587", 3)
MOVED = flight_data(departs_at="2026-12-02T09:30:00+05:30")


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    """Open the store of a file for the duration of the block."""
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


def message(at: datetime = NOW, **changes: object) -> Message:
    """Read a booking as it comes from the broker."""
    return decode(json.dumps(booking_event(**changes)).encode(), Origin(at))


def request(number: int, **data: object) -> Message:
    """Read a notification request."""
    return decode(json.dumps(parts.request(number, **data)).encode(), Origin(NOW))


def largest(number: int, version: int = 1) -> Message:
    """Build a booking of the largest permitted size; each version has other departures."""
    people = [{"name": f"Asha Rao {n}", "email": f"asha{n}@example.com"} for n in range(100)]
    flights = [
        flight_data(number=f"AI{n}", departs_at=f"2026-12-{n + 1:02}T{version:02}:30:00Z", arrives_at=None)
        for n in range(20)
    ]
    kind = "booking.confirmed" if version == 1 else "booking.changed"
    fields = {"booking": f"B{number}", "version": version, "passengers": people, "flights": flights}
    return decode(json.dumps(booking_event(id=f"b{number}.{version}", type=kind, **fields)).encode(), Origin(NOW))


async def claimed(store: Store, limit: int = 100, now: datetime = NOW) -> list[Mail]:
    """Claim without a speed limit."""
    return [start.mail for start in (await store.claim(limit, 0, now)).starts]


async def started(store: Store, quota: Quota | None, now: datetime = NOW) -> list[str]:
    """Claim everything that the quota allows; return the ids of the messages that caused the mails."""
    return [start.mail.event for start in (await store.claim(100, 0, now, quota)).starts]


async def purge(store: Store, now: datetime, reader: str | None = None) -> int:
    """Purge all that finished over an hour before `now`."""
    return (await store.purge(now - timedelta(hours=1), now - timedelta(days=7), reader, now)).mails


async def the_mail(store: Store, kind: Kind) -> Mail:
    """Return the only mail of a kind."""
    (mail,) = (await store.page(MailFilter(kind=frozenset({kind})), None, 10)).mails
    return mail
