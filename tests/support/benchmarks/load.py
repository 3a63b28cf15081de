"""`./scripts/load`: a run of the demo that is measured, and optionally drawn."""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
import typer
from support.benchmarks import plot
from support.benchmarks.measures import latencies, most_in_window, percentile, steady_rate
from support.benchmarks.plot import Sample

from notifier.demo.command import print_ledger, run_live
from notifier.demo.simulation import Load, Run
from notifier.errors import NotifierError


@dataclass
class Measurements:
    """What is measured of the service while it runs.

    `memory` is in bytes, `cpu` in seconds since the service started. `idle_cpu` is the share of one core that it used
    before the first booking, or None if that was not measured.
    """

    samples: list[Sample] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    cpu: float = 0.0
    idle_cpu: float | None = None
    started: float | None = None

    async def watch_idle(self, run: Run, seconds: float) -> None:
        """Measure what share of one core the service uses while there is nothing to do."""
        process = psutil.Process(run.service.process.pid)
        before = sum(process.cpu_times()[:2])
        await asyncio.sleep(seconds)
        self.idle_cpu = (sum(process.cpu_times()[:2]) - before) / seconds

    def observe(self, run: Run) -> None:
        """Take a sample; the last one is taken after the service has ended, which has no memory or CPU any more."""
        if self.started is None:
            self.started = time.monotonic()
        self.samples.append(Sample(time.monotonic() - self.started, len(run.published), run.waiting, run.sent))
        if run.service.process.returncode is None:
            process = psutil.Process(run.service.process.pid)
            self.memory.append(process.memory_info().rss)
            self.cpu = sum(process.cpu_times()[:2])

    def figures(self, run: Run, load: Load) -> Iterator[str]:
        """Yield the measured figures, a line each."""
        delays = latencies(run.published, [(mail.event, mail.accepted_at) for mail in run.inbox.received])
        if delays:
            p50, p99, most = (1000 * percentile(delays, q) for q in (50, 99, 100))
            yield f"publish to accepted mail: p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {most:.0f} ms"
        starts = run.inbox.started
        if len(starts) > 1:
            limit = f" (limit {load.send_rate:g}/s)" if load.send_rate else ""
            most_starts = most_in_window(starts)
            yield f"starts: {steady_rate(starts):.2f}/s on average, at most {most_starts} in any second{limit}"
        if run.sent:
            yield f"processor time of the service: {1000 * self.cpu / run.sent:.1f} ms a mail, its start included"
        if self.memory:
            first, last = (size / 2**20 for size in (self.memory[len(self.memory) // 10], self.memory[-1]))
            yield f"memory of the service: {first:.1f} MiB after a tenth of the time, {last:.1f} MiB at the end"
        if self.idle_cpu is not None:
            yield f"idle service: {100 * self.idle_cpu:.2f} % of a core"


def main(
    publish_rate: Annotated[float, typer.Option(help="Bookings published per second.", min=0)] = 100,
    send_rate: Annotated[
        float, typer.Option(help="Mails sent per second; 0 means no limit.", envvar="NOTIFIER_SEND_RATE", min=0)
    ] = 20,
    seconds: Annotated[float, typer.Option(help="How long to publish.", min=0.1)] = 60,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Write a plot of the run (SVG).")] = None,
    idle: Annotated[float, typer.Option(help="Seconds to watch the idle service first.", min=0)] = 0,
) -> None:
    """Publish for a while, wait until everything is sent, and print the figures."""
    load = Load(round(publish_rate * seconds), publish_rate, send_rate)
    measured = Measurements()

    async def prepare(run: Run) -> None:
        if idle:
            await measured.watch_idle(run, idle)

    run = run_live(load, prepare=prepare, observe=measured.observe)
    print_ledger(run)
    for line in measured.figures(run, load):
        typer.echo(line)
    if plot_file:
        limit = f"{send_rate:g}/s" if send_rate else "without limit"
        title = f"{publish_rate:g}/s published, sent {limit}"
        plot_file.write_text(plot.svg(measured.samples, title), encoding="utf-8")
        typer.echo(f"plot: {plot_file}")
    if not run.ledger().balances:
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except NotifierError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
