"""The dialogue about one mail, from MAIL FROM to the reply after the final dot, on a connection that is logged in.

aiosmtplib takes the next bytes that arrive for the reply to its next command. So whatever a server sends,
a connection is used again only after exactly one complete reply to each command.

Each reply has a time limit: SMTP_TIMEOUT, and SMTP_DOT_TIMEOUT for the one after the message. After its MAIL FROM
a dialogue takes at most 3 x SMTP_TIMEOUT (MAIL, RCPT, DATA) plus SMTP_DOT_TIMEOUT, or one more SMTP_TIMEOUT (RSET)
if the server rejects it before the message.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum, auto
from typing import cast

import aiosmtplib
from aiosmtplib.errors import SMTPException, SMTPResponseException
from aiosmtplib.protocol import SMTPProtocol

from notifier.domain.mail import Reply
from notifier.sending.dialogue import ComposedMail, DialogueResult, Exchange
from notifier.sending.replies import CLOSING, SUCCESS_CODES, Phase

QUIT_TIMEOUT = 2.0
"""Seconds to wait for the reply to QUIT."""
MAX_REPLY = 1000
"""Characters of a server's text that are kept; longer texts end with an ellipsis."""

BROKEN = (SMTPException, OSError, ValueError)
"""What aiosmtplib raises if the server is lost, does not reply in time or sends something that is no SMTP reply."""

ReplyObserver = Callable[[str, Phase, float], None]
"""Called for every reply, with the account's name, the phase, and the seconds that the reply took."""

_START_INPUT = 354
_REPLY_CODES = range(200, 600)
_REJECTION_CODES = range(400, 600)
# U+FFFD for what would break a terminal or a database; a reply of several lines keeps its line ends.
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


class ConnectionState(Enum):
    """What may be done next with a connection.

    `IN_STEP`: it can carry another mail. `USED_UP`: it should carry no more, and can be ended with QUIT.
    `OUT_OF_STEP`: a dialogue is under way or broke, so that the connection can only be closed.
    """

    IN_STEP = auto()
    USED_UP = auto()
    OUT_OF_STEP = auto()


