"""The commands and replies of one SMTP connection; see also `test_smtp_pipelining.py` and `test_smtp_dialogue.py`."""

import asyncio

import pytest

from notifier.domain.mail import Reply
from notifier.gateways.smtp_stream import OutOfStepError, SmtpError, SmtpStream, take_over


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Take note of the new protocol."""
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the bytes."""
        self.written += bytes(data)

    def is_closing(self) -> bool:
        """Return whether the connection was aborted."""
        return self.closed

    def abort(self) -> None:
        """Close the connection."""
        self.closed = True


async def test_replies_belong_to_commands_in_order() -> None:
    """Two commands that travel together get one reply each, however the replies arrive."""
    stream = SmtpStream(wire := Wire())
    stream.write(b"MAIL\r\nRCPT\r\n", 2)
    for piece in (b"250 2.1", b".0 OK\r\n55", b"0 5.1.1 no\r\n"):
        stream.data_received(piece)
    assert [await stream.reply(1), await stream.reply(1)] == [Reply(250, "2.1.0 OK"), Reply(550, "5.1.1 no")]
    assert (wire.written, stream.in_step) == (b"MAIL\r\nRCPT\r\n", True)


@pytest.mark.parametrize("unasked", [b"250 OK\r\n", b"2", b"rubbish\r\n"])
async def test_after_an_unasked_reply_nothing_can_be_written(unasked: bytes) -> None:
    """Otherwise it would be taken for the answer to the next command."""
    stream = SmtpStream(Wire())
    stream.data_received(unasked)
    assert not stream.in_step
    with pytest.raises(OutOfStepError):
        stream.write(b"MAIL\r\n", 1)


async def test_a_server_may_say_goodbye_at_any_time() -> None:
    """A 421 that nobody asked for ends the connection, and is no sign of a server that does not speak SMTP."""
    stream = SmtpStream(Wire())
    stream.data_received(b"421 4.4.2 idle for too long\r\n")
    with pytest.raises(SmtpError, match=r"421 4\.4\.2 idle") as error:
        stream.write(b"MAIL\r\n", 1)
    assert not isinstance(error.value, OutOfStepError)


async def test_a_reply_that_arrived_before_the_connection_was_lost_counts() -> None:
    """The command after it has none."""
    stream = SmtpStream(Wire())
    stream.write(b"MAIL\r\nRCPT\r\n", 2)
    stream.data_received(b"250 OK\r\n")
    stream.connection_lost(None)
    assert await stream.reply(1) == Reply(250, "OK")
    with pytest.raises(SmtpError, match="Connection lost"):
        await stream.reply(1)


async def test_a_reply_has_a_time_limit() -> None:
    """After that the connection is of no use, even if the reply comes later."""
    stream = SmtpStream(Wire())
    stream.write(b"MAIL\r\n", 1)
    with pytest.raises(SmtpError, match="Timed out"):
        await stream.reply(0.01)
    stream.data_received(b"250 OK\r\n")
    assert not stream.in_step


async def test_a_lost_connection_cannot_be_taken_over() -> None:
    """It can have been lost since the last reply of the login."""
    wire = Wire()
    wire.abort()
    for lost in (None, wire):
        with pytest.raises(SmtpError, match="Connection lost"):
            take_over(lost)
