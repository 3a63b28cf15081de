"""Several accounts beside each other, and failures that are attributed to an account although no reply says so."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.outgoing import add, composed, logged, mails, sending, total, until
from support.parts import PATIENCE
from support.scripted import Answer, HungUpError, Scripted, silent_at

from notifier import service
from notifier.actors.sender import Sender
from notifier.domain.mail import Status
from notifier.sending.circuit_breaker import State
from notifier.sending.pacing import BurstGuard
from notifier.sending.refusals import MANY
from notifier.settings import Settings
from notifier.storage.sqlite.store import SqliteStore

pytestmark = pytest.mark.usefixtures("either_way")

LONG = timedelta(hours=1)
BEYOND_ASCII = "jos\u00e9@example.com"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Provide an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


def is_to(line: bytes, *numbers: int) -> bool:
    """Return whether a command names the recipient of one of these requests."""
    return any(f"<p{number}@".encode() in line for number in numbers)


def rejecting(phase: str, reply: bytes, *numbers: int) -> Answer:
    """Answer a phase with a reply, or at RCPT only if it names one of these recipients."""
    return lambda at, line: reply if at == phase and (not numbers or is_to(line, *numbers)) else None


async def test_wrong_addresses_in_a_row_hold_up_no_mail(store: SqliteStore) -> None:
    """Mail to another recipient is sent as soon as the account is tried again; then the wrong ones fail, once each."""
    wrong = range(MANY)
    async with Scripted.running(rejecting("RCPT", b"550 5.1.1 no such user\r\n", *wrong)) as server:
        async with sending(store, [server.url], connections=1) as accounts:
            await add(store, *wrong)
            await until(lambda: accounts[0].health.breaker._step > 0, store)
            await add(store, 99)
            await logged(store, "mail.sent")
            await total(store, Status.FAILED, MANY)
            assert (accounts[0].health.breaker.state, accounts[0].health.breaker._step) == (State.CLOSED, 0)
    assert Counter(mail.status for mail in await mails(store)) == {Status.FAILED: MANY, Status.SENT: 1}


def disliking(content: bytes) -> Answer:
    """Reject messages with some content, at the final dot."""
    return lambda phase, line: b"554 5.7.1 looks like spam\r\n" if phase == "DOT" and content in line else None


async def test_a_request_whose_content_is_rejected_holds_up_no_mail(
    store: SqliteStore, logged_lines: list[Any]
) -> None:
    """It fails for each of its recipients, the account is never paused, and the mail behind it is sent."""
    async with Scripted.running(disliking(b"Subject: Bulk")) as server, sending(store, [server.url], pauses=(LONG,)):
        await add(store, 0, to=[f"b{number}@example.com" for number in range(40)], subject="Bulk")
        await add(store, 1, 2)
        await logged(store, "mail.sent", 2)
        await total(store, Status.FAILED, 40)
    found = await mails(store)
    assert {mail.event for mail in found if mail.status is Status.FAILED} == {"r0"}
    assert {mail.event for mail in found if mail.status is Status.SENT} == {"r1", "r2"}
    assert not logged_lines


async def test_a_mail_that_arrives_after_a_batch_of_rejected_ones_is_tried_next(store: SqliteStore) -> None:
    """The account is suspected because of the batch; once that mail is accepted, it is used like any other."""
    async with Scripted.running(disliking(b"Subject: Bad")) as server:
        async with sending(store, [server.url], pauses=(LONG,), delays=(LONG,), connections=1) as accounts:
            await add(store, *range(20), subject="Bad")
            await until(lambda: accounts[0].health.breaker.reason is not None, store)
            met = len(server.messages)
            await add(store, 99)
            accounts[0].health.breaker._retry_at = 0.0
            store.wake.set()
            await logged(store, "mail.sent")
            await until(lambda: len(server.messages) > met + 1, store)
            await logged(store, "mail.retrying", 2 * met)
    assert met < 20
    assert b"X-Notifier-Event: r99\r\n" in server.messages[met]
    assert Counter(mail.status for mail in await mails(store)) == {Status.PENDING: 20, Status.SENT: 1}


async def test_an_accepted_mail_ends_a_suspicion(store: SqliteStore) -> None:
    """If a mail that was under way is accepted, the rest does not wait for the end of the pause."""
    go_on = asyncio.Event()

    async def answer(phase: str, line: bytes) -> bytes | None:
        if phase == "DOT" and b"Subject: Slow" in line:
            await go_on.wait()
        return disliking(b"Subject: Bad")(phase, line)  # type: ignore[return-value]

    async with Scripted.running(answer) as server:
        async with sending(store, [server.url], pauses=(LONG,), delays=(LONG,), timeout="1h") as accounts:
            await add(store, 0)
            await logged(store, "mail.sent")
            await add(store, 1, subject="Slow")
            await until(lambda: len(server.messages) == 2, store)
            await add(store, 2, 3, 4, subject="Bad")
            await until(lambda: accounts[0].health.breaker.reason is not None, store)
            await add(store, 5)
            go_on.set()
            await logged(store, "mail.sent", 3)


async def test_a_limit_that_lets_some_mails_through_fails_none(store: SqliteStore) -> None:
    """If its words are known, each mail is sent in the end, although others are accepted in between."""
    rcpts = 0
    limit = (
        b"550 Domain example.org has exceeded the max emails per hour (150/150 (100%)) allowed. Message discarded.\r\n"
    )

    def answer(phase: str, _line: bytes) -> bytes | None:
        nonlocal rcpts
        rcpts += phase == "RCPT"
        return limit if phase == "RCPT" and rcpts % 3 else None

    async with Scripted.running(answer) as server:
        async with sending(store, [server.url], pauses=(timedelta(milliseconds=5),), delays=(timedelta(0),)):
            await add(store, *range(12))
            await logged(store, "mail.sent", 12)
    assert {mail.event for mail in await mails(store) if mail.status is Status.SENT} == {f"r{n}" for n in range(12)}


async def test_a_mail_for_which_a_server_hangs_up_holds_up_no_mail(store: SqliteStore) -> None:
    """After each pause the others go first; from the third time on the mail is retried on its own."""

    def answer(phase: str, line: bytes) -> bytes | None:
        if phase == "MAIL" and b"SMTPUTF8" in line:
            raise HungUpError
        return None

    async with Scripted.running(answer) as server, sending(store, [server.url], delays=(LONG,)):
        await add(store, 1, to=BEYOND_ASCII)
        await add(store, *range(2, 20))
        await logged(store, "mail.sent", 18)
        for number in range(20, 24):
            await add(store, number)
            await logged(store, "mail.sent", number - 1)
        await logged(store, "mail.retrying")
    (waiting,) = [mail for mail in await mails(store) if mail.status is Status.PENDING]
    assert (waiting.attempt, waiting.error) == (1, "Unexpected EOF received (in MAIL)")


@pytest.mark.parametrize("reply", [b"450 4.7.0 too many messages, try again in 24 hours\r\n", b"550 5.4.5 limit\r\n"])
async def test_mail_that_meets_the_limit_of_an_account_is_sent_by_the_next_one(
    store: SqliteStore, reply: bytes
) -> None:
    """Mails that were under way when the limit was reached do not wait for the end of the pause either."""
    accepted, limited = asyncio.Semaphore(3), asyncio.Event()

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "DOT":
            if accepted.locked():
                limited.set()
                return reply
            await accepted.acquire()
        return None

    async with Scripted.running(answer) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url], pauses=(LONG,), timeout="1h"):
            await add(store, *range(20))
            await logged(store, "mail.sent", 20)
    assert limited.is_set()
    assert {(mail.status, mail.attempt) for mail in await mails(store)} == {(Status.SENT, 1)}


def hanging_up(phase: str, _line: bytes) -> bytes | None:
    if phase == "RCPT":
        raise HungUpError
    return None


@pytest.mark.parametrize("answer", [hanging_up, rejecting("RCPT", b"421 4.7.0 Temporary problem\r\n")])
async def test_an_account_whose_dialogues_all_break_is_paused(store: SqliteStore, answer: Answer) -> None:
    """The next account gets the rest; the first one tries one new recipient after each pause."""
    async with Scripted.running(answer) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url], pauses=(LONG,), delays=(LONG,), connections=2) as accounts:
            await add(store, *range(20))
            await until(lambda: accounts[0].health.breaker.reason is not None, store)
            met = first.count("MAIL")
            await logged(store, "mail.sent", 20 - met)
    assert met <= 4
    assert first.connections <= met + 1


async def test_an_account_that_is_stuck_leaves_the_rest_to_the_next_one(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes messages and never replies holds up those messages only."""
    monkeypatch.setattr("notifier.sending.transport_health.STALL_TIMEOUT", 0.1)
    reached = asyncio.Event()
    async with Scripted.running(silent_at("DOT", reached)) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url], timeout="3s", delays=(LONG,)):
            await add(store, *range(6))
            await logged(store, "mail.sent", 5)
            assert (len(first.messages), len(second.messages)) == (1, 5)


