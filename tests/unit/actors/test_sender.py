"""The sender with a real store and a real SMTP conversation."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.benchmarks.measures import most_in_window
from support.outgoing import add, logged, mails, sending
from support.parts import PATIENCE, request
from support.samples import NOW, RULES

from notifier import clock
from notifier.actors.sender import EXPIRE_AGAIN
from notifier.demo.inbox import Inbox
from notifier.domain.mail import Status
from notifier.domain.messages import Origin, decode
from notifier.sending.circuit_breaker import CircuitBreaker
from notifier.sending.pacing import BurstGuard
from notifier.storage.sqlite.store import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Provide an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


async def test_due_mail_is_sent_as_soon_as_it_arrives(store: SqliteStore, inbox: Inbox) -> None:
    """Mail that arrives wakes the sender; no tick is needed."""
    async with sending(store, [inbox.url]):
        await add(store, 1, 2)
        await inbox.wait_for(2, PATIENCE)
        await logged(store, "mail.sent", 2)
    assert {mail.status for mail in await mails(store)} == {Status.SENT}
    assert {mail.mail_id for mail in inbox.received} == {mail.id for mail in await mails(store)}


async def test_mail_for_later_is_sent_when_its_time_comes(store: SqliteStore, inbox: Inbox) -> None:
    """Between ticks the sender wakes automatically for the next mail that becomes due."""
    due = clock.now() + timedelta(milliseconds=400)
    async with sending(store, [inbox.url]):
        await add(store, 1, send_at=due.isoformat())
        await inbox.wait_for(1, PATIENCE)
    assert inbox.received[0].started_at >= due.timestamp()


async def test_all_that_has_expired_ends_while_sending_is_paused(store: SqliteStore, inbox: Inbox) -> None:
    """A claim expires a bounded number of mails, and the sender claims again at once instead of at its next tick."""
    expiring = [request(n, expires_at=(NOW + timedelta(hours=1)).isoformat()) for n in range(1600)]
    await store.add([decode(json.dumps(each).encode(), Origin(NOW)) for each in expiring], RULES, NOW)
    await store.pause(paused=True)
    async with sending(store, [inbox.url]):
        await logged(store, "mail.expired", 1600)
    assert (await store.totals())[Status.EXPIRED] == 1600


async def test_claims_do_not_wait_for_a_search_for_expired_mails_each_time(store: SqliteStore, inbox: Inbox) -> None:
    """It is a transaction of its own, which waits behind those of the intake; what expires is ended soon anyway."""
    done: list[str] = []
    store._transacted = lambda operation, _: done.append(operation)
    began = time.monotonic()
    async with sending(store, [inbox.url], connections=1):
        await add(store, *range(20))
        await inbox.wait_for(20, PATIENCE)
        searches = done.count("expire")
        assert searches <= 1 + (time.monotonic() - began) / EXPIRE_AGAIN
        assert done.count("claim") >= 20
        claims = done.count("claim")
        for number in range(1, 5):
            if number == 3:
                # From now on no claim comes across them.
                await store.pause(paused=True)
            # All but the first one arrive right after a search.
            await add(store, 20 + number, expires_at=(clock.now() - timedelta(seconds=1)).isoformat())
            await logged(store, "mail.expired", number)
        assert done.count("claim") <= claims + 20


async def test_connections_are_used_again(store: SqliteStore, inbox: Inbox) -> None:
    """A hundred mails take no more connections than may be open at the same time."""
    await add(store, *range(100))
    async with sending(store, [inbox.url], connections=3):
        await inbox.wait_for(100, PATIENCE)
    assert inbox.connections <= 3


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note when each mail starts: the server sees that later by as much as the machine is busy."""
    found: list[float] = []
    started = BurstGuard.started

    def noted(self: BurstGuard, now: float) -> None:
        found.append(now)
        started(self, now)

    monkeypatch.setattr(BurstGuard, "started", noted)
    return found


