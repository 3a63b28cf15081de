"""Dialogues with SMTP servers that take MAIL, RCPT and DATA together, or only claim to."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.outgoing import MAIL, smtp_pool
from support.parts import PATIENCE
from support.scripted import DEFAULTS, Answer, HungUpError, Scripted, offer_pipelining, once

from notifier.domain.mail import Reply
from notifier.gateways import smtp_dialogue
from notifier.gateways.smtp_dialogue import ConnectionState
from notifier.gateways.smtp_stream import OutOfStepError
from notifier.sending.replies import Phase

OFFER = b"250-here\r\n250 PIPELINING\r\n"
ENVELOPE = [f"MAIL FROM:<{MAIL.sender}>", f"RCPT TO:<{MAIL.recipient}>", "DATA"]


@pytest.fixture(autouse=True)
def _offered(monkeypatch: pytest.MonkeyPatch) -> None:
    offer_pipelining(monkeypatch)


def in_turn(**answers: Sequence[bytes | None]) -> Answer:
    """Answer each phase with these replies, one after the other, and then as usual."""
    left = {phase: list(replies) for phase, replies in answers.items()}
    return lambda phase, _line: left[phase].pop(0) if left.get(phase) else None


async def test_the_commands_of_a_mail_travel_together() -> None:
    """The server has all three before it answers the first; the message follows only after all answers."""
    waiting: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        await reader.readline()
        writer.write(OFFER)
        commands = await reader.readexactly(len("\r\n".join([*ENVELOPE, ""])))
        waiting.append(commands.count(b"\r\n"))
        for reply in (b"250 OK\r\n", b"250 OK\r\n", b"354 go on\r\n"):
            await asyncio.sleep(0.01)
            writer.write(reply)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 OK\r\n")
        await reader.readline()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with smtp_pool(f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}") as pool:
        async with asyncio.timeout(PATIENCE):
            result = await pool.deliver(MAIL)
    server.close()
    await server.wait_closed()
    assert result.accepted
    assert waiting == [3]
    assert [exchange.phase for exchange in result.exchanges] == [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT]


async def test_without_the_offer_each_command_waits_for_its_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not offer PIPELINING never has two commands of ours before it has answered the first."""
    monkeypatch.undo()
    async with Scripted.running(once("MAIL", b"550 no\r\n")) as server, smtp_pool(server.url) as pool:
        result = await pool.deliver(MAIL)
    assert (result.phase, result.reply and result.reply.code) == (Phase.MAIL, 550)
    assert [line for _, line in server.said if line in ENVELOPE] == ENVELOPE[:1]


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
async def test_a_rejection_is_that_of_its_command(phase: str) -> None:
    """The commands after it are rejected as well, which says nothing about the mail."""
    async with Scripted.running(once(phase, b"550 5.1.1 for a reason\r\n")) as server, smtp_pool(server.url) as pool:
        connection = await pool.acquire()
        result = await connection.send_envelope(MAIL)
        assert connection.state is (ConnectionState.USED_UP if phase == "MAIL" else ConnectionState.IN_STEP)
        pool.release(connection)
        assert (await pool.deliver(MAIL)).accepted
    assert result
    assert (result.phase, result.reply and result.reply.text) == (Phase(phase), "5.1.1 for a reason")
    assert server.connections == (2 if phase == "MAIL" else 1)


