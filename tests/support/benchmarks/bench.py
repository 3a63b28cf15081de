"""`./scripts/bench`: the speed of each part of the main path, compared with minimal code on the bare library.

Both are measured in turn, several times, in one run, and the ratio is the median of the turns, because on a shared
machine a ratio is more stable than a single figure.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP
from itertools import islice
from pathlib import Path
from typing import Annotated

import aiormq
import aiosmtplib
import aiosqlite
import msgspec
import typer
import uvloop
from pamqp.commands import Basic
from rich.console import Console
from rich.table import Table

from notifier import clock
from notifier.composing.message import compose
from notifier.composing.reservation import reservations
from notifier.composing.templates import MailTemplates
from notifier.demo.broker import BrokerUnavailable, find_broker
from notifier.demo.inbox import Inbox
from notifier.demo.publisher import booking
from notifier.domain import airports
from notifier.domain.mail import Mail, claimed
from notifier.domain.messages import Origin, decode
from notifier.domain.planning import PlanningPolicy
from notifier.gateways.broker_status import BrokerStatus
from notifier.gateways.connection import connected
from notifier.gateways.publisher import Publisher
from notifier.gateways.rabbitmq import consume
from notifier.gateways.smtp_pool import smtp_pools
from notifier.sending.dialogue import ComposedMail
from notifier.settings import AmqpSettings, NamedAddress, SmtpSettings
from notifier.storage.sqlite.store import SqliteStore

TURNS = 5
BATCH = 100
WORDING = MailTemplates()
RULES = PlanningPolicy("example.org", timedelta(hours=3), timedelta(days=7), WORDING.subject)
FROM = NamedAddress("Demo Airline", "demo@example.org")

Work = Callable[[int], Awaitable[None]]
"""Do the job this many times."""


@dataclass(frozen=True)
class Row:
    """One part: jobs per second of notifier and of the bare library, and the median of their ratios."""

    part: str
    against: str
    ours: float
    bare: float
    ratio: float


async def compare(part: str, against: str, jobs: int, ours: Work, bare: Work) -> Row:
    """Measure both in turn. The first turn warms up and does not count."""
    speeds: list[tuple[float, float]] = []
    for turn in range(TURNS + 1):
        pair = (await _speed(ours, jobs), await _speed(bare, jobs))
        if turn:
            speeds.append(pair)
    return Row(
        part,
        against,
        statistics.median(ours for ours, _ in speeds),
        statistics.median(bare for _, bare in speeds),
        statistics.median(ours / bare for ours, bare in speeds),
    )


async def _speed(work: Work, jobs: int) -> float:
    started = time.perf_counter()
    await work(jobs)
    return jobs / (time.perf_counter() - started)


def sample_mail(number: int = 0) -> Mail:
    """Plan one confirmation as the service does."""
    now = clock.now()
    message = decode(msgspec.json.encode(booking(number, now)), Origin(now))
    return claimed(message.plan(None, (), RULES, now).added[0], now)


async def composing() -> Row:
    """Compose a mail, compared with the standard library's EmailMessage."""
    mail = sample_mail()

    async def ours(jobs: int) -> None:
        for _ in range(jobs):
            compose(mail, WORDING, FROM)

    async def bare(jobs: int) -> None:
        for _ in range(jobs):
            message = EmailMessage(policy=SMTP)
            message["From"], message["To"], message["Subject"] = FROM.address, mail.to, mail.subject
            message["Message-ID"] = mail.message_id
            text, page = WORDING.body(mail, FROM.name, reservations(mail))
            message.set_content(text)
            message.add_alternative(page or "", subtype="html")
            message.as_bytes()

    return await compare("compose a mail", "EmailMessage", 100, ours, bare)


