"""What the SMTP gateway makes of replies that no well-behaved server would give."""

import asyncio
from collections.abc import Sequence

import pytest
from support.outgoing import MAIL, smtp_pool
from support.parts import PATIENCE
from support.scripted import Answer, Scripted

from notifier.errors import Unreachable
from notifier.gateways.smtp_dialogue import MAX_REPLY
from notifier.sending.dialogue import ComposedMail
from notifier.sending.replies import Phase

LATIN_1 = "Empfänger unbekannt".encode("latin-1")


def once(phase: str, *answers: bytes) -> Answer:
    """Answer a phase with these bytes, one after the other, and then as usual."""
    left = list(answers)
    return lambda at, _line: left.pop(0) if at == phase and left else None


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_reply_that_is_not_utf_8_is_readable_text(phase: str) -> None:
    """Each byte that is wrong becomes U+FFFD, so that the text can be stored and encoded."""
    async with (
        Scripted.running(once(phase, b"550 5.1.1 " + LATIN_1 + b"\r\n")) as server,
        smtp_pool(server.url) as pool,
    ):
        result = await pool.deliver(MAIL)
    assert result.reply
    assert (result.phase, result.reply.code) == (Phase(phase), 550)
    assert result.reply.text == "5.1.1 Empf\ufffdnger unbekannt"


@pytest.mark.parametrize("phase", ["CONNECT", "EHLO", "AUTH"])
async def test_a_login_that_fails_says_why_in_readable_text(phase: str) -> None:
    """Whatever bytes the server refuses with, and whichever step it refuses, the reason can be encoded and is short."""
    words = b"\x1b[31m ung\xfcltig for asha@example.com" + b" x" * MAX_REPLY
    async with Scripted.running(once(phase, b"535 5.7.8 " + words + b"\r\n")) as server:
        async with smtp_pool(server.url_with_login) as pool:
            with pytest.raises(Unreachable, match="535") as caught:
                await pool.probe()
    reason = str(caught.value)
    assert "\ufffd[31m ung\ufffdltig for a•••@example.com" in reason
    assert len(reason.encode()) < 2 * MAX_REPLY


async def test_a_long_reply_is_cut() -> None:
    """What is stored for each mail has a limit; an ellipsis shows that there was more."""
    lines = b"".join(b"550-" + b"x" * 500 + b"\r\n" for _ in range(20)) + b"550 end\r\n"
    async with Scripted.running(once("RCPT", lines)) as server, smtp_pool(server.url) as pool:
        result = await pool.deliver(MAIL)
    assert result.reply
    assert len(result.reply.text) == MAX_REPLY
    assert result.reply.text.endswith("x…")


@pytest.mark.parametrize("answer", [b"hello\r\n", b"\xff\xfe\r\n", b"-12 x\r\n", b"999 x\r\n", b"007 x\r\n", b"\r\n"])
async def test_what_is_no_reply_is_a_broken_dialogue(answer: bytes) -> None:
    """Only codes from 200 to 599 are replies; the connection is not used again."""
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
    """A server that says too much is out of step: its dialogue ends there, and the next mail has a new connection."""
    async with Scripted.running(once(phase, answer)) as server, smtp_pool(server.url) as pool:
        first = await pool.deliver(MAIL)
        second = await pool.deliver(MAIL)
    assert (first.phase, first.reply and first.reply.code) == ends
    assert second.accepted
    assert server.connections == 2


async def test_a_connection_that_is_released_before_its_dialogue_serves_the_next_mail() -> None:
    """A mail that must not start after all leaves the connection in step, and the server knows nothing of it."""
    async with Scripted.running() as server, smtp_pool(server.url) as pool:
        pool.release(await pool.acquire())
        assert (await pool.deliver(MAIL)).accepted
    assert (server.connections, server.count("MAIL")) == (1, 1)


