"""How a claimed mail is delivered: its connection, its slot, its address, its expiry, and the stop."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.outgoing import (
    DELAYS,
    GIVE_UP_AFTER,
    add,
    all_ended,
    close_idle,
    composed,
    logged,
    mails,
    sending,
    total,
    until,
)
from support.parts import PATIENCE
from support.samples import RULES
from support.scripted import (
    Answer,
    HungUpError,
    Scripted,
    messages_by_recipient,
    offer_pipelining,
    once,
    silent_at,
    without_smtputf8,
)

from notifier import clock
from notifier.actors.delivering import Claimed, Limits
from notifier.actors.sender import Sender
from notifier.demo.inbox import Inbox
from notifier.domain.claims import Claim, Start
from notifier.domain.mail import Mail, RetryPolicy, Status, claimed
from notifier.domain.messages import Origin, decode
from notifier.errors import StoreUnusable
from notifier.sending.circuit_breaker import State
from notifier.sending.pacing import BurstGuard
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


async def test_a_connection_that_the_server_has_closed_is_replaced(store: SqliteStore) -> None:
    """A server that closes each connection after one mail costs no mail an attempt."""
    here = 0

    def once_a_connection(phase: str, _line: bytes) -> bytes | None:
        nonlocal here
        here = 0 if phase == "CONNECT" else here + (phase == "MAIL")
        if here > 1:
            raise HungUpError
        return None

    async with Scripted.running(once_a_connection) as server, sending(store, [server.url], connections=1):
        await add(store, 1, 2, 3)
        await logged(store, "mail.sent", 3)
    assert [mail.attempt for mail in await mails(store)] == [1, 1, 1]
    assert server.connections == 3


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
async def test_a_421_on_a_used_connection_is_no_rejection(store: SqliteStore, phase: str) -> None:
    """The server ends the connection, and the mail starts again on a new one, in the same attempt."""
    answers: list[bytes | None] = [None, b"421 4.4.2 idle for too long\r\n"]
    server_says: Answer = lambda at, _line: answers.pop(0) if at == phase and answers else None  # noqa: E731
    async with Scripted.running(server_says) as server, sending(store, [server.url]):
        for number in (1, 2):
            await add(store, number)
            await logged(store, "mail.sent", number)
    assert [mail.attempt for mail in await mails(store)] == [1, 1]
    assert server.connections == 2


async def test_a_421_on_a_new_connection_counts_as_an_attempt(store: SqliteStore) -> None:
    """There is no third start."""
    answers = [b"250 OK\r\n", b"421 4.7.0 not you\r\n", b"421 4.7.0 not you\r\n"]
    server_says: Answer = lambda at, _line: answers.pop(0) if at == "MAIL" and answers else None  # noqa: E731
    async with Scripted.running(server_says) as server, sending(store, [server.url], delays=(LONG,)):
        await add(store, 1)
        await logged(store, "mail.sent")
        await add(store, 2)
        await logged(store, "mail.retrying")
    assert [(mail.attempt, mail.smtp and mail.smtp.code) for mail in await mails(store)] == [(1, 250), (1, 421)]
    assert server.connections == 2


@pytest.mark.parametrize("text", [b"452 4.5.3 Number of transactions exceeds allowed maximum\r\n"])
async def test_a_connection_that_takes_no_more_mails_is_replaced(
    store: SqliteStore, text: bytes, logged_lines: list[Any]
) -> None:
    """The mail starts again on a new one, in the same attempt, and the account is not paused."""
    here = 0

    def answer(phase: str, _line: bytes) -> bytes | None:
        nonlocal here
        here = 0 if phase == "CONNECT" else here + (phase == "MAIL")
        return text if phase == "MAIL" and here > 2 else None

    async with Scripted.running(answer) as server, sending(store, [server.url], connections=1):
        await add(store, *range(6))
        await logged(store, "mail.sent", 6)
    assert {mail.attempt for mail in await mails(store)} == {1}
    assert (server.connections, logged_lines) == (3, [])


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_only_claims_to_take_commands_together_costs_no_mail(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any], phase: str
) -> None:
    """Its first odd answer changes how the account is used; no attempt is counted, and the account is not paused."""
    offer_pipelining(monkeypatch)
    async with Scripted.running(once(phase, b"250 OK\r\n250 OK\r\n")) as server, sending(store, [server.url]):
        await add(store, *range(6))
        await logged(store, "mail.sent", 6)
    assert {(mail.status, mail.attempt) for mail in await mails(store)} == {(Status.SENT, 1)}
    assert set(messages_by_recipient(server).values()) == {1}
    assert logged_lines == []


async def test_a_mail_waits_for_a_second_slot_before_its_second_start(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each MAIL FROM counts for the rate limit, including the one that found its connection closed."""
    starts: list[int] = []
    answers: list[bytes | None] = [None, b"421 4.4.2 idle for too long\r\n"]
    server_says: Answer = lambda at, _line: answers.pop(0) if at == "MAIL" and answers else None  # noqa: E731
    async with Scripted.running(server_says) as server, sending(store, [server.url]):
        monkeypatch.setattr(BurstGuard, "started", lambda _guard, _now: starts.append(server.count("MAIL")))
        for number in (1, 2):
            await add(store, number)
            await logged(store, "mail.sent", number)
    assert starts == [0, 1, 2]


