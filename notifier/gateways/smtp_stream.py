"""A connection to an SMTP server after its login: commands out, and for each of them exactly one reply in.

aiosmtplib logs in, and loses replies that arrive together. So its transport, encrypted or not, is taken over
by a protocol that keeps them apart.
"""

import asyncio
from collections import deque
from typing import cast

from notifier.domain.mail import Reply
from notifier.gateways.smtp_replies import MalformedReplyError, ReplyParser
from notifier.sending.replies import CLOSING


class SmtpError(Exception):
    """A dialogue broke: the server is lost, too slow, or does not speak SMTP."""


class OutOfStepError(SmtpError):
    """It is not known which command a reply belongs to, because the server sent what no command asks for."""


class SmtpStream(asyncio.Protocol):
    """The commands and replies of one connection.

    Replies belong to the commands in the order in which they were written. After the first reply that no command
    has asked for, or anything else that breaks the connection, nothing more can be written.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser()
        self._replies: deque[Reply] = deque()
        self._unanswered = 0
        self._fault: SmtpError | None = None
        self._waiter: asyncio.Future[None] | None = None
        transport.set_protocol(self)

    @property
    def fault(self) -> SmtpError | None:
        """Why no more replies will come after those that have arrived; None if they will."""
        if self._fault is None and self._transport.is_closing():
            return SmtpError("Connection lost")
        return self._fault

    @property
    def in_step(self) -> bool:
        """Whether every command has its reply, and nothing else has arrived."""
        return not self._unanswered and not self._replies and self.fault is None

    def write(self, data: bytes, replies: int) -> None:
        """Send bytes that the server must answer with so many replies; raises SmtpError if nothing can be sent."""
        if fault := self.fault:
            raise fault
        self._unanswered += replies
        self._transport.write(data)

    async def reply(self, within: float) -> Reply:
        """Return the reply to the first command that has none yet; raises SmtpError if it does not come.

        It must come `within` so many seconds; otherwise, or if this is cancelled, the connection is of no use any more.
        """
        while not self._replies:
            if fault := self.fault:
                raise fault
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(within, self._break, SmtpError("Timed out waiting for server response"))
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        return self._replies.popleft()

    def abort(self) -> None:
        """Close the connection without sending what is left to send: a peer that reads nothing would hold that up."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the server; the transport calls this."""
        if self._fault:
            return
        try:
            replies = self._parser.feed(data)
        except MalformedReplyError as error:
            words, replies = error.args
            self._take(replies)
            self._break(OutOfStepError(words))
        else:
            self._take(replies)
            if self._parser.has_begun and not self._unanswered:
                self._break(_unasked())

    def eof_received(self) -> bool:
        """Take note that the server sends nothing more, and let the transport close; it calls this."""
        self._break(SmtpError("Unexpected EOF received"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the transport passes it
        """Take note that the connection is closed; the transport calls this."""
        self._break(SmtpError("Connection lost"))

    def _take(self, replies: list[Reply]) -> None:
        for reply in replies:
            if self._unanswered:
                self._unanswered -= 1
                self._replies.append(reply)
            elif reply.code == CLOSING:
                # A server that shuts down or has waited too long may say so at any time (RFC 5321 section 3.8).
                self._break(SmtpError(f"{reply.code} {reply.text}"))
            else:
                self._break(_unasked())
        if replies:
            self._wake()

    def _break(self, fault: SmtpError) -> None:
        if self._fault is None:
            self._fault = fault
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


def take_over(transport: asyncio.BaseTransport | None) -> SmtpStream:
    """Let a stream replace the protocol of a transport; raises SmtpError if the connection is lost."""
    if transport is None or transport.is_closing():
        raise SmtpError("Connection lost")
    return SmtpStream(cast("asyncio.Transport", transport))


def _unasked() -> OutOfStepError:
    return OutOfStepError("the server sent more than one reply to a command")
