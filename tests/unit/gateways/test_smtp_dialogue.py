"""Dialogues with SMTP servers: how they end, and what becomes of their connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from support.outgoing import MAIL, smtp_pool
from support.parts import PATIENCE
from support.scripted import Answer, Scripted, once, without_smtputf8

from notifier.demo.inbox import Inbox
from notifier.gateways.smtp_replies import MAX_REPLY
from notifier.sending.dialogue import ComposedMail
from notifier.sending.replies import Phase

MESSAGE = b"Subject: hello\r\nMessage-ID: <a@b>\r\n\r\n.first\r\n..second\r\n.\r\nlast\r\n"
LATIN_1 = "Empfänger unbekannt".encode("latin-1")


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_reply_that_is_not_utf_8_becomes_readable_text(phase: str) -> None:
    """Each invalid byte becomes U+FFFD, so that the text can be stored and encoded."""
    async with (
        Scripted.running(once(phase, b"550 5.1.1 " + LATIN_1 + b"\r\n")) as server,
        smtp_pool(server.url) as pool,
    ):
        result = await pool.deliver(MAIL)
    assert result.reply
    assert (result.phase, result.reply.code) == (Phase(phase), 550)
    assert result.reply.text == "5.1.1 Empf\ufffdnger unbekannt"


@pytest.mark.usefixtures("either_way")
async def test_a_long_reply_is_cut() -> None:
    """The text that is kept has a limit, and an ellipsis shows that there was more."""
    lines = b"".join(b"550-" + b"x" * 500 + b"\r\n" for _ in range(20)) + b"550 end\r\n"
    async with Scripted.running(once("RCPT", lines)) as server, smtp_pool(server.url) as pool:
        result = await pool.deliver(MAIL)
    assert result.reply
    assert len(result.reply.text) == MAX_REPLY
    assert result.reply.text.endswith("x…")


@pytest.mark.parametrize("answer", [b"hello\r\n", b"\xff\xfe\r\n", b"-12 x\r\n", b"999 x\r\n", b"007 x\r\n", b"\r\n"])
async def test_bytes_that_are_no_reply_break_the_dialogue(answer: bytes) -> None:
    """Only codes from 200 to 599 are replies, and the connection is not used again."""
    async with Scripted.running(once("RCPT", answer)) as server, smtp_pool(server.url) as pool:
        broken = await pool.deliver(MAIL)
        accepted = await pool.deliver(MAIL)
    assert (broken.phase, broken.reply, accepted.accepted) == (Phase.RCPT, None, True)
    assert broken.fault
    assert server.connections == 2


@pytest.mark.parametrize(
    ("phase", "answer", "ends"),
    [
        ("MAIL", b"250 OK\r\n550 no\r\n", (Phase.RCPT, None)),
        ("RCPT", b"250 OK\r\n250 OK\r\n", (Phase.DATA, None)),
        ("RCPT", b"550 no\r\n250 OK\r\n", (Phase.RCPT, 550)),
        ("DATA", b"354 go on\r\n250 OK\r\n", (Phase.DATA, None)),
        ("DOT", b"250 OK\r\n550 no\r\n", (Phase.DOT, 250)),
    ],
)
async def test_a_second_reply_is_never_taken_for_that_of_another_command(
    phase: str, answer: bytes, ends: tuple[Phase, int | None]
) -> None:
    """A server that sends too much is out of step: its dialogue ends, and the next mail has a new connection."""
    async with Scripted.running(once(phase, answer)) as server, smtp_pool(server.url) as pool:
        first = await pool.deliver(MAIL)
        second = await pool.deliver(MAIL)
    assert (first.phase, first.reply and first.reply.code) == ends
    assert second.accepted
    assert server.connections == 2


async def test_a_second_reply_to_rset_is_never_taken_for_that_of_the_next_mail() -> None:
    """After a rejection the server is out of step, too: the next mail has a new connection and is accepted at once."""
    says = {"RCPT": [b"550 5.1.1 no\r\n"], "RSET": [b"250 OK\r\n550 no\r\n"]}
    answer: Answer = lambda at, _line: says[at].pop() if says.get(at) else None  # noqa: E731
    async with Scripted.running(answer) as server, smtp_pool(server.url) as pool:
        first = await pool.deliver(MAIL)
        second = await pool.deliver(MAIL)
    assert (first.phase, first.reply and first.reply.code) == (Phase.RCPT, 550)
    assert second.accepted
    assert server.connections == 2


async def test_a_server_that_reads_no_more_is_cut_off_at_once() -> None:
    """After the time limit nothing more of the message is sent, even if the server begins to read again."""
    read_on, size = asyncio.Event(), 0
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal size
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            writer.write(b"354 go on\r\n" if line.startswith(b"DATA") else b"250 OK\r\n")
            if line.startswith(b"DATA"):
                await read_on.wait()
                try:
                    while piece := await reader.read(1 << 20):
                        size += len(piece)
                except ConnectionError:
                    pass
                break
        writer.close()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 14)
    message = b"x" * 76 + b"\r\n" + (b"y" * 76 + b"\r\n") * 500_000
    url = f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with smtp_pool(url, DOT_TIMEOUT="300ms") as pool:
        result = await pool.deliver(ComposedMail("fly@example.org", "asha@example.com", message))
        read_on.set()
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    server.close()
    await server.wait_closed()
    assert (result.phase, result.reply) == (Phase.DOT, None)
    assert size < len(message) / 2


async def test_a_message_arrives_as_it_was_composed(inbox: Inbox) -> None:
    """Lines that begin with dots, including one of a single dot, arrive unchanged."""
    async with smtp_pool(inbox.url) as pool:
        result = await pool.deliver(ComposedMail("fly@example.org", "asha@example.com", MESSAGE))
    assert result.accepted
    assert inbox.received[0].body.replace(b"\r\n", b"\n") == MESSAGE.replace(b"\r\n", b"\n")
    assert inbox.received[0].to == "asha@example.com"


@pytest.mark.parametrize(("phase", "connections"), [("MAIL", 2), ("RCPT", 1), ("DATA", 1)])
async def test_a_rejection_names_its_phase_and_keeps_the_connection(phase: str, connections: int) -> None:
    """After 452 the next mail uses the same connection, unless MAIL FROM was rejected."""
    replies = iter(["452 4.3.1 not now"])
    async with Inbox(reply=lambda at, _: next(replies, None) if at == phase else None) as inbox:
        async with smtp_pool(inbox.url) as pool:
            refused = await pool.deliver(MAIL)
            accepted = await pool.deliver(MAIL)
    expected = Phase.DOT if phase == "DATA" else Phase(phase)
    assert (refused.phase, refused.reply and refused.reply.code, refused.accepted) == (expected, 452, False)
    assert accepted.accepted
    assert inbox.connections == connections


async def test_a_421_closes_the_connection() -> None:
    """The next mail has a new one."""
    replies = iter(["421 4.3.2 shutting down"])
    async with Inbox(reply=lambda at, _: next(replies, None) if at == "RCPT" else None) as inbox:
        async with smtp_pool(inbox.url) as pool:
            assert (await pool.deliver(MAIL)).phase is Phase.RCPT
            assert (await pool.deliver(MAIL)).accepted
    assert inbox.connections == 2


Dialogue = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(dialogue: Dialogue) -> AsyncIterator[str]:
    """Run a server with a dialogue of its own."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await dialogue(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def until(word: bytes, *, then_close: bool, reached: asyncio.Event | None = None) -> Dialogue:
    """Accept everything until a command that begins with `word`; then hang up, or send nothing more."""

    async def dialogue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        in_data = False
        while line := await reader.readline():
            if line.startswith(word) and (not in_data or word == b".\r"):
                if reached:
                    reached.set()
                if then_close:
                    return
                await asyncio.Event().wait()
            if in_data and line != b".\r\n":
                continue
            in_data = line.startswith(b"DATA")
            writer.write(b"354 go on\r\n" if in_data else b"250 OK\r\n")

    return dialogue


