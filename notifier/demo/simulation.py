"""A run on real parts: bookings are published at one rate, mails sent at another, and every one is accounted for."""

import asyncio
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage

from notifier import clock
from notifier.demo.inbox import Inbox
from notifier.demo.ledger import Ledger
from notifier.demo.process import ServiceProcess, serving
from notifier.demo.publisher import booking, publish
from notifier.feed.client import FeedClient
from notifier.feed.protocol import EventsFrame, ResultFrame
from notifier.gateways.connection import connect
from notifier.gateways.topology import declare
from notifier.settings import FeedSettings, load, load_group

SENDER = "Demo Airline <demo@example.org>"
PROGRESS_TIMEOUT = 60.0
"""Seconds without progress after which a run ends; what has not arrived by then counts as pending."""
SHOW_INTERVAL = 0.5
"""Seconds between two calls of what shows a run."""


@dataclass(frozen=True)
class Load:
    """How many bookings to publish (None: until stopped), and how many to publish and send per second (0: no limit)."""

    bookings: int | None
    publish_rate: float
    send_rate: float


@dataclass
class Run:
    """What is counted during a run. `published` has the id of each message and when it was published (wall clock).

    `dead_lettered` and `reminders` are ids of messages and of mails. `exit_code` is that of the service once it has
    ended. Without a broker, `broker` is None.
    """

    inbox: Inbox
    service: ServiceProcess
    broker: str | None
    exchange: str
    published: dict[str, float] = field(default_factory=dict)
    dead_lettered: set[str] = field(default_factory=set)
    reminders: set[str] = field(default_factory=set)
    exit_code: int | None = None

    @property
    def sent(self) -> int:
        """Mails that the inbox accepted."""
        return len(self.inbox.received)

    @property
    def waiting(self) -> int:
        """Bookings that were published and are neither confirmed nor dead-lettered."""
        return max(0, len(self.published) - self.sent - len(self.dead_lettered))

    def ledger(self) -> Ledger:
        """Compare what was published with what arrived."""
        confirmations = [(mail.event, mail.accepted_at) for mail in self.inbox.received]
        return Ledger(self.published, confirmations, len(self.reminders), self.dead_lettered)


@asynccontextmanager
async def running(broker: str | None, *, own_broker: bool, send_rate: float) -> AsyncIterator[Run]:
    """Run the inbox and the service, and count dead letters and reminders, until the block ends.

    Without a broker the service accepts bookings from its feed. On a broker that others use too, the demo uses an
    exchange and a queue of its own, and deletes them at the end.
    """
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="notifier-demo-"))
        inbox = await stack.enter_async_context(Inbox())
        names = _names(own_broker=own_broker)
        environ = {
            "NOTIFIER_AMQP_URL": broker or "",
            "NOTIFIER_AMQP_EXCHANGE": names[0],
            "NOTIFIER_AMQP_QUEUE": names[1],
            "NOTIFIER_DATABASE_URL": f"sqlite:///{Path(folder) / 'notifier.db'}",
            "NOTIFIER_SMTP_URL": inbox.url,
            "NOTIFIER_MAIL_FROM": SENDER,
            "NOTIFIER_SEND_RATE": str(send_rate),
            "NOTIFIER_HOST": "127.0.0.1",
            "NOTIFIER_PORT": str(_port()),
            "NOTIFIER_VIEWER_TOKEN": "",
            "NOTIFIER_OPERATOR_TOKEN": "",
        }
        if broker:
            await _declare(environ)
        if broker and not own_broker:
            stack.push_async_callback(_clean_up, broker, names)
        service = await stack.enter_async_context(serving(environ))
        run = Run(inbox, service, broker, names[0])
        if broker:
            await stack.enter_async_context(_dead_letters(broker, run))
        watching = asyncio.create_task(_watch_reminders(run), name="reminders")
        stack.push_async_callback(_end, watching)
        yield run


async def play(run: Run, load: Load, show: Callable[[Run], None]) -> None:
    """Publish, wait until everything is sent, and stop the service. If cancelled, stop the service as well.

    `show` is called every SHOW_INTERVAL, and once after the service has ended.
    """
    showing = asyncio.create_task(_show(run, show), name="showing")
    publishing = asyncio.create_task(_publish(run, load), name="publishing")
    try:
        await asyncio.wait((publishing, showing), return_when=asyncio.FIRST_COMPLETED)
        if publishing.done():
            publishing.result()
        await _all_sent(run)
    finally:
        await _end(publishing, showing)
        run.exit_code = await run.service.stop()
        show(run)


