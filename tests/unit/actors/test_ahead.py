"""Mails whose commands travel with the message of the mail before, to a server that is far away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.benchmarks.measures import most_in_window
from support.outgoing import add, all_ended, logged, mails, sending, until
from support.parts import PATIENCE
from support.scripted import Answer, HungUpError, Scripted, messages_by_recipient, offer_pipelining, once

from notifier import clock
from notifier.actors import sender
from notifier.actors.delivering import Account, Claimed, Deliverer
from notifier.domain.mail import Mail, Status
from notifier.gateways import smtp_dialogue
from notifier.sending.pacing import BurstGuard
from notifier.storage.sqlite.store import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Provide an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def _distant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every server count as distant."""
    offer_pipelining(monkeypatch)
    monkeypatch.setattr(smtp_dialogue, "FAR", 0.0)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the recipients of mails that are begun with the message before."""
    found: list[str] = []
    begin = Deliverer._begin_next

    def noted(self: Deliverer, *args: object) -> object:
        composed = begin(self, *args)  # type: ignore[arg-type]
        if composed:
            found.append(composed.recipient)
        return composed

    monkeypatch.setattr(Deliverer, "_begin_next", noted)
    return found


def slowly(answer: Answer = lambda _phase, _line: None) -> Answer:
    """Reply to MAIL and to a message only after the store had time to claim the next mail."""

    async def says(phase: str, line: bytes) -> bytes | None:
        if phase in ("MAIL", "DOT"):
            await asyncio.sleep(0.05)
        found = answer(phase, line)
        assert found is None or isinstance(found, bytes)
        return found

    return says


async def test_each_mail_is_begun_with_the_one_before(store: SqliteStore, begun: list[str]) -> None:
    """Each is sent once, in the order in which they became due, and with its own answers."""
    await add(store, *range(12))
    async with Scripted.running(slowly()) as server, sending(store, [server.url], connections=1):
        await logged(store, "mail.sent", 12)
    assert begun
    assert list(messages_by_recipient(server).values()) == [1] * 12
    assert [m.count(b"X-Notifier-Event: r%d\r\n" % n) for n, m in enumerate(server.messages)] == [1] * 12
    assert {(mail.status, mail.attempt) for mail in await mails(store)} == {(Status.SENT, 1)}


async def test_no_more_than_one_mail_is_claimed_beyond_those_that_have_begun(
    store: SqliteStore, begun: list[str]
) -> None:
    """A connection has at most the mail in transfer, the one that has begun, and one more."""
    under_way: list[int] = []

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase in ("MAIL", "DOT"):
            await asyncio.sleep(0.05)
        if phase == "DOT":
            under_way.append(len(await store.sending()))
        return None

    await add(store, *range(12))
    async with Scripted.running(answer) as server, sending(store, [server.url], connections=1):
        await logged(store, "mail.sent", 12)
    assert begun
    assert max(under_way) == 3


async def test_a_near_server_gets_one_mail_at_a_time(
    store: SqliteStore, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would be gained by claiming a mail ahead."""
    monkeypatch.setattr(smtp_dialogue, "FAR", PATIENCE)
    await add(store, *range(6))
    async with Scripted.running(slowly()) as server, sending(store, [server.url], connections=1):
        await logged(store, "mail.sent", 6)
    assert begun == []


@pytest.mark.parametrize("dot", [b"421 4.3.2 bye\r\n", b"250 OK\r\n421 bye\r\n", b"250 OK\r\n250 OK\r\n", None])
async def test_a_mail_that_has_begun_on_a_connection_that_closes_costs_no_attempt(
    store: SqliteStore, begun: list[str], dot: bytes | None
) -> None:
    """It is sent on another connection; only the mail whose message got that answer can have a second attempt."""
    left = [None] * 4 + [dot]

    def answer(phase: str, _line: bytes) -> bytes | None:
        if phase != "DOT" or not left:
            return None
        found = left.pop(0)
        if found is None and not left:
            raise HungUpError
        return found

    await add(store, *range(10))
    async with Scripted.running(slowly(answer)) as server, sending(store, [server.url], connections=1):
        await logged(store, "mail.sent", 10)
    found = await mails(store)
    assert begun
    assert {mail.status for mail in found} == {Status.SENT}
    assert sum(mail.attempt for mail in found) <= 11
    twice = [count for count in messages_by_recipient(server).values() if count > 1]
    assert twice == ([2] if dot is None or dot.startswith(b"421") else [])


