"""A running sender with a real store and real SMTP servers, and conditions that its tests wait for."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from support.parts import PATIENCE, request
from support.samples import RULES, WORDING

from notifier import clock
from notifier.actors.delivering import Account, Limits
from notifier.actors.sender import Sender
from notifier.composing.message import compose
from notifier.domain.claims import Quota
from notifier.domain.events import MailFilter, StoredEvent
from notifier.domain.mail import Mail, RetryPolicy, Status
from notifier.domain.messages import Origin, decode
from notifier.gateways.smtp_pool import SmtpPool, smtp_pools
from notifier.sending.circuit_breaker import CircuitBreaker
from notifier.sending.dialogue import ComposedMail
from notifier.sending.pacing import BurstGuard
from notifier.sending.transport_health import TransportHealth
from notifier.settings import NamedAddress, load
from notifier.storage.sqlite.store import SqliteStore

SENDER = NamedAddress("Air", "fly@example.org")
PAUSES = (timedelta(milliseconds=50), timedelta(milliseconds=100))
MAIL = ComposedMail("fly@example.org", "asha@example.com", b"Subject: hello\r\n\r\nhello\r\n")
DELAYS, GIVE_UP_AFTER = (timedelta(milliseconds=200),), timedelta(hours=1)


async def never() -> AsyncIterator[datetime]:
    """Yield no tick."""
    await asyncio.Event().wait()
    yield clock.now()


async def until(wanted: Callable[[], bool | Awaitable[bool]], store: SqliteStore) -> None:
    """Wait until a condition holds; it is checked after each query of the store."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = wanted()
            if found is True or (isinstance(found, Awaitable) and await found):
                return
            await store.totals()


async def all_ended(store: SqliteStore) -> bool:
    """Return whether no mail is pending or being sent."""
    totals = await store.totals()
    return not totals[Status.PENDING] and not totals[Status.SENDING]


async def add(store: SqliteStore, *numbers: int, **data: Any) -> None:
    """Store a request for each number."""
    now = clock.now()
    messages = [decode(json.dumps(request(n, **data)).encode(), Origin(now)) for n in numbers]
    await store.add(messages, RULES, now)


@asynccontextmanager
async def sending(
    store: SqliteStore,
    urls: Sequence[str],
    *,
    rate: float = 0,
    connections: int = 4,
    hold: bool = False,
    quota: int = 0,
    timeout: str = "1s",
    pauses: Sequence[timedelta] = PAUSES,
    delays: tuple[timedelta, ...] = DELAYS,
    again: Sequence[Account] = (),
) -> AsyncIterator[list[Account]]:
    """Run a sender, and shut it down gracefully at the end. `again` reuses the accounts of an earlier run."""
    environ = {"NOTIFIER_SMTP_URL": ",".join(urls), "NOTIFIER_MAIL_FROM": "Air <fly@example.org>"}
    settings = load({**environ, "NOTIFIER_SMTP_TIMEOUT": timeout, "NOTIFIER_SMTP_DOT_TIMEOUT": timeout})
    pools = smtp_pools(settings.smtp, "example.org")
    quotas = [Quota(pool.server.account, quota) if quota else None for pool in pools]
    accounts = list(again) or [
        Account(pool, TransportHealth(pool.name, CircuitBreaker(pauses), its))
        for pool, its in zip(pools, quotas, strict=True)
    ]
    stop = asyncio.Event()
    retry = RetryPolicy(delays, GIVE_UP_AFTER, hold_uncertain=hold)
    sender = Sender(store, accounts, Limits(connections, rate, retry), BurstGuard(rate), composed)
    task = asyncio.create_task(sender.run(never(), lambda: None, stop))
    try:
        yield accounts
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await task
        for account in accounts:
            await account.pool.close()


async def logged(store: SqliteStore, type_: str, count: int = 1) -> list[StoredEvent]:
    """Wait until the log has at least `count` events of a type; return them."""
    async with asyncio.timeout(PATIENCE):
        while True:
            head = (await store.span()).head
            found = [event for event in await store.events(0, 10_000) if event.type == type_]
            if len(found) >= count:
                return found
            await store.beyond(head)


async def total(store: SqliteStore, status: Status, count: int) -> None:
    """Wait until at least `count` mails have a status."""
    async with asyncio.timeout(PATIENCE):
        while True:
            head = (await store.span()).head
            if (await store.totals())[status] >= count:
                return
            await store.beyond(head)


async def mails(store: SqliteStore) -> list[Mail]:
    """Return every mail, oldest first."""
    return list(reversed((await store.page(MailFilter(), None, 500)).mails))


def composed(mail: Mail) -> ComposedMail:
    """Compose a mail as the service does."""
    return ComposedMail(SENDER.address, mail.to, compose(mail, WORDING, SENDER))


async def close_idle(accounts: Sequence[Account]) -> None:
    """Close the idle connections of all accounts, as they are closed after some time."""
    for account in accounts:
        await account.pool.close()


@asynccontextmanager
async def smtp_pool(url: str, **settings: str) -> AsyncIterator[SmtpPool]:
    """Make a pool for one account; every idle connection is closed at the end."""
    environ = {"NOTIFIER_SMTP_URL": url, "NOTIFIER_MAIL_FROM": "fly@example.org", "NOTIFIER_SMTP_TIMEOUT": "2s"}
    loaded = load({**environ, **{f"NOTIFIER_SMTP_{name}": value for name, value in settings.items()}})
    (only,) = smtp_pools(loaded.smtp, "example.org")
    try:
        yield only
    finally:
        await only.close()
