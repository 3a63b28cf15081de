"""How carefully the sender uses an account: logins, pauses, odd replies, and rejections of one recipient."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.outgoing import add, all_ended, close_idle, logged, mails, sending, until
from support.parts import PATIENCE
from support.scripted import PHASES, Answer, Scripted

from notifier import clock
from notifier.actors.delivering import Account, Claimed, Deliverer
from notifier.demo.inbox import Inbox
from notifier.domain.mail import Mail, Status
from notifier.gateways.smtp_login import Admission
from notifier.gateways.smtp_pool import SmtpPool
from notifier.observability.status import ServiceStatus
from notifier.storage.sqlite.store import SqliteStore
from notifier.supervisor import Supervisor

pytestmark = pytest.mark.usefixtures("either_way")

LONG = timedelta(hours=1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Provide an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


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
    """Every mail gets its status, no accepted mail is sent again after a restart, and all can be shown."""
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
    """Open a store, send four mails and what is left of earlier ones, and return all mails in the store."""
    store = await SqliteStore.open(database)
    at_once = (timedelta(0),)
    await add(store, *range(first, first + 4))
    async with sending(store, [url], timeout="300ms", delays=at_once, pauses=at_once) as accounts:
        await until(lambda: all_ended(store), store)
        figures = ServiceStatus(store, None, [account.health for account in accounts], Supervisor())
        assert msgspec.json.encode([figures.readiness(), await figures.stats()])
    found = await mails(store)
    await store.close()
    return found


async def test_a_reply_that_is_not_utf_8_holds_up_no_mail(store: SqliteStore) -> None:
    """A rejection in Latin-1 is recorded like any other, and the other mails are sent."""

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

    deliver = Deliverer.deliver

    async def failing(self: Deliverer, account: Account, claimed: Claimed, *args: Any) -> list[Mail]:
        outcomes = await deliver(self, account, claimed, *args)
        if claimed.mail.to == "p1@example.com":
            await reply.wait()
            raise RuntimeError("a fault of our own")
        return outcomes

    monkeypatch.setattr(Deliverer, "deliver", failing)
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


async def test_a_rejected_password_costs_one_login_per_pause(store: SqliteStore) -> None:
    """This holds for twenty due mails, at the start and also if all connections have been closed since."""
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
        # The first by a delivery that found no connection, the second by the probe after a pause of 0 s.
        assert server.count("AUTH") - before == 2
    assert server.count("AUTH CRAM") == 0
    waiting = [mail for mail in await mails(store) if mail.status is Status.PENDING]
    assert [(mail.attempt, len(waiting)) for mail in waiting[:1]] == [(0, 20)]


async def test_a_daily_limit_costs_one_mail_per_pause(store: SqliteStore) -> None:
    """Of twenty due mails one is tried first, also at the start, and the next one only after the pause."""
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
    """The others start only when the first was accepted, and then at the same time."""
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
    """While it waited for a connection another mail met the limit, so it is handed back."""
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
    """An account whose first mail goes to an unknown address is then used like any other."""

    def answer(phase: str, line: bytes) -> bytes | None:
        return b"550 5.1.1 no such user\r\n" if phase == "RCPT" and recipient(line)[:3] == "p0@" else None

    await add(store, *range(6))
    async with Scripted.running(answer) as server, sending(store, [server.url], connections=4) as accounts:
        await until(lambda: all_ended(store), store)
        assert accounts[0].health.breaker.room(4) == 4
    assert Counter(mail.status for mail in await mails(store)) == {Status.SENT: 5, Status.FAILED: 1}


async def test_while_an_account_recovers_the_next_one_gets_the_rest(store: SqliteStore) -> None:
    """The first account has one mail that takes long, and all others are sent by the second one meanwhile."""
    go_on, answers = asyncio.Event(), [b"450 4.7.0 too many messages\r\n"]

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "MAIL" and answers:
            return answers.pop()
        if phase == "DOT":
            await go_on.wait()
        return None

    async with Scripted.running(answer) as first, Scripted.running() as second:
        async with sending(store, [first.url, second.url], timeout="1h") as accounts:
            await until(lambda: accounts[0].room(1) == 1, store)
            await add(store, 0)
            await logged(store, "mail.sent")
            await until(lambda: accounts[0].health.breaker.is_recovering, store)
            await add(store, *range(1, 6))
            await logged(store, "mail.sent", 5)
            assert (len(first.messages), len(second.messages)) == (1, 5)
            go_on.set()
            await logged(store, "mail.sent", 6)


async def test_at_the_start_the_second_account_waits_for_the_first(store: SqliteStore) -> None:
    """As long as no fault of the first account is known, its first mail is awaited."""
    async with Inbox() as first, Inbox() as second, sending(store, [first.url, second.url]):
        await add(store, *range(10))
        await logged(store, "mail.sent", 10)
    assert (len(first.received), len(second.received)) == (10, 0)


async def test_a_login_that_fails_unexpectedly_is_tried_again(
    store: SqliteStore, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """An error of our own pauses the account like any other, and the breaker does not stay in its probing state."""
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


async def test_a_cancelled_login_is_tried_again_by_the_next_run(store: SqliteStore) -> None:
    """A sender that is restarted during a login does not wait for that login."""
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
    """After two pauses with mails accepted in between, the third rejection is attributed to the recipient."""

    def answer(phase: str, line: bytes) -> bytes | None:
        return rejection + b"\r\n" if phase == "RCPT" and recipient(line)[:4] == "p99@" else None

    async with Scripted.running(answer) as server:
        # During a pause there must be time to add a mail, which then is the next one.
        async with sending(store, [server.url], delays=(LONG / 2,), pauses=(timedelta(milliseconds=500),)):
            await add(store, 99)
            for number in range(2):
                await logged(store, "mail.pending", 2 * number + 2)  # the mail has paused the account
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
    """It is not due again before the pause is over, so a mail that arrived later is the one on trial."""
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
