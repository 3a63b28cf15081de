"""The service of one version as a process, and what it uses: processor time, disk and memory."""

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiormq
import psutil
from support.benchmarks.children import Child, child
from support.benchmarks.versions import Version

from notifier.demo.publisher import publish
from notifier.domain.mail import Status
from notifier.errors import NotifierError
from notifier.feed.client import FeedClient
from notifier.feed.protocol import ResultFrame, SnapshotFrame
from notifier.gateways.topology import EVENTS, declare
from notifier.settings import AmqpSettings, FeedSettings

START_TIMEOUT = 60.0
"""Seconds within which a service must start."""
STOP_TIMEOUT = 60.0
"""Seconds after SIGTERM after which a service is killed."""
PATIENCE = 600.0
"""Seconds after which a benchmark stops waiting for results."""
MAX_UNFINISHED = 200
"""Submitted messages without a result; the service accepts 500."""
_POLL = 0.005


class Usage(NamedTuple):
    """What a process has used since its start: processor time in seconds, and bytes written to the disk."""

    cpu: float
    written: int

    def since(self, before: "Usage") -> "Usage":
        """Return what was used since `before`."""
        return Usage(self.cpu - before.cpu, self.written - before.written)


class Names(NamedTuple):
    """The exchange and the queue of one service on the broker."""

    exchange: str
    queue: str

    @classmethod
    def new(cls) -> Self:
        """Return names that nobody else uses."""
        return cls(*(f"bench-{what}-{uuid.uuid4().hex[:8]}" for what in ("exchange", "queue")))


class Service:
    """A running service, and the ways to give it work."""

    def __init__(self, pid: int, feed: FeedSettings, broker: str | None, names: Names) -> None:
        self.pid = pid
        self.feed = feed
        self.broker = broker
        self.names = names
        self._process = psutil.Process(pid)

    def usage(self) -> Usage:
        """Return what the process has used so far."""
        times, written = self._process.cpu_times(), self._process.io_counters().write_bytes
        return Usage(times.user + times.system, written)

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        return int(self._process.memory_info().rss)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process during the block: what is published meanwhile waits in its queue."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    async def command(self, name: str, args: Mapping[str, object] | None = None) -> None:
        """Run a command of the feed and wait for its result."""
        async with FeedClient.connect(self.feed, snapshot=0, filter={"mail": "none"}) as client:
            await client.command(name, args or {})
            await _result(client)

    async def mails(self) -> int:
        """Return the number of all mails."""
        async with FeedClient.connect(self.feed, snapshot=0) as client:
            async for frame in client:
                if isinstance(frame, SnapshotFrame):
                    return sum(getattr(frame.totals, status) for status in Status)
        raise NotifierError("the service ended without a snapshot")

    async def give(self, messages: Iterable[dict[str, Any]], rate: float = 0) -> dict[str, float]:
        """Publish messages, or submit them without a broker, `rate` a second (0: as fast as possible).

        Return when the broker or the service has all of them, with the time (wall clock) of each by its id.
        """
        times: dict[str, float] = {}
        if self.broker:
            await publish(self.broker, self.names.exchange, messages, rate, times.__setitem__)
        else:
            await self._submit(messages, rate, times)
        return times

    async def _submit(self, messages: Iterable[dict[str, Any]], rate: float, times: dict[str, float]) -> None:
        loop = asyncio.get_running_loop()
        async with FeedClient.connect(self.feed, snapshot=0, filter={"mail": "none"}) as client:
            started, unfinished = loop.time(), set[object]()
            for n, message in enumerate(messages):
                if rate:
                    await asyncio.sleep(max(0.0, started + n / rate - loop.time()))
                times[message["id"]] = time.time()
                unfinished.add(await client.command("submit", {"message": message}))
                if len(unfinished) >= MAX_UNFINISHED:
                    unfinished.remove(await _result(client))
            while unfinished:  # results come in any order
                unfinished.remove(await _result(client))


async def _result(client: FeedClient) -> object:
    """Wait for the next result of a command and return its id. Raises NotifierError if the service refused it."""
    async with asyncio.timeout(PATIENCE):
        while not isinstance(frame := await client.frame(), ResultFrame):
            pass
    if not frame.ok:
        raise NotifierError(f"the service refused a command: {frame.error}")
    return frame.id