async def test_nothing_starts_after_its_expiry(store: SqliteStore) -> None:
    """A mail that expires during a login is not sent, and the connection serves the next one."""
    expires_at = clock.now() + timedelta(seconds=1)
    logins = 0

    async def answer(phase: str, _line: bytes) -> bytes | None:
        nonlocal logins
        if phase == "CONNECT":
            logins += 1
        if phase == "CONNECT" and logins == 2:
            await asyncio.sleep((expires_at - clock.now()).total_seconds() + 0.05)
        return None

    async with Scripted.running(answer) as server, sending(store, [server.url], timeout="1h") as accounts:
        await until(lambda: logins == 1 and accounts[0].health.breaker.room(1) == 1, store)
        await close_idle(accounts)
        await add(store, 1, expires_at=expires_at.isoformat())
        await logged(store, "mail.expired")
        await add(store, 2)
        await logged(store, "mail.sent")
    assert (server.count("MAIL"), server.connections) == (1, 2)
    assert [(mail.status, mail.attempt) for mail in await mails(store)] == [(Status.EXPIRED, 0), (Status.SENT, 1)]


async def test_nothing_starts_a_second_time_after_its_expiry(store: SqliteStore) -> None:
    """The expiry is checked again if a used connection turned out to be closed."""
    expires_at = clock.now() + timedelta(seconds=1)
    begun = 0

    async def answer(phase: str, _line: bytes) -> bytes | None:
        nonlocal begun
        if phase == "MAIL":
            begun += 1
            if begun == 2:
                await asyncio.sleep((expires_at - clock.now()).total_seconds() + 0.05)
                return b"421 4.4.2 idle for too long\r\n"
        return None

    async with Scripted.running(answer) as server, sending(store, [server.url], timeout="1h"):
        await add(store, 0)
        await logged(store, "mail.sent")
        await add(store, 1, expires_at=expires_at.isoformat())
        await logged(store, "mail.expired")
    assert server.count("MAIL") == 2
    assert len(server.messages) == 1


