"""The SMTP gateway in real conversations: encryption, login, refusals by phase, broken dialogues."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from support.outgoing import MAIL, smtp_pool
from support.parts import PATIENCE

from notifier.demo.inbox import Inbox
from notifier.errors import Misconfigured, Unreachable
from notifier.gateways.smtp_pool import smtp_pools
from notifier.sending.dialogue import ComposedMail
from notifier.sending.replies import Phase
from notifier.settings import load

MESSAGE = b"Subject: hello\r\nMessage-ID: <a@b>\r\n\r\n.first\r\n..second\r\n.\r\nlast\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Give a certificate authority of the tests' own."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Give a server's side of TLS for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """Give the authority as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


async def test_a_message_arrives_as_it_was_composed(inbox: Inbox) -> None:
    """Lines that begin with dots, also one of a single dot, come through unchanged."""
    async with smtp_pool(inbox.url) as pool:
        result = await pool.deliver(ComposedMail("fly@example.org", "asha@example.com", MESSAGE))
    assert result.accepted
    assert inbox.received[0].body.replace(b"\r\n", b"\n") == MESSAGE.replace(b"\r\n", b"\n")
    assert inbox.received[0].to == "asha@example.com"


@pytest.mark.parametrize("implicit", [False, True])
async def test_mail_goes_over_tls_with_login(server_tls: ssl.SSLContext, ca_file: str, *, implicit: bool) -> None:
    """smtp:// begins with STARTTLS and smtps:// with TLS; both check the certificate and log in."""
    async with Inbox(tls=server_tls, implicit_tls=implicit, credentials=("user@x", "p:w")) as inbox:
        url = inbox.url.replace("://", "://user%40x:p%3Aw@")
        async with smtp_pool(url, CA_FILE=ca_file) as pool:
            assert (await pool.deliver(MAIL)).accepted


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_that_is_not_trusted_is_refused(server_tls: ssl.SSLContext, *, implicit: bool) -> None:
    """Without the authority in NOTIFIER_SMTP_CA_FILE nothing is said to the server but hello."""
    async with Inbox(tls=server_tls, implicit_tls=implicit) as inbox, smtp_pool(inbox.url) as pool:
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await pool.probe()
        assert inbox.started == []


async def test_a_server_that_offers_no_starttls_gets_no_mail(inbox: Inbox) -> None:
    """smtp:// never goes on in plain text."""
    async with smtp_pool(inbox.url.replace("smtp+plain", "smtp")) as pool:
        with pytest.raises(Unreachable, match="STARTTLS"):
            await pool.deliver(MAIL)
    assert inbox.started == []


async def test_a_wrong_password_is_the_transports_fault() -> None:
    """The server's 535 is in the error, and no mail was begun."""
    async with Inbox(credentials=("user", "right")) as inbox:
        async with smtp_pool(inbox.url.replace("://", "://user:wrong@")) as pool:
            with pytest.raises(Unreachable, match="535"):
                await pool.probe()


@pytest.mark.parametrize(("phase", "connections"), [("MAIL", 2), ("RCPT", 1), ("DATA", 1)])
async def test_a_refusal_says_in_which_phase_and_the_connection_stays(phase: str, connections: int) -> None:
    """After 452 the next mail goes over the same connection, unless the server took none from us at all."""
    replies = iter(["452 4.3.1 not now"])
    async with Inbox(reply=lambda at, _: next(replies, None) if at == phase else None) as inbox:
        async with smtp_pool(inbox.url) as pool:
            refused = await pool.deliver(MAIL)
            accepted = await pool.deliver(MAIL)
    expected = Phase.DOT if phase == "DATA" else Phase(phase)
    assert (refused.phase, refused.reply and refused.reply.code, refused.accepted) == (expected, 452, False)
    assert accepted.accepted
    assert inbox.connections == connections


async def test_a_421_closes_the_connection() -> None:
    """The next mail goes over a new one."""
    replies = iter(["421 4.3.2 shutting down"])
    async with Inbox(reply=lambda at, _: next(replies, None) if at == "RCPT" else None) as inbox:
        async with smtp_pool(inbox.url) as pool:
            assert (await pool.deliver(MAIL)).phase is Phase.RCPT
            assert (await pool.deliver(MAIL)).accepted
    assert inbox.connections == 2


