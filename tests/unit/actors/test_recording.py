"""How outcomes are recorded, also if the store cannot take them or the service is ending."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.outgoing import add, all_ended, logged, mails, sending, until
from support.parts import PATIENCE
from support.scripted import Scripted

from notifier.demo.inbox import Inbox
from notifier.domain.claims import Claim
from notifier.domain.mail import Mail, Status
from notifier.errors import StoreUnusable
from notifier.storage.sqlite.store import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Provide an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


async def test_an_outcome_is_kept_until_it_can_be_recorded(
    store: SqliteStore, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store fails nothing more is claimed, and afterwards no mail is sent twice."""
    monkeypatch.setattr("notifier.actors.recording.RECORD_AGAIN", 0.05)
    record, faults = store.record, iter([StoreUnusable("disk full")] * 3)

    async def failing(changed: Sequence[Mail], now: datetime) -> None:
        if changed and (fault := next(faults, None)):
            raise fault
        await record(changed, now)

    monkeypatch.setattr(store, "record", failing)
    async with sending(store, [inbox.url], connections=1):
        await add(store, 1, 2)
        await inbox.wait_for(2, PATIENCE)
        await logged(store, "mail.sent", 2)
    assert sorted(mail.event for mail in inbox.received) == ["r1", "r2"]