async def test_the_rate_holds_in_every_second(store: SqliteStore, inbox: Inbox, starts: list[float]) -> None:
    """At 50 a second and with a backlog, no second has more than 51 starts, and nearly 50 are reached.

    The same number of mails without a limit, sent right before, shows how much time the machine needs anyway.
    """
    await add(store, *range(120))
    async with sending(store, [inbox.url]):
        await inbox.wait_for(120, PATIENCE)
    unlimited = starts[-1] - starts[0]
    starts.clear()
    await add(store, *range(120, 240))
    async with sending(store, [inbox.url], rate=50):
        await inbox.wait_for(240, PATIENCE)
    assert len(starts) == 120
    assert most_in_window(starts) <= 51
    assert starts[-1] - starts[0] < 119 / 50 / 0.975 + 0.5 + 2 * unlimited


async def test_the_rate_holds_after_a_stall(store: SqliteStore, inbox: Inbox, starts: list[float]) -> None:
    """Mails that were claimed and became overdue while the process stalled do not add to the next second's mail."""
    await add(store, *range(80))
    async with sending(store, [inbox.url], rate=30, connections=20):
        await inbox.wait_for(20, PATIENCE)
        time.sleep(0.3)  # noqa: ASYNC251 - the stall
        await inbox.wait_for(80, PATIENCE)
    assert len(starts) == 80
    assert most_in_window(starts) <= 31


async def test_a_temporary_rejection_is_retried(store: SqliteStore) -> None:
    """450 for a recipient sets the next attempt by the retry delays, and the second attempt succeeds."""
    refusals = iter(["450 4.2.1 come back later"])
    async with Inbox(reply=lambda phase, _: next(refusals, None) if phase == "RCPT" else None) as inbox:
        async with sending(store, [inbox.url]):
            await add(store, 1)
            await inbox.wait_for(1, PATIENCE)
            await logged(store, "mail.sent")
    (mail,) = await mails(store)
    types = [event.type for event in await store.events(0, 10)]
    assert types == ["mail.pending", "mail.sending", "mail.retrying", "mail.sending", "mail.sent"]
    assert mail.attempt == 2


async def test_a_permanent_rejection_fails_only_its_mail(store: SqliteStore) -> None:
    """550 for one recipient fails that mail with the server's words, and the others are sent."""

    def reply(phase: str, address: str) -> str | None:
        return "550 5.1.1 no such user" if phase == "RCPT" and address.startswith("p1@") else None

    async with Inbox(reply=reply) as inbox, sending(store, [inbox.url]):
        await add(store, 1, 2, 3)
        await inbox.wait_for(2, PATIENCE)
        await logged(store, "mail.failed")
        await logged(store, "mail.sent", 2)
    first, *others = await mails(store)
    assert (first.status, first.smtp and first.smtp.code) == (Status.FAILED, 550)
    assert {mail.status for mail in others} == {Status.SENT}


async def test_a_fault_of_the_account_counts_no_attempt(store: SqliteStore, logged_lines: list[Any]) -> None:
    """A rejected MAIL FROM pauses the account; the mail is handed back and sent after the pause."""
    refusals = iter(["451 4.7.0 try later"] * 2)
    async with Inbox(reply=lambda phase, _: next(refusals, None) if phase == "MAIL" else None) as inbox:
        async with sending(store, [inbox.url], connections=1):
            await add(store, 1)
            await inbox.wait_for(1, PATIENCE)
            await logged(store, "mail.sent")
    (mail,) = await mails(store)
    assert mail.attempt == 1
    assert [event.type for event in await store.events(0, 20)].count("mail.pending") == 3
    assert logged_lines