class SmtpConnection:
    """A connection to one account, for one dialogue at a time.

    `state` says at any time what must become of the connection if its user stops here, for whatever reason;
    `reused` is whether it has been idle since its login, so that the server may have closed it meanwhile.
    """

    def __init__(
        self, account: str, client: aiosmtplib.SMTP, dot_timeout: float, observe: ReplyObserver | None
    ) -> None:
        self.client = client
        self.state = ConnectionState.IN_STEP
        self.reused = False
        self._account = account
        self._dot_timeout = dot_timeout
        self._observe = observe
        self._phase = Phase.MAIL
        self._exchanges: list[Exchange] = []

    @property
    def is_open(self) -> bool:
        """Whether the server has not closed the connection, as far as is known."""
        return self.client.is_connected

    def check_support(self, mail: ComposedMail) -> DialogueResult | None:
        """Return how the dialogue ends before it begins if the server lacks what an address needs; otherwise None."""
        if not mail.needs_smtputf8 or self.client.supports_extension("SMTPUTF8"):
            return None
        if not mail.sender.isascii():
            # This meets every mail, so it is no property of the recipient's address.
            fault = f"{self._account} does not offer SMTPUTF8, which our sender address needs"
            return DialogueResult(Phase.MAIL, None, fault)
        return DialogueResult(Phase.RCPT, None, f"{self._account} does not offer SMTPUTF8", unsupported=True)

    async def send_envelope(self, mail: ComposedMail) -> DialogueResult | None:
        """Send MAIL FROM and RCPT TO; return None if the server accepted both, or how the dialogue has ended.

        Raises nothing for what the server does.
        """
        self.state = ConnectionState.OUT_OF_STEP
        self._exchanges = []
        options = ["SMTPUTF8", "BODY=8BITMIME"] if mail.needs_smtputf8 else []
        encoding = "utf-8" if options else "ascii"
        try:
            self._phase = Phase.MAIL
            reply = await self._exchange(self.client.mail(mail.sender, options=options, encoding=encoding))
            if reply.code in SUCCESS_CODES:
                self._phase = Phase.RCPT
                check_in_step(self.client)
                reply = await self._exchange(self.client.rcpt(mail.recipient, encoding=encoding))
                if reply.code in SUCCESS_CODES:
                    self._phase = Phase.DATA
                    check_in_step(self.client)
                    return None
            return await self._ended(reply)
        except BROKEN as error:
            return self._broken(error)

    async def send_content(self, mail: ComposedMail) -> DialogueResult:
        """Send DATA and the message after `send_envelope` has returned None; return how the dialogue has ended.

        Raises nothing for what the server does.
        """
        try:
            reply = await self._exchange(self.client.execute_command(b"DATA"))
            if reply.code == _START_INPUT:
                check_in_step(self.client)
                protocol = _open_protocol(self.client)
                self._phase = Phase.DOT
                reply = await self._exchange(self._transfer(protocol, mail.content))
                if reply.code not in SUCCESS_CODES:
                    # With a second reply it is not known which one is the answer to the message.
                    check_in_step(self.client)
            return await self._ended(reply)
        except BROKEN as error:
            return self._broken(error)

    def abort(self) -> None:
        """Close the connection at once."""
        abort(self.client)

    async def quit(self) -> None:
        """End the connection with QUIT, or without it if the server does not reply within QUIT_TIMEOUT."""
        try:
            with suppress(*BROKEN, TimeoutError):
                async with asyncio.timeout(QUIT_TIMEOUT):
                    await self.client.quit()
        finally:
            self.abort()

    async def _exchange(self, command: Awaitable[aiosmtplib.SMTPResponse]) -> Reply:
        began = asyncio.get_running_loop().time()
        reply = await _reply(command)
        seconds = asyncio.get_running_loop().time() - began
        if self._observe:
            self._observe(self._account, self._phase, seconds)
        self._exchanges.append(Exchange(self._phase, reply, seconds))
        return reply

    async def _transfer(self, protocol: SMTPProtocol, content: bytes) -> aiosmtplib.SMTPResponse:
        """Send the message and the final dot; this reply may take longer than any other (RFC 5321 4.5.3.2.6)."""
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        protocol.write((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
        return await protocol.read_response(timeout=self._dot_timeout)

    async def _ended(self, reply: Reply) -> DialogueResult:
        _check_expected(self._phase, reply)
        self.state = await self._state_after(reply)
        return DialogueResult(self._phase, reply, None, tuple(self._exchanges))

    async def _state_after(self, reply: Reply) -> ConnectionState:
        if reply.code == CLOSING or not self.is_open or _is_ahead(self.client):
            return ConnectionState.OUT_OF_STEP
        if self._phase is Phase.MAIL:
            # Servers limit the mails of a connection, too.
            return ConnectionState.USED_UP
        if self._phase is not Phase.DOT:
            try:
                await self.client.rset()
                check_in_step(self.client)
            except BROKEN:
                return ConnectionState.OUT_OF_STEP
        return ConnectionState.IN_STEP

    def _broken(self, error: BaseException) -> DialogueResult:
        return DialogueResult(self._phase, None, error_text(error), tuple(self._exchanges))


def abort(client: aiosmtplib.SMTP) -> None:
    """Close a connection without sending what is left to send: a peer that reads nothing would hold that up."""
    transport = client.transport
    if transport is not None:
        cast("asyncio.WriteTransport", transport).abort()
    client.close()


def check_in_step(client: aiosmtplib.SMTP) -> None:
    """Raise SMTPException if the server has sent more than the reply to the latest command."""
    if _is_ahead(client):
        raise SMTPException("the server sent more than one reply to a command")


def error_text(error: BaseException) -> str:
    """Describe an error in one line, without control characters; the server's own words are in it if there are any."""
    text = f"{error.code} {error.message}" if isinstance(error, SMTPResponseException) else str(error)
    return " ".join(clean(text).split()) or type(error).__name__


def clean(text: str) -> str:
    """Make a server's text fit to be stored, encoded and shown: valid Unicode, no control characters, not too long.

    aiosmtplib decodes bytes that are not UTF-8 to lone surrogates, which neither SQLite nor JSON can take.
    """
    valid = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").translate(_CONTROLS)
    return valid if len(valid) <= MAX_REPLY else f"{valid[: MAX_REPLY - 1]}…"


async def _reply(command: Awaitable[aiosmtplib.SMTPResponse]) -> Reply:
    """Await a reply, which may be a rejection; raises SMTPException if it is no SMTP reply."""
    try:
        code, text = await command
    except SMTPResponseException as rejection:
        code, text = rejection.code, rejection.message
    if code not in _REPLY_CODES:
        raise SMTPException(f"no SMTP reply: {code} {text}")
    return Reply(code, clean(text))


def _is_ahead(client: aiosmtplib.SMTP) -> bool:
    return bool(client.protocol and client.protocol._buffer)  # noqa: SLF001 - there is no public way to see it


def _check_expected(phase: Phase, reply: Reply) -> None:
    """Raise SMTPException for a reply that fits no command of this phase (RFC 5321 section 4.3.2)."""
    if reply.code not in _REJECTION_CODES and not (phase is Phase.DOT and reply.code in SUCCESS_CODES):
        raise SMTPException(f"unexpected reply: {reply.code} {reply.text}")


def _open_protocol(client: aiosmtplib.SMTP) -> SMTPProtocol:
    """Return what the message is written to; raises if the connection is lost, so that nothing of it was sent."""
    protocol = client.protocol
    if protocol is None or not protocol.is_connected:
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    return protocol