async def test_an_outcome_that_cannot_be_stored_is_stored_without_its_words(
    store: SqliteStore, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """Whatever the reason, the status is recorded, other outcomes are complete, and nothing is sent twice."""
    record = store.record

    async def failing(changed: Sequence[Mail], now: datetime) -> None:
        for mail in changed:
            if mail.to == "p2@example.com" and mail.smtp:
                raise UnicodeEncodeError("utf-8", "\udce4", 0, 1, "surrogates not allowed")
        await record(changed, now)

    monkeypatch.setattr(store, "record", failing)
    for _ in range(2):
        async with sending(store, [inbox.url]):
            await add(store, 1, 2, 3)
            await until(lambda: all_ended(store), store)
    found = {mail.to: mail for mail in await mails(store)}
    assert {mail.status for mail in found.values()} == {Status.SENT}
    assert [address for address, mail in found.items() if mail.smtp is None] == ["p2@example.com"]
    assert len(inbox.received) == 3
    assert [line["event"] for line in logged_lines if line["log_level"] == "error"] == [
        "outcome cannot be stored as it is"
    ]


async def test_a_stop_gives_up_outcomes_after_a_while(
    store: SqliteStore, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """The log says how many mails are concerned."""
    monkeypatch.setattr("notifier.actors.recording.RECORD_AGAIN", 0.01)
    monkeypatch.setattr("notifier.actors.recording.LAST_RECORDS", 0.2)
    failing = asyncio.Event()
    record = store.record

    async def locked(changed: Sequence[Mail], now: datetime) -> None:
        if changed:
            failing.set()
            raise StoreUnusable("database is locked")
        await record(changed, now)

    monkeypatch.setattr(store, "record", locked)
    async with sending(store, [inbox.url]):
        await add(store, 1)
        async with asyncio.timeout(PATIENCE):
            await failing.wait()
    assert [mail.status for mail in await mails(store)] == [Status.SENDING]
    (line,) = [line for line in logged_lines if line["log_level"] == "error"]
    assert (line["event"], line["mails"]) == ("outcomes cannot be recorded before the service ends", 1)


async def test_an_outcome_during_the_stop_has_its_own_time_to_be_recorded(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dialogue that ends long after the stop began is recorded although the store is locked just then."""
    monkeypatch.setattr("notifier.actors.recording.RECORD_AGAIN", 0.01)
    monkeypatch.setattr("notifier.actors.recording.LAST_RECORDS", 0.3)
    gone, reply, refusals = asyncio.Event(), asyncio.Event(), [1, 2]
    record = store.record

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "DOT":
            gone.set()
            await reply.wait()
        return None

    async def locked_twice(changed: Sequence[Mail], now: datetime) -> None:
        if changed and refusals:
            refusals.pop()
            raise StoreUnusable("database is locked")
        await record(changed, now)

    monkeypatch.setattr(store, "record", locked_twice)
    async with Scripted.running(answer) as server:
        async with sending(store, [server.url], timeout="1h"):
            await add(store, 1)
            async with asyncio.timeout(PATIENCE):
                await gone.wait()
            asyncio.get_running_loop().call_later(0.6, reply.set)
    assert [mail.status for mail in await mails(store)] == [Status.SENT]
    assert refusals == []


async def test_outcomes_are_kept_while_the_store_cannot_be_written(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no limit apart from a stop: without its outcome an accepted mail would be sent again."""
    monkeypatch.setattr("notifier.actors.recording.RECORD_AGAIN", 0.01)
    monkeypatch.setattr("notifier.actors.recording.LAST_RECORDS", 0.1)
    works, tried = asyncio.Event(), 0
    record, claim = store.record, store.claim

    async def recorded(changed: Sequence[Mail], now: datetime) -> None:
        nonlocal tried
        if changed and not works.is_set():
            tried += 1
            raise StoreUnusable("database is locked")
        await record(changed, now)

    async def claimed(*args: Any, **options: Any) -> Claim:
        if tried and not works.is_set():
            raise StoreUnusable("database is locked")
        return await claim(*args, **options)

    monkeypatch.setattr(store, "record", recorded)
    monkeypatch.setattr(store, "claim", claimed)
    async with Scripted.running() as server:
        async with sending(store, [server.url]):
            await add(store, 1)
            await until(lambda: tried > 0, store)
            store.wake.set()
            # This takes many times as long as LAST_RECORDS.
            await until(lambda: tried > 100, store)
            works.set()
    assert [mail.status for mail in await mails(store)] == [Status.SENT]


async def test_an_outcome_and_the_next_claim_are_asked_of_the_store_at_once(
    store: SqliteStore, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one turn of the loop, so that they share a transaction: first the outcome, and then the claim."""
    asked: list[str] = []
    record, claim = store.record, store.claim

    async def recorded(changed: Sequence[Mail], now: datetime) -> None:
        if changed:
            asked.append("record")
            asyncio.get_running_loop().call_soon(asked.append, "next turn of the loop")
        await record(changed, now)

    async def claimed(*args: Any, **options: Any) -> Claim:
        asked.append("claim")
        return await claim(*args, **options)

    monkeypatch.setattr(store, "record", recorded)
    monkeypatch.setattr(store, "claim", claimed)
    await add(store, 1, 2, 3)
    async with sending(store, [inbox.url], connections=1):
        await logged(store, "mail.sent", 3)
    # A claim that comes after a search for expired mails, which happens once a second, has a turn of its own.
    pairs = list(pairwise(asked))
    assert asked.count("record") == 3
    assert pairs.count(("record", "claim")) >= 2


async def test_a_worker_whose_outcome_is_not_recorded_gets_no_mail(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if mails can be claimed: what was claimed for it is handed back, and no attempt is counted."""
    monkeypatch.setattr("notifier.actors.recording.RECORD_AGAIN", 0.02)
    record, tried, works = store.record, 0, False

    async def failing(changed: Sequence[Mail], now: datetime) -> None:
        nonlocal tried
        if changed and not works:
            tried += 1
            raise StoreUnusable("disk full")
        await record(changed, now)

    monkeypatch.setattr(store, "record", failing)
    async with Scripted.running() as server, sending(store, [server.url], connections=1):
        await add(store, 1, 2, 3)
        await until(lambda: tried > 5, store)
        store.wake.set()
        await until(lambda: tried > 10, store)
        assert len(server.messages) == 1
        works = True
        await logged(store, "mail.sent", 3)
    assert [mail.attempt for mail in await mails(store)] == [1, 1, 1]
    assert len(server.messages) == 3


async def test_outcomes_that_become_ready_during_a_transaction_are_in_the_next(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is lost, and none is recorded twice."""
    record, recorded = store.record, list[str]()

    async def slowly(changed: Sequence[Mail], now: datetime) -> None:
        await record(changed, now)
        recorded.extend(mail.event for mail in changed)
        await asyncio.sleep(0.1 if changed else 0)

    async def answer(phase: str, line: bytes) -> bytes | None:
        if phase == "DOT" and b"To: p2@" in line:
            await asyncio.sleep(0.05)
        return None

    monkeypatch.setattr(store, "record", slowly)
    async with Scripted.running(answer) as server, sending(store, [server.url]):
        await add(store, 0)
        await logged(store, "mail.sent", 1)
        await add(store, 1, 2, 3)
        await logged(store, "mail.sent", 4)
    assert sorted(recorded) == ["r0", "r1", "r2", "r3"]
