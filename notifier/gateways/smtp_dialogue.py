"""The dialogue about one mail, from MAIL FROM to the reply after the final dot, on a connection that is logged in.

If the server offers PIPELINING (RFC 2920), MAIL, RCPT and DATA travel together; otherwise each of them waits for the
reply to the one before it. A server whose answers to commands that travelled together do not fit them gets one command
at a time from then on. Whatever a server sends, a connection is used again only after exactly one complete reply to
each command.

Each reply has a time limit: SMTP_TIMEOUT, and SMTP_DOT_TIMEOUT for the one after the message. After its MAIL FROM
a dialogue takes at most 3 x SMTP_TIMEOUT (MAIL, RCPT, DATA) plus SMTP_DOT_TIMEOUT, or one more SMTP_TIMEOUT (RSET,
or the dot of a message without recipients) if the server rejects it before the message.
"""

import asyncio
import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum, auto
from typing import NamedTuple

from notifier.domain.mail import Reply
from notifier.gateways.smtp_login import LoggedIn
from notifier.gateways.smtp_replies import error_text
from notifier.gateways.smtp_stream import OutOfStepError, SmtpError
from notifier.sending.dialogue import ComposedMail, DialogueResult, Exchange
from notifier.sending.replies import CLOSING, SUCCESS_CODES, Phase

QUIT_TIMEOUT = 2.0
"""Seconds to wait for the reply to QUIT."""
ONE_BY_ONE = 600.0
"""Seconds for which commands do not travel together after a server broke off while it answered such commands."""

ReplyObserver = Callable[[str, Phase, float], None]
"""Called for every reply, with the account's name, the phase, and the seconds that the reply took."""

_START_INPUT = 354
_REJECTION_CODES = range(400, 600)
_NO_MESSAGE = b".\r\n"
# A local part in quotation marks may have what would otherwise end the address, or add a parameter to the command.
_ADDRESS = re.compile(r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"@)?[^\x00-\x20\x7f<>"]+')


class ConnectionState(Enum):
    """What may be done next with a connection.

    `IN_STEP`: it can carry another mail. `USED_UP`: it should carry no more, and can be ended with QUIT.
    `OUT_OF_STEP`: a dialogue is under way or broke, so that the connection can only be closed.
    """

    IN_STEP = auto()
    USED_UP = auto()
    OUT_OF_STEP = auto()


class ReplyTimeouts(NamedTuple):
    """The time limits of one reply, in seconds."""

    command: float
    """After a command."""
    dot: float
    """After a message; this reply may take longer than any other (RFC 5321 section 4.5.3.2.6)."""


class Pipelining:
    """Whether commands may travel together on the connections to one account whose servers offer that."""

    def __init__(self) -> None:
        self._not_before = 0.0

    @property
    def is_allowed(self) -> bool:
        """Whether nothing speaks against it now."""
        return asyncio.get_running_loop().time() >= self._not_before

    def refuse(self) -> None:
        """Note that a server offers it and does not speak it."""
        self._not_before = math.inf

    def suspend(self) -> None:
        """Note that a server broke off after commands that travelled together, which may be the reason."""
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + ONE_BY_ONE)


