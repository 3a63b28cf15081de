"""Checks of the peers: whether the SMTP servers accept the login, and whether the broker has our topology."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta

from notifier.composing.message import compose
from notifier.composing.templates import MailTemplates
from notifier.doctor.finding import Finding, fault, note, ok, warning
from notifier.domain.mail import Kind, Mail, PlainContent, mail_id
from notifier.errors import Unreachable
from notifier.gateways import connection, topology
from notifier.gateways.smtp_pool import SmtpPool
from notifier.sending.dialogue import ComposedMail, DialogueResult
from notifier.sending.replies import Phase
from notifier.settings import AmqpSettings, MailSettings

ANSWER_TIMEOUT = 30.0
"""Seconds that an SMTP server has to answer and to accept the login."""
EXPIRES_SOON = timedelta(days=14)


async def smtp_login(pool: SmtpPool, now: datetime) -> AsyncIterator[Finding]:
    """Log in to an SMTP server and check its certificate."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            admission = await pool.probe()
    except (Unreachable, TimeoutError) as error:
        yield fault(
            "SMTP", str(error) or f"{pool.name} did not answer within {ANSWER_TIMEOUT:g} s", _remedy(str(error))
        )
        return
    account = "without a login" if pool.server.username is None else "and accepts the login"
    if admission.tls is None:
        yield note("SMTP", f"{pool.name} answers {account}, without encryption, as its URL says")
    else:
        yield ok("SMTP", f"{pool.name} answers over {admission.tls} {account}")
    until = admission.certificate_until
    if until and until - now < EXPIRES_SOON:
        yield warning("SMTP", f"the certificate of {pool.name} expires on {until:%Y-%m-%d}", "renew it before that day")


def _remedy(reason: str) -> str:
    if "535" in reason or "534" in reason:
        return "check user and password in NOTIFIER_SMTP_URL (write @ as %40); Gmail requires an app password"
    if "certificate" in reason.lower():
        return "set NOTIFIER_SMTP_CA_FILE to the certificate's authority, or use the host name in the certificate"
    return "check host, port and scheme in NOTIFIER_SMTP_URL, and that no firewall blocks the connection"


async def broker(settings: AmqpSettings) -> AsyncIterator[Finding]:
    """Connect to the broker and check exchanges and queues, without creating any."""
    if settings.url is None:
        yield note("broker", "NOTIFIER_AMQP_URL is not set: messages are accepted from the feed's submit only")
        return
    try:
        async with connection.connected(settings.url) as found:
            yield ok("broker", "the broker answers and accepts the login")
            for name, state in await topology.check(found, settings):
                yield _part(name, state)
    except Unreachable as error:
        yield fault("broker", str(error), "check NOTIFIER_AMQP_URL, and that RabbitMQ is running")


def _part(name: str, state: topology.TopologyState) -> Finding:
    match state:
        case topology.TopologyState.AS_WANTED:
            return ok("broker", f"{name} exists")
        case topology.TopologyState.MISSING:
            return note(
                "broker",
                f"{name} does not exist yet",
                "start the service, which creates it, or run: notifier topology declare",
            )
        case _:
            return warning("broker", f"{name} {state}", topology.remedy(name, state))


async def send_test(pool: SmtpPool, settings: MailSettings, to: str, now: datetime) -> DialogueResult:
    """Send one test mail and return the result of its dialogue."""
    id_ = mail_id("doctor", to, now.isoformat())
    mail = Mail(
        id=id_,
        aggregate="doctor",
        kind=Kind.NOTIFICATION,
        to=to,
        subject="Test mail from notifier",
        content=PlainContent(
            "This mail was sent by `notifier doctor --send-to`.\n\n"
            'In its headers, Authentication-Results should say "spf=pass", "dkim=pass" and "dmarc=pass".\n'
        ),
        event="doctor",
        message_id=f"<{id_}@{settings.sender.domain}>",
        created_at=now,
        send_at=now,
    )

    content = compose(mail, MailTemplates(), settings.sender, settings.reply_to)
    try:
        return await pool.deliver(ComposedMail(settings.sender.address, to, content))
    except Unreachable as error:
        return DialogueResult(Phase.CONNECT, None, str(error))


def dialogue(result: DialogueResult) -> Iterator[str]:
    """Yield the SMTP dialogue of a delivery, a line for each reply."""
    for step in result.exchanges:
        yield f"{step.phase:8} {step.reply.code} {step.reply.text}  ({step.seconds:.3f} s)"
    if result.fault:
        yield f"{result.phase:8} {result.fault}"