async def test_a_mail_that_waited_long_for_a_login_is_claimed_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had not started when its cancellation arrived; the connection serves the next mail."""
    monkeypatch.setattr("notifier.actors.delivering.START_WITHIN", 0.1)
    reached, go_on, logins = asyncio.Event(), asyncio.Event(), 0

    async def answer(phase: str, _line: bytes) -> bytes | None:
        nonlocal logins
        logins += phase == "EHLO"
        if phase == "EHLO" and logins == 2:
            reached.set()
            await go_on.wait()
        return None

    async with Scripted.running(answer) as server, sending(store, [server.url], timeout="1h") as accounts:
        await until(lambda: accounts[0].health.breaker.state is State.HALF_OPEN, store)
        await close_idle(accounts)
        await add(store, 1)
        async with asyncio.timeout(PATIENCE):
            await reached.wait()
        now = clock.now()
        withdrawn = {"type": "notification.cancelled", "id": "c1", "source": "/test", "data": {"id": "r1"}}
        await store.add([decode(json.dumps(withdrawn).encode(), Origin(now))], RULES, now)
        asyncio.get_running_loop().call_later(0.2, go_on.set)
        await logged(store, "mail.cancelled")
        monkeypatch.setattr("notifier.actors.delivering.START_WITHIN", PATIENCE)
        await add(store, 2)
        await logged(store, "mail.sent")
    assert [(mail.status, mail.attempt) for mail in await mails(store)] == [(Status.CANCELLED, 0), (Status.SENT, 1)]
    assert (messages_by_recipient(server), server.connections) == ({"p2@example.com": 1}, 2)


async def test_two_mails_do_not_share_the_trial_of_another_account(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place on that account is taken before the quota is booked, by one of the mails only."""
    monkeypatch.setattr("notifier.sending.transport_health.OTHER_ACCOUNT", timedelta(milliseconds=100))
    go_on, begun = asyncio.Event(), 0

    async def slowly(phase: str, _line: bytes) -> bytes | None:
        nonlocal begun
        begun += phase == "MAIL"
        if phase == "DOT":
            await go_on.wait()
        return None

    async with Scripted.running(without_smtputf8) as first, Scripted.running(slowly) as second:
        async with sending(store, [first.url, second.url], quota=50, timeout="1h") as accounts:
            await add(store, 0)
            await logged(store, "mail.sent")
            await until(lambda: accounts[1].health.breaker.state is State.HALF_OPEN, store)
            await store.pause(paused=True)
            for number in (1, 2):
                await add(store, number, to=BEYOND_ASCII.format(number))
            await store.pause(paused=False)
            store.wake.set()
            await total(store, Status.PENDING, 1)
            await logged(store, "mail.pending", 3 + 1)
            await until(lambda: begun > 0, store)
            assert begun == 1
            go_on.set()
            await logged(store, "mail.sent", 3)
    assert (sum(messages_by_recipient(first).values()), sum(messages_by_recipient(second).values())) == (1, 2)


async def test_no_mail_starts_after_an_operator_has_paused_sending(store: SqliteStore) -> None:
    """Mails that wait for a login are handed back, and are sent when sending is resumed."""
    logging_in, go_on = asyncio.Event(), asyncio.Event()

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "AUTH" and server.count("MAIL"):
            logging_in.set()
            await go_on.wait()
        return None

    async with Scripted.running(answer) as server, sending(store, [server.url_with_login], timeout="1h") as accounts:
        await add(store, 0)
        await logged(store, "mail.sent")
        await close_idle(accounts)
        await add(store, 1, 2)
        async with asyncio.timeout(PATIENCE):
            await logging_in.wait()
        await store.pause(paused=True)
        go_on.set()
        await logged(store, "mail.pending", 3 + 1)
        assert server.count("MAIL") == 1
        await store.pause(paused=False)
        store.wake.set()
        await logged(store, "mail.sent", 3)


async def test_a_quota_counts_for_the_account_that_sends(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """This also holds if another account had claimed the mail and lacks what its address needs."""
    # While that account is on trial, other mails find no room there and wait.
    monkeypatch.setattr("notifier.sending.transport_health.OTHER_ACCOUNT", timedelta(milliseconds=100))
    async with Scripted.running(without_smtputf8) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url], quota=3) as accounts:
            await add(store, 0)
            await logged(store, "mail.sent")
            await until(lambda: accounts[1].health.breaker.state is State.HALF_OPEN, store)
            await add(store, *range(1, 6), to=BEYOND_ASCII.format(0))
            await logged(store, "mail.sent", 1 + 3)
            await total(store, Status.PENDING, 2)
            await add(store, 7)
            await logged(store, "mail.sent", 1 + 3 + 1)
    assert (len(first.messages), len(second.messages)) == (2, 3)


