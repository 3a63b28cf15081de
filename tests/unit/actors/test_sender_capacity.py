"""How many mails the sender hands over at the same time, to one account and to several."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.outgoing import add, logged, mails, sending, until
from support.parts import PATIENCE
from support.scripted import HungUpError, Limited, Scripted, messages_by_recipient, without_smtputf8

from notifier.domain.claims import Claim
from notifier.domain.mail import Status
from notifier.errors import StoreUnusable
from notifier.sending.circuit_breaker import State
from notifier.storage.sqlite.store import SqliteStore

pytestmark = pytest.mark.usefixtures("either_way")

LONG = timedelta(hours=1)
BEYOND_ASCII = "jos\u00e9{}@example.com"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Provide an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


def addresses(*numbers: int) -> Counter[str]:
    return Counter(f"p{number}@example.com" for number in numbers)


async def test_a_server_that_allows_few_connections_pauses_no_account(
    store: SqliteStore, logged_lines: list[Any]
) -> None:
    """After one login too many, no more mails are claimed than there are connections for."""
    limited = Limited(2)
    async with Scripted.running(limited) as server, sending(store, [server.url], connections=8) as accounts:
        await add(store, *range(20))
        await logged(store, "mail.sent", 20)
        assert accounts[0].room(8) <= 2
    assert messages_by_recipient(server) == addresses(*range(20))
    assert (limited.most, limited.refused) == (2, 1)
    assert "SMTP account paused" not in {line["event"] for line in logged_lines}
    assert {(mail.status, mail.attempt) for mail in await mails(store)} == {(Status.SENT, 1)}
    # Only the mail that needed one connection too many may have been handed back.
    assert len([event for event in await store.events(0, 1000) if event.type == "mail.pending"]) <= 20 + 1


async def test_an_account_that_rejects_logins_leaves_the_rest_to_the_next_one(store: SqliteStore) -> None:
    """This also holds while one of its connections waits for a reply."""
    gone, go_on = asyncio.Event(), asyncio.Event()

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "CONNECT" and gone.is_set():
            raise HungUpError
        if phase == "DOT":
            gone.set()
            await go_on.wait()
        return None

    async with Scripted.running(answer) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url], pauses=(LONG,), timeout="1h") as accounts:
            await until(lambda: {account.health.breaker.state for account in accounts} == {State.HALF_OPEN}, store)
            accounts[0].health.breaker.worked()
            await add(store, 1)
            async with asyncio.timeout(PATIENCE):
                await gone.wait()
            await add(store, *range(2, 12))
            await logged(store, "mail.sent", 10)
            go_on.set()
            await logged(store, "mail.sent", 11)
    assert (messages_by_recipient(first), messages_by_recipient(second)) == (addresses(1), addresses(*range(2, 12)))


async def test_no_account_gets_more_mails_at_a_time_than_it_has_connections(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mails that another account could not take are counted as well."""
    monkeypatch.setattr("notifier.sending.transport_health.OTHER_ACCOUNT", timedelta(milliseconds=100))
    is_down, go_on, now, most = True, asyncio.Event(), 0, 0

    async def first_says(phase: str, _line: bytes) -> bytes | None:
        if is_down:
            raise HungUpError
        return b"250 here\r\n" if phase == "EHLO" else None

    async def second_says(phase: str, line: bytes) -> bytes | None:
        nonlocal now, most
        if phase == "DOT" and b"p0@" not in line:
            now += 1
            most = max(most, now)
            await go_on.wait()
            now -= 1
        return None

    async with Scripted.running(first_says) as first, Scripted.running(second_says) as second:
        async with sending(store, [first.url, second.url], connections=2, timeout="1h") as accounts:
            await add(store, 0)
            await logged(store, "mail.sent")
            await add(store, 1, 2)
            await until(lambda: now == 2, store)
            is_down = False
            await until(lambda: accounts[0].health.breaker.state is State.HALF_OPEN, store)
            await add(store, 3)
            await logged(store, "mail.sent", 2)
            for number in (4, 5):
                await add(store, number, to=BEYOND_ASCII.format(number))
            # Each is handed back at least once, because the second account has no room for it.
            await logged(store, "mail.pending", 6 + 2)
            assert (now, accounts[1].health.under_way) == (2, 2)
            go_on.set()
            await logged(store, "mail.sent", 6)
    assert most == 2
    assert (sum(messages_by_recipient(first).values()), sum(messages_by_recipient(second).values())) == (1, 5)


async def test_a_place_for_which_a_mail_is_being_claimed_is_taken(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail that the first account cannot take does not get it meanwhile, so the second one has no connection more."""
    monkeypatch.setattr("notifier.sending.transport_health.OTHER_ACCOUNT", timedelta(milliseconds=100))
    claim, claimed = store.claim, 0

    async def slowly(*args: Any, **options: Any) -> Claim:
        nonlocal claimed
        found = await claim(*args, **options)
        claimed += len(found.starts)
        if found.starts and claimed == 2:
            await asyncio.sleep(0.3)
        return found

    def recovering(phase: str, line: bytes) -> bytes | None:
        if phase == "CONNECT" and first.connections == 1:
            raise HungUpError
        return without_smtputf8(phase, line)

    async def slow_reply(phase: str, _line: bytes) -> bytes | None:
        if phase == "DOT":
            await asyncio.sleep(0.5)
        return None

    await store.pause(paused=True)
    async with Scripted.running(recovering) as first, Scripted.running(slow_reply) as second:
        async with sending(store, [first.url, second.url], connections=1, timeout="1h") as accounts:
            await until(lambda: {account.health.breaker.state for account in accounts} == {State.HALF_OPEN}, store)
            accounts[1].health.breaker.worked()
            await add(store, 1, to=BEYOND_ASCII.format(1))
            await add(store, 2)
            # The first account must be asked first, so no round of claims may be under way.
            await asyncio.sleep(0.1)
            monkeypatch.setattr(store, "claim", slowly)
            await store.pause(paused=False)
            await logged(store, "mail.sent", 2)
    assert second.connections == 1


async def test_sending_resumes_beside_a_dialogue_when_the_store_can_be_written_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """A server that is slow with one mail delays no other, because the run of the sender goes on."""
    monkeypatch.setattr("notifier.actors.sender.CLAIM_AGAIN", 0.01)
    gone, go_on, is_locked, tried, claim = asyncio.Event(), asyncio.Event(), False, 0, store.claim

    async def answer(phase: str, line: bytes) -> bytes | None:
        if phase == "DOT" and b"To: p1@" in line:
            gone.set()
            await go_on.wait()
        return None

    async def claimed(*args: Any, **options: Any) -> Claim:
        nonlocal tried
        if is_locked:
            tried += 1
            raise StoreUnusable("database is locked")
        return await claim(*args, **options)

    monkeypatch.setattr(store, "claim", claimed)
    async with Scripted.running(answer) as server, sending(store, [server.url], timeout="1h"):
        await add(store, 0)
        await logged(store, "mail.sent")
        await add(store, 1)
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
        is_locked = True
        await add(store, 2, 3, 4)
        await until(lambda: tried > 3, store)
        is_locked = False
        await logged(store, "mail.sent", 4)
        assert not go_on.is_set()
        go_on.set()
        await logged(store, "mail.sent", 5)
    assert messages_by_recipient(server) == addresses(*range(5))
    words = [line["event"] for line in logged_lines if "claimed" in line["event"]]
    assert words == ["mails cannot be claimed, will try again", "mails can be claimed again"]
