"""One SMTP account: a few connections that are opened when needed, used again, and never left out of step.

After anything but a complete reply the connection is closed: aiosmtplib would
otherwise pair the next mail with the last one's answer.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

import aiosmtplib
from aiosmtplib.errors import SMTPAuthenticationError, SMTPException, SMTPResponseException

from notifier.errors import Misconfigured, Unreachable
from notifier.mail import Reply
from notifier.replies import Phase
from notifier.settings import SmtpServer, SmtpSettings

IDLE = 30.0
"""Seconds after which an unused connection is closed; servers count idle ones against the account."""
FAREWELL = 2.0
"""Seconds to wait for the answer to QUIT."""

_BROKEN = (SMTPException, OSError, ValueError)
_OK = (250, 251)
_START_INPUT = 354


Moment = Callable[[], Awaitable[None]]
"""Something to be done at one moment of a dialogue."""

Answered = Callable[[str, Phase, float], None]
"""Told of every answer of a server: by the transport's name, in which phase, after how many seconds."""


class Envelope(NamedTuple):
    """Who a message is from and to, as the SMTP server is told."""

    sender: str
    recipient: str

    @property
    def needs_smtputf8(self) -> bool:
        """Say whether an address has letters that only SMTPUTF8 (RFC 6531) can carry."""
        return not (self.sender + self.recipient).isascii()


class Step(NamedTuple):
    """One exchange of a dialogue: what the server answered, after how many seconds."""

    phase: Phase
    reply: Reply
    seconds: float


class Result(NamedTuple):
    """How a dialogue ended: in which phase, with which reply; without one, `fault` says what broke."""

    phase: Phase
    reply: Reply | None
    fault: str | None = None
    steps: tuple[Step, ...] = ()

    @property
    def accepted(self) -> bool:
        """Say whether the server took the message over."""
        return self.phase is Phase.DOT and self.reply is not None and self.reply.code in _OK


class Admission(NamedTuple):
    """How a server let us in: the TLS version and the end of its certificate (UTC), None for plain text."""

    tls: str | None
    certificate_until: datetime | None