async def test_a_quota_that_is_free_again_is_used_for_mail_that_no_other_account_can_send(store: SqliteStore) -> None:
    """The store is asked, although nothing was claimed for that account since its quota was used up."""
    async with Scripted.running(without_smtputf8) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url], quota=2) as accounts:
            await until(lambda: accounts[1].health.breaker.state is State.HALF_OPEN, store)
            accounts[1].health.claimed(Claim((), clock.now() - LONG, 0))
            for number in (0, 1):
                await add(store, number, to=BEYOND_ASCII.format(0))
                await logged(store, "mail.sent", number + 1)
            await add(store, 2, to="jos\u00e9e@example.com")
            await logged(store, "mail.pending", 4)
    (waiting,) = [mail for mail in await mails(store) if mail.status is Status.PENDING]
    assert (waiting.event, waiting.attempt, len(second.messages)) == ("r2", 0, 2)
    assert waiting.next_attempt_at == accounts[1].health.used_up_until
    assert waiting.next_attempt_at
    assert waiting.next_attempt_at > clock.now() + 23 * LONG


async def test_a_trial_that_cannot_take_an_address_does_not_wait_for_another_account(store: SqliteStore) -> None:
    """The first account goes on while the second one is slow with that mail."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(phase: str, _line: bytes) -> bytes | None:
        if phase == "DOT":
            asked.set()
            await go_on.wait()
        return None

    async with Scripted.running(without_smtputf8) as first, Scripted.running(slowly) as second:
        await store.pause(paused=True)
        async with sending(store, [first.url, second.url], timeout="1h") as accounts:
            await until(lambda: {account.health.breaker.state for account in accounts} == {State.HALF_OPEN}, store)
            await add(store, 1, to=BEYOND_ASCII.format(0))
            await add(store, 2)
            await store.pause(paused=False)
            store.wake.set()
            async with asyncio.timeout(PATIENCE):
                await asked.wait()
            await logged(store, "mail.sent")
            go_on.set()
            await logged(store, "mail.sent", 2)
    assert (len(first.messages), len(second.messages)) == (1, 1)


async def test_addresses_that_no_server_can_take_fail_and_pause_no_account(
    store: SqliteStore, logged_lines: list[Any]
) -> None:
    """Four recipients beyond ASCII fail with a clear error at a server without SMTPUTF8, and other mail is sent."""
    async with Scripted.running(without_smtputf8) as server, sending(store, [server.url]):
        for number in range(4):
            await add(store, number, to=f"jürgen{number}@example.com")
        await add(store, 9)
        await until(lambda: all_ended(store), store)
    found = await mails(store)
    assert [mail.status for mail in found] == [Status.FAILED] * 4 + [Status.SENT]
    assert {mail.error for mail in found[:4]} == {"the address needs SMTPUTF8, which no configured SMTP server offers"}
    assert server.count("MAIL") == 1
    assert not logged_lines


async def test_an_address_beyond_ascii_is_sent_by_the_account_that_can_take_it(store: SqliteStore) -> None:
    """The first server never sees the mail, and the second account sends it although it has sent nothing yet."""
    async with Scripted.running(without_smtputf8) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url]):
            await add(store, 1, to="jürgen@example.com")
            await add(store, 2)
            await logged(store, "mail.sent", 2)
    assert (first.count("MAIL"), second.count("MAIL")) == (1, 1)
    assert b"X-Notifier-Event: r1" in second.messages[0]


async def test_an_address_beyond_ascii_waits_for_an_account_that_is_paused(store: SqliteStore) -> None:
    """That account may be able to send it, so the mail does not fail, and is not retried at once."""
    async with Scripted.running(without_smtputf8) as first:
        async with sending(store, [first.url, "smtp+plain://127.0.0.1:9"], pauses=(LONG,)) as accounts:
            await until(lambda: accounts[1].health.breaker.reason is not None, store)
            await add(store, 1, to="jürgen@example.com")
            await logged(store, "mail.pending", 2)
    (mail,) = await mails(store)
    assert (mail.status, mail.attempt, first.count("MAIL")) == (Status.PENDING, 0, 0)
    assert mail.next_attempt_at
    assert mail.next_attempt_at > clock.now() + LONG / 2


@pytest.mark.parametrize("phase", ["CONNECT", "EHLO", "AUTH"])
async def test_a_stop_abandons_mails_that_wait_for_a_connection(store: SqliteStore, phase: str) -> None:
    """However long the server stays silent, they are handed back at once, and no attempt is counted."""
    reached, answered = asyncio.Event(), 0

    async def answer(at: str, line: bytes) -> bytes | None:
        nonlocal answered
        if at == phase:
            answered += 1
            if answered > 1:
                found = silent_at(phase, reached)(at, line)
                assert isinstance(found, Awaitable)
                return await found
        return None

    async with Scripted.running(answer) as server:
        async with sending(store, [server.url_with_login], timeout="1h") as accounts:
            await add(store, 0)
            await logged(store, "mail.sent")
            await close_idle(accounts)
            await add(store, 1, 2, 3)
            async with asyncio.timeout(PATIENCE):
                await reached.wait()
    assert [(mail.status, mail.attempt) for mail in await mails(store)] == [
        (Status.SENT, 1),
        *[(Status.PENDING, 0)] * 3,
    ]
    assert server.count("MAIL") == 1


@pytest.mark.parametrize("phase", ["CONNECT", "EHLO", "AUTH"])
async def test_a_stop_abandons_a_login_after_a_pause(store: SqliteStore, phase: str) -> None:
    """A server that never replies to the probe does not delay the stop."""
    reached = asyncio.Event()
    async with Scripted.running(silent_at(phase, reached)) as server:
        async with sending(store, [server.url_with_login], timeout="1h"):
            async with asyncio.timeout(PATIENCE):
                await reached.wait()


async def test_a_stop_abandons_mails_that_wait_for_their_slot(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail whose slot is an hour away does not delay the stop, and its connection ends with QUIT."""
    waiting = asyncio.Event()

    def delay(_guard: BurstGuard, _now: float) -> float:
        waiting.set()
        return LONG.total_seconds()

    monkeypatch.setattr(BurstGuard, "delay", delay)
    async with Scripted.running() as server:
        async with sending(store, [server.url]):
            await add(store, 1)
            async with asyncio.timeout(PATIENCE):
                await waiting.wait()
    assert [(mail.status, mail.attempt) for mail in await mails(store)] == [(Status.PENDING, 0)]
    assert (server.count("MAIL"), server.count("QUIT")) == (0, 1)


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_stop_finishes_dialogues_past_their_mail_from(store: SqliteStore, phase: str) -> None:
    """The server's reply is awaited, and the mail is recorded as sent."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def answer(at: str, _line: bytes) -> bytes | None:
        if at == phase:
            reached.set()
            await go_on.wait()
        return None

    async with Scripted.running(answer) as server:
        async with sending(store, [server.url], timeout="1h"):
            await add(store, 1)
            async with asyncio.timeout(PATIENCE):
                await reached.wait()
            # The end of the block stops the sender at once, so the reply comes after the stop.
            asyncio.get_running_loop().call_later(0.2, go_on.set)
    assert [mail.status for mail in await mails(store)] == [Status.SENT]


async def test_a_stop_does_not_start_a_mail_again_on_a_new_connection(store: SqliteStore) -> None:
    """A mail whose used connection turns out to be closed during the stop is handed back."""
    reached, go_on, begun = asyncio.Event(), asyncio.Event(), 0

    async def answer(at: str, _line: bytes) -> bytes | None:
        nonlocal begun
        if at == "MAIL":
            begun += 1
            if begun == 2:
                reached.set()
                await go_on.wait()
                return b"421 4.4.2 idle for too long\r\n"
        return None

    async with Scripted.running(answer) as server:
        async with sending(store, [server.url], timeout="1h"):
            await add(store, 0)
            await logged(store, "mail.sent")
            await add(store, 1)
            async with asyncio.timeout(PATIENCE):
                await reached.wait()
            asyncio.get_running_loop().call_later(0.2, go_on.set)
    assert [(mail.status, mail.attempt) for mail in await mails(store)] == [(Status.SENT, 1), (Status.PENDING, 0)]
    assert server.connections == 1


async def test_a_mail_that_is_claimed_while_the_sender_ends_is_handed_back(store: SqliteStore) -> None:
    """No connection is made for it, although its delivery began after the others had been abandoned."""
    async with Scripted.running() as server, sending(store, [server.url]) as accounts:
        sender = Sender(store, accounts, Limits(1, 0, RetryPolicy(DELAYS, GIVE_UP_AFTER)), BurstGuard(0), composed)
        await sender._finish()
        await store.pause(paused=True)
        await add(store, 1)
        mail = (await mails(store))[0]
        start = Start(claimed(mail, clock.now()), clock.now())
        assert [found.attempt for found in await sender._deliverer.deliver(accounts[0], Claimed(start, 0.0), None)] == [
            0
        ]
    assert server.count("MAIL") == 0


async def test_a_mark_that_cannot_be_made_sends_nothing(
    store: SqliteStore, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store fails the message is not sent; afterwards it is sent once, and one attempt is counted."""
    mark, faults = store.mark, iter([StoreUnusable("disk full")] * 2)

    async def failing(mail: Mail) -> None:
        if fault := next(faults, None):
            raise fault
        await mark(mail)

    monkeypatch.setattr(store, "mark", failing)
    async with sending(store, [inbox.url], hold=True):
        await add(store, 1)
        await inbox.wait_for(1, PATIENCE)
        await logged(store, "mail.sent")
    (mail,) = await mails(store)
    assert (len(inbox.received), mail.attempt) == (1, 1)


