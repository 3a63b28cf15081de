"""One SMTP account: a few connections that are opened when needed, used again, and never left out of step.

No delivery waits for a connection that another one uses: `Transport.capacity` says how many
can be under way, and whoever asks for more gets Busy.

After anything but exactly one complete reply the connection is closed: aiosmtplib would
otherwise pair the next command with an answer to this one.

Every wait for the server has a limit: SMTP_TIMEOUT for a connection, a TLS handshake and
each reply, SMTP_DOT_TIMEOUT for the reply to the message. A dialogue after its MAIL FROM
takes at most 3 x SMTP_TIMEOUT (MAIL, RCPT, DATA) plus SMTP_DOT_TIMEOUT, or one more
SMTP_TIMEOUT (RSET) if it is rejected before its message.
"""

import asyncio
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple, cast

import aiosmtplib
from aiosmtplib.errors import SMTPAuthenticationError, SMTPException, SMTPResponseException
from aiosmtplib.protocol import SMTPProtocol

from notifier.domain.addresses import all_masked, ascii_domain
from notifier.domain.mail import Reply
from notifier.errors import Busy, Misconfigured, Problem, Unreachable
from notifier.gateways.dial import dial
from notifier.sending.replies import Phase, is_connection_limit, is_used_up
from notifier.settings import SmtpServer, SmtpSettings

IDLE = 30.0
"""Seconds after which an unused connection is closed; servers count idle ones against the account."""
QUIT_TIMEOUT = 2.0
"""Seconds to wait for the answer to QUIT."""
LIMIT_HOLDS = 600.0
"""Seconds for which no more connections are opened than a server has said to allow."""
LOGIN_WAIT = 5.0
"""Seconds that a delivery waits for the logins of others before it gives up with Busy."""

MAX_REPLY = 1000
"""Characters of a server's text that are kept; longer texts end with an ellipsis."""
MECHANISMS = ("plain", "login", "cram-md5")
"""SASL mechanisms, the preferred one first.

Credentials go out over TLS or to this machine only, so CRAM-MD5 would protect nothing
more, and many servers that offer it keep hashed passwords, with which it cannot work.
"""

_BROKEN = (SMTPException, OSError, ValueError)
_START_INPUT = 354
_CLOSING = 421
_UNKNOWN_MECHANISM = 504
_REPLY_CODES = range(200, 600)
_SUCCESS_CODES = range(200, 300)
_REJECTION_CODES = range(400, 600)
# U+FFFD for what would break a terminal or a database; a reply of several lines keeps its line ends.
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


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
    """How a dialogue ended: in which phase, with which reply; without one, `fault` says what broke.

    With `unsupported` the server was told nothing: it lacks an extension that the recipient's address needs.
    If it refused the login, `said` are its own words.
    """

    phase: Phase
    reply: Reply | None
    fault: str | None = None
    steps: tuple[Step, ...] = ()
    unsupported: bool = False
    said: str = ""

    @property
    def accepted(self) -> bool:
        """Say whether the server took the message over."""
        return self.phase is Phase.DOT and self.reply is not None and self.reply.code in _SUCCESS_CODES


class Admission(NamedTuple):
    """How a server let us in: the TLS version and the end of its certificate (UTC), None for plain text."""

    tls: str | None
    certificate_until: datetime | None


