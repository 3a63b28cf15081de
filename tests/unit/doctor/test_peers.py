"""Checks of real SMTP servers and of a real broker."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from support.findings import about, findings
from support.parts import changed
from support.rabbit import Rabbit

from notifier.demo.inbox import Inbox
from notifier.doctor.finding import Level


async def test_a_queue_with_other_arguments_is_a_warning(environ: dict[str, str], rabbit: Rabbit) -> None:
    """The finding says that the queue is used as it is."""
    await rabbit.channel.queue_declare(rabbit.queue, durable=True)
    found = await findings(changed({**environ, **rabbit.environ}))
    assert (Level.WARNING, f"{rabbit.queue} exists with other arguments and is used as it is") in about(found, "broker")


async def test_unavailable_peers_are_faults_with_their_reason(environ: dict[str, str]) -> None:
    """A fault of one peer does not keep the others from being checked."""
    unavailable = {"SMTP_URL": "smtp+plain://127.0.0.1:9", "AMQP_URL": "amqp://127.0.0.1:9/"}
    found = await findings(changed(environ, **unavailable))
    assert [level for level, _ in about(found, "SMTP")] == [Level.FAULT]
    assert [level for level, _ in about(found, "broker")] == [Level.FAULT]
    assert "127.0.0.1" in about(found, "broker")[0][1]


@pytest.mark.parametrize(("days", "warned"), [(5, True), (60, False)])
async def test_a_certificate_that_expires_soon_is_a_warning(
    environ: dict[str, str],
    tmp_path: Path,
    days: int,
    warned: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """The TLS version and the login are reported, and a warning if the certificate expires within two weeks."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=days)).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with Inbox(tls=context, credentials=("user", "right")) as inbox:
        url = inbox.url.replace("://", "://user:right@")
        found = await findings(changed(environ, SMTP_URL=url, SMTP_CA_FILE=str(tmp_path / "ca.pem")))
    first, *rest = about(found, "SMTP")
    assert first == (Level.OK, f"127.0.0.1:{inbox.port} answers over TLSv1.3 and accepts the login")
    assert [level for level, _ in rest] == [Level.WARNING] * warned
