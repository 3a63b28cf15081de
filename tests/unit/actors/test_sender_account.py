"""How carefully the sender uses an account: logins, pauses, rejections of one recipient, expiry and the stop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.outgoing import DELAYS, GIVE_UP_AFTER, add, close_idle, composed, logged, mails, sending, smtp_pool
from support.parts import PATIENCE
from support.scripted import PHASES, Answer, HungUpError, Scripted, silent_at

from notifier import clock
from notifier.actors.delivering import Claimed, Limits
from notifier.actors.recording import OutcomeRecorder
from notifier.actors.sender import Sender
from notifier.demo.inbox import Inbox
from notifier.domain.claims import Start
from notifier.domain.mail import Mail, RetryPolicy, Status, claimed
from notifier.errors import StoreUnusable
from notifier.gateways.smtp_login import Admission
from notifier.gateways.smtp_pool import SmtpPool
from notifier.observability.status import Figures
from notifier.sending.dialogue import ComposedMail
from notifier.sending.pacing import BurstGuard
from notifier.storage.sqlite.store import SqliteStore
from notifier.supervisor import Supervisor

LONG = timedelta(hours=1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Give an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


async def until(wanted: Callable[[], bool | Awaitable[bool]], store: SqliteStore) -> None:
    """Wait until something is so; looked at whenever the store has answered."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = wanted()
            if found is True or (isinstance(found, Awaitable) and await found):
                return
            await store.totals()


def recipient(line: bytes) -> str:
    return line.decode("latin-1").partition("<")[2].partition(">")[0]


# Replies that are not text


ODD = st.lists(
    st.tuples(
        st.sampled_from([phase for phase in PHASES if phase != "QUIT"]),
        st.sampled_from([b"250 ", b"354 ", b"421 ", b"450 ", b"550 ", b"535 ", b"554 5.2.2 ", b""]),
        st.binary(max_size=30) | st.sampled_from([b"Empf\xe4nger", b"\xed\xa0\x80", b"ok\r\n250 ok", b"\x00"]),
    ),
    max_size=6,
)


@settings(max_examples=25)
@given(ODD)
async def test_any_bytes_in_replies_are_recorded(odd: Sequence[tuple[str, bytes, bytes]]) -> None:
    """Every mail gets its status, none that the server accepted is sent again after a restart, and all can be told."""
    left = list(odd)
    accepted = Counter[bytes]()

    def answer(phase: str, line: bytes) -> bytes | None:
        found = next((each for each in left if each[0] == phase), None)
        if found:
            left.remove(found)
        if phase == "DOT" and (found is None or found[1] == b"250 "):
            accepted[line] += 1
        return found[1] + found[2] + b"\r\n" if found else None

    with TemporaryDirectory() as folder:
        async with Scripted.running(answer) as server:
            for start in range(2):
                found = await sent_by_a_process(Path(folder) / "n.db", server.url_with_login, 4 * start)
    assert {mail.status for mail in found} <= {Status.SENT, Status.FAILED}
    assert len([mail for mail in found if mail.status is Status.SENT]) >= len(accepted)
    assert all(count == 1 for count in accepted.values())
    assert msgspec.json.encode(found)


async def sent_by_a_process(database: Path, url: str, first: int) -> list[Mail]:
    """Open a store, send four mails with all that is left of those before, and return what the store then says."""
    store = await SqliteStore.open(database)
    at_once = (timedelta(0),)
    await add(store, *range(first, first + 4))
    async with sending(store, [url], timeout="300ms", delays=at_once, pauses=at_once) as accounts:
        await until(lambda: all_ended(store), store)
        figures = Figures(store, None, [account.health for account in accounts], Supervisor())
        assert msgspec.json.encode([figures.readiness(), await figures.stats()])
    found = await mails(store)
    await store.close()
    return found


async def all_ended(store: SqliteStore) -> bool:
    totals = await store.totals()
    return not totals[Status.PENDING] and not totals[Status.SENDING]


async def test_a_reply_that_is_not_utf_8_holds_up_nobody(store: SqliteStore) -> None:
    """One recipient's rejection in Latin-1 is recorded like any other, as are the mails beside it."""

    def answer(phase: str, line: bytes) -> bytes | None:
        return b"550 5.1.1 Empf\xe4nger unbekannt\r\n" if phase == "RCPT" and recipient(line)[:3] == "p3@" else None

    async with Scripted.running(answer) as server:
        for _ in range(2):
            async with sending(store, [server.url]):
                await add(store, *range(20))
                await until(lambda: all_ended(store), store)
    failed = [mail for mail in await mails(store) if mail.status is Status.FAILED]
    assert [(mail.to, mail.smtp and mail.smtp.text) for mail in failed] == [
        ("p3@example.com", "5.1.1 Empf\ufffdnger unbekannt")
    ]
    assert len(server.messages) == 19


