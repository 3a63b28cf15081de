"""A login to an SMTP account: connection, TLS, EHLO and authentication."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime
from typing import NamedTuple, cast

import aiosmtplib
from aiosmtplib.errors import SMTPAuthenticationError, SMTPException, SMTPResponseException

from notifier.domain.addresses import all_masked
from notifier.errors import Misconfigured, Problem, Unreachable
from notifier.gateways.dial import dial
from notifier.gateways.smtp_replies import clean, error_text
from notifier.gateways.smtp_stream import SmtpStream, take_over
from notifier.settings import SmtpServer, SmtpSettings

MECHANISMS = ("plain", "login", "cram-md5")
"""SASL mechanisms, the preferred one first.

Credentials are only sent over TLS or to this machine, so CRAM-MD5 would protect nothing
more, and many servers that offer it keep hashed passwords, with which it cannot work.
"""

_UNKNOWN_MECHANISM = 504


class Admission(NamedTuple):
    """The security of a connection: the TLS version and the end of the server's certificate (UTC).

    Both are None in plain text.
    """

    tls: str | None
    certificate_until: datetime | None


class LoggedIn(NamedTuple):
    """A connection on which mails can be sent."""

    stream: SmtpStream
    """Its commands and replies."""
    extensions: frozenset[str]
    """The keywords that the server offered in its reply to EHLO, in small letters."""
    admission: Admission
    """How it is secured."""


class SmtpLogin:
    """Logs in to one account, each time on a new connection.

    The connection, a TLS handshake and each reply may take `timeout` seconds each.
    """

    def __init__(self, account: str, server: SmtpServer, ehlo_name: str, tls: ssl.SSLContext, timeout: float) -> None:
        self._account = account
        self._server = server
        self._ehlo_name = ehlo_name
        self._tls = tls
        self._timeout = timeout
        self._unknown_mechanisms: set[str] = set()

    async def connect(self) -> LoggedIn:
        """Return a connection that is logged in; raises Unreachable with what the server answered.

        If it is cancelled, the connection is closed.
        """
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=self._tls if server.security != "plain" else None,
            local_hostname=self._ehlo_name,
            timeout=self._timeout,
        )
        try:
            await client.connect(sock=await self._dial())
            if client.is_ehlo_or_helo_needed:
                # aiosmtplib would send EHLO with the first command, which is after a mail has got its slot.
                await client.ehlo()
            if server.username is not None:
                await self._authenticate(client, server.username, server.password or "")
            _check_in_step(client)
            return LoggedIn(take_over(client.transport), frozenset(client.esmtp_extensions), _admission(client))
        except Exception as error:
            # Whatever it was, no mail has been started.
            _abort(client)
            said = clean(error.message) if isinstance(error, SMTPResponseException) else ""
            # aiosmtplib does not know the port of a socket that it did not open; the account's name has it.
            words = all_masked(_login_error(error)).replace(" on port None", "")
            raise Unreachable(f"{self._account}: {words}", said=said) from error
        except BaseException:
            _abort(client)
            raise

    async def _dial(self) -> socket.socket:
        host, port = self._server.host, self._server.port
        try:
            async with asyncio.timeout(self._timeout):
                return await dial(host, port)
        except TimeoutError as error:
            raise SMTPException(f"Timed out connecting to {host} on port {port}") from error
        except OSError as error:
            raise SMTPException(f"Error connecting to {host} on port {port}: {error}") from error

    async def _authenticate(self, client: aiosmtplib.SMTP, username: str, password: str) -> None:
        """Authenticate by one mechanism, once: each further attempt would count as one more wrong password.

        A mechanism that the server offers but does not know (504) is not used by the next login.
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
        except SMTPAuthenticationError as rejection:
            if rejection.code == _UNKNOWN_MECHANISM:
                self._unknown_mechanisms.add(mechanism)
            raise


def _check_in_step(client: aiosmtplib.SMTP) -> None:
    """Raise SMTPException if the server has sent more than the reply to the latest command."""
    if client.protocol and client.protocol._buffer:  # noqa: SLF001 - there is no public way to see it
        raise SMTPException("the server sent more than one reply to a command")


def _abort(client: aiosmtplib.SMTP) -> None:
    """Close a connection without sending what is left to send: a peer that reads nothing would hold that up."""
    transport = client.transport
    if transport is not None:
        cast("asyncio.WriteTransport", transport).abort()
    client.close()


def _login_error(error: Exception) -> str:
    if isinstance(error, SMTPResponseException):
        error = SMTPException(f"{error.code} {error.message}")
    return error_text(error)


def _admission(client: aiosmtplib.SMTP) -> Admission:
    """Return how a connection is secured."""
    secured = client.transport.get_extra_info("ssl_object") if client.transport else None
    if secured is None:
        return Admission(None, None)
    certificate = secured.getpeercert() or {}
    until = ssl.cert_time_to_seconds(certificate["notAfter"]) if "notAfter" in certificate else None
    return Admission(secured.version(), datetime.fromtimestamp(until, UTC) if until else None)


def tls_context(settings: SmtpSettings) -> ssl.SSLContext:
    """Return the TLS context that all connections share; certificates are always checked.

    Raises Misconfigured if the file of certificate authorities cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        reason = "it contains no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        wrong = f"{settings.ca_file} cannot be used: {reason}"
        remedy = "name a file with certificates in PEM format"
        raise Misconfigured([Problem("NOTIFIER_SMTP_CA_FILE", wrong, remedy)]) from error