Dialogue = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(dialogue: Dialogue) -> AsyncIterator[str]:
    """Run a server that behaves badly in a way that no well-behaved one can be made to."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await dialogue(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def until(word: bytes, *, then_close: bool, reached: asyncio.Event | None = None) -> Dialogue:
    """Answer everything well until a command that begins with `word`; then hang up, or say nothing more."""

    async def dialogue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        in_data = False
        while line := await reader.readline():
            if line.startswith(word) and (not in_data or word == b".\r"):
                if reached:
                    reached.set()
                if then_close:
                    return
                await asyncio.Event().wait()
            if in_data and line != b".\r\n":
                continue
            in_data = line.startswith(b"DATA")
            writer.write(b"354 go on\r\n" if in_data else b"250 OK\r\n")

    return dialogue


@pytest.mark.parametrize("then_close", [True, False])
@pytest.mark.parametrize(
    ("word", "phase"),
    [
        (b"MAIL", Phase.MAIL),
        (b"RCPT", Phase.RCPT),
        (b"DATA", Phase.DATA),
        (b".\r", Phase.DOT),
    ],
)
async def test_a_dialogue_that_breaks_says_where(word: bytes, phase: Phase, *, then_close: bool) -> None:
    """A server that hangs up or falls silent gives a result without a reply, within its timeout, in the right phase."""
    async with scripted(until(word, then_close=then_close)) as url:
        async with smtp_pool(url, TIMEOUT="200ms", DOT_TIMEOUT="300ms") as pool:
            async with asyncio.timeout(PATIENCE):
                result = await pool.deliver(MAIL)
    assert (result.phase, result.reply, result.accepted) == (phase, None, False)
    assert result.fault


@pytest.mark.parametrize("then_close", [True, False])
async def test_a_login_that_breaks_is_the_accounts_fault(*, then_close: bool) -> None:
    """A server that hangs up or falls silent before MAIL FROM is unreachable, which says nothing about the mail."""
    async with scripted(until(b"EHLO", then_close=then_close)) as url, smtp_pool(url, TIMEOUT="200ms") as pool:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Unreachable):
                await pool.deliver(MAIL)


async def test_a_cancelled_delivery_closes_its_connection() -> None:
    """No other mail may meet a dialogue that was left in the middle."""
    reached = asyncio.Event()
    async with scripted(until(b"RCPT", then_close=False, reached=reached)) as url, smtp_pool(url) as pool:
        delivery = asyncio.create_task(pool.deliver(MAIL))
        await reached.wait()
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
        assert (pool._idle, pool._connected) == ({}, set())


async def test_an_address_beyond_ascii_needs_smtputf8(inbox: Inbox) -> None:
    """A server that offers the extension is asked for it; one that does not is told nothing of the mail."""
    mail = ComposedMail("fly@example.org", "jürgen@example.com", MESSAGE)
    async with smtp_pool(inbox.url) as pool:
        offered = await pool.deliver(mail)
    async with scripted(until(b"QUIT", then_close=True)) as url, smtp_pool(url) as pool:
        lacking = await pool.deliver(mail)
    assert offered.accepted
    assert inbox.received[0].to == "jürgen@example.com"
    assert (lacking.unsupported, lacking.reply, lacking.exchanges, offered.unsupported) == (True, None, (), False)


def test_accounts_at_one_server_are_told_apart() -> None:
    """Each transport has a name of its own and never shows its account; quotas are counted by account."""
    url = "smtp://a:secret@mail.example.com:587,smtp://b:secret@mail.example.com:587"
    settings = load({"NOTIFIER_SMTP_URL": url, "NOTIFIER_MAIL_FROM": "fly@example.org"})
    first, second = smtp_pools(settings.smtp, "example.org")
    assert (first.name, second.name) == ("mail.example.com:587", "mail.example.com:587 (2)")
    assert first.server.account != second.server.account


def test_a_ca_file_that_cannot_be_used_is_a_setting_to_mend(tmp_path: Path) -> None:
    """The fault names the variable."""
    settings = load(
        {
            "NOTIFIER_SMTP_URL": "smtp://h",
            "NOTIFIER_MAIL_FROM": "a@example.org",
            "NOTIFIER_SMTP_CA_FILE": str(tmp_path / "missing.pem"),
        }
    )
    with pytest.raises(Misconfigured, match="NOTIFIER_SMTP_CA_FILE"):
        smtp_pools(settings.smtp, "example.org")