class Transport:
    """Delivers through one server, on as many connections as there are deliveries at a time."""

    def __init__(
        self,
        name: str,
        server: SmtpServer,
        settings: SmtpSettings,
        greeting: str,
        tls: ssl.SSLContext,
        *,
        answered: Answered | None = None,
    ) -> None:
        self.name = name
        self.server = server
        self._timeout = settings.timeout.total_seconds()
        self._dot_timeout = settings.dot_timeout.total_seconds()
        self._greeting = greeting
        self._tls = tls
        self._answered = answered
        self._idle: list[tuple[aiosmtplib.SMTP, asyncio.TimerHandle]] = []
        self._farewells: set[asyncio.Task[None]] = set()

    async def open(self) -> Admission:
        """Prove that the server lets us in, and keep that connection; Unreachable says what it answered."""
        client = await self._connect()
        self._put_back(client)
        return _admission(client)

    async def deliver(self, envelope: Envelope, message: bytes, turn: Moment, before_data: Moment) -> Result:
        """Hand one message over; `turn` is awaited directly before MAIL FROM, `before_data` before DATA.

        Never raises for what the peer does; what the two raise ends the dialogue.
        """
        try:
            client, reused = await self._take()
            await turn()
            result = await self._dialogue(client, envelope, message, before_data)
            if reused and result.phase is Phase.MAIL and result.reply is None:
                # The server had closed the idle connection: that says nothing about a new one.
                client = await self._connect()
                result = await self._dialogue(client, envelope, message, before_data)
        except Unreachable as error:
            return Result(Phase.CONNECT, None, str(error))
        return result

    async def close(self) -> None:
        """Say goodbye on every idle connection."""
        while self._idle:
            self._dismiss(self._idle[-1][0])
        await asyncio.gather(*self._farewells)

    async def _dialogue(
        self, client: aiosmtplib.SMTP, envelope: Envelope, message: bytes, before_data: Moment
    ) -> Result:
        phase = Phase.MAIL
        steps: list[Step] = []
        options = ["SMTPUTF8", "BODY=8BITMIME"] if envelope.needs_smtputf8 else []
        if options and not client.supports_extension("SMTPUTF8"):
            self._put_back(client)
            return Result(Phase.RCPT, Reply(553, "5.6.7 this SMTP server has no SMTPUTF8, which the address needs"))
        encoding = "utf-8" if options else "ascii"

        async def step(command: Awaitable[aiosmtplib.SMTPResponse]) -> Reply:
            began = asyncio.get_running_loop().time()
            reply = await _reply(command)
            steps.append(Step(phase, reply, self._took(phase, began)))
            return reply

        try:
            reply = await step(client.mail(envelope.sender, options=options, encoding=encoding))
            if reply.code in _OK:
                phase = Phase.RCPT
                reply = await step(client.rcpt(envelope.recipient, encoding=encoding))
            if phase is Phase.RCPT and reply.code in _OK:
                phase = Phase.DATA
                await before_data()
                reply = await step(client.execute_command(b"DATA"))
            if phase is Phase.DATA and reply.code == _START_INPUT:
                phase = Phase.DOT
                reply = await step(self._transfer(client, message))
            await self._after(client, phase, reply)
        except _BROKEN as error:
            client.close()
            return Result(phase, None, _words(error), tuple(steps))
        except BaseException:
            client.close()
            raise
        return Result(phase, reply, None, tuple(steps))

    async def _transfer(self, client: aiosmtplib.SMTP, message: bytes) -> aiosmtplib.SMTPResponse:
        """Send the message and the final dot; this reply may take longer than any other (RFC 5321 4.5.3.2.6)."""
        protocol = client.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        protocol.write((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
        return await protocol.read_response(timeout=self._dot_timeout)

    async def _after(self, client: aiosmtplib.SMTP, phase: Phase, reply: Reply) -> None:
        """Keep the connection if both sides agree on where they are."""
        if reply.code == 421 or not client.is_connected:  # noqa: PLR2004 - "closing transmission channel"
            client.close()
            return
        if phase in (Phase.RCPT, Phase.DATA):
            with suppress(*_BROKEN):
                await client.rset()
                self._put_back(client)
                return
            client.close()
            return
        self._put_back(client)

    def _took(self, phase: Phase, began: float) -> float:
        seconds = asyncio.get_running_loop().time() - began
        if self._answered:
            self._answered(self.name, phase, seconds)
        return seconds

    async def _take(self) -> tuple[aiosmtplib.SMTP, bool]:
        """Give a connection, and whether it was used before."""
        while self._idle:
            client, timer = self._idle.pop()
            timer.cancel()
            if client.is_connected:
                return client, True
        return await self._connect(), False

    def _put_back(self, client: aiosmtplib.SMTP) -> None:
        timer = asyncio.get_running_loop().call_later(IDLE, self._dismiss, client)
        self._idle.append((client, timer))

    def _dismiss(self, client: aiosmtplib.SMTP) -> None:
        for entry in [entry for entry in self._idle if entry[0] is client]:
            entry[1].cancel()
            self._idle.remove(entry)
        task = asyncio.create_task(_farewell(client), name="smtp quit")
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _connect(self) -> aiosmtplib.SMTP:
        server = self.server
        began = asyncio.get_running_loop().time()
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=self._tls if server.security != "plain" else None,
            local_hostname=self._greeting,
            timeout=self._timeout,
        )
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                # Left to itself the client would greet only after a mail has been given its turn.
                await client.ehlo()
        except _BROKEN as error:
            client.close()
            raise Unreachable(f"{self.name}: {_words(error)}") from error
        except asyncio.CancelledError:
            client.close()
            raise
        self._took(Phase.CONNECT, began)
        return client


def tls_context(settings: SmtpSettings) -> ssl.SSLContext:
    """Make the one context that all connections share; certificates are always checked.

    Raises Misconfigured where the CA file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured([f"NOTIFIER_SMTP_CA_FILE: {settings.ca_file}: {error}"]) from error


def transports(settings: SmtpSettings, domain: str, answered: Answered | None = None) -> list[Transport]:
    """Make a transport for each server; `domain` is what we call ourselves in EHLO.

    Accounts at one server are told apart by their number.
    """
    tls = tls_context(settings)
    made: list[Transport] = []
    for server in settings.servers:
        twins = sum(each.server.name == server.name for each in made)
        name = f"{server.name} ({twins + 1})" if twins else server.name
        made.append(Transport(name, server, settings, domain, tls, answered=answered))
    return made


def _admission(client: aiosmtplib.SMTP) -> Admission:
    secured = client.transport.get_extra_info("ssl_object") if client.transport else None
    if secured is None:
        return Admission(None, None)
    certificate = secured.getpeercert() or {}
    until = ssl.cert_time_to_seconds(certificate["notAfter"]) if "notAfter" in certificate else None
    return Admission(secured.version(), datetime.fromtimestamp(until, UTC) if until else None)


async def _reply(command: Awaitable[aiosmtplib.SMTPResponse]) -> Reply:
    """Take a refusal as the answer that it is; what is no SMTP reply (code -1) is a broken dialogue."""
    try:
        response = await command
    except SMTPResponseException as refusal:
        if refusal.code < 0:
            raise
        return Reply(refusal.code, refusal.message)
    return Reply(response.code, response.message)


async def _farewell(client: aiosmtplib.SMTP) -> None:
    with suppress(*_BROKEN, TimeoutError):
        async with asyncio.timeout(FAREWELL):
            await client.quit()
    client.close()


def _words(error: BaseException) -> str:
    if isinstance(error, SMTPAuthenticationError | SMTPResponseException):
        return f"{error.code} {' '.join(error.message.split())}"
    return " ".join(str(error).split()) or type(error).__name__