async def taking_in(folder: Path) -> Row:
    """Decode, plan and store bookings in batches, compared with the same number of rows in bare transactions."""
    now = clock.now()
    store = await SqliteStore.open(folder / "ours.db")
    db = await aiosqlite.connect(folder / "bare.db", isolation_level=None)
    await db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE rows (id TEXT, body BLOB)")
    jobs_in_all = 500 * (TURNS + 1)
    bodies = iter([msgspec.json.encode(booking(n, now)) for n in range(jobs_in_all)])
    # A booking creates two mails with one event each.
    rows = [(str(n), b"x" * 900) for n in range(4 * BATCH)]

    async def ours(jobs: int) -> None:
        for _ in range(jobs // BATCH):
            await store.add([decode(body, Origin(now)) for body in islice(bodies, BATCH)], RULES, now)

    async def bare(jobs: int) -> None:
        for _ in range(jobs // BATCH):
            await db.execute("BEGIN IMMEDIATE")
            await db.executemany("INSERT INTO rows VALUES (?, ?)", rows)
            await db.execute("COMMIT")

    try:
        return await compare("take in a booking", "aiosqlite, four rows each", 500, ours, bare)
    finally:
        await store.close()
        await db.close()


async def handing_over() -> Row:
    """Deliver over one connection, compared with aiosmtplib's own sendmail."""
    message = compose(sample_mail(), WORDING, FROM)
    async with Inbox() as inbox:
        (pool,) = smtp_pools(SmtpSettings.model_validate({"NOTIFIER_SMTP_URL": inbox.url}), "example.org")
        mail = ComposedMail(FROM.address, "a@example.com", message)
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=inbox.port, start_tls=False, local_hostname="example.org")
        await client.connect()

        async def ours(jobs: int) -> None:
            for _ in range(jobs):
                await pool.deliver(mail)

        async def bare(jobs: int) -> None:
            for _ in range(jobs):
                await client.sendmail(FROM.address, ["a@example.com"], message)

        try:
            return await compare("hand over a mail", "aiosmtplib.sendmail", 200, ours, bare)
        finally:
            await pool.close()
            await client.quit()


async def consuming(url: str) -> Row:
    """Consume and acknowledge in batches, compared with a bare consumer that acknowledges each message."""
    settings = AmqpSettings.model_validate(
        {"NOTIFIER_AMQP_URL": url, "NOTIFIER_AMQP_EXCHANGE": "bench", "NOTIFIER_AMQP_QUEUE": "bench.ours"}
    )
    publisher, stop = Publisher(settings), asyncio.Event()
    body = msgspec.json.encode(booking(0, clock.now()))
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        async with consume(settings, publisher, BrokerStatus(), stop) as session:

            async def ours(jobs: int) -> None:
                await _fill(channel, "bench.ours", body, jobs)
                while jobs > 0:
                    batch = await session.batch()
                    await session.acknowledge(batch)
                    jobs -= len(batch)

            await channel.queue_declare("bench.bare", durable=True, arguments={"x-queue-type": "quorum"})
            await channel.basic_qos(prefetch_count=settings.prefetch)
            arrived: asyncio.Queue[aiormq.abc.DeliveredMessage] = asyncio.Queue()
            await channel.basic_consume("bench.bare", arrived.put)

            async def bare(jobs: int) -> None:
                await _fill(channel, "bench.bare", body, jobs)
                for _ in range(jobs):
                    message = await arrived.get()
                    await channel.basic_ack(message.delivery_tag or 0)

            return await compare("publish and consume a message", "aiormq, one ack each", 500, ours, bare)
    finally:
        await connection.close()
        await publisher.close()
        async with connected(url) as cleaning:
            channel = await cleaning.channel()
            for queue in ("bench.ours", "bench.bare"):
                await channel.queue_delete(queue)
            await channel.exchange_delete("bench")


async def _fill(channel: aiormq.abc.AbstractChannel, queue: str, body: bytes, count: int) -> None:
    persistent = Basic.Properties(delivery_mode=2)
    await asyncio.gather(*(channel.basic_publish(body, routing_key=queue, properties=persistent) for _ in range(count)))


async def measure(broker: str | None) -> list[Row]:
    """Measure every part; the one that needs a broker only if there is a broker."""
    airports.load()
    with tempfile.TemporaryDirectory(prefix="notifier-bench-") as folder:
        rows = [await composing(), await taking_in(Path(folder)), await handing_over()]
    return [*rows, await consuming(broker)] if broker else rows


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the table as JSON.")] = None,
) -> None:
    """Compare each part of the main path with the bare library below it."""
    try:
        with find_broker(os.environ, lambda line: typer.echo(line, err=True)) as url:
            rows = uvloop.run(measure(url))
    except BrokerUnavailable as error:
        typer.echo(str(error), err=True)
        rows = uvloop.run(measure(None))
    table = Table("part", "compared with", "notifier /s", "bare /s", "notifier : bare")
    for row in rows:
        table.add_row(row.part, row.against, f"{row.ours:,.0f}", f"{row.bare:,.0f}", f"{row.ratio:.2f}")
    Console(width=100).print(table)
    if json_file:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