@pytest.mark.parametrize("phase", ["MAIL", "RCPT"])
@pytest.mark.parametrize("dot", [b"250 OK\r\n", b"554 5.5.1 no valid recipients\r\n"])
async def test_a_message_without_recipients_is_ended_by_a_lone_dot(phase: str, dot: bytes) -> None:
    """A server that takes DATA after it has rejected the recipient gets no content, and stays in step."""
    replies = [b"250 OK\r\n", b"250 OK\r\n", b"354 go on\r\n"]
    number = ("MAIL", "RCPT").index(phase)
    replies[number] = b"550 5.1.1 no\r\n"
    if phase == "MAIL":
        replies[1] = b"503 5.5.1 MAIL first\r\n"
    messages: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        await reader.readline()
        writer.write(OFFER)
        for _ in range(3):
            await reader.readline()
        writer.write(b"".join(replies))
        messages.append(await reader.readline())
        writer.write(dot)
        for reply in (b"250 OK\r\n", b"250 OK\r\n", b"354 go on\r\n"):
            if (await reader.readline()).startswith(b"QUIT"):
                break
            writer.write(reply)
        else:
            messages.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"250 OK\r\n")
            await reader.readline()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with smtp_pool(f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}") as pool:
        connection = await pool.acquire()
        async with asyncio.timeout(PATIENCE):
            result = await connection.send_envelope(MAIL)
        assert connection.state is (ConnectionState.USED_UP if phase == "MAIL" else ConnectionState.IN_STEP)
        if phase == "RCPT":
            assert await connection.send_envelope(MAIL) is None
            assert (await connection.send_content(MAIL)).accepted
        pool.release(connection)
    server.close()
    await server.wait_closed()
    assert result
    assert (result.phase, result.reply and result.reply.code) == (Phase(phase), 550)
    assert messages[0] == b".\r\n"
    assert messages[1:] in ([], [MAIL.content + b".\r\n"])


@pytest.mark.parametrize(
    "odd",
    [
        {"MAIL": [b"hello\r\n"]},
        {"MAIL": [b"354 go on\r\n"]},
        {"MAIL": [b"250 OK\r\n250 OK\r\n"]},
        {"MAIL": [b"250 OK\r\n550 no\r\n"]},
        {"MAIL": [b"550 no\r\n250 OK\r\n"]},
        {"RCPT": [b"\xff\xfe\r\n"]},
        {"RCPT": [b"250 OK\r\n250 OK\r\n"]},
        {"RCPT": [b"250 OK\r\n550 no\r\n"]},
        {"RCPT": [b"550 no\r\n250 OK\r\n"]},
        {"DATA": [b"250 OK\r\n"]},
        {"DATA": [b"354 go on\r\n250 OK\r\n"]},
        {"DATA": [b"450 later\r\n250 OK\r\n"]},
        {"RCPT": [b"550 5.1.1 no\r\n"], "RSET": [b"354 go on\r\n"]},
    ],
)
async def test_a_server_that_only_claims_to_take_commands_together_costs_no_mail(odd: dict[str, list[bytes]]) -> None:
    """By its first odd answer the mail is tried again on a new connection, one command at a time, as all mails then.

    No answer is taken for that of another command, and no message is sent twice.
    """
    async with Scripted.running(in_turn(**odd)) as server, smtp_pool(server.url) as pool:
        async with asyncio.timeout(PATIENCE):
            results = [await pool.deliver(MAIL) for _ in range(2)]
        assert not pool._pipelining.is_allowed
    assert [result.accepted for result in results] == [True, True]
    assert (server.connections, len(server.messages)) == (2, 2)


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
async def test_a_421_ends_the_dialogue_at_its_command(phase: str) -> None:
    """The answers that will not come are not waited for, and the next mail has a new connection."""
    async with Scripted.running(once(phase, b"421 4.3.2 shutting down\r\n")) as server, smtp_pool(server.url) as pool:
        async with asyncio.timeout(PATIENCE):
            result = await pool.deliver(MAIL)
            assert (await pool.deliver(MAIL)).accepted
        assert pool._pipelining.is_allowed
    assert (result.phase, result.reply and result.reply.code, result.out_of_step) == (Phase(phase), 421, False)
    assert server.connections == 2


async def test_a_421_that_nobody_asked_for_is_no_odd_answer() -> None:
    """A server may end a connection at any time, so the connection is replaced and nothing else changes."""
    async with Scripted.running(once("DOT", b"250 OK\r\n421 idle\r\n")) as server, smtp_pool(server.url) as pool:
        results = [await pool.deliver(MAIL) for _ in range(2)]
        assert pool._pipelining.is_allowed
    assert [result.accepted for result in results] == [True, True]
    assert server.connections == 2


