import asyncio
import ssl
import subprocess
import time
from email.message import EmailMessage
from pathlib import Path

import pytest
import uvloop
from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPDataError, SMTPResponseException, SMTPServerDisconnected
from aiosmtplib.errors import SMTPRecipientsRefused, SMTPSenderRefused

from notifier.demo.inbox import Inbox


def mail(to: str = "asha@example.com") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Trips <trips@example.com>"
    message["To"] = to
    message["Subject"] = "Buchung bestätigt: 東京"
    message["Message-ID"] = "<m1@example.com>"
    message["X-Notifier-Mail"] = "m1"
    message["X-Notifier-Event"] = "demo-0-1"
    message.set_content("Guten Flug!\n.\nEnde\n")
    return message


def client(
    inbox: Inbox, *, start_tls: bool = False, use_tls: bool = False, trust: ssl.SSLContext | None = None
) -> SMTP:
    return SMTP(
        hostname=inbox.host,
        port=inbox.port,
        local_hostname="client",
        start_tls=start_tls,
        use_tls=use_tls,
        tls_context=trust,
        timeout=5,
    )


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    subject = "-subj /CN=inbox -addext subjectAltName=IP:127.0.0.1 -days 2"
    command = f"openssl req -x509 {key} {subject} -keyout {file} -out {file}"
    subprocess.run(command.split(), check=True, capture_output=True)  # noqa: S603 - our own words
    return file


async def test_an_accepted_mail_is_remembered_by_what_identifies_it() -> None:
    """Recipient, identity headers, decoded subject and both times are kept; the body is not."""
    before = time.time()
    async with Inbox() as inbox, client(inbox) as smtp:
        assert inbox.url == f"smtp+plain://127.0.0.1:{inbox.port}"
        await smtp.send_message(mail())
        (received,) = inbox.received
    assert (received.to, received.mail_id, received.event) == ("asha@example.com", "m1", "demo-0-1")
    assert (received.message_id, received.subject) == ("<m1@example.com>", "Buchung bestätigt: 東京")
    assert received.body == b""
    assert before <= received.started_at <= received.accepted_at <= time.time()
    assert inbox.started == [received.started_at]


async def test_bodies_are_kept_whole_when_asked_for() -> None:
    """With keep_bodies the message is kept as it was sent, with its dots unstuffed."""
    async with Inbox(keep_bodies=True) as inbox, client(inbox) as smtp:
        await smtp.send_message(mail())
    assert inbox.received[0].body.endswith(b"\r\n\r\nGuten Flug!\r\n.\r\nEnde\r\n")
    assert b"X-Notifier-Mail: m1\r\n" in inbox.received[0].body


async def test_a_mail_without_our_headers_is_received_too() -> None:
    """Missing headers are empty strings."""
    async with Inbox() as inbox, client(inbox) as smtp:
        await smtp.sendmail("a@example.com", ["b@example.com", "c@example.com"], b"\r\nhello\r\n")
    assert inbox.received[0].to == "b@example.com, c@example.com"
    assert inbox.received[0].mail_id == inbox.received[0].subject == ""


async def test_waiting_ends_with_the_last_mail_waited_for() -> None:
    """wait_for returns when enough mails were accepted, also if they were accepted before."""
    async with Inbox() as inbox, client(inbox) as smtp, asyncio.TaskGroup() as group:
        waiting = group.create_task(inbox.wait_for(2, 5))
        await smtp.send_message(mail())
        assert not waiting.done()
        await smtp.send_message(mail())
        await waiting
        await inbox.wait_for(2, 5)


async def test_waiting_in_vain_says_how_many_came() -> None:
    """The timeout says how many mails arrived."""
    async with Inbox() as inbox, client(inbox) as smtp:
        await smtp.send_message(mail())
        with pytest.raises(TimeoutError, match=r"1 of 3 mails arrived within 0\.01 s"):
            await inbox.wait_for(3, 0.01)


@pytest.mark.parametrize(
    ("phase", "refusal", "address"),
    [
        ("MAIL", SMTPSenderRefused, "trips@example.com"),
        ("RCPT", SMTPRecipientsRefused, "asha@example.com"),
        ("DATA", SMTPDataError, "asha@example.com"),
    ],
)
async def test_a_reply_can_reject_each_phase(phase: str, refusal: type[Exception], address: str) -> None:
    """The client gets the reply for the phase and address; the start counts, and nothing is received."""

    def later(asked: str, about: str) -> str | None:
        return "450 4.2.1 later" if (asked, about) == (phase, address) else None

    async with Inbox(reply=later) as inbox, client(inbox) as smtp:
        with pytest.raises(refusal, match=r"4\.2\.1 later"):
            await smtp.send_message(mail())
    assert inbox.received == []
    assert len(inbox.started) == 1


async def test_a_421_is_followed_by_the_end_of_the_connection() -> None:
    """The client gets the 421 and then a closed connection, as with real servers."""
    async with Inbox(reply=lambda phase, _: "421 4.3.2 closing" if phase == "MAIL" else None) as inbox:
        smtp = client(inbox)
        await smtp.connect()
        with pytest.raises((SMTPResponseException, SMTPServerDisconnected), match=r"421|closing"):
            await smtp.mail("trips@example.com")
        with pytest.raises(SMTPServerDisconnected):
            await smtp.noop()
        smtp.close()


async def test_credentials_are_required_and_checked() -> None:
    """MAIL fails without a login and with a wrong password; both common mechanisms accept the right one."""
    async with Inbox(credentials=("ann", "right")) as inbox:
        async with client(inbox) as smtp:
            with pytest.raises(SMTPSenderRefused, match="Authentication required"):
                await smtp.send_message(mail())
            with pytest.raises(SMTPAuthenticationError, match="credentials invalid"):
                await smtp.login("ann", "wrong")
        for how in ("auth_plain", "auth_login"):
            async with client(inbox) as smtp:
                await smtp.ehlo()
                await getattr(smtp, how)("ann", "right")
                await smtp.send_message(mail())
    assert len(inbox.received) == 2
    assert inbox.connections == 3


@pytest.mark.parametrize("implicit", [False, True])
async def test_tls_is_offered_and_verifiable(certificate: Path, *, implicit: bool) -> None:
    """Both kinds of TLS work with a login, and the client can verify the certificate."""
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=str(certificate))
    async with Inbox(tls=served, implicit_tls=implicit, credentials=("ann", "right")) as inbox:
        assert inbox.url.startswith("smtps://" if implicit else "smtp://")
        async with client(inbox, start_tls=not implicit, use_tls=implicit, trust=trust) as smtp:
            await smtp.login("ann", "right")
            await smtp.send_message(mail())
    assert len(inbox.received) == 1


async def test_without_starttls_a_tls_inbox_accepts_no_mail(certificate: Path) -> None:
    """A client that skips STARTTLS is rejected before it can send a credential or a mail."""
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)
    async with Inbox(tls=served) as inbox, client(inbox) as smtp:
        with pytest.raises(SMTPSenderRefused, match="STARTTLS"):
            await smtp.send_message(mail())


async def leave_while_connected() -> None:
    async with Inbox() as inbox:
        reader, writer = await asyncio.open_connection(inbox.host, inbox.port)
        assert (await reader.readline()).startswith(b"220 ")
    assert await reader.read() == b""
    writer.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_leaving_ends_open_connections_and_their_tasks() -> None:
    """A client that is still connected sees the end of the connection, and no task remains."""
    await leave_while_connected()


def test_leaving_is_as_clean_on_uvloop() -> None:
    """The demo runs on uvloop, whose transports are not asyncio's."""
    uvloop.run(leave_while_connected())