async def test_an_outcome_that_cannot_be_stored_is_stored_without_its_words(
    store: SqliteStore, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """Whatever the reason, the status is recorded, the outcomes beside it are complete, and nothing is sent twice."""
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


async def test_a_delivery_that_fails_cancels_no_other(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """At the stop a dialogue past its final dot is finished and recorded, although another task has failed."""
    gone, reply = asyncio.Event(), asyncio.Event()

    async def answer(phase: str, line: bytes) -> bytes | None:
        if phase == "DOT" and b"p2@example.com" in line:
            gone.set()
            await reply.wait()
        return None

    record = OutcomeRecorder.record

    async def failing(self: OutcomeRecorder, outcomes: Sequence[Mail]) -> None:
        if outcomes[0].to == "p1@example.com":
            await reply.wait()
            raise RuntimeError("a fault of our own")
        await record(self, outcomes)

    monkeypatch.setattr(OutcomeRecorder, "record", failing)
    async with Scripted.running(answer) as server:
        async with sending(store, [server.url], timeout="1h"):
            await add(store, 3)
            await logged(store, "mail.sent")
            await add(store, 1, 2)
            async with asyncio.timeout(PATIENCE):
                await gone.wait()
            asyncio.get_running_loop().call_later(0.2, reply.set)
    assert {mail.to: mail.status for mail in await mails(store)} == {
        "p1@example.com": Status.SENDING,
        "p2@example.com": Status.SENT,
        "p3@example.com": Status.SENT,
    }
    assert [line["event"] for line in logged_lines if line["log_level"] == "error"] == ["a task of the sender failed"]


# Logins and pauses


async def test_a_rejected_password_costs_one_login_a_step(store: SqliteStore) -> None:
    """Eight connections and twenty due mails: at the start, and also when all connections were closed meanwhile."""
    rejecting = True
    answer: Answer = lambda phase, _: b"535 5.7.8 no\r\n" if phase == "AUTH" and rejecting else None  # noqa: E731
    await add(store, *range(20))
    async with Scripted.running(answer) as server:
        async with sending(store, [server.url_with_login], connections=8, pauses=(timedelta(0), LONG)) as accounts:
            await until(
                lambda: accounts[0].health.breaker.until is not None and accounts[0].health.breaker.until > clock.now(),
                store,
            )
        assert server.count("AUTH") == 2
        rejecting = False
        async with sending(store, [server.url_with_login], connections=8, pauses=(timedelta(0), LONG)) as accounts:
            await logged(store, "mail.sent", 20)
            await close_idle(accounts)
            before, rejecting = server.count("AUTH"), True
            await add(store, *range(20, 40))
            await until(
                lambda: accounts[0].health.breaker.until is not None and accounts[0].health.breaker.until > clock.now(),
                store,
            )
        # One by a delivery that found no connection, one by the probe after the pause of no time.
        assert server.count("AUTH") - before == 2
    assert server.count("AUTH CRAM") == 0
    waiting = [mail for mail in await mails(store) if mail.status is Status.PENDING]
    assert [(mail.attempt, len(waiting)) for mail in waiting[:1]] == [(0, 20)]


async def test_a_daily_limit_costs_one_mail_a_step(store: SqliteStore) -> None:
    """Also at the start: of twenty due mails one goes first, and the next one only after the pause."""
    answer: Answer = lambda phase, _: b"550 5.4.5 Daily limit\r\n" if phase == "DOT" else None  # noqa: E731
    await add(store, *range(20))
    async with (
        Scripted.running(answer) as server,
        sending(store, [server.url], connections=8, pauses=(LONG,)) as accounts,
    ):
        await logged(store, "mail.pending", 20 + 1)
        for step in range(1, 4):
            assert server.count("MAIL") == step
            accounts[0].health.breaker._retry_at = 0.0
            store.wake.set()
            await logged(store, "mail.pending", 20 + step + 1)
    assert {(mail.status, mail.attempt) for mail in await mails(store)} == {(Status.PENDING, 0)}


async def test_after_a_pause_one_mail_goes_first_and_then_the_rest(store: SqliteStore) -> None:
    """The others are begun only when the first was accepted; then they go side by side."""
    begun, answers, together = 0, [b"450 4.7.0 too many messages\r\n"], asyncio.Event()
    begun_at_the_first: list[int] = []

    async def answer(phase: str, _line: bytes) -> bytes | None:
        nonlocal begun
        if phase == "MAIL" and answers:
            return answers.pop()
        if phase == "MAIL":
            begun += 1
            if begun == 5:
                together.set()
        if phase == "DOT" and not begun_at_the_first:
            begun_at_the_first.append(begun)
        elif phase == "DOT":
            await together.wait()
        return None

    await add(store, *range(9))
    async with Scripted.running(answer) as server, sending(store, [server.url], connections=4, timeout="1h"):
        await logged(store, "mail.sent", 9)
    assert begun_at_the_first == [1]


async def test_a_mail_that_waits_does_not_start_on_an_account_that_was_paused(store: SqliteStore) -> None:
    """While it waited for a connection another one met the limit: it is handed back, and no more is begun."""
    paused, connections = asyncio.Event(), 0

    async def answer(phase: str, line: bytes) -> bytes | None:
        nonlocal connections
        if phase == "CONNECT":
            connections += 1
            if connections == 2:
                await paused.wait()
        return b"550 5.4.5 Daily limit\r\n" if phase == "DOT" and b"p0@example.com" not in line else None

    async with (
        Scripted.running(answer) as server,
        sending(store, [server.url], timeout="1h", pauses=(LONG,)) as accounts,
    ):
        await add(store, 0)
        await logged(store, "mail.sent")
        await add(store, 1, 2)
        await until(lambda: accounts[0].health.breaker.reason is not None and connections == 2, store)
        paused.set()
        await logged(store, "mail.pending", 5)
    assert (server.count("MAIL"), server.connections) == (2, 2)
    assert [mail.attempt for mail in await mails(store)] == [1, 0, 0]


async def test_a_rejection_of_the_recipient_ends_the_trial(store: SqliteStore) -> None:
    """An account whose first mail goes to an unknown address is used like any other."""

    def answer(phase: str, line: bytes) -> bytes | None:
        return b"550 5.1.1 no such user\r\n" if phase == "RCPT" and recipient(line)[:3] == "p0@" else None

    await add(store, *range(6))
    async with Scripted.running(answer) as server, sending(store, [server.url], connections=4) as accounts:
        await until(lambda: all_ended(store), store)
        assert accounts[0].health.breaker.room(4) == 4
    assert Counter(mail.status for mail in await mails(store)) == {Status.SENT: 5, Status.FAILED: 1}


async def test_while_an_account_recovers_the_next_one_has_the_rest(store: SqliteStore) -> None:
    """The first account gets one mail and keeps it for long; all others go by the second one meanwhile."""
    go_on, answers = asyncio.Event(), [b"450 4.7.0 too many messages\r\n"]

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "MAIL" and answers:
            return answers.pop()
        if phase == "DOT":
            await go_on.wait()
        return None

    async with Scripted.running(answer) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url], timeout="1h") as accounts:
            await add(store, 0)
            await logged(store, "mail.sent")
            await until(lambda: accounts[0].health.breaker.is_recovering, store)
            await add(store, *range(1, 6))
            await logged(store, "mail.sent", 5)
            assert (len(first.messages), len(second.messages)) == (1, 5)
            go_on.set()
            await logged(store, "mail.sent", 6)