@pytest.mark.parametrize("phase", ["RCPT", "DATA"])
async def test_a_connection_lost_between_the_answers_is_lost_at_its_command(phase: str) -> None:
    """As when commands are sent one at a time; as taking them together may be the reason, that stops for a while."""
    lost = [phase]

    def answer(at: str, _line: bytes) -> bytes | None:
        if at in lost:
            lost.remove(at)
            raise HungUpError
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url) as pool:
        result = await pool.deliver(MAIL)
        assert not pool._pipelining.is_allowed
        assert (await pool.deliver(MAIL)).accepted
    assert (result.phase, result.reply, result.out_of_step) == (Phase(phase), None, False)
    assert server.connections == 2


async def test_a_server_that_drops_what_it_has_not_asked_for_is_used_one_command_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its silence costs an attempt, and the next mail is accepted; after a while commands travel together again."""
    monkeypatch.setattr(smtp_dialogue, "ONE_BY_ONE", 0.0)

    forgets = ["RCPT"]

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase in forgets:
            forgets.remove(phase)
            await asyncio.sleep(PATIENCE)
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url, TIMEOUT="200ms") as pool:
        result = await pool.deliver(MAIL)
        assert (await pool.deliver(MAIL)).accepted
        assert pool._pipelining.is_allowed
    assert (result.phase, result.reply, result.out_of_step) == (Phase.RCPT, None, False)


async def test_an_odd_answer_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not take commands together will not learn it in a while."""
    monkeypatch.setattr(smtp_dialogue, "ONE_BY_ONE", 0.0)
    async with Scripted.running(once("MAIL", b"354 go on\r\n")) as server, smtp_pool(server.url) as pool:
        assert (await pool.deliver(MAIL)).accepted
        assert not pool._pipelining.is_allowed


async def test_an_odd_answer_to_the_message_leaves_its_outcome_unknown() -> None:
    """The message has been sent, so the mail must not be tried again at once."""
    async with Scripted.running(once("DOT", b"354 go on\r\n")) as server, smtp_pool(server.url) as pool:
        result = await pool.deliver(MAIL)
        assert not pool._pipelining.is_allowed
    assert (result.phase, result.reply, result.out_of_step) == (Phase.DOT, None, False)
    assert len(server.messages) == 1


@pytest.mark.parametrize("said", [b"250 OK\r\n", b"25", b"hello\r\n"])
async def test_an_idle_connection_that_says_something_is_not_used_again(said: bytes) -> None:
    """What it says would be taken for the answer to the next MAIL."""
    async with Scripted.running(once("DOT", b"250 OK\r\n")) as server, smtp_pool(server.url) as pool:
        connection = await pool.acquire()
        pool.release(connection)
        connection._stream.data_received(said)
        assert (await pool.deliver(MAIL)).accepted
    assert server.connections == 2


def test_no_command_is_accepted_after_a_rejected_one() -> None:
    """Such an answer belongs to another command, except that a server may take a message without recipients."""
    with pytest.raises(OutOfStepError):
        smtp_dialogue._check(Phase.RCPT, Reply(250, "OK"), rejected=True)
    for code in (354, 503):
        assert smtp_dialogue._check(Phase.DATA, Reply(code, "OK"), rejected=True).code == code


CODES = st.sampled_from([b"250 ok", b"354 go on", b"421 bye", b"450 later", b"550 no", b"", b"oops"])


@settings(max_examples=25)
@given(st.lists(CODES, min_size=1, max_size=3), st.sampled_from(["MAIL", "RCPT", "DATA"]))
async def test_whatever_a_server_answers_a_message_goes_only_where_it_was_asked_for(
    lines: Sequence[bytes], phase: str
) -> None:
    """After any answers to the commands each accepted mail is one message at the server, and each message one mail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEFAULTS, "EHLO", OFFER)
        answer = once(phase, b"".join(line + b"\r\n" for line in lines))
        async with Scripted.running(answer) as server, smtp_pool(server.url) as pool:
            results = [await pool.deliver(MAIL) for _ in range(2)]
    assert results[1].accepted
    whole = [message for message in server.messages if message != b".\r\n"]
    assert len(whole) == sum(result.accepted for result in results)