async def test_a_server_that_is_down_is_reported_once(store: SqliteStore, logged_lines: list[Any]) -> None:
    """Nothing is claimed while the server hangs up; one warning is logged; mail is sent as soon as it is up again."""
    tried = asyncio.Semaphore(0)

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        tried.release()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with sending(store, [f"smtp+plain://127.0.0.1:{port}"]):
        await add(store, 1)
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                await tried.acquire()
        server.close()
        await server.wait_closed()
        async with Inbox(port=port) as inbox:
            await inbox.wait_for(1, PATIENCE)
            await logged(store, "mail.sent")
    assert [event.type for event in await store.events(0, 10)] == ["mail.pending", "mail.sending", "mail.sent"]
    events = [line["event"] for line in logged_lines if "account" in line["event"]]
    assert events == ["SMTP account paused", "SMTP account ready again"]


async def test_a_time_that_a_server_names_is_obeyed(store: SqliteStore) -> None:
    """Greylisting that asks for half an hour is not retried after our own two tenths of a second."""

    def reply(phase: str, _: str) -> str | None:
        return "450 4.2.0 greylisted, try again in 30 minutes" if phase == "RCPT" else None

    async with Inbox(reply=reply) as inbox, sending(store, [inbox.url]):
        await add(store, 1)
        await logged(store, "mail.retrying")
    (mail,) = await mails(store)
    assert mail.next_attempt_at is not None
    assert mail.next_attempt_at > clock.now() + timedelta(minutes=29)


async def test_a_daily_limit_takes_the_last_pause_and_fails_no_mail(store: SqliteStore) -> None:
    """After Gmail's 550 5.4.5 at the final dot the mail waits, and no attempt is counted."""

    def reply(phase: str, _: str) -> str | None:
        return "550 5.4.5 Daily user sending limit exceeded" if phase == "DATA" else None

    async with Inbox(reply=reply) as inbox, sending(store, [inbox.url], connections=1) as accounts:
        accounts[0].health.breaker = CircuitBreaker((timedelta(milliseconds=1), timedelta(hours=1)))
        await add(store, 1)
        await logged(store, "mail.pending", 2)
        until = accounts[0].health.breaker.until
    (mail,) = await mails(store)
    assert (mail.status, mail.attempt) == (Status.PENDING, 0)
    assert until is not None
    assert until > clock.now() + timedelta(minutes=59)