class Transport:
    """Delivers through one account, on as many connections as there are deliveries at a time.

    Only one login is under way at any time. Deliveries that wait for it share its failure,
    so that a rejected password costs one attempt, however many mails are due. If the server
    says that one more connection is too many, no other is opened for a while.
    """

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
        self._connected: set[aiosmtplib.SMTP] = set()
        self._limit = sys.maxsize
        self._limit_until = 0.0
        self._login: asyncio.Future[Unreachable | None] | None = None
        self._unknown_mechanisms: set[str] = set()
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def capacity(self) -> int:
        """How many deliveries can be under way: one for each connection, and one that logs in if the server allows it.

        It grows with each login that succeeds.
        """
        return min(self._current_limit(), len(self._connected) + 1)

    async def open(self) -> Admission:
        """Prove that the server lets us in, and keep that connection.

        Connections that are not in use are closed before, because the server may count them.
        Raises Unreachable with what the server answered.
        """
        await self.close()
        while self._login is not None:
            await asyncio.wait({self._login})
        client = await self._log_in()
        admission = _admission(client)
        self._put_back(client)
        return admission

    async def deliver(
        self,
        envelope: Envelope,
        message: bytes,
        turn: Moment,
        before_data: Moment,
        *,
        begins_again: Callable[[], None] | None = None,
    ) -> Result:
        """Hand one message over; `turn` is awaited directly before MAIL FROM, `before_data` before DATA.

        Never raises for what the peer does; what the two raise ends the dialogue. If an idle
        connection turns out to be closed, everything begins again on a new one: `begins_again`
        is called, and `turn` is awaited a second time. A delivery that is cancelled before its
        MAIL FROM has told the server nothing. Raises Busy, before that too, if more deliveries
        are under way than there are connections for.
        """
        try:
            client, reused = await self._take()
            while True:
                if lacking := self._lacking(client, envelope):
                    return lacking
                await self._await_turn(client, turn)
                result = await self._dialogue(client, envelope, message, before_data)
                if not (reused and _was_closed(result)):
                    return result
                if begins_again:
                    begins_again()
                client, reused = await self._take(fresh=True)
        except Unreachable as error:
            return Result(Phase.CONNECT, None, str(error), said=error.said)

    async def close(self) -> None:
        """Say goodbye on every idle connection, which takes at most `QUIT_TIMEOUT` seconds."""
        while self._idle:
            self._dismiss(self._idle[-1][0])
        if self._farewells:
            # Not gather(), which would cancel them with whoever waits here.
            await asyncio.wait(self._farewells)

    def _lacking(self, client: aiosmtplib.SMTP, envelope: Envelope) -> Result | None:
        """Return how a delivery ends if the server lacks what its addresses need, and keep the connection."""
        if not envelope.needs_smtputf8 or client.supports_extension("SMTPUTF8"):
            return None
        self._put_back(client)
        if not envelope.sender.isascii():
            return Result(Phase.MAIL, None, f"{self.name} does not offer SMTPUTF8, which our sender address needs")
        return Result(Phase.RCPT, None, f"{self.name} does not offer SMTPUTF8", unsupported=True)

    async def _await_turn(self, client: aiosmtplib.SMTP, turn: Moment) -> None:
        try:
            await turn()
        except BaseException:
            self._put_back(client)
            raise

    async def _dialogue(
        self, client: aiosmtplib.SMTP, envelope: Envelope, message: bytes, before_data: Moment
    ) -> Result:
        phase = Phase.MAIL
        steps: list[Step] = []
        options = ["SMTPUTF8", "BODY=8BITMIME"] if envelope.needs_smtputf8 else []
        encoding = "utf-8" if options else "ascii"

        async def step(command: Awaitable[aiosmtplib.SMTPResponse]) -> Reply:
            began = asyncio.get_running_loop().time()
            reply = await _reply(command)
            steps.append(Step(phase, reply, self._took(phase, began)))
            return reply

        try:
            reply = await step(client.mail(envelope.sender, options=options, encoding=encoding))
            if reply.code in _SUCCESS_CODES:
                phase = Phase.RCPT
                _check_in_step(client)
                reply = await step(client.rcpt(envelope.recipient, encoding=encoding))
            if phase is Phase.RCPT and reply.code in _SUCCESS_CODES:
                phase = Phase.DATA
                _check_in_step(client)
                await before_data()
                reply = await step(client.execute_command(b"DATA"))
            if phase is Phase.DATA and reply.code == _START_INPUT:
                _check_in_step(client)
                protocol = _still_open(client)
                phase = Phase.DOT
                reply = await step(self._transfer(protocol, message))
                if reply.code not in _SUCCESS_CODES:
                    # With a second reply it is not known which one is the answer to the message.
                    _check_in_step(client)
            _check_expected(phase, reply)
            await self._after(client, phase, reply)
        except _BROKEN as error:
            self._abort(client)
            return Result(phase, None, _words(error), tuple(steps))
        except BaseException:
            self._abort(client)
            raise
        return Result(phase, reply, None, tuple(steps))

    async def _transfer(self, protocol: SMTPProtocol, message: bytes) -> aiosmtplib.SMTPResponse:
        """Send the message and the final dot; this reply may take longer than any other (RFC 5321 4.5.3.2.6)."""
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        protocol.write((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
        return await protocol.read_response(timeout=self._dot_timeout)

    async def _after(self, client: aiosmtplib.SMTP, phase: Phase, reply: Reply) -> None:
        """Keep the connection if both sides agree on where they are.

        One on which MAIL was rejected is closed: servers limit the mails of a connection, too.
        """
        if reply.code != _CLOSING and client.is_connected and not _is_ahead(client):
            if phase is Phase.MAIL:
                self._dismiss(client)
                return
            if phase is Phase.DOT:
                self._put_back(client)
                return
            with suppress(*_BROKEN):
                await client.rset()
                self._put_back(client)
                return
        self._abort(client)

    def _took(self, phase: Phase, began: float) -> float:
        seconds = asyncio.get_running_loop().time() - began
        if self._answered:
            self._answered(self.name, phase, seconds)
        return seconds

    async def _take(self, *, fresh: bool = False) -> tuple[aiosmtplib.SMTP, bool]:
        """Return a connection and whether it was used before; with `fresh` a new one, if there can be one.

        Raises Unreachable if the login fails, also if it is the login of another delivery, and Busy if
        there is no connection for so many deliveries.
        """
        give_up_at = asyncio.get_running_loop().time() + LOGIN_WAIT
        while True:
            if not fresh and (client := self._take_idle()):
                return client, True
            if self._login is not None:
                if error := await self._login_of_another(self._login, give_up_at):
                    self._note_limit(error)
            elif self._open_connections() < self._current_limit():
                try:
                    return await self._log_in(), False
                except Unreachable as error:
                    self._note_limit(error)
            elif self._farewells:
                await asyncio.wait(self._farewells, return_when=asyncio.FIRST_COMPLETED)
            else:
                raise Busy(f"{self.name}: all connections that the server allows are in use")
            fresh = False

    def _take_idle(self) -> aiosmtplib.SMTP | None:
        while self._idle:
            client, timer = self._idle.pop()
            timer.cancel()
            if client.is_connected:
                return client
            self._abort(client)
        return None

    async def _login_of_another(
        self, login: asyncio.Future[Unreachable | None], give_up_at: float
    ) -> Unreachable | None:
        """Wait for a login under way; return how it failed. Raises Busy if it takes too long."""
        await asyncio.wait({login}, timeout=max(0.0, give_up_at - asyncio.get_running_loop().time()))
        if not login.done():
            raise Busy(f"{self.name}: another login is under way")
        error = login.result()
        # Each delivery raises one of its own.
        return Unreachable(str(error), said=error.said) if error else None

    def _open_connections(self) -> int:
        """Return how many connections the server counts: also those that wait for the answer to QUIT."""
        return len(self._connected) + len(self._farewells)

    def _current_limit(self) -> int:
        return self._limit if asyncio.get_running_loop().time() < self._limit_until else sys.maxsize

    def _note_limit(self, error: Unreachable) -> None:
        """Note how many connections the server allows, if it says that this is why a login failed; raise otherwise.

        Only its own words can say so: a server that restarts refuses connections as well.
        """
        allowed = self._open_connections()
        if not (allowed and is_connection_limit(error.said)):
            raise error
        self._limit, self._limit_until = allowed, asyncio.get_running_loop().time() + LIMIT_HOLDS

    def _put_back(self, client: aiosmtplib.SMTP) -> None:
        timer = asyncio.get_running_loop().call_later(IDLE, self._dismiss, client)
        self._idle.append((client, timer))

    def _dismiss(self, client: aiosmtplib.SMTP) -> None:
        for entry in [entry for entry in self._idle if entry[0] is client]:
            entry[1].cancel()
            self._idle.remove(entry)
        self._connected.discard(client)
        task = asyncio.create_task(self._farewell(client), name="smtp quit")
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _log_in(self) -> aiosmtplib.SMTP:
        login = self._login = asyncio.get_running_loop().create_future()
        error: Unreachable | None = None
        try:
            return await self._connect()
        except Unreachable as found:
            error = found
            raise
        finally:
            self._login = None
            login.set_result(error)

    async def _connect(self) -> aiosmtplib.SMTP:
        server = self.server
        began = asyncio.get_running_loop().time()
        client = aiosmtplib.SMTP(
            hostname=server.host,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=self._tls if server.security != "plain" else None,
            local_hostname=self._greeting,
            timeout=self._timeout,
        )
        try:
            await client.connect(sock=await self._dial())
            if client.is_ehlo_or_helo_needed:
                # Left to itself the client would greet only after a mail has been given its turn.
                await client.ehlo()
            if server.username is not None:
                await self._authenticate(client, server.username, server.password or "")
            _check_in_step(client)
        except Exception as error:
            # Whatever it was, no mail has been begun.
            self._abort(client)
            said = _clean(error.message) if isinstance(error, SMTPResponseException) else ""
            # Connected by us, aiosmtplib knows no port to name; it is part of our own name.
            words = all_masked(_words(error)).replace(" on port None", "")
            raise Unreachable(f"{self.name}: {words}", said=said) from error
        except BaseException:
            self._abort(client)
            raise
        self._took(Phase.CONNECT, began)
        self._connected.add(client)
        return client

    async def _dial(self) -> socket.socket:
        host, port = self.server.host, self.server.port
        try:
            async with asyncio.timeout(self._timeout):
                return await dial(host, port)
        except TimeoutError as error:
            raise SMTPException(f"Timed out connecting to {host} on port {port}") from error
        except OSError as error:
            raise SMTPException(f"Error connecting to {host} on port {port}: {error}") from error

    async def _authenticate(self, client: aiosmtplib.SMTP, username: str, password: str) -> None:
        """Log in by one mechanism, once: each further attempt would count as one more wrong password.

        A mechanism that the server does not know although it offers it is not used by the next login.
        """
        offered = [each for each in MECHANISMS if each in client.server_auth_methods]
        if not offered:
            raise SMTPException("the server offers no login by PLAIN, LOGIN or CRAM-MD5")
        known = [each for each in offered if each not in self._unknown_mechanisms]
        mechanism = (known or offered)[0]
        try:
            match mechanism:
                case "plain":
                    await client.auth_plain(username, password)
                case "login":
                    await client.auth_login(username, password)
                case _:
                    await client.auth_crammd5(username, password)
        except SMTPAuthenticationError as refusal:
            if refusal.code == _UNKNOWN_MECHANISM:
                self._unknown_mechanisms.add(mechanism)
            raise

    def _abort(self, client: aiosmtplib.SMTP) -> None:
        """Close a connection at once: closing in order would wait for a peer that no longer reads."""
        transport = client.transport
        if transport is not None:
            cast("asyncio.WriteTransport", transport).abort()
        client.close()
        self._connected.discard(client)

    async def _farewell(self, client: aiosmtplib.SMTP) -> None:
        try:
            with suppress(*_BROKEN, TimeoutError):
                async with asyncio.timeout(QUIT_TIMEOUT):
                    await client.quit()
        finally:
            self._abort(client)


def tls_context(settings: SmtpSettings) -> ssl.SSLContext:
    """Make the one context that all connections share; certificates are always checked.

    Raises Misconfigured where the CA file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured([Problem("NOTIFIER_SMTP_CA_FILE", f"{settings.ca_file}: {error}")]) from error


def transports(settings: SmtpSettings, domain: str, answered: Answered | None = None) -> list[Transport]:
    """Make a transport for each server; `domain` is what we call ourselves in EHLO.

    Accounts at one server are told apart by their number.
    """
    tls = tls_context(settings)
    made: list[Transport] = []
    for server in settings.servers:
        twins = sum(each.server.name == server.name for each in made)
        name = f"{server.name} ({twins + 1})" if twins else server.name
        made.append(Transport(name, server, settings, ascii_domain(domain), tls, answered=answered))
    return made


def _admission(client: aiosmtplib.SMTP) -> Admission:
    secured = client.transport.get_extra_info("ssl_object") if client.transport else None
    if secured is None:
        return Admission(None, None)
    certificate = secured.getpeercert() or {}
    until = ssl.cert_time_to_seconds(certificate["notAfter"]) if "notAfter" in certificate else None
    return Admission(secured.version(), datetime.fromtimestamp(until, UTC) if until else None)


async def _reply(command: Awaitable[aiosmtplib.SMTPResponse]) -> Reply:
    """Take a rejection as the answer that it is; what is no SMTP reply is a broken dialogue."""
    try:
        code, text = await command
    except SMTPResponseException as refusal:
        code, text = refusal.code, refusal.message
    if code not in _REPLY_CODES:
        raise SMTPException(f"no SMTP reply: {code} {text}")
    return Reply(code, _clean(text))


def _was_closed(result: Result) -> bool:
    """Return whether a dialogue only showed that its connection was over, which says nothing about a new one."""
    if result.reply is None:
        return result.phase is Phase.MAIL
    if result.phase is Phase.MAIL and is_used_up(result.reply):
        return True
    return result.reply.code == _CLOSING and result.phase is not Phase.DOT


def _is_ahead(client: aiosmtplib.SMTP) -> bool:
    """Return whether the server has said more than one reply, which would be taken for the next one."""
    return bool(client.protocol and client.protocol._buffer)  # noqa: SLF001 - there is no public way to see it


def _check_expected(phase: Phase, reply: Reply) -> None:
    """Take a reply that fits no command of this phase (RFC 5321 section 4.3.2) for a broken dialogue."""
    if reply.code not in _REJECTION_CODES and not (phase is Phase.DOT and reply.code in _SUCCESS_CODES):
        raise SMTPException(f"unexpected reply: {reply.code} {reply.text}")


def _still_open(client: aiosmtplib.SMTP) -> SMTPProtocol:
    """Return what the message can be written to; raise if the connection is lost, and so nothing of it was sent."""
    protocol = client.protocol
    if protocol is None or not protocol.is_connected:
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    return protocol


def _check_in_step(client: aiosmtplib.SMTP) -> None:
    if _is_ahead(client):
        raise SMTPException("the server sent more than one reply to a command")


def _words(error: BaseException) -> str:
    text = f"{error.code} {error.message}" if isinstance(error, SMTPResponseException) else str(error)
    return " ".join(_clean(text).split()) or type(error).__name__


def _clean(text: str) -> str:
    """Make a server's text fit to be stored, encoded and shown: valid Unicode, no control characters, not too long.

    aiosmtplib decodes bytes that are not UTF-8 to lone surrogates, which neither SQLite nor JSON can take.
    """
    valid = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").translate(_CONTROLS)
    return valid if len(valid) <= MAX_REPLY else f"{valid[: MAX_REPLY - 1]}…"