class SmtpConnection:
    """A connection to one account, for one dialogue at a time.

    `state` says at any time what must become of the connection if its user stops here, for whatever reason;
    `reused` is whether it has been idle since its login, so that the server may have closed it meanwhile.
    """

    def __init__(
        self,
        account: str,
        logged_in: LoggedIn,
        timeouts: ReplyTimeouts,
        pipelining: Pipelining,
        observe: ReplyObserver | None,
    ) -> None:
        self.state = ConnectionState.IN_STEP
        self.reused = False
        self._account = account
        self._stream = logged_in.stream
        self._extensions = logged_in.extensions
        self._timeouts = timeouts
        self._pipelining = pipelining
        self._observe = observe
        self._together = False
        self._phase = Phase.MAIL
        self._exchanges: list[Exchange] = []
        self._waits_since = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the connection can carry a dialogue: the server has not closed it, and has said nothing unasked."""
        return self._stream.in_step

    def check_support(self, mail: ComposedMail) -> DialogueResult | None:
        """Return how the dialogue ends before it begins if the server lacks what an address needs; otherwise None."""
        if not mail.needs_smtputf8 or "smtputf8" in self._extensions:
            return None
        if not mail.sender.isascii():
            # This meets every mail, so it is no property of the recipient's address.
            fault = f"{self._account} does not offer SMTPUTF8, which our sender address needs"
            return DialogueResult(Phase.MAIL, None, fault)
        return DialogueResult(Phase.RCPT, None, f"{self._account} does not offer SMTPUTF8", unsupported=True)

    async def send_envelope(self, mail: ComposedMail) -> DialogueResult | None:
        """Send MAIL FROM, RCPT TO and DATA; return None if the server waits for the message, or how the dialogue ended.

        Raises nothing for what the server does.
        """
        self.state = ConnectionState.OUT_OF_STEP
        self._exchanges = []
        self._phase = Phase.MAIL
        try:
            envelope = _envelope(mail)
            self._together = "pipelining" in self._extensions and self._pipelining.is_allowed
            rejection = await self._offer(envelope)
            return self._rejected(rejection) if rejection else None
        except ValueError as error:
            return self._result(None, error_text(error))
        except SmtpError as error:
            return self._broken(error)

    async def send_content(self, mail: ComposedMail) -> DialogueResult:
        """Send the message after `send_envelope` has returned None; return how the dialogue has ended.

        Raises nothing for what the server does.
        """
        try:
            stuffed = mail.content.replace(b"\r\n.", b"\r\n..")
            # If this raises, nothing of the message was sent.
            self._write((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n", 1)
            self._phase = Phase.DOT
            reply = await self._answer(Phase.DOT, self._timeouts.dot)
            if reply.code not in SUCCESS_CODES and isinstance(self._stream.fault, OutOfStepError):
                # With a second reply it is not known which one is the answer to the message.
                raise self._stream.fault
        except SmtpError as error:
            return self._broken(error)
        if reply.code != CLOSING and self._stream.in_step:
            self.state = ConnectionState.IN_STEP
        return self._result(reply)

    def abort(self) -> None:
        """Close the connection at once."""
        self._stream.abort()

    async def quit(self) -> None:
        """End the connection with QUIT, or without it if the server does not reply within QUIT_TIMEOUT."""
        try:
            with suppress(SmtpError):
                self._stream.write(b"QUIT\r\n", 1)
                await self._stream.reply(QUIT_TIMEOUT)
        finally:
            self.abort()

    async def _offer(self, envelope: dict[Phase, bytes]) -> Reply | None:
        """Send the commands; return the first rejection, or None if the server accepted all and waits for the message.

        When this returns, every command that was written has its reply, or the connection is closed.
        """
        if self._together:
            self._write(b"".join(envelope.values()), len(envelope))
        unanswered = list(envelope)
        for phase, command in envelope.items():
            self._phase = phase
            if not self._together:
                self._write(command, 1)
            reply = await self._answer(phase, self._timeouts.command)
            unanswered.remove(phase)
            if reply.code in _REJECTION_CODES:
                await self._withdraw(reply, unanswered if self._together else ())
                return reply
        return None

    async def _withdraw(self, rejection: Reply, unanswered: Iterable[Phase]) -> None:
        """Bring the server back to where it waits for the next mail; the connection is closed if that fails."""
        last = rejection
        try:
            for phase in unanswered:
                if last.code != CLOSING:
                    last = await self._answer(phase, self._timeouts.command, rejected=True)
            if last.code == CLOSING:
                self._stream.abort()
            elif last.code == _START_INPUT:
                # The server takes a message that has no recipients, so it must get one (RFC 2920 section 3.1).
                self._stream.write(_NO_MESSAGE, 1)
                _check(Phase.DOT, await self._stream.reply(self._timeouts.command))
            elif self._phase is not Phase.MAIL:
                self._stream.write(b"RSET\r\n", 1)
                if _check(Phase.DOT, await self._stream.reply(self._timeouts.command)).code not in SUCCESS_CODES:
                    self._stream.abort()
        except SmtpError as error:
            if self._together and isinstance(error, OutOfStepError):
                raise
            self._stream.abort()

    def _rejected(self, reply: Reply) -> DialogueResult:
        if self._together and isinstance(self._stream.fault, OutOfStepError):
            raise self._stream.fault
        if self._stream.in_step:
            # Servers limit the mails of a connection, too, and say so at MAIL.
            self.state = ConnectionState.USED_UP if self._phase is Phase.MAIL else ConnectionState.IN_STEP
        return self._result(reply)

    def _write(self, data: bytes, replies: int) -> None:
        self._stream.write(data, replies)
        self._waits_since = asyncio.get_running_loop().time()

    async def _answer(self, phase: Phase, within: float, *, rejected: bool = False) -> Reply:
        """Return the next reply, and note how long it took since its command, or since the reply before it.

        Raises OutOfStepError if it cannot be the answer to a command of this phase.
        """
        reply = await self._stream.reply(within)
        now = asyncio.get_running_loop().time()
        seconds, self._waits_since = now - self._waits_since, now
        if self._observe:
            self._observe(self._account, phase, seconds)
        self._exchanges.append(Exchange(phase, reply, seconds))
        return _check(phase, reply, rejected=rejected)

    def _result(self, reply: Reply | None, fault: str | None = None, *, out_of_step: bool = False) -> DialogueResult:
        return DialogueResult(self._phase, reply, fault, tuple(self._exchanges), out_of_step=out_of_step)

    def _broken(self, error: SmtpError) -> DialogueResult:
        is_past_dot, out_of_step = self._phase is Phase.DOT, isinstance(error, OutOfStepError)
        if self._together and out_of_step:
            self._pipelining.refuse()
        elif self._together and not is_past_dot and (self._exchanges or not self.reused):
            self._pipelining.suspend()
        can_repeat = self._together and out_of_step and not is_past_dot
        return self._result(None, error_text(error), out_of_step=can_repeat)


def _envelope(mail: ComposedMail) -> dict[Phase, bytes]:
    """Return the commands before the message; raises ValueError if an address cannot be part of them."""
    for address in (mail.sender, mail.recipient):
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"{address!r} cannot be part of an SMTP command")
    options = " SMTPUTF8 BODY=8BITMIME" if mail.needs_smtputf8 else ""
    return {
        Phase.MAIL: f"MAIL FROM:<{mail.sender}>{options}\r\n".encode(),
        Phase.RCPT: f"RCPT TO:<{mail.recipient}>\r\n".encode(),
        Phase.DATA: b"DATA\r\n",
    }


def _check(phase: Phase, reply: Reply, *, rejected: bool = False) -> Reply:
    """Return a reply that can be the answer to a command of this phase (RFC 5321 section 4.3.2).

    After a command that was `rejected`, the next one cannot be accepted, except DATA (RFC 2920 section 3.1).
    Raises OutOfStepError for any other reply.
    """
    fits = reply.code == _START_INPUT if phase is Phase.DATA else reply.code in SUCCESS_CODES and not rejected
    if not fits and reply.code not in _REJECTION_CODES:
        raise OutOfStepError(f"unexpected reply: {reply.code} {reply.text}")
    return reply
