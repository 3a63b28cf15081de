"""Logins to SMTP servers: encryption, EHLO, and authentication."""

import asyncio
import ssl
from collections.abc import Awaitable
from pathlib import Path

import pytest
import trustme
from support.outgoing import MAIL, smtp_pool
from support.parts import PATIENCE
from support.scripted import Answer, HungUpError, Scripted, logins, once, silent_at

from notifier.demo.inbox import Inbox
from notifier.errors import Misconfigured, Unreachable
from notifier.gateways.smtp_pool import smtp_pools
from notifier.gateways.smtp_replies import MAX_REPLY
from notifier.sending.dialogue import ComposedMail
from notifier.settings import load


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Provide a certificate authority for the tests."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Provide the server side of TLS for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """Provide the certificate of the authority as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.mark.parametrize("implicit", [False, True])
async def test_mail_is_sent_over_tls_with_a_login(server_tls: ssl.SSLContext, ca_file: str, *, implicit: bool) -> None:
    """smtp:// uses STARTTLS and smtps:// implicit TLS; both check the certificate and log in."""
    async with Inbox(tls=server_tls, implicit_tls=implicit, credentials=("user@x", "p:w")) as inbox:
        url = inbox.url.replace("://", "://user%40x:p%3Aw@")
        async with smtp_pool(url, CA_FILE=ca_file) as pool:
            assert (await pool.deliver(MAIL)).accepted


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_that_is_not_trusted_is_refused(server_tls: ssl.SSLContext, *, implicit: bool) -> None:
    """Without the authority in NOTIFIER_SMTP_CA_FILE the server gets no more than EHLO."""
    async with Inbox(tls=server_tls, implicit_tls=implicit) as inbox, smtp_pool(inbox.url) as pool:
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await pool.probe()
        assert inbox.started == []


async def test_a_server_that_offers_no_starttls_gets_no_mail(inbox: Inbox) -> None:
    """smtp:// never falls back to plain text."""
    async with smtp_pool(inbox.url.replace("smtp+plain", "smtp")) as pool:
        with pytest.raises(Unreachable, match="STARTTLS"):
            await pool.deliver(MAIL)
    assert inbox.started == []


async def test_a_wrong_password_is_unreachable() -> None:
    """The server's 535 is in the error, and no mail has started."""
    async with Inbox(credentials=("user", "right")) as inbox:
        async with smtp_pool(inbox.url.replace("://", "://user:wrong@")) as pool:
            with pytest.raises(Unreachable, match="535"):
                await pool.probe()


@pytest.mark.parametrize("then_close", [True, False])
async def test_a_login_that_breaks_is_unreachable(*, then_close: bool) -> None:
    """This holds for a server that hangs up and for one that falls silent."""

    async def answer(phase: str, line: bytes) -> bytes | None:
        if phase == "EHLO" and then_close:
            raise HungUpError
        silent = silent_at("EHLO", asyncio.Event())(phase, line)
        assert isinstance(silent, Awaitable)
        return await silent

    async with Scripted.running(answer) as server, smtp_pool(server.url, TIMEOUT="200ms") as pool:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Unreachable):
                await pool.deliver(MAIL)


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), ("", "it contains no certificates")])
def test_a_ca_file_that_cannot_be_used_is_an_invalid_setting(content: str | None, reason: str, tmp_path: Path) -> None:
    """The error names the variable, the file and the reason, and says what is expected."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    settings = load(
        {"NOTIFIER_SMTP_URL": "smtp://h", "NOTIFIER_MAIL_FROM": "a@example.org", "NOTIFIER_SMTP_CA_FILE": str(file)}
    )
    with pytest.raises(Misconfigured, match=f"NOTIFIER_SMTP_CA_FILE: {file} cannot be used: {reason}.*; name a file"):
        smtp_pools(settings.smtp, "example.org")


async def test_a_server_is_greeted_in_ascii() -> None:
    """The name in EHLO is ASCII even if the domain of the sender is not."""
    environ = {"NOTIFIER_MAIL_FROM": "jos\u00e9@m\u00fcnchen.example"}
    async with Scripted.running() as server:
        settings = load({"NOTIFIER_SMTP_URL": server.url, **environ})
        (pool,) = smtp_pools(settings.smtp, settings.mail.sender.domain)
        mail = ComposedMail(settings.mail.sender.address, "asha@example.com", MAIL.content)
        assert (await pool.deliver(mail)).accepted
        await pool.close()
    assert server.count("EHLO xn--mnchen-3ya.example") == 1


@pytest.mark.parametrize("phase", ["CONNECT", "EHLO", "AUTH"])
async def test_a_login_that_fails_says_why_in_readable_text(phase: str) -> None:
    """Whatever bytes the server rejects a login with, the reason can be encoded, is short and has no addresses."""
    words = b"\x1b[31m ung\xfcltig for asha@example.com" + b" x" * MAX_REPLY
    async with Scripted.running(once(phase, b"535 5.7.8 " + words + b"\r\n")) as server:
        async with smtp_pool(server.url_with_login) as pool:
            with pytest.raises(Unreachable, match="535") as caught:
                await pool.probe()
    reason = str(caught.value)
    assert "\ufffd[31m ung\ufffdltig for a•••@example.com" in reason
    assert len(reason.encode()) < 2 * MAX_REPLY


async def test_a_login_tries_one_mechanism() -> None:
    """However many mechanisms are offered, a rejected password is one attempt."""
    answer: Answer = lambda at, _line: b"535 5.7.8 no\r\n" if at == "AUTH" else None  # noqa: E731
    async with Scripted.running(answer) as server, smtp_pool(server.url_with_login) as pool:
        for _ in range(2):
            with pytest.raises(Unreachable, match="535"):
                await pool.probe()
    assert logins(server) == ["AUTH PLAIN"] * 2


async def test_an_unknown_mechanism_is_not_used_by_the_next_login() -> None:
    """Each login still tries one mechanism only."""
    server_says = once("AUTH", b"504 5.5.4 unrecognised\r\n", b"334 UGFzc3dvcmQ6\r\n")
    async with Scripted.running(server_says) as server, smtp_pool(server.url_with_login) as pool:
        with pytest.raises(Unreachable, match="504"):
            await pool.probe()
        await pool.probe()
    assert logins(server) == ["AUTH PLAIN", "AUTH LOGIN"]


async def test_no_credentials_are_sent_to_a_server_without_a_known_mechanism() -> None:
    """The reason names the mechanisms that are supported."""
    answer: Answer = lambda at, _line: b"250-here\r\n250 AUTH GSSAPI\r\n" if at == "EHLO" else None  # noqa: E731
    async with Scripted.running(answer) as server, smtp_pool(server.url_with_login) as pool:
        with pytest.raises(Unreachable, match="offers no login by PLAIN, LOGIN or CRAM-MD5"):
            await pool.probe()
    assert logins(server) == []