async def test_no_mail_begins_ahead_after_an_operator_has_paused_sending(store: SqliteStore, begun: list[str]) -> None:
    """Mails that were claimed ahead are handed back, and those that have begun are finished."""
    paused = asyncio.Event()

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "DOT" and len(server.messages) == 3:
            await store.pause(paused=True)
            begun.clear()
            paused.set()
        if phase in ("MAIL", "DOT"):
            await asyncio.sleep(0.05)
        return None

    await add(store, *range(12))
    async with Scripted.running(answer) as server, sending(store, [server.url], connections=1):
        async with asyncio.timeout(PATIENCE):
            await paused.wait()
        await until(lambda: _nothing_is_sent(store), store)
        assert begun == []
        assert len(server.messages) in (3, 4)
    assert {(mail.status, mail.attempt) for mail in await mails(store)} == {(Status.SENT, 1), (Status.PENDING, 0)}


async def _nothing_is_sent(store: SqliteStore) -> bool:
    return not await store.sending()


async def test_a_stop_finishes_what_has_begun_and_hands_back_what_is_claimed(
    store: SqliteStore, begun: list[str]
) -> None:
    """No attempt is counted for a mail that the server does not know."""
    await add(store, *range(100))
    async with Scripted.running(slowly()) as server, sending(store, [server.url], connections=1):
        await until(lambda: len(begun) > 2, store)
    found = await mails(store)
    assert len([mail for mail in found if mail.status is Status.SENT]) == len(server.messages) < 100
    assert {mail.attempt for mail in found if mail.status is Status.PENDING} == {0}
    assert {mail.status for mail in found} == {Status.SENT, Status.PENDING}


async def test_a_mail_that_has_begun_ahead_is_marked_before_its_message(store: SqliteStore, begun: list[str]) -> None:
    """With `hold`, each message finds its mark on disk."""
    unmarked: list[str] = []

    async def answer(phase: str, line: bytes) -> bytes | None:
        if phase == "DOT":
            unmarked.extend(m.to for m in await store.sending() if m.to.encode() in line and not m.past_data)
        if phase in ("MAIL", "DOT"):
            await asyncio.sleep(0.05)
        return None

    await add(store, *range(8))
    async with Scripted.running(answer) as server, sending(store, [server.url], connections=1, hold=True):
        await logged(store, "mail.sent", 8)
    assert begun
    assert unmarked == []


