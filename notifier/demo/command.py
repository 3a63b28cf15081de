"""What `notifier demo` does, and the run with a live display that the load script measures."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import typer
import uvloop

from notifier.demo import display, simulation
from notifier.demo.broker import BrokerUnavailable, find_broker
from notifier.demo.simulation import Load, Run
from notifier.errors import NotifierError


def demo(*, once: bool, bookings: int, rate: float, send_rate: float) -> None:
    """Run the demo; with `once`, exit 1 if the ledger does not balance."""
    run = run_live(Load(bookings if once else None, rate, send_rate))
    print_ledger(run)
    if once and not run.ledger().balances:
        raise typer.Exit(1)


def run_live(
    load: Load,
    *,
    prepare: Callable[[Run], Awaitable[None]] | None = None,
    observe: Callable[[Run], None] | None = None,
) -> Run:
    """Find or start a broker, run the load with a live display until it ends or is interrupted, and return the run.

    `prepare` is awaited before the first booking is published. `observe` is called with every update of the display.
    """
    with _broker() as (url, own):
        return uvloop.run(_run(load, url, own_broker=own, prepare=prepare, observe=observe))


def print_ledger(run: Run) -> None:
    """Print the ledger. Raises NotifierError with the end of the service's log if the service failed."""
    for line in run.ledger().lines():
        typer.echo(line)
    if run.exit_code:
        raise NotifierError(f"the service ended with exit code {run.exit_code}:\n" + "\n".join(run.service.log))


async def _run(
    load: Load,
    broker: str | None,
    *,
    own_broker: bool,
    prepare: Callable[[Run], Awaitable[None]] | None,
    observe: Callable[[Run], None] | None,
) -> Run:
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    async with simulation.running(broker, own_broker=own_broker, send_rate=load.send_rate) as run:
        typer.echo(f"dashboard: {run.service.url}  (Ctrl-C ends the run)", err=True)
        if prepare:
            await prepare(run)
        with display.progress(load) as show:

            def update(run: Run) -> None:
                if observe:
                    observe(run)
                show(run)

            playing = asyncio.create_task(simulation.play(run, load, update))
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
    """Yield a broker's URL, or None if there is none, and whether nobody else uses it."""
    try:
        with find_broker(os.environ, lambda line: typer.echo(line, err=True)) as url:
            yield url, url != os.environ.get("NOTIFIER_AMQP_URL")
    except BrokerUnavailable as error:
        typer.echo(f"{error}\ncontinuing without a broker: bookings are submitted to the service's feed", err=True)
        yield None, True