async def test_at_the_start_the_second_account_waits_for_the_first(store: SqliteStore) -> None:
    """As long as nothing is known against the first account, its first mail is waited for."""
    async with Inbox() as first, Inbox() as second, sending(store, [first.url, second.url]):
        await add(store, *range(10))
        await logged(store, "mail.sent", 10)
    assert (len(first.received), len(second.received)) == (10, 0)


async def test_a_login_that_fails_in_an_unknown_way_is_tried_again(
    store: SqliteStore, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """An error of our own pauses the account like any other, and does not leave it logging in for ever."""
    probe, faults = SmtpPool.probe, [RuntimeError("nobody expected this")]

    async def failing(self: SmtpPool) -> Admission:
        if faults:
            raise faults.pop()
        return await probe(self)

    monkeypatch.setattr(SmtpPool, "probe", failing)
    async with sending(store, [inbox.url]):
        await add(store, 1)
        await logged(store, "mail.sent")
    assert [line["event"] for line in logged_lines] == [
        "login failed unexpectedly",
        "SMTP account paused",
        "SMTP account ready again",
    ]


async def test_a_login_that_was_given_up_is_tried_by_the_next_run(store: SqliteStore) -> None:
    """A sender that is restarted while it logs in does not wait for that login for ever."""
    reached, silent = asyncio.Event(), True

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "EHLO" and silent:
            reached.set()
            await asyncio.Event().wait()
        return None

    async with Scripted.running(answer) as server:
        async with sending(store, [server.url], timeout="1h") as accounts:
            async with asyncio.timeout(PATIENCE):
                await reached.wait()
        silent = False
        async with sending(store, [server.url], again=accounts):
            await add(store, 1)
            await logged(store, "mail.sent")
            await close_idle(accounts)


# Rejections of one recipient


@pytest.mark.parametrize(
    ("rejection", "end"),
    [
        (b"550 5.7.1 rate limit exceeded", (Status.PENDING, 1)),
        (b"450 4.7.1 rate limit exceeded", (Status.PENDING, 1)),
    ],
)
async def test_a_recipient_that_pauses_the_account_alone_is_judged_alone(
    store: SqliteStore, rejection: bytes, end: tuple[Status, int]
) -> None:
    """After two pauses with mails accepted in between, the third rejection is the mail's own."""

    def answer(phase: str, line: bytes) -> bytes | None:
        return rejection + b"\r\n" if phase == "RCPT" and recipient(line)[:4] == "p99@" else None

    async with Scripted.running(answer) as server:
        async with sending(store, [server.url], delays=(LONG / 2,)):
            await add(store, 99)
            for number in range(2):
                await logged(store, "mail.pending", 2 * number + 2)  # it has paused the account
                await add(store, number)
                await logged(store, "mail.sent", number + 1)
            await logged(store, "mail.retrying")
            await add(store, 2)
            await logged(store, "mail.sent", 3)
    bad = next(mail for mail in await mails(store) if mail.to == "p99@example.com")
    assert (bad.status, bad.attempt) == end
    assert rejected(server) >= 3


def rejected(server: Scripted) -> int:
    return server.count("RCPT TO:<p99@")


async def test_a_mail_that_paused_the_account_lets_others_go_first(store: SqliteStore) -> None:
    """It is not due again before the pause is over, so a mail that came later is the one on trial."""
    order: list[str] = []

    def answer(phase: str, line: bytes) -> bytes | None:
        if phase == "RCPT":
            order.append(recipient(line)[:2])
            if len(order) == 1:
                return b"450 4.7.1 rate limit exceeded\r\n"
        return None

    async with Scripted.running(answer) as server, sending(store, [server.url], pauses=(timedelta(seconds=1),)):
        await add(store, 1)
        await logged(store, "mail.pending", 2)
        await add(store, 2)
        await logged(store, "mail.sent", 2)
    assert order == ["p1", "p2", "p1"]


PLAIN_EHLO = b"250-here\r\n250 8BITMIME\r\n"


def without_smtputf8(phase: str, _line: bytes) -> bytes | None:
    return PLAIN_EHLO if phase == "EHLO" else None


async def test_addresses_that_no_server_can_take_fail_and_pause_nobody(
    store: SqliteStore, logged_lines: list[Any]
) -> None:
    """Four recipients beyond ASCII at a server without SMTPUTF8 fail with a clear error; the account goes on."""
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


async def test_an_address_beyond_ascii_goes_by_the_transport_that_can_take_it(store: SqliteStore) -> None:
    """The first transport is told nothing of it; the second one, which has sent nothing yet, sends it."""
    async with Scripted.running(without_smtputf8) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url]):
            await add(store, 1, to="jürgen@example.com")
            await add(store, 2)
            await logged(store, "mail.sent", 2)
    assert (first.count("MAIL"), second.count("MAIL")) == (1, 1)
    assert b"X-Notifier-Event: r1" in second.messages[0]


