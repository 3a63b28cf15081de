"""How many connections the SMTP gateway has to an account, and what it learns about their number."""

import asyncio
from collections.abc import Sequence

import aiosmtplib
import pytest
from support.outgoing import ENVELOPE, at_once, transport
from support.parts import PATIENCE
from support.scripted import Answer, HungUpError, Limited, Scripted, silent_at

from notifier.errors import Busy, Unreachable
from notifier.gateways import smtp as gateway
from notifier.gateways.smtp import Result, Transport
from notifier.sending.replies import Phase, is_connection_limit
from notifier.settings import load

MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"


async def deliver(smtp: Transport, count: int) -> list[Result | BaseException]:
    """Deliver several messages side by side; return how each ended."""
    deliveries = [smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once) for _ in range(count)]
    return await asyncio.gather(*deliveries, return_exceptions=True)


def accepted(results: Sequence[Result | BaseException]) -> int:
    """Count the messages that were accepted; the others must have been told that there is no connection."""
    found = [result for result in results if not isinstance(result, Busy)]
    assert all(isinstance(result, Result) and result.accepted for result in found), found
    return len(found)


async def test_a_server_that_allows_few_connections_gets_no_more() -> None:
    """The login that shows the limit is no fault; deliveries beyond it are turned back at once."""
    limited = Limited(2)
    async with Scripted.running(limited) as server, transport(server.url) as smtp:
        first = await deliver(smtp, 8)
        assert smtp.capacity == 2
        assert [accepted(await deliver(smtp, 2)) for _ in range(3)] == [2, 2, 2]
    assert accepted(first) >= 2
    assert (limited.most, limited.refused) == (2, 1)


async def test_the_limit_of_a_server_is_looked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been another program's connections that were too many."""
    monkeypatch.setattr(gateway, "LIMIT_HOLDS", 0.2)
    limited = Limited(1)
    async with Scripted.running(limited) as server, transport(server.url) as smtp:
        await deliver(smtp, 2)
        assert smtp.capacity == 1
        limited._limit = 2
        async with asyncio.timeout(PATIENCE):
            while smtp.capacity == 1:  # noqa: ASYNC110 - time passes, and nothing else happens
                await asyncio.sleep(0.01)
        assert accepted(await deliver(smtp, 2)) == 2
    assert limited.most == 2


@pytest.mark.parametrize("words", [b"", b"421 4.3.2 Service shutting down\r\n", b"554 5.7.1 not from here\r\n"])
async def test_only_the_words_of_a_server_are_a_limit_of_connections(words: bytes) -> None:
    """A login that is refused for another reason, or without any, is a fault, although a connection is in use."""
    beside, go_on = asyncio.Event(), asyncio.Event()

    def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "CONNECT" and beside.is_set():
            if not words:
                raise HungUpError
            return words
        return None

    async def held() -> None:
        beside.set()
        await go_on.wait()

    async with Scripted.running(answer) as server, transport(server.url) as smtp:
        busy = asyncio.create_task(smtp.deliver(ENVELOPE, MESSAGE, held, at_once))
        await beside.wait()
        (found,) = await deliver(smtp, 1)
        assert isinstance(found, Result)
        assert (found.phase, smtp.capacity) == (Phase.CONNECT, 2)
        assert f"127.0.0.1:{server.port}: " in (found.fault or "")
        assert "None" not in (found.fault or "")
        go_on.set()
        assert (await busy).accepted


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

    async with Scripted.running(answer) as server, transport(server.url) as smtp:
        await deliver(smtp, 1)
        probe = asyncio.create_task(smtp.open())
        await leaving.wait()
        farewells = list(smtp._farewells)
        probe.cancel()
        await asyncio.wait({probe})
        go_on.set()
        await asyncio.wait(farewells)
        assert [farewell.cancelled() for farewell in farewells] == [False]
        assert (smtp.capacity, smtp._open_connections()) == (1, 0)
        assert accepted(await deliver(smtp, 1)) == 1