class Results:
    """Counts the events that a service has published; without a broker it publishes none, and nothing is awaited."""

    def __init__(self, channel: aiormq.abc.AbstractChannel | None, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._expected = 0

    async def further(self, count: int) -> float:
        """Wait for so many more events than were awaited before; return the time (wall clock) at which they were there.

        Raises RuntimeError if there are more.
        """
        self._expected += count
        if not self._channel:
            return 0.0
        async with asyncio.timeout(PATIENCE):
            # Only the broker knows how many there are.
            while (found := await self._found(self._channel)) < self._expected:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
        if found > self._expected:
            raise RuntimeError(f"{found} events were published instead of {self._expected}")
        return time.time()

    async def _found(self, channel: aiormq.abc.AbstractChannel) -> int:
        # Counting them in the broker costs less processor time than receiving them.
        return (await channel.queue_declare(self._queue, passive=True)).message_count or 0


class Subject(NamedTuple):
    """What a stage measures: the service, the SMTP server that it sends to, and the events that it publishes."""

    service: Service
    sink: Child
    results: Results
    folder: Path


@asynccontextmanager
async def served(
    version: Version, broker: str | None, folder: Path, *sink: str, counts: bool = True
) -> AsyncIterator[Subject]:
    """Run a service of a version with an empty database in `folder`, and an SMTP server of its own.

    `sink` are the arguments of the SMTP server. With `counts` the broker keeps the events, to be counted.
    """
    names = Names.new()
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(child("sink", *sink))
        results = await stack.enter_async_context(counted(broker, names, counts=counts))
        environ = environment(folder, receiver.ready["port"], broker, names)
        service = await stack.enter_async_context(started(version, environ))
        yield Subject(service, receiver, results, folder)


def environment(folder: Path, smtp_port: int, broker: str | None, names: Names) -> dict[str, str]:
    """Return the variables of a service that sends without a rate limit."""
    values = {
        "DATABASE_URL": f"sqlite:///{folder / 'notifier.db'}",
        "SMTP_URL": f"smtp+plain://127.0.0.1:{smtp_port}",
        "MAIL_FROM": "Bench Air <fly@example.org>",
        "SEND_RATE": "0",
        "PORT": "0",
        "AMQP_URL": broker or "",
        "AMQP_EXCHANGE": names.exchange,
        "AMQP_QUEUE": names.queue,
        "LOG_FORMAT": "json",
    }
    return {f"NOTIFIER_{name}": value for name, value in values.items()}


def clean_environment(version: Version, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with these variables, in which Python imports notifier from the version's tree."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
    return {**others, "PYTHONPATH": str(version.root), **environ}


@asynccontextmanager
async def started(version: Version, environ: Mapping[str, str]) -> AsyncIterator[Service]:
    """Run `notifier serve` of a version until the block ends. Raises NotifierError if it does not start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "notifier", "serve"),
        env=clean_environment(version, environ),
        cwd=version.root,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
        start_new_session=True,
    )
    reading: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(START_TIMEOUT):
            port = await _port(process)
        reading = asyncio.create_task(_discard(process), name="service log")
        broker = environ["NOTIFIER_AMQP_URL"] or None
        names = Names(environ["NOTIFIER_AMQP_EXCHANGE"], environ["NOTIFIER_AMQP_QUEUE"])
        service = Service(process.pid, FeedSettings.model_validate({"NOTIFIER_PORT": port}), broker, names)
        await ready(service)
        yield service
    finally:
        with suppress(ProcessLookupError):  # it has ended, and the event loop does not know yet
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if reading:
            await reading


async def _port(process: asyncio.subprocess.Process) -> int:
    """Read the log until it names the address of the feed."""
    assert process.stderr
    log = b""
    while line := await process.stderr.readline():
        log += line
        _, found, rest = line.partition(b'"feed":')
        if found:
            return int(rest.partition(b'"')[2].partition(b'"')[0].rpartition(b":")[2])
    raise NotifierError(f"the service did not start:\n{log.decode(errors='replace')}")


async def _discard(process: asyncio.subprocess.Process) -> None:
    # One mail is one line of log: to decode them here would take time from the service.
    assert process.stderr
    while await process.stderr.read(1 << 20):
        pass


async def ready(service: Service) -> None:
    """Wait until `/readyz` answers that the service is ready."""
    async with asyncio.timeout(START_TIMEOUT):
        while not await _is_ready(service.feed.port):  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(_POLL)


async def _is_ready(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    status = await reader.readline()
    writer.close()
    return b" 200 " in status


@asynccontextmanager
async def counted(broker: str | None, names: Names, *, counts: bool = True) -> AsyncIterator[Results]:
    """Declare exchange and queue, and count the events until the block ends; then delete both."""
    if broker is None:
        yield Results(None, "")
        return
    connection = await aiormq.connect(broker)
    try:
        channel = await connection.channel()
        # Before the service does so itself, because what is published earlier must reach its queue.
        values = {"AMQP_URL": broker, "AMQP_EXCHANGE": names.exchange, "AMQP_QUEUE": names.queue}
        await declare(connection, AmqpSettings.model_validate({f"NOTIFIER_{name}": values[name] for name in values}))
        queue = (await channel.queue_declare(exclusive=True)).queue or ""
        if counts:
            await channel.queue_bind(queue, EVENTS, routing_key="#")
        try:
            yield Results(channel, queue)
        finally:
            await channel.queue_delete(names.queue)
            await channel.exchange_delete(names.exchange)
    finally:
        await connection.close()