async def test_an_address_beyond_ascii_waits_for_a_transport_that_is_paused(store: SqliteStore) -> None:
    """The paused one may be able to take it: the mail does not fail, and is not tried again at once."""
    async with Scripted.running(without_smtputf8) as first:
        async with sending(store, [first.url, "smtp+plain://127.0.0.1:9"], pauses=(LONG,)) as accounts:
            await until(lambda: accounts[1].health.breaker.reason is not None, store)
            await add(store, 1, to="jürgen@example.com")
            await logged(store, "mail.pending", 2)
    (mail,) = await mails(store)
    assert (mail.status, mail.attempt, first.count("MAIL")) == (Status.PENDING, 0, 0)
    assert mail.next_attempt_at
    assert mail.next_attempt_at > clock.now() + LONG / 2


async def test_a_sender_address_that_the_server_cannot_take_is_the_account_s_fault() -> None:
    """It would meet every mail, so none fails."""
    async with Scripted.running(without_smtputf8) as server:
        async with smtp_pool(server.url) as pool:
            result = await pool.deliver(ComposedMail("jürgen@example.org", "a@example.com", b""))
    assert (result.phase, result.reply, result.unsupported) == ("MAIL", None, False)


# Connections that turn out to be closed


async def test_a_connection_that_the_server_has_closed_is_replaced(store: SqliteStore) -> None:
    """A server that ends each connection after one mail costs no mail an attempt."""
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
    """It says that this connection is over; the mail starts again on a new one, in the same attempt."""
    answers: list[bytes | None] = [None, b"421 4.4.2 idle for too long\r\n"]
    server_says: Answer = lambda at, _line: answers.pop(0) if at == phase and answers else None  # noqa: E731
    async with Scripted.running(server_says) as server, sending(store, [server.url]):
        for number in (1, 2):
            await add(store, number)
            await logged(store, "mail.sent", number)
    assert [mail.attempt for mail in await mails(store)] == [1, 1]
    assert server.connections == 2


