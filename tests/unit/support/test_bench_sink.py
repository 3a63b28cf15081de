"""The SMTP server of the benchmark, as a process."""

import asyncio
import smtplib
import time
from email.message import EmailMessage

import pytest
from support.benchmarks.children import child


def _message(number: int) -> EmailMessage:
    message = EmailMessage()
    message["X-Notifier-Mail"], message["X-Notifier-Event"] = f"mail{number}", f"event{number}"
    message["Subject"] = "Number"
    message.set_content("Hello.\n.\nA line with a dot alone was before this one.\n")
    return message


def _send(port: int, *numbers: int) -> float:
    began = time.monotonic()
    with smtplib.SMTP("127.0.0.1", port) as client:
        for number in numbers:
            client.send_message(_message(number), "a@example.com", ["b@example.com"])
    return time.monotonic() - began


async def test_each_accepted_mail_is_counted_once_with_its_event() -> None:
    """A mail that comes twice counts as accepted twice, and once as a distinct one."""
    async with child("sink") as sink:
        await asyncio.to_thread(_send, sink.ready["port"], 1, 2, 2)
        report = await sink.ask("3")
    assert (report["accepted"], report["distinct"]) == (3, 2)
    assert [event for event, _ in report["times"]] == ["event1", "event2", "event2"]


async def test_a_report_begins_again_with_none() -> None:
    """So one server serves the warm-up and the measurement."""
    async with child("sink") as sink:
        for number in (1, 2):
            await asyncio.to_thread(_send, sink.ready["port"], number)
            assert [event for event, _ in (await sink.ask("1"))["times"]] == [f"event{number}"]


async def test_every_reply_is_delayed() -> None:
    """Greeting, EHLO, MAIL, RCPT, DATA, the message and QUIT are seven replies."""
    async with child("sink", "0.02") as sink:
        assert await asyncio.to_thread(_send, sink.ready["port"], 1) >= 7 * 0.02


@pytest.mark.parametrize(("words", "offered"), [((), True), (("--no-pipelining",), False)])
async def test_pipelining_is_offered_on_request(words: tuple[str, ...], offered: bool) -> None:  # noqa: FBT001 - a parameter
    """With it, commands that come in one packet get all their replies, in order."""
    async with child("sink", *words) as sink:
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.ready["port"])
        await reader.readline()
        writer.write(b"EHLO test\r\n")
        greeting = await reader.readuntil(b"250 8BITMIME\r\n")
        assert (b"PIPELINING" in greeting) is offered
        writer.write(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
        assert [(await reader.readline())[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        writer.write(b"X-Notifier-Mail: m\r\n\r\nHello.\r\n.\r\nMAIL FROM:<a@example.com>\r\nQUIT\r\n")
        assert [(await reader.readline())[:3] for _ in range(4)] == [b"250", b"250", b"221", b""]
        writer.close()
