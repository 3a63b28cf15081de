"""All checks of the doctor, with real peers."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from support.nameserver import nameserver
from support.parts import changed
from support.rabbit import Rabbit

from notifier.demo.inbox import Inbox
from notifier.doctor import machine
from notifier.doctor.examination import examine
from notifier.doctor.finding import Finding, Level
from notifier.settings import Settings

TEXTS = {"example.org": ["v=spf1 mx -all"], "_dmarc.example.org": ["v=DMARC1; p=none"]}


async def findings(settings: Settings) -> list[Finding]:
    """Run all checks with a name server of the test."""
    async with nameserver("example.org", TEXTS) as asked:
        return [finding async for finding in examine(settings, asked)]


def about(found: list[Finding], topic: str) -> list[tuple[Level, str]]:
    """Return level and text of the findings about a topic."""
    return [(each.level, each.says) for each in found if each.topic == topic]


async def test_a_working_installation_has_no_fault(environ: dict[str, str], rabbit: Rabbit) -> None:
    """Every topic is checked without a fault, and the checks create nothing on the broker."""
    before = await findings(changed({**environ, **rabbit.environ}))
    await rabbit.prepare()
    after = await findings(changed({**environ, **rabbit.environ}))
    topics = {each.topic for each in after}
    assert topics == {"clock", "time zones", "SMTP", "sender", "SPF", "DKIM", "DMARC", "broker"}
    assert not [each for each in (*before, *after) if each.level is Level.FAULT]
    assert (Level.NOTE, f"{rabbit.queue} does not exist yet") in about(before, "broker")
    assert (Level.OK, f"{rabbit.queue} exists") in about(after, "broker")
    assert all(each.remedy for each in after if each.level in (Level.WARNING, Level.FAULT))


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


async def test_a_domain_that_does_not_exist_is_a_warning(environ: dict[str, str]) -> None:
    """There is one finding instead of three about missing records."""
    found = await findings(changed(environ, MAIL_FROM="fly@exmaple.test"))
    assert [level for level, _ in about(found, "DNS")] == [Level.WARNING]
    assert about(found, "SPF") == []


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


def test_a_clock_before_the_date_of_the_software_is_a_fault() -> None:
    """A machine whose clock starts in 1970 has a fault, whatever its kernel reports."""
    assert machine.clock(datetime(1970, 1, 2, tzinfo=UTC)).level is Level.FAULT
    assert machine.clock(datetime.now(UTC)).level is not Level.FAULT


def test_old_time_zone_data_is_a_warning() -> None:
    """Data of the year before last is a warning, data of this year is not."""
    year = machine.tzdata_year()
    assert [each.level for each in machine.zones(datetime(year, 12, 31, tzinfo=UTC))] == [Level.OK]
    assert [each.level for each in machine.zones(datetime(year + 2, 1, 1, tzinfo=UTC))] == [Level.WARNING]
