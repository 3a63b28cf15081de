"""How many connections the SMTP gateway has to an account, and what it learns about their number."""

import asyncio
from collections.abc import Sequence

import aiosmtplib
import pytest
from support.outgoing import MAIL, smtp_pool
from support.parts import PATIENCE
from support.scripted import Answer, HungUpError, Limited, Scripted, silent_at

from notifier.errors import Busy, Unreachable
from notifier.gateways import smtp_dialogue
from notifier.gateways import smtp_pool as gateway
from notifier.gateways.smtp_pool import SmtpPool, smtp_pools
from notifier.sending.dialogue import ComposedMail, DialogueResult
from notifier.sending.replies import Phase, is_connection_limit
from notifier.settings import load


async def deliver(pool: SmtpPool, count: int) -> list[DialogueResult | BaseException]:
    """Deliver several messages side by side; return how each ended."""
    deliveries = [pool.deliver(MAIL) for _ in range(count)]
    return await asyncio.gather(*deliveries, return_exceptions=True)


def accepted(results: Sequence[DialogueResult | BaseException]) -> int:
    """Count the messages that were accepted; no connection may have been free for the others."""
    found = [result for result in results if not isinstance(result, Busy)]
    assert all(isinstance(result, DialogueResult) and result.accepted for result in found), found
    return len(found)


async def test_a_server_that_allows_few_connections_gets_no_more() -> None:
    """The login that shows the limit is no fault; deliveries beyond it are turned back at once."""
    limited = Limited(2)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        first = await deliver(pool, 8)
        assert pool.capacity == 2
        assert [accepted(await deliver(pool, 2)) for _ in range(3)] == [2, 2, 2]
    assert accepted(first) >= 2
    assert (limited.most, limited.refused) == (2, 1)


async def test_the_limit_of_a_server_is_looked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been another program's connections that were too many."""
    monkeypatch.setattr(gateway, "LIMIT_HOLDS", 0.2)
    limited = Limited(1)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        await deliver(pool, 2)
        assert pool.capacity == 1
        limited._limit = 2
        async with asyncio.timeout(PATIENCE):
            while pool.capacity == 1:  # noqa: ASYNC110 - time passes, and nothing else happens
                await asyncio.sleep(0.01)
        assert accepted(await deliver(pool, 2)) == 2
    assert limited.most == 2


@pytest.mark.parametrize("words", [b"", b"421 4.3.2 Service shutting down\r\n", b"554 5.7.1 not from here\r\n"])
async def test_only_the_words_of_a_server_are_a_limit_of_connections(words: bytes) -> None:
    """A login that is refused for another reason, or without any, is a fault, although a connection is in use."""
    is_refusing = False

    def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "CONNECT" and is_refusing:
            if not words:
                raise HungUpError
            return words
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url) as pool:
        in_use = await pool.acquire()
        is_refusing = True
        (found,) = await deliver(pool, 1)
        assert isinstance(found, Unreachable)
        assert pool.capacity == 2
        assert f"127.0.0.1:{server.port}: " in str(found)
        assert "None" not in str(found)
        pool.release(in_use)
        assert accepted(await deliver(pool, 1)) == 1


@pytest.mark.parametrize(
    "words",
    [
        "4.7.0 mail.example.com Error: too many connections from 192.0.2.1",
        "Too many concurrent SMTP connections; please try again later.",
        "4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel",
        "4.3.2 Concurrent connections limit exceeded",
        "too many concurrent sessions",
        "Connection limit exceeded",
    ],
)
def test_words_that_name_a_limit_of_connections(words: str) -> None:
    """As Postfix, Exim, Exchange and others say it."""
    assert is_connection_limit(words)


async def test_a_cancelled_probe_leaves_no_connection_behind() -> None:
    """The farewells that it had waited for go on without it: each ends with its connection closed and not counted."""
    leaving, go_on = asyncio.Event(), asyncio.Event()

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "QUIT":
            leaving.set()
            await go_on.wait()
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url) as pool:
        await deliver(pool, 1)
        probe = asyncio.create_task(pool.probe())
        await leaving.wait()
        quitting = list(pool._quitting)
        probe.cancel()
        await asyncio.wait({probe})
        go_on.set()
        await asyncio.wait(quitting)
        assert [task.cancelled() for task in quitting] == [False]
        assert (pool.capacity, pool._open_connections()) == (1, 0)
        assert accepted(await deliver(pool, 1)) == 1


