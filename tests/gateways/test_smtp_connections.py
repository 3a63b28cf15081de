"""How many connections the SMTP gateway has to an account, and what it learns about their number."""

import asyncio

import pytest
from outgoing import ENVELOPE, at_once, transport
from scripted import Answer, HungUpError, Scripted

from notifier.errors import Unreachable
from notifier.gateways import smtp as gateway
from notifier.gateways.smtp import Result, Transport
from notifier.replies import Phase

MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"


class Limited:
    """Answers like a server that allows so many connections; `most` were open at once, `refused` too many."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self.most = 0
        self.refused = 0
        self.reached = asyncio.Event()

    async def __call__(self, phase: str, _line: bytes) -> bytes | None:
        """Answer as `Scripted` wants it."""
        if phase == "CONNECT":
            if self._open == self._limit:
                self.refused += 1
                return b"421 4.7.0 Too many connections\r\n"
            self._open += 1
            self.most = max(self.most, self._open)
        if phase == "EHLO":
            self.reached.set()
        if phase == "QUIT":
            self._open -= 1
        if phase == "DOT":
            await asyncio.sleep(0.01)
        return None


async def deliver(smtp: Transport, count: int) -> list[Result]:
    """Deliver several messages side by side."""
    return await asyncio.gather(*(smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once) for _ in range(count)))


async def test_a_server_that_allows_few_connections_gets_no_more() -> None:
    """The login that shows the limit is no fault: deliveries wait for the connections that there are."""
    limited = Limited(2)
    async with Scripted.running(limited) as server, transport(server.url) as smtp:
        for _ in range(3):
            assert all(result.accepted for result in await deliver(smtp, 8))
    assert (limited.most, limited.refused) == (2, 1)


async def test_the_limit_of_a_server_is_looked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been another program's connections that were too many."""
    monkeypatch.setattr(gateway, "CAPACITY_HOLDS", 0.0)
    limited = Limited(2)
    async with Scripted.running(limited) as server, transport(server.url) as smtp:
        assert all(result.accepted for result in await deliver(smtp, 4))
        limited._limit = 8
        await deliver(smtp, 8)
    assert limited.most > 2


async def test_a_login_that_fails_without_any_connection_is_a_fault() -> None:
    """Nobody waits for connections that do not exist; the server's own words come along."""
    limited = Limited(0)
    async with Scripted.running(limited) as server, transport(server.url) as smtp:
        results = await deliver(smtp, 3)
    assert {(result.phase, result.said) for result in results} == {(Phase.CONNECT, "4.7.0 Too many connections")}
    assert limited.refused == 1


async def test_waiting_deliveries_log_in_when_the_last_connection_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not wait for a connection that will not come back."""
    limited, hang_up, noted = Limited(1), asyncio.Event(), asyncio.Event()

    async def answer(phase: str, line: bytes) -> bytes | None:
        if phase == "RCPT" and not hang_up.is_set():
            await hang_up.wait()
            limited._open -= 1
            raise HungUpError
        return await limited(phase, line)

    async with Scripted.running(answer) as server, transport(server.url) as smtp:
        note = smtp._note_capacity

        def noting() -> bool:
            noted.set()
            return note()

        monkeypatch.setattr(smtp, "_note_capacity", noting)
        deliveries = asyncio.gather(*(smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once) for _ in range(3)))
        await noted.wait()
        hang_up.set()
        results = await deliveries
    assert sorted(result.accepted for result in results) == [False, True, True], results


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
