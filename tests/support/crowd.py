"""Many clients of the feed, some of them stuck, on a real service: how late events arrive, and whether any are lost."""

import asyncio
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import psutil
import typer
import uvloop
from support.parts import next_frame, request
from support.places import ROOT
from support.wire import HELLO, TEXT, UPGRADE, dialled, frame

from notifier.demo.process import serving
from notifier.feed.client import FeedClient
from notifier.settings import FeedSettings

FAR = "2126-01-01T00:00:00Z"
"""No mail of this load becomes due, so each mail makes exactly one event."""
LIMIT = 120.0
"""Seconds in which the clients must connect, and must receive all events after the last one is recorded."""


class Load(NamedTuple):
    """The numbers of clients, stuck clients, messages, and mails in each message, and the seconds between messages."""

    watchers: int
    stuck: int
    messages: int
    mails: int
    every: float


class Outcome(NamedTuple):
    """The result: the ids `logged`, those `seen` by each process, and the number of clients with `wrong` events.

    `late` counts events by their delay in milliseconds. `codes` counts close codes of the clients, `fates` the ends of
    the stuck ones.
    """

    logged: list[str]
    seen: list[list[str]]
    wrong: int
    codes: Counter[str]
    late: Counter[int]
    fates: Counter[str]
    seconds: float
    service_cpu: float
    watchers_cpu: float

    def percentile(self, share: float) -> int:
        """Return the delay in milliseconds within which this share of the events arrived."""
        wanted, so_far = share * self.late.total(), 0
        for late in sorted(self.late):
            so_far += self.late[late]
            if so_far >= wanted:
                return late
        return 0


async def measure(load: Load, processes: int) -> Outcome:
    """Run a service with many clients and measure it."""
    with TemporaryDirectory(prefix="notifier-crowd-") as folder:
        environ = {
            "NOTIFIER_DATABASE_URL": f"sqlite:///{folder}/notifier.db",
            "NOTIFIER_SMTP_URL": "smtp+plain://127.0.0.1:9",
            "NOTIFIER_MAIL_FROM": "fly@example.org",
            "NOTIFIER_PORT": "0",
        }
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(serving(environ))
            feed = FeedSettings.model_validate({"NOTIFIER_PORT": service.port})
            stuck = [
                await stack.enter_async_context(dialled(feed, UPGRADE, frame(TEXT, HELLO))) for _ in range(load.stuck)
            ]
            crowd = [
                await stack.enter_async_context(_watchers(service.port, load.watchers // processes))
                for _ in range(processes)
            ]
            process = psutil.Process(service.process.pid)
            began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
            await _publish(feed, load)
            seconds, cpu = time.monotonic() - began, sum(process.cpu_times()[:2]) - cpu
            reports = await asyncio.gather(*(_report(each, load.messages * load.mails) for each in crowd))
            fates = Counter([await _fate(client) for client in stuck])
            return _outcome(await _logged(feed, load), reports, fates, seconds, cpu)


async def _publish(feed: FeedSettings, load: Load) -> None:
    """Submit messages on schedule without waiting for results; return when all results have arrived."""
    async with FeedClient.connect(feed, snapshot=0, filter={"mail": "none"}) as operator:
        results = asyncio.create_task(_results(operator, load.messages))
        start = asyncio.get_running_loop().time()
        for number in range(load.messages):
            await asyncio.sleep(start + number * load.every - asyncio.get_running_loop().time())
            addresses = [f"p{number}.{n}@example.com" for n in range(load.mails)]
            await operator.command("submit", {"message": request(number, to=addresses, send_at=FAR)})
        await results


async def _results(operator: FeedClient, count: int) -> None:
    while count:
        found = await next_frame(operator)
        if found["type"] == "result":
            assert found["ok"], found
            count -= 1


async def _logged(feed: FeedSettings, load: Load) -> list[str]:
    """Return the ids of all events in the order of the log: every mail has one, and lists begin with the newest."""
    ids: list[str] = []
    async with FeedClient.connect(feed, snapshot=0) as client:
        before = None
        while len(ids) < load.messages * load.mails:
            await client.command("mail.list", {"limit": 500, "before": before})
            while (frame_ := await next_frame(client))["type"] != "result":
                pass
            ids += [f"{mail['id']}.{mail['rev']}" for mail in frame_["value"]["mails"]]
            before = frame_["value"]["next"]
    return ids[::-1]


@asynccontextmanager
async def _watchers(port: int, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.watchers", str(port), str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 27,
        cwd=ROOT / "tests",
    )
    try:
        assert process.stdout
        async with asyncio.timeout(LIMIT):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _report(process: asyncio.subprocess.Process, events: int) -> dict[str, Any]:
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"%d\n" % events)
    async with asyncio.timeout(LIMIT):
        found: dict[str, Any] = json.loads(await process.stdout.readline())
        await process.wait()
    return found


async def _fate(client: socket.socket) -> str:
    """Read what is buffered for a stuck client; return whether and why its connection was closed after that."""
    got = b""
    try:
        async with asyncio.timeout(10):
            while part := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
                got = got[-1000:] + part
    except TimeoutError:
        return "still buffered for"
    except ConnectionResetError:
        pass
    return "closed without a pong" if b"keepalive ping timeout" in got else "closed as too slow"


def _outcome(
    logged: list[str], reports: Sequence[dict[str, Any]], fates: Counter[str], seconds: float, cpu: float
) -> Outcome:
    late: Counter[int] = Counter()
    codes: Counter[str] = Counter()
    for report in reports:
        late.update({int(ms): count for ms, count in report["late"].items()})
        codes.update(report["codes"])
    return Outcome(
        logged=logged,
        seen=[report["ids"] for report in reports],
        wrong=sum(report["wrong"] for report in reports),
        codes=codes,
        late=late,
        fates=fates,
        seconds=seconds,
        service_cpu=cpu,
        watchers_cpu=sum(report["cpu"] for report in reports),
    )


def main(
    watchers: Annotated[int, typer.Option(min=1)] = 1000,
    stuck: Annotated[int, typer.Option(min=0, help="Number of clients that never read.")] = 10,
    rate: Annotated[float, typer.Option(min=0.1, help="Events per second.")] = 100,
    seconds: Annotated[float, typer.Option(min=1)] = 30,
    processes: Annotated[int, typer.Option(min=1, help="Number of processes that run the watchers.")] = 2,
) -> None:
    """Measure the delay of each event for each client, from its record in the store to its receipt."""
    before = os.getloadavg()[0]
    outcome = uvloop.run(measure(Load(watchers, stuck, round(rate * seconds), 1, 1 / rate), processes))
    whole = outcome.wrong == 0 and all(seen == outcome.logged for seen in outcome.seen)
    shares = "  ".join(f"p{100 * share:g} {outcome.percentile(share)} ms" for share in (0.5, 0.9, 0.99, 0.999))
    typer.echo(f"{watchers} watchers, {len(outcome.logged) / outcome.seconds:.1f} events/s for {outcome.seconds:.1f} s")
    typer.echo(f"from record to receipt: {shares}  max {max(outcome.late)} ms")
    typer.echo(f"every watcher received every event in order: {'yes' if whole else f'no, {outcome.wrong} did not'}")
    typer.echo("stuck: " + ", ".join(f"{count} {fate}" for fate, count in outcome.fates.items()))
    typer.echo(
        f"processor: service {outcome.service_cpu / outcome.seconds:.0%}, watchers {outcome.watchers_cpu:.1f} s; "
        f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores"
    )
    raise typer.Exit(0 if whole else 1)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(main)
    app()