async def test_the_rate_holds_for_mails_that_begin_ahead(
    store: SqliteStore, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them counts once, at a time when the server has certainly seen it."""
    starts: list[float] = []
    started: Callable[[BurstGuard, float], None] = BurstGuard.started

    def noted(self: BurstGuard, now: float) -> None:
        starts.append(now)
        started(self, now)

    monkeypatch.setattr(BurstGuard, "started", noted)
    await add(store, *range(60))
    async with Scripted.running(slowly()) as server, sending(store, [server.url], rate=30, connections=2):
        await logged(store, "mail.sent", 60)
    assert begun
    assert (len(starts), server.count("MAIL")) == (60, 60)
    assert most_in_window(starts) <= 31


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_a_server_that_takes_no_commands_behind_a_message_stops_mails_ahead(
    store: SqliteStore, begun: list[str], *, hangs_up: bool
) -> None:
    """Its first fault is the last: no more than one mail is in doubt, and the service waits for one reply in vain."""

    class Abrupt(Scripted):
        async def _talk(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.reader: Any = reader
            await super()._talk(number, reader, writer)

    async def answer(phase: str, _line: bytes) -> None:
        if phase in ("MAIL", "DOT"):
            await asyncio.sleep(0.05)
        if phase == "DOT" and (commands := server.reader._buffer):
            if hangs_up:
                raise HungUpError
            commands.clear()

    await add(store, *range(12))
    async with Abrupt.running(answer) as server, sending(store, [server.url], connections=1):
        await logged(store, "mail.sent", 12)
    assert len(begun) == 1
    assert server.connections == 2
    assert len(server.messages) == 12 + hangs_up
    assert sum(mail.attempt for mail in await mails(store)) == 12 + hangs_up


async def test_a_mail_that_expires_behind_a_message_is_not_sent(store: SqliteStore, begun: list[str]) -> None:
    """Its commands were accepted, but the message before it was held up; no attempt is counted."""
    expires_at = clock.now() + timedelta(seconds=1.5)

    async def answer(phase: str, _line: bytes) -> None:
        if phase == "DOT" and len(begun) == 3:
            await asyncio.sleep((expires_at - clock.now()).total_seconds() + 0.05)
        elif phase in ("MAIL", "DOT"):
            await asyncio.sleep(0.05)

    await add(store, *range(3))
    await add(store, *range(3, 8), expires_at=expires_at.isoformat())
    async with Scripted.running(answer) as server, sending(store, [server.url], connections=1, timeout="5s"):
        await logged(store, "mail.expired")
        await until(lambda: all_ended(store), store)
    found = await mails(store)
    sent = [mail.to for mail in found if mail.status is Status.SENT]
    assert sent == list(messages_by_recipient(server))
    assert begun[-1] not in sent
    assert {(mail.status, mail.attempt) for mail in found} == {(Status.SENT, 1), (Status.EXPIRED, 0)}


async def test_a_message_that_is_held_up_holds_up_no_mail_that_has_not_begun(
    store: SqliteStore, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail that was claimed ahead is handed back, and goes out on another connection meanwhile."""
    monkeypatch.setattr(sender, "KEEP_AHEAD", 0.2)
    taken = asyncio.Event()

    async def answer(phase: str, _line: bytes) -> None:
        if phase == "DOT" and len(server.messages) == 8:
            await taken.wait()
        elif phase in ("MAIL", "DOT"):
            await asyncio.sleep(0.05)

    await add(store, *range(30))
    async with Scripted.running(answer) as server, sending(store, [server.url], connections=2, timeout="1h"):
        await logged(store, "mail.sent", 28)
        taken.set()
        await logged(store, "mail.sent", 30)
    assert begun
    assert set(messages_by_recipient(server).values()) == {1}
    assert {(mail.status, mail.attempt) for mail in await mails(store)} == {(Status.SENT, 1)}


async def test_a_server_that_only_claims_to_take_commands_together_stops_mails_ahead(
    store: SqliteStore, begun: list[str]
) -> None:
    """After its first odd answer no mail is lost, none has cost an attempt, and none is begun ahead."""
    await add(store, *range(8))
    says = once("DOT", b"250 OK\r\n", b"250 OK\r\n", b"250 OK\r\n", b"250 OK\r\n550 no\r\n")
    async with Scripted.running(slowly(says)) as server, sending(store, [server.url], connections=1):
        await logged(store, "mail.sent", 8)
    assert begun
    assert set(messages_by_recipient(server).values()) == {1}
    assert {mail.attempt for mail in await mails(store)} == {1}


async def test_a_worker_that_fails_hands_back_what_it_has_claimed_ahead(
    store: SqliteStore, begun: list[str], monkeypatch: pytest.MonkeyPatch, logged_lines: list[object]
) -> None:
    """Only the mail whose outcome was lost by a fault of our own stays as it is."""
    deliver, failed = Deliverer.deliver, list[str]()

    async def failing(self: Deliverer, account: Account, claimed: Claimed, *args: Any) -> list[Mail]:
        outcomes = await deliver(self, account, claimed, *args)
        if len(begun) > 2 and not failed:
            failed.append(claimed.mail.id)
            raise RuntimeError("a fault of our own")
        return outcomes

    monkeypatch.setattr(Deliverer, "deliver", failing)
    await add(store, *range(30))
    async with Scripted.running(slowly()) as server, sending(store, [server.url], connections=1):
        await logged(store, "mail.sent", 29)
    found = await mails(store)
    assert [mail.id for mail in found if mail.status is Status.SENDING] == failed
    assert {mail.attempt for mail in found} == {1}
    assert len(server.messages) == 30
    assert logged_lines