async def test_mails_to_a_slow_server_are_sent_on_several_connections(store: SqliteStore) -> None:
    """If each reply takes a while, mails are sent at the same time, each on a connection of its own."""
    open_now = most = accepted = 0
    done = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most, accepted
        open_now += 1
        most = max(most, open_now)
        writer.write(b"220 here\r\n")
        in_data = False
        while line := await reader.readline():
            if in_data and line != b".\r\n":
                continue
            await asyncio.sleep(0.05)
            accepted += in_data
            in_data = line.startswith(b"DATA")
            writer.write(b"354 go on\r\n" if in_data else b"250 OK\r\n")
        open_now -= 1
        writer.close()
        if accepted == 12:
            done.set()

    server = await asyncio.start_server(slowly, "127.0.0.1", 0)
    await add(store, *range(12))
    async with sending(store, [f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}"], connections=3):
        await logged(store, "mail.sent", 12)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    server.close()
    await server.wait_closed()
    assert most == 3


async def test_a_silent_server_is_paused_while_another_one_is_used(
    store: SqliteStore, inbox: Inbox, logged_lines: list[Any]
) -> None:
    """A server that accepts connections and sends nothing is paused after its timeout, and that is logged once."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with sending(store, [f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}", inbox.url]) as accounts:
        await add(store, 1)
        await inbox.wait_for(1, PATIENCE)
        await logged(store, "mail.sent")
        async with asyncio.timeout(PATIENCE):
            while not any("paused" in line["event"] for line in logged_lines):
                await store.totals()
        assert "Timed out" in str(accounts[0].health.breaker.reason)
    server.close()
    await server.wait_closed()
    assert [line["event"] for line in logged_lines] == ["SMTP account paused"]


async def test_the_second_account_takes_over(store: SqliteStore, inbox: Inbox) -> None:
    """While the first server rejects logins, mail is sent through the second account."""
    async with Inbox(credentials=("user", "right")) as closed:
        closed_url = closed.url.replace("://", "://user:wrong@")
        async with sending(store, [closed_url, inbox.url]):
            await add(store, 1)
            await inbox.wait_for(1, PATIENCE)
            await logged(store, "mail.sent")
    assert closed.received == []


async def test_the_second_account_takes_over_when_the_quota_of_the_first_is_used_up(
    store: SqliteStore, inbox: Inbox, logged_lines: list[Any]
) -> None:
    """Each account sends as much as its quota allows; the rest waits, and the log has one line for each account."""
    async with Inbox() as second, sending(store, [inbox.url, second.url], quota=3) as accounts:
        await add(store, *range(8))
        await logged(store, "mail.sent", 6)
        async with asyncio.timeout(PATIENCE):
            while any(account.health.used_up_until is None for account in accounts):
                await store.totals()
        tomorrow = [account.health.used_up_until for account in accounts if account.health.used_up_until]
    assert (len(inbox.received), len(second.received)) == (3, 3)
    assert [account.health.quota_left for account in accounts] == [0, 0]
    assert all(until > clock.now() + timedelta(hours=23) for until in tomorrow)
    assert [line["event"] for line in logged_lines] == ["SMTP account has used up its quota"] * 2
    assert [mail.status for mail in await mails(store)].count(Status.PENDING) == 2


async def test_the_remaining_quota_is_known_before_the_first_mail(store: SqliteStore, inbox: Inbox) -> None:
    """A service that is restarted shows what its accounts may still send."""
    await add(store, 1, 2)
    async with sending(store, [inbox.url], quota=5):
        await logged(store, "mail.sent", 2)
    async with sending(store, ["smtp+plain://127.0.0.1:9", inbox.url], quota=5) as accounts:
        await add(store, 3)
        await logged(store, "mail.sent", 3)
    assert [account.health.quota_left for account in accounts] == [5, 2]


async def test_a_rejection_of_every_recipient_fails_no_mail(store: SqliteStore, logged_lines: list[Any]) -> None:
    """The same 554 for each recipient pauses the account, and every mail is sent after the pause."""
    refusing, refused_to = True, asyncio.Semaphore(0)

    def reply(phase: str, _: str) -> str | None:
        if phase != "DATA" or not refusing:
            return None
        refused_to.release()
        return "554 5.7.1 we do not like this"

    async with Inbox(reply=reply) as inbox, sending(store, [inbox.url], connections=2):
        await add(store, *range(10))
        async with asyncio.timeout(PATIENCE):
            for _ in range(8):
                await refused_to.acquire()
        refusing = False
        await logged(store, "mail.sent", 10)
    assert {line["reason"] for line in logged_lines if "paused" in line["event"]} == {"554 5.7.1 we do not like this"}
    found = await mails(store)
    assert {mail.status for mail in found} == {Status.SENT}
    assert sorted(mail.mail_id for mail in inbox.received) == sorted(mail.id for mail in found)


async def test_a_few_mails_that_are_rejected_alike_do_not_hold_up_the_others(store: SqliteStore) -> None:
    """On one connection, a mail that is accepted is sent although three before it are always rejected."""

    def reply(phase: str, address: str) -> str | None:
        return "550 5.7.1 not here" if phase == "RCPT" and not address.startswith("p9@") else None

    async with Inbox(reply=reply) as inbox, sending(store, [inbox.url], connections=1) as accounts:
        await add(store, 1, 2, 3)
        async with asyncio.timeout(PATIENCE):
            while accounts[0].health.breaker.reason is None:
                await store.totals()
        await add(store, 9)
        await logged(store, "mail.sent")
        # These words could mean a limit that lets some mails through, so the mails do not fail.
        await logged(store, "mail.retrying", 3)
    assert [mail.event for mail in inbox.received] == ["r9"]
    assert Counter(mail.status for mail in await mails(store)) == {Status.PENDING: 3, Status.SENT: 1}


async def test_orphans_are_sent_again_unchanged(store: SqliteStore) -> None:
    """A mail that was being sent when a process died has an attempt of unknown outcome, and keeps its Message-ID."""
    await add(store, 1)
    (start,) = (await store.claim(1, 0, clock.now())).starts
    async with Inbox(keep_bodies=True) as inbox, sending(store, [inbox.url]):
        await inbox.wait_for(1, PATIENCE)
        await logged(store, "mail.sent")
    types = [event.type for event in await store.events(0, 10)]
    assert types == ["mail.pending", "mail.sending", "mail.retrying", "mail.sending", "mail.sent"]
    assert inbox.received[0].message_id == start.mail.message_id
    (mail,) = await mails(store)
    assert mail.first_attempt_at == start.mail.first_attempt_at


async def test_a_mail_that_was_sent_is_not_sent_again_after_a_restart(tmp_path: Path, inbox: Inbox) -> None:
    """The next process only sends what has arrived since."""
    for number in (1, 2):
        store = await SqliteStore.open(tmp_path / "restarted.db")
        async with sending(store, [inbox.url]):
            await add(store, number)
            await logged(store, "mail.sent", number)
        await store.close()
    assert [mail.event for mail in inbox.received] == ["r1", "r2"]


@asynccontextmanager
async def losing_replies(count: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a server that takes mails and hangs up instead of replying to the first ones; yield what it took."""
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                taken.append(await reader.readuntil(b"\r\n.\r\n"))
                if len(taken) <= count:
                    break
            writer.write(b"250 OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}", taken
    server.close()
    await server.wait_closed()


async def test_a_mail_whose_reply_was_lost_is_sent_again_with_the_same_bytes(store: SqliteStore) -> None:
    """It is unknown whether the first one was accepted, so the second one must be the same mail for every reader."""
    async with losing_replies(1) as (url, taken):
        async with sending(store, [url]):
            await add(store, 1)
            await logged(store, "mail.sent")
    (mail,) = await mails(store)
    assert taken[0] == taken[1]
    assert mail.attempt == 2


async def test_a_mail_whose_reply_was_lost_is_held_if_configured(store: SqliteStore) -> None:
    """It becomes uncertain, is not sent again, and says why."""
    async with losing_replies(1) as (url, taken), sending(store, [url], hold=True):
        await add(store, 1)
        await logged(store, "mail.uncertain")
        await add(store, 2)
        await logged(store, "mail.sent")
    held, other = await mails(store)
    assert (held.status, other.status, len(taken)) == (Status.UNCERTAIN, Status.SENT, 2)
    assert str(held.error).startswith("outcome unknown")


async def test_after_a_crash_only_mails_past_data_are_held(store: SqliteStore, inbox: Inbox) -> None:
    """The mark is made before DATA, so a mail without it cannot have been sent and is sent again."""
    await add(store, 1, 2)
    first, second = [start.mail for start in (await store.claim(2, 0, clock.now())).starts]
    await store.mark(first)
    async with sending(store, [inbox.url], hold=True):
        await inbox.wait_for(1, PATIENCE)
        await logged(store, "mail.sent")
    assert {mail.id: mail.status for mail in await mails(store)} == {
        first.id: Status.UNCERTAIN,
        second.id: Status.SENT,
    }
    assert [mail.attempt for mail in await mails(store)] == [1, 1]


async def test_stopping_finishes_what_is_under_way(store: SqliteStore, inbox: Inbox) -> None:
    """After a stop in the middle each mail is either untouched, or sent and recorded."""
    await add(store, *range(50))
    async with sending(store, [inbox.url]):
        await inbox.wait_for(3, PATIENCE)
    by_status = {status: {m.id for m in await mails(store) if m.status is status} for status in Status}
    assert by_status[Status.SENDING] == set()
    assert by_status[Status.SENT] == {mail.mail_id for mail in inbox.received}
    assert len(by_status[Status.SENT]) + len(by_status[Status.PENDING]) == 50
    assert by_status[Status.PENDING]