async def test_a_login_of_another_delivery_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits has told the server nothing yet, and its mail can be decided anew."""
    monkeypatch.setattr(gateway, "LOGIN_WAIT", 0.1)
    reached = asyncio.Event()
    async with Scripted.running(silent_at("EHLO", reached)) as server, smtp_pool(server.url, TIMEOUT="1h") as pool:
        first = asyncio.create_task(pool.deliver(MAIL))
        await reached.wait()
        second = asyncio.create_task(pool.deliver(MAIL))
        done, _ = await asyncio.wait({second}, timeout=PATIENCE)
        first.cancel()
        second.cancel()
        await asyncio.wait({first, second})
    assert [type(task.exception()) for task in done] == [Busy]


async def test_a_connection_that_is_lost_before_the_message_leaves_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message was not sent, so its outcome is known, although DATA was answered."""
    check = smtp_dialogue.check_in_step

    def lost_after_data(client: aiosmtplib.SMTP) -> None:
        check(client)
        if server.count("DATA") and client.transport:
            client.transport.close()

    monkeypatch.setattr(smtp_dialogue, "check_in_step", lost_after_data)
    async with Scripted.running() as server, smtp_pool(server.url) as pool:
        result = await pool.deliver(MAIL)
    assert (result.phase, result.reply, server.messages) == (Phase.DATA, None, [])


async def test_a_server_is_greeted_in_ascii() -> None:
    """Also if the domain of the sender's address is not; such a mail is sent by SMTPUTF8."""
    environ = {"NOTIFIER_MAIL_FROM": "jos\u00e9@m\u00fcnchen.example"}
    async with Scripted.running() as server:
        settings = load({"NOTIFIER_SMTP_URL": server.url, **environ})
        (pool,) = smtp_pools(settings.smtp, settings.mail.sender.domain)
        mail = ComposedMail(settings.mail.sender.address, "asha@example.com", MAIL.content)
        assert (await pool.deliver(mail)).accepted
        await pool.close()
    assert server.count("EHLO xn--mnchen-3ya.example") == 1


async def test_a_login_that_fails_without_any_connection_is_a_fault() -> None:
    """Nobody waits for connections that do not exist; the server's own words come along."""
    limited = Limited(0)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        results = await deliver(pool, 3)
    assert [result.said for result in results if isinstance(result, Unreachable)] == ["4.7.0 Too many connections"] * 3
    assert limited.refused == 1


async def test_a_probe_closes_idle_connections_before() -> None:
    """Otherwise the server would refuse it as one connection too many."""
    limited = Limited(1)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        await deliver(pool, 1)
        await pool.probe()
    assert (limited.refused, server.connections) == (0, 2)


async def test_a_probe_beside_connections_in_use_says_why_it_failed() -> None:
    """It does not wait for them: its pause does."""
    limited = Limited(1)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        in_use = await pool.acquire()
        with pytest.raises(Unreachable, match="421"):
            await pool.probe()
        pool.release(in_use)
        assert accepted(await deliver(pool, 1)) == 1


@pytest.mark.parametrize(
    ("phase", "answer"),
    [
        ("MAIL", b"354 go on\r\n"),
        ("RCPT", b"354 go on\r\n"),
        ("DATA", b"250 OK\r\n"),
        ("DATA", b"334 go on\r\n"),
        ("DOT", b"354 go on\r\n"),
        ("DOT", b"451 a word of its own\r\n250 OK\r\n"),
    ],
)
async def test_a_reply_that_fits_no_command_breaks_the_dialogue(phase: str, answer: bytes) -> None:
    """Past the message the outcome is unknown then; in each case the connection is not used again."""
    answers = [answer]
    says: Answer = lambda at, _line: answers.pop() if at == phase and answers else None  # noqa: E731
    async with Scripted.running(says) as server, smtp_pool(server.url) as pool:
        broken = await pool.deliver(MAIL)
        assert (await pool.deliver(MAIL)).accepted
    assert (broken.phase, broken.reply) == (Phase(phase), None)
    assert server.connections == 2