@pytest.mark.parametrize("then_close", [True, False])
@pytest.mark.parametrize(
    ("word", "phase"),
    [
        (b"MAIL", Phase.MAIL),
        (b"RCPT", Phase.RCPT),
        (b"DATA", Phase.DATA),
        (b".\r", Phase.DOT),
    ],
)
async def test_a_dialogue_that_breaks_names_its_phase(word: bytes, phase: Phase, *, then_close: bool) -> None:
    """If a server hangs up or falls silent, the result has no reply, and comes within the timeout."""
    async with scripted(until(word, then_close=then_close)) as url:
        async with smtp_pool(url, TIMEOUT="200ms", DOT_TIMEOUT="300ms") as pool:
            async with asyncio.timeout(PATIENCE):
                result = await pool.deliver(MAIL)
    assert (result.phase, result.reply, result.accepted) == (phase, None, False)
    assert result.fault


async def test_a_cancelled_delivery_closes_its_connection() -> None:
    """No other mail uses a connection that was left in the middle of a dialogue."""
    reached = asyncio.Event()
    async with scripted(until(b"RCPT", then_close=False, reached=reached)) as url, smtp_pool(url) as pool:
        delivery = asyncio.create_task(pool.deliver(MAIL))
        await reached.wait()
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
        assert (pool._idle, pool._connected) == ({}, set())


