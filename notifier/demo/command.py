"""`notifier demo` and the load script: the same run, once to be watched and once to be measured."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from notifier.demo import display, plot, simulation
from notifier.demo.broker import BrokerUnavailable, find_broker
from notifier.demo.simulation import Load, Run
from notifier.errors import NotifierError


def demo(*, once: bool, bookings: int, rate: float, send_rate: float) -> None:
    """Run the demo; with `once` exit 1 where the ledger does not balance."""
    load = Load(bookings if once else None, rate, send_rate)
    with _broker() as (url, own):
        run = uvloop.run(_run(load, url, own_broker=own))
    _print_ledger(run)
    if once and not run.ledger().balances:
        raise typer.Exit(1)


def load(
    publish_rate: Annotated[float, typer.Option(help="Bookings published a second.", min=0)] = 100,
    send_rate: Annotated[
        float, typer.Option(help="Mails sent a second; 0 is no limit.", envvar="NOTIFIER_SEND_RATE", min=0)
    ] = 20,
    seconds: Annotated[float, typer.Option(help="How long to publish.", min=0.1)] = 60,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Write a plot of the run (SVG).")] = None,
    idle: Annotated[float, typer.Option(help="Seconds to watch the idle service first.", min=0)] = 0,
) -> None:
    """Publish for a while, wait until all is sent, print the figures."""
    wanted = Load(round(publish_rate * seconds), publish_rate, send_rate)
    with _broker() as (url, own):
        run = uvloop.run(_run(wanted, url, own_broker=own, idle=idle))
    _print_ledger(run)
    for line in display.figures(run, wanted):
        typer.echo(line)
    if plot_file:
        limit = f"{send_rate:g}/s" if send_rate else "without limit"
        plot_file.write_text(plot.svg(run.samples, f"{publish_rate:g}/s published, sent {limit}"), encoding="utf-8")
        typer.echo(f"plot: {plot_file}")
    if not run.ledger().balances:
        raise typer.Exit(1)


async def _run(load: Load, broker: str | None, *, own_broker: bool, idle: float = 0) -> Run:
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    async with simulation.running(broker, own_broker=own_broker, send_rate=load.send_rate) as run:
        typer.echo(f"dashboard: {run.service.url}  (Ctrl-C ends the run)", err=True)
        if idle:
            await simulation.measure_idle(run, idle)
        with display.progress(load) as show:
            playing = asyncio.create_task(simulation.play(run, load, show))
            waiting = asyncio.create_task(interrupted.wait())
            await asyncio.wait((playing, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if interrupted.is_set():
                playing.cancel()
            try:
                await playing
            except asyncio.CancelledError:
                typer.echo("interrupted", err=True)
    return run


@contextmanager
def _broker() -> Iterator[tuple[str | None, bool]]:
    """Give a broker's URL and whether it is ours alone; no URL where there is none to be had."""
    try:
        with find_broker(os.environ, lambda line: typer.echo(line, err=True)) as url:
            yield url, url != os.environ.get("NOTIFIER_AMQP_URL")
    except BrokerUnavailable as error:
        typer.echo(f"{error}\ngoing on without a broker: bookings are handed to the service's own intake", err=True)
        yield None, True


def _print_ledger(run: Run) -> None:
    for line in run.ledger().lines():
        typer.echo(line)
    if run.exit_code:
        raise NotifierError(f"the service ended with exit code {run.exit_code}:\n" + "\n".join(run.service.log))


if __name__ == "__main__":
    try:
        typer.run(load)
    except NotifierError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