async def test_a_421_on_a_new_connection_is_the_server_s_answer(store: SqliteStore) -> None:
    """There is no third start: the reply on a new connection counts as the mail's attempt."""
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


async def test_a_mail_waits_for_a_second_slot_before_its_second_start(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each MAIL FROM is counted for the rate, also the one that found its connection closed."""
    starts: list[int] = []
    answers: list[bytes | None] = [None, b"421 4.4.2 idle for too long\r\n"]
    server_says: Answer = lambda at, _line: answers.pop(0) if at == "MAIL" and answers else None  # noqa: E731
    async with Scripted.running(server_says) as server, sending(store, [server.url]):
        monkeypatch.setattr(BurstGuard, "started", lambda _guard, _now: starts.append(server.count("MAIL")))
        for number in (1, 2):
            await add(store, number)
            await logged(store, "mail.sent", number)
    assert starts == [0, 1, 2]


# Expiry


async def test_nothing_starts_after_its_expiry(store: SqliteStore) -> None:
    """A mail that expires while its connection is being made is not sent; the connection serves the next one."""
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
    """A mail whose idle connection turned out to be closed is looked at again before it starts on a new one."""
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


# The stop


@pytest.mark.parametrize("phase", ["CONNECT", "EHLO", "AUTH"])
async def test_a_stop_abandons_mails_that_wait_for_a_connection(store: SqliteStore, phase: str) -> None:
    """However long the server may be silent, they are handed back at once, as if nobody had tried."""
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
    """A server that never answers the probe keeps nobody from stopping."""
    reached = asyncio.Event()
    async with Scripted.running(silent_at(phase, reached)) as server:
        async with sending(store, [server.url_with_login], timeout="1h"):
            async with asyncio.timeout(PATIENCE):
                await reached.wait()


async def test_a_stop_abandons_mails_that_wait_for_their_slot(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail whose turn is an hour away keeps nobody from stopping, and its connection is in order."""
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
async def test_a_stop_finishes_what_is_past_its_mail_from(store: SqliteStore, phase: str) -> None:
    """The server's answer is waited for, and the mail is recorded as sent."""
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
            # Leaving stops the sender at once; an answer that came before that would only make the test easier.
            asyncio.get_running_loop().call_later(0.2, go_on.set)
    assert [mail.status for mail in await mails(store)] == [Status.SENT]


async def test_a_stop_does_not_begin_again_on_a_new_connection(store: SqliteStore) -> None:
    """A mail whose idle connection turns out to be closed during the stop is handed back."""
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


async def test_a_stop_does_not_wait_for_a_store_for_ever(
    store: SqliteStore, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """Outcomes that cannot be recorded are given up after a while, and the log says how many mails they concern."""
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


async def test_a_mail_that_is_claimed_while_the_sender_ends_is_handed_back(store: SqliteStore) -> None:
    """No connection is made for it, although its delivery had not even begun to wait when the others were abandoned."""
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
