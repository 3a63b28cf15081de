"""What the SMTP gateway makes of replies that no well-behaved server would give."""

import asyncio
from collections.abc import Sequence

import pytest
from support.outgoing import ENVELOPE, at_once, transport
from support.parts import PATIENCE
from support.scripted import Answer, Scripted

from notifier.errors import Unreachable
from notifier.gateways.smtp import MAX_REPLY
from notifier.sending.replies import Phase

MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"
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
        transport(server.url) as smtp,
    ):
        result = await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)
    assert result.reply
    assert (result.phase, result.reply.code) == (Phase(phase), 550)
    assert result.reply.text == "5.1.1 Empf\ufffdnger unbekannt"


@pytest.mark.parametrize("phase", ["CONNECT", "EHLO", "AUTH"])
async def test_a_login_that_fails_says_why_in_readable_text(phase: str) -> None:
    """Whatever bytes the server refuses with, and whichever step it refuses, the reason can be encoded and is short."""
    words = b"\x1b[31m ung\xfcltig for asha@example.com" + b" x" * MAX_REPLY
    async with Scripted.running(once(phase, b"535 5.7.8 " + words + b"\r\n")) as server:
        async with transport(server.url_with_login) as smtp:
            with pytest.raises(Unreachable, match="535") as caught:
                await smtp.open()
    reason = str(caught.value)
    assert "\ufffd[31m ung\ufffdltig for a•••@example.com" in reason
    assert len(reason.encode()) < 2 * MAX_REPLY


async def test_a_long_reply_is_cut() -> None:
    """What is stored for each mail has a limit; an ellipsis shows that there was more."""
    lines = b"".join(b"550-" + b"x" * 500 + b"\r\n" for _ in range(20)) + b"550 end\r\n"
    async with Scripted.running(once("RCPT", lines)) as server, transport(server.url) as smtp:
        result = await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)
    assert result.reply
    assert len(result.reply.text) == MAX_REPLY
    assert result.reply.text.endswith("x…")


@pytest.mark.parametrize("answer", [b"hello\r\n", b"\xff\xfe\r\n", b"-12 x\r\n", b"999 x\r\n", b"007 x\r\n", b"\r\n"])
async def test_what_is_no_reply_is_a_broken_dialogue(answer: bytes) -> None:
    """Only codes from 200 to 599 are replies; the connection is not used again."""
    async with Scripted.running(once("RCPT", answer)) as server, transport(server.url) as smtp:
        broken = await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)
        accepted = await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)
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
    async with Scripted.running(once(phase, answer)) as server, transport(server.url) as smtp:
        first = await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)
        second = await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)
    assert (first.phase, first.reply and first.reply.code) == ends
    assert second.accepted
    assert server.connections == 2


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
async def test_a_421_on_a_used_connection_is_no_rejection(phase: str) -> None:
    """It says that this connection is over; the mail goes over a new one, in the same delivery."""
    began_again: list[str] = []
    answers: list[bytes | None] = [None, b"421 4.4.2 idle for too long\r\n"]
    server_says = lambda at, _line: answers.pop(0) if at == phase and answers else None  # noqa: E731
    async with Scripted.running(server_says) as server, transport(server.url) as smtp:
        results = [
            await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once, begins_again=lambda: began_again.append("once"))
            for _ in range(2)
        ]
    assert [result.accepted for result in results] == [True, True]
    assert (server.connections, began_again) == (2, ["once"])


async def test_a_421_on_a_new_connection_is_the_server_s_answer() -> None:
    """There is no third try: what a new connection is told counts."""
    answers = [b"250 OK\r\n", b"421 4.7.0 not you\r\n", b"421 4.7.0 not you\r\n"]
    async with Scripted.running(once("MAIL", *answers)) as server, transport(server.url) as smtp:
        results = [await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once) for _ in range(2)]
    assert [(result.phase, result.reply and result.reply.code) for result in results] == [
        (Phase.DOT, 250),
        (Phase.MAIL, 421),
    ]
    assert server.connections == 2