def feed_settings(run: Run) -> FeedSettings:
    """Return the settings of a client of the demo's service."""
    return load_group(FeedSettings, {"NOTIFIER_PORT": str(run.service.port)})


async def _publish(run: Run, load: Load) -> None:
    messages = _bookings(load.bookings, format(time.time_ns(), "x"))
    if run.broker:
        await publish(run.broker, run.exchange, messages, load.publish_rate, run.published.__setitem__)
    else:
        await _submit(run, load.publish_rate, messages)


async def _submit(run: Run, rate: float, messages: Iterator[Mapping[str, Any]]) -> None:
    """Submit bookings to the feed at the same rate, for a run without a broker."""
    async with FeedClient.connect(feed_settings(run), snapshot=0, filter={"status": "uncertain"}) as client:
        started = asyncio.get_running_loop().time()
        for n, message in enumerate(messages):
            if rate:
                await asyncio.sleep(max(0.0, started + n / rate - asyncio.get_running_loop().time()))
            run.published[message["id"]] = time.time()
            await client.command("submit", {"message": message})
        # The results come in order, so the last one means that every booking is stored.
        async for frame in client:
            if isinstance(frame, ResultFrame) and frame.id == str(len(run.published)):
                return


def _bookings(count: int | None, name: str) -> Iterator[Mapping[str, Any]]:
    n = 0
    while count is None or n < count:
        yield booking(n, clock.now(), name)
        n += 1


async def _all_sent(run: Run) -> None:
    """Wait until no booking is waiting, or nothing was sent for PROGRESS_TIMEOUT."""
    while run.waiting and run.service.process.returncode is None:
        before = run.sent
        try:
            await run.inbox.wait_for(before + 1, PROGRESS_TIMEOUT)
        except TimeoutError:
            return


async def _show(run: Run, show: Callable[[Run], None]) -> None:
    """Call `show` again and again until the service has ended, which also ends a run that still publishes."""
    while run.service.process.returncode is None:
        show(run)
        await asyncio.sleep(SHOW_INTERVAL)


async def _watch_reminders(run: Run) -> None:
    """Count scheduled reminders from the events of the feed."""
    async with FeedClient.connect(feed_settings(run), snapshot=0, filter={"kind": "flight.reminder"}) as client:
        async for frame in client:
            if isinstance(frame, EventsFrame):
                run.reminders.update(event.data.mail.id for event in frame.events)


@asynccontextmanager
async def _dead_letters(broker: str, run: Run) -> AsyncIterator[None]:
    """Collect the ids of messages that the service dead-letters, until the block ends."""
    connection = await aiormq.connect(broker)
    try:
        channel = await connection.channel()
        queue = (await channel.queue_declare(exclusive=True)).queue or ""
        await channel.exchange_declare("notifier.dead", exchange_type="fanout", durable=True)
        await channel.queue_bind(queue, "notifier.dead")

        async def note(message: DeliveredMessage) -> None:
            id_ = message.header.properties.message_id
            if id_ in run.published:
                run.dead_lettered.add(id_)

        await channel.basic_consume(queue, note, no_ack=True)
        yield
    finally:
        await connection.close()


async def _declare(environ: Mapping[str, str]) -> None:
    """Declare the topology before the first booking is published, because the service declares it a moment later."""
    settings = load(environ).amqp
    connection = await connect(settings.url or "")
    try:
        await declare(connection, settings)
    finally:
        await connection.close()


async def _clean_up(broker: str, names: tuple[str, str]) -> None:
    """Delete the demo's exchange and queue from a broker that others use too."""
    connection = await aiormq.connect(broker)
    try:
        channel = await connection.channel()
        await channel.queue_delete(names[1])
        await channel.exchange_delete(names[0])
    finally:
        await connection.close()


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _names(*, own_broker: bool) -> tuple[str, str]:
    return ("bookings", "notifier.requests") if own_broker else ("notifier.demo.bookings", "notifier.demo.requests")


def _port() -> int:
    """Return the default port of the feed if it is free, otherwise 0, which means any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8025))
        except OSError:
            return 0
    return 8025