@pytest.mark.parametrize("hold", [True, False])
async def test_a_mail_is_marked_before_its_message_if_its_outcome_must_not_be_in_doubt(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, *, hold: bool
) -> None:
    """With `hold`, a crash after the message leaves a mail that is known to be in doubt; otherwise nothing is written.

    The mark is written while the commands travel, and the message waits for it however long that takes.
    """
    mark, marked, order = store.mark, asyncio.Event(), list[str]()

    async def slowly(mail: Mail) -> None:
        order.append("marking")
        await marked.wait()
        await mark(mail)
        order.append("marked")

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase in ("DATA", "DOT"):
            order.append(phase)
            asyncio.get_running_loop().call_later(0.1, marked.set)
            assert phase == "DATA" or [mail.past_data for mail in await store.sending()] == [hold]
        return None

    monkeypatch.setattr(store, "mark", slowly)
    async with Scripted.running(answer) as server, sending(store, [server.url], hold=hold):
        await add(store, 1)
        await logged(store, "mail.sent")
    assert order == (["marking", "DATA", "marked", "DOT"] if hold else ["DATA", "DOT"])


async def test_a_stop_waits_for_the_reply_to_a_message(store: SqliteStore) -> None:
    """A mail whose final dot was sent before the stop is recorded as the server then replies."""
    gone, answer = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                gone.set()
                await answer.wait()
            writer.write(b"250 OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with sending(store, [f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}"]):
        await add(store, 1)
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
        # The end of the block stops the sender at once, so the reply comes after the stop.
        asyncio.get_running_loop().call_later(0.2, answer.set)
    answer.set()
    server.close()
    await server.wait_closed()
    assert [mail.status for mail in await mails(store)] == [Status.SENT]