async def test_a_login_of_another_delivery_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits has told the server nothing yet, and its mail can be decided anew."""
    monkeypatch.setattr(gateway, "LOGIN_WAIT", 0.1)
    reached = asyncio.Event()
    async with Scripted.running(silent_at("EHLO", reached)) as server, transport(server.url, TIMEOUT="1h") as smtp:
        first = asyncio.create_task(smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once))
        await reached.wait()
        second = asyncio.create_task(smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once))
        done, _ = await asyncio.wait({second}, timeout=PATIENCE)
        first.cancel()
        second.cancel()
        await asyncio.wait({first, second})
    assert [type(task.exception()) for task in done] == [Busy]


async def test_a_connection_that_is_lost_before_the_message_leaves_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message was not sent, so its outcome is known, although DATA was answered."""
    check = gateway._check_in_step

    def lost_after_data(client: aiosmtplib.SMTP) -> None:
        check(client)
        if server.count("DATA") and client.transport:
            client.transport.close()

    monkeypatch.setattr(gateway, "_check_in_step", lost_after_data)
    async with Scripted.running() as server, transport(server.url) as smtp:
        result = await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)
    assert (result.phase, result.reply, server.messages) == (Phase.DATA, None, [])


async def test_a_server_is_greeted_in_ascii() -> None:
    """Also if the domain of the sender's address is not; such a mail is sent by SMTPUTF8."""
    environ = {"NOTIFIER_MAIL_FROM": "jos\u00e9@m\u00fcnchen.example"}
    async with Scripted.running() as server:
        settings = load({"NOTIFIER_SMTP_URL": server.url, **environ})
        (smtp,) = gateway.transports(settings.smtp, settings.mail.sender.domain)
        envelope = gateway.Envelope(settings.mail.sender.address, "asha@example.com")
        assert (await smtp.deliver(envelope, MESSAGE, at_once, at_once)).accepted
        await smtp.close()
    assert server.count("EHLO xn--mnchen-3ya.example") == 1


async def test_a_login_that_fails_without_any_connection_is_a_fault() -> None:
    """Nobody waits for connections that do not exist; the server's own words come along."""
    limited = Limited(0)
    async with Scripted.running(limited) as server, transport(server.url) as smtp:
        results = await deliver(smtp, 3)
    found = {(result.phase, result.said) for result in results if isinstance(result, Result)}
    assert found == {(Phase.CONNECT, "4.7.0 Too many connections")}
    assert limited.refused == 1


async def test_a_probe_closes_idle_connections_before() -> None:
    """Otherwise the server would refuse it as one connection too many."""
    limited = Limited(1)
    async with Scripted.running(limited) as server, transport(server.url) as smtp:
        await deliver(smtp, 1)
        await smtp.open()
    assert (limited.refused, server.connections) == (0, 2)


async def test_a_probe_beside_connections_in_use_says_why_it_failed() -> None:
    """It does not wait for them: its pause does."""
    limited, go_on = Limited(1), asyncio.Event()

    async def in_a_while() -> None:
        await go_on.wait()

    async with Scripted.running(limited) as server, transport(server.url) as smtp:
        busy = asyncio.create_task(smtp.deliver(ENVELOPE, MESSAGE, in_a_while, at_once))
        await limited.reached.wait()
        with pytest.raises(Unreachable, match="421"):
            await smtp.open()
        go_on.set()
        assert (await busy).accepted


@pytest.mark.parametrize("text", [b"452 4.5.3 Number of transactions exceeds allowed maximum\r\n"])
async def test_a_connection_that_takes_no_more_mails_is_replaced(text: bytes) -> None:
    """The mail goes over a new one, in the same delivery: nothing is wrong with the account."""
    mails: dict[str, int] = {"here": 0}

    def answer(phase: str, _line: bytes) -> bytes | None:
        mails["here"] = 0 if phase == "CONNECT" else mails["here"] + (phase == "MAIL")
        return text if phase == "MAIL" and mails["here"] > 2 else None

    async with Scripted.running(answer) as server, transport(server.url) as smtp:
        results = [await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once) for _ in range(6)]
    assert all(result.accepted for result in results)
    assert server.connections == 3


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
    async with Scripted.running(says) as server, transport(server.url) as smtp:
        broken = await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)
        assert (await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)).accepted
    assert (broken.phase, broken.reply) == (Phase(phase), None)
    assert server.connections == 2
