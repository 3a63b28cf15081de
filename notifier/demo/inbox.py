"""A local SMTP server that accepts mail, records when, and rejects it on request."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from typing import Self, cast
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Reply = Callable[[str, str], str | None]
"""Returns the reply for a phase and an address, or None to accept."""


@dataclass(frozen=True, slots=True)
class Received:
    """One accepted mail: its times in wall-clock seconds, its recipient and the headers that identify it.

    `started_at` is when its MAIL FROM arrived, `accepted_at` when its final dot was answered. A missing header is
    an empty string. `body` is the whole message as it arrived, or empty unless the inbox keeps bodies.
    """

    started_at: float
    accepted_at: float
    to: str
    mail_id: str
    event: str
    message_id: str
    subject: str
    body: bytes


class Inbox:
    """An SMTP server on the running event loop that accepts every mail until the context ends.

    `reply` can decide otherwise: it is called with the phase ("MAIL", "RCPT", or "DATA" for the final dot) and the
    address (sender, recipient, recipient), and returns a reply, or None to accept. A 421 also closes the connection.
    If `credentials` are set, a login with them is required before MAIL; otherwise any login succeeds. `tls` is offered
    with STARTTLS and required, or used from the first byte with `implicit_tls`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        keep_bodies: bool = False,
        reply: Reply | None = None,
        credentials: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.received: list[Received] = []
        self.started: list[float] = []
        self.connections = 0
        self.keep_bodies = keep_bodies
        self.reply = reply
        self.credentials = credentials
        self._starttls = None if implicit_tls else tls
        self._listen_tls = tls if implicit_tls else None
        self._arrived = asyncio.Condition()
        self._open: WeakSet[_InboxConnection] = WeakSet()

    @property
    def url(self) -> str:
        """The value of `NOTIFIER_SMTP_URL` for this inbox, without credentials."""
        scheme = "smtps" if self._listen_tls else "smtp" if self._starttls else "smtp+plain"
        return f"{scheme}://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        logging.getLogger("mail.log").setLevel(logging.WARNING)  # otherwise it logs a line for every command
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connected, self.host, self.port, ssl=self._listen_tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for connection in list(self._open):
            await connection.end()
        await self._server.wait_closed()

    async def wait_for(self, count: int, timeout: float) -> None:
        """Return once `count` mails were accepted since the start. Raises TimeoutError after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._arrived:
                await self._arrived.wait_for(lambda: len(self.received) >= count)
        except TimeoutError:
            raise TimeoutError(f"{len(self.received)} of {count} mails arrived within {timeout} s") from None

    async def keep(self, mail: Received) -> None:
        """Add an accepted mail and wake the tasks that wait for it."""
        self.received.append(mail)
        async with self._arrived:
            self._arrived.notify_all()

    def _connected(self) -> SMTP:
        self.connections += 1
        connection = _InboxConnection(
            _Dialogue(self),
            hostname="inbox",
            enable_SMTPUTF8=True,
            tls_context=self._starttls,
            require_starttls=self._starttls is not None,
            # aiosmtpd warns if it requires a login without TLS, so _Dialogue requires it instead.
            auth_require_tls=self._starttls is not None,
            authenticator=self._log_in,
            loop=asyncio.get_running_loop(),
        )
        self._open.add(connection)
        return connection

    def _log_in(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, login: LoginPassword
    ) -> AuthResult:
        offered = login.login.decode(errors="replace"), login.password.decode(errors="replace")
        return AuthResult(success=self.credentials in (None, offered), handled=False)


class _InboxConnection(SMTP):
    """An aiosmtpd connection whose task ends with it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._handler_coroutine:
            # A client can vanish at any time; retrieve the error, so that asyncio does not report it.
            self._handler_coroutine.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def end(self) -> None:
        if self.transport and not self.transport.is_closing():
            cast("asyncio.Transport", self.transport).abort()
        if self._handler_coroutine:
            # During a TLS handshake, losing the connection does not end the task.
            self._handler_coroutine.cancel()
            await asyncio.wait({self._handler_coroutine})


class _Dialogue:
    """The handler of one connection, called by aiosmtpd, which prescribes the method names."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._started_at = 0.0

    async def handle_MAIL(  # noqa: N802 - aiosmtpd calls it by this name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self._started_at = time.time()
        self._inbox.started.append(self._started_at)
        if self._inbox.credentials and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if refusal := self._refusal(server, "MAIL", address):
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it by this name
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if refusal := self._refusal(server, "RCPT", address):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd calls it by this name
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        to = ", ".join(envelope.rcpt_tos)
        if refusal := self._refusal(server, "DATA", to):
            return refusal
        content = envelope.original_content or b""
        await self._inbox.keep(_received(self._started_at, to, content, keep_body=self._inbox.keep_bodies))
        return "250 2.0.0 OK"

    def _refusal(self, server: SMTP, phase: str, address: str) -> str | None:
        answer = self._inbox.reply(phase, address) if self._inbox.reply else None
        if answer and answer.startswith("421") and server.transport:
            # This runs after the reply is written, which happens as soon as this handler returns.
            asyncio.get_running_loop().call_soon(server.transport.close)
        return answer


def _received(started_at: float, to: str, content: bytes, *, keep_body: bool) -> Received:
    headers = BytesHeaderParser().parsebytes(content.partition(b"\r\n\r\n")[0])
    return Received(
        started_at=started_at,
        accepted_at=time.time(),
        to=to,
        mail_id=headers.get("X-Notifier-Mail", ""),
        event=headers.get("X-Notifier-Event", ""),
        message_id=headers.get("Message-ID", ""),
        subject=str(make_header(decode_header(headers.get("Subject", "")))),
        body=content if keep_body else b"",
    )