async def test_an_address_beyond_ascii_needs_smtputf8(inbox: Inbox) -> None:
    """The extension is used if the server offers it; otherwise the server never sees the mail."""
    mail = ComposedMail("fly@example.org", "jürgen@example.com", MESSAGE)
    async with smtp_pool(inbox.url) as pool:
        offered = await pool.deliver(mail)
    async with scripted(until(b"QUIT", then_close=True)) as url, smtp_pool(url) as pool:
        lacking = await pool.deliver(mail)
    assert offered.accepted
    assert inbox.received[0].to == "jürgen@example.com"
    assert (lacking.unsupported, lacking.reply, lacking.exchanges, offered.unsupported) == (True, None, (), False)


@pytest.mark.usefixtures("either_way")
async def test_a_connection_that_is_lost_before_the_message_leaves_no_doubt() -> None:
    """The message was not sent, so its outcome is known, although DATA was answered."""
    async with Scripted.running() as server, smtp_pool(server.url) as pool:
        connection = await pool.acquire()
        assert await connection.send_envelope(MAIL) is None
        connection.abort()
        result = await connection.send_content(MAIL)
        pool.release(connection)
    assert (result.phase, result.reply, server.messages) == (Phase.DATA, None, [])


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
    """After the message its outcome is unknown then; in each case the connection is not used again."""
    answers = [answer]
    says: Answer = lambda at, _line: answers.pop() if at == phase and answers else None  # noqa: E731
    async with Scripted.running(says) as server, smtp_pool(server.url) as pool:
        broken = await pool.deliver(MAIL)
        assert (await pool.deliver(MAIL)).accepted
    assert (broken.phase, broken.reply) == (Phase(phase), None)
    assert server.connections == 2


async def test_a_sender_address_that_the_server_cannot_take_is_no_fault_of_the_mail() -> None:
    """It would meet every mail, so the result is that of a rejected MAIL FROM."""
    async with Scripted.running(without_smtputf8) as server:
        async with smtp_pool(server.url) as pool:
            result = await pool.deliver(ComposedMail("jürgen@example.org", "a@example.com", b""))
    assert (result.phase, result.reply, result.unsupported) == ("MAIL", None, False)