async def test_each_account_has_connections_of_its_own(store: SqliteStore) -> None:
    """Dialogues that hang on a paused account take no connections from the next one."""
    limit, together, go_on, begun = asyncio.Event(), asyncio.Event(), asyncio.Event(), 0

    async def first_says(phase: str, line: bytes) -> bytes | None:
        if phase == "DOT" and limit.is_set():
            await go_on.wait()
        return b"450 4.7.0 too many messages\r\n" if phase == "RCPT" and is_to(line, 9) else None

    async def second_says(phase: str, _line: bytes) -> bytes | None:
        nonlocal begun
        if phase == "DOT":
            begun += 1
            if begun >= 4:
                together.set()
            # The first mail is on trial, alone.
            if begun > 1:
                await together.wait()
        return None

    async with Scripted.running(first_says) as first, Scripted.running(second_says) as second:
        async with sending(store, [first.url, second.url], pauses=(LONG,), timeout="1h") as accounts:
            await add(store, 0)
            await logged(store, "mail.sent")
            limit.set()
            await add(store, 1, 2, 3)
            await until(lambda: len(first.messages) == 4, store)
            await add(store, 9)
            await until(lambda: accounts[0].health.breaker.reason is not None, store)
            await add(store, *range(10, 16))
            async with asyncio.timeout(PATIENCE):
                await together.wait()
            await logged(store, "mail.sent", 1 + 7)
            go_on.set()


async def test_all_runs_of_the_sender_share_one_burst_guard(
    store: SqliteStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that is restarted does not begin with a burst."""
    burst_guards: list[BurstGuard] = []

    async def note(self: Sender, *_: object) -> None:
        burst_guards.append(self._deliverer._burst_guard)

    monkeypatch.setattr(Sender, "run", note)
    send = service._sending(store, [], settings, composed)
    for _ in range(2):
        await send(lambda: None, asyncio.Event())
    assert burst_guards[0] is burst_guards[1]