async def test_a_connection_that_is_released_within_its_dialogue_is_closed() -> None:
    """The next mail has a new one, although the server has accepted sender and recipient on the first."""
    async with Scripted.running() as server, smtp_pool(server.url) as pool:
        connection = await pool.acquire()
        assert await connection.send_envelope(MAIL) is None
        pool.release(connection)
        assert (connection.is_open, pool.capacity) == (False, 1)
        assert (await pool.deliver(MAIL)).accepted
    assert (server.connections, len(server.messages)) == (2, 1)


async def test_a_server_that_reads_no_more_is_cut_off_at_once() -> None:
    """After the time limit nothing more of the message goes out, whenever the server begins to read again."""
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


def attempts(server: Scripted) -> Sequence[str]:
    """List the login commands that a server got, without their credentials."""
    return [" ".join(line.split()[:2]) for _, line in server.said if line.startswith("AUTH")]


async def test_a_login_tries_one_mechanism() -> None:
    """However many are offered, a rejected password is one attempt."""
    answer: Answer = lambda at, _line: b"535 5.7.8 no\r\n" if at == "AUTH" else None  # noqa: E731
    async with Scripted.running(answer) as server, smtp_pool(server.url_with_login) as pool:
        for _ in range(2):
            with pytest.raises(Unreachable, match="535"):
                await pool.probe()
    assert attempts(server) == ["AUTH PLAIN"] * 2


async def test_a_mechanism_that_the_server_does_not_know_gives_way_to_the_next_one() -> None:
    """It is still one mechanism a login: the next login uses another one."""
    server_says = once("AUTH", b"504 5.5.4 unrecognised\r\n", b"334 UGFzc3dvcmQ6\r\n")
    async with Scripted.running(server_says) as server, smtp_pool(server.url_with_login) as pool:
        with pytest.raises(Unreachable, match="504"):
            await pool.probe()
        await pool.probe()
    assert attempts(server) == ["AUTH PLAIN", "AUTH LOGIN"]


async def test_a_server_without_a_mechanism_that_we_know_is_not_logged_in_to() -> None:
    """Credentials are not sent, and the reason says what is missing."""
    answer: Answer = lambda at, _line: b"250-here\r\n250 AUTH GSSAPI\r\n" if at == "EHLO" else None  # noqa: E731
    async with Scripted.running(answer) as server, smtp_pool(server.url_with_login) as pool:
        with pytest.raises(Unreachable, match="offers no login by PLAIN, LOGIN or CRAM-MD5"):
            await pool.probe()
    assert attempts(server) == []


async def test_deliveries_side_by_side_share_a_rejected_login() -> None:
    """Eight mails that find no connection open cost one attempt; each is told why."""
    answer: Answer = lambda at, _line: b"535 5.7.8 no\r\n" if at == "AUTH" else None  # noqa: E731
    async with Scripted.running(answer) as server, smtp_pool(server.url_with_login) as pool:
        results = await asyncio.gather(*(pool.deliver(MAIL) for _ in range(8)), return_exceptions=True)
    assert attempts(server) == ["AUTH PLAIN"]
    assert all(isinstance(result, Unreachable) and "535" in str(result) for result in results)


async def test_one_login_is_under_way_at_a_time() -> None:
    """Mails that arrive together get connections one after the other."""
    under_way = most = 0

    async def answer(at: str, _line: bytes) -> bytes | None:
        nonlocal under_way, most
        if at == "AUTH":
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url_with_login) as pool:
        results = await asyncio.gather(*(pool.deliver(MAIL) for _ in range(5)))
    assert all(result.accepted for result in results)
    assert most == 1


async def test_a_login_that_was_cancelled_lets_the_next_one_try() -> None:
    """Whoever waited for it logs in, and does not fail with it."""
    reached, stuck = asyncio.Event(), True

    async def answer(at: str, _line: bytes) -> bytes | None:
        if at == "EHLO" and stuck:
            reached.set()
            await asyncio.Event().wait()
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url, TIMEOUT="1h") as pool:
        first, second = (asyncio.create_task(pool.deliver(MAIL)) for _ in range(2))
        await reached.wait()
        stuck = False
        first.cancel()
        async with asyncio.timeout(PATIENCE):
            result = await second
        await asyncio.gather(first, return_exceptions=True)
    assert result.accepted
    assert server.connections == 2