async def test_a_turn_that_is_refused_tells_the_server_nothing() -> None:
    """The connection that was made for the mail serves the next one."""

    async def refused() -> None:
        raise LookupError

    async with Scripted.running() as server, transport(server.url) as smtp:
        with pytest.raises(LookupError):
            await smtp.deliver(ENVELOPE, MESSAGE, refused, at_once)
        assert (await smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)).accepted
    assert (server.connections, server.count("MAIL")) == (1, 1)


async def test_a_mail_has_a_second_turn_before_its_second_start() -> None:
    """Between the two starts a login may have taken long: pace and expiry are looked at again."""
    turns: list[int] = []
    answers: list[bytes | None] = [None, b"421 4.4.2 idle for too long\r\n"]
    server_says = lambda at, _line: answers.pop(0) if at == "MAIL" and answers else None  # noqa: E731

    async def turn() -> None:
        turns.append(server.count("MAIL"))

    async with Scripted.running(server_says) as server, transport(server.url) as smtp:
        for _ in range(2):
            await smtp.deliver(ENVELOPE, MESSAGE, turn, at_once)
    assert turns == [0, 1, 2]


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
    async with transport(url, DOT_TIMEOUT="300ms") as smtp:
        result = await smtp.deliver(ENVELOPE, message, at_once, at_once)
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
    async with Scripted.running(answer) as server, transport(server.url_with_login) as smtp:
        for _ in range(2):
            with pytest.raises(Unreachable, match="535"):
                await smtp.open()
    assert attempts(server) == ["AUTH PLAIN"] * 2


async def test_a_mechanism_that_the_server_does_not_know_gives_way_to_the_next_one() -> None:
    """It is still one mechanism a login: the next login uses another one."""
    server_says = once("AUTH", b"504 5.5.4 unrecognised\r\n", b"334 UGFzc3dvcmQ6\r\n")
    async with Scripted.running(server_says) as server, transport(server.url_with_login) as smtp:
        with pytest.raises(Unreachable, match="504"):
            await smtp.open()
        await smtp.open()
    assert attempts(server) == ["AUTH PLAIN", "AUTH LOGIN"]


async def test_a_server_without_a_mechanism_that_we_know_is_not_logged_in_to() -> None:
    """Credentials are not sent, and the reason says what is missing."""
    answer: Answer = lambda at, _line: b"250-here\r\n250 AUTH GSSAPI\r\n" if at == "EHLO" else None  # noqa: E731
    async with Scripted.running(answer) as server, transport(server.url_with_login) as smtp:
        with pytest.raises(Unreachable, match="offers no login by PLAIN, LOGIN or CRAM-MD5"):
            await smtp.open()
    assert attempts(server) == []


async def test_deliveries_side_by_side_share_a_rejected_login() -> None:
    """Eight mails that find no connection open cost one attempt; each is told why."""
    answer: Answer = lambda at, _line: b"535 5.7.8 no\r\n" if at == "AUTH" else None  # noqa: E731
    async with Scripted.running(answer) as server, transport(server.url_with_login) as smtp:
        results = await asyncio.gather(*(smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once) for _ in range(8)))
    assert attempts(server) == ["AUTH PLAIN"]
    assert all(result.phase is Phase.CONNECT and "535" in str(result.fault) for result in results)


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

    async with Scripted.running(answer) as server, transport(server.url_with_login) as smtp:
        results = await asyncio.gather(*(smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once) for _ in range(5)))
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

    async with Scripted.running(answer) as server, transport(server.url, TIMEOUT="1h") as smtp:
        first, second = (asyncio.create_task(smtp.deliver(ENVELOPE, MESSAGE, at_once, at_once)) for _ in range(2))
        await reached.wait()
        stuck = False
        first.cancel()
        async with asyncio.timeout(PATIENCE):
            result = await second
        await asyncio.gather(first, return_exceptions=True)
    assert result.accepted
    assert server.connections == 2
