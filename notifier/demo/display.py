"""What a run looks like in a terminal: three bars while it goes on, and its figures at the end."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from notifier.demo.ledger import latencies, most_in_window, percentile, steady_rate
from notifier.demo.simulation import Load, Run

PLAIN_EVERY = 10
"""Where stderr is no terminal, a line is printed for every so many calls."""


@contextmanager
def progress(load: Load) -> Iterator[Callable[[Run], None]]:
    """Give a function that shows how far a run is."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(40), TextColumn("{task.completed:>7.0f}"))
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bars:
        tasks = {name: bars.add_task(name, total=load.bookings) for name in ("published", "waiting", "sent")}
        yield lambda run: _move(bars, tasks, run)


def figures(run: Run, load: Load) -> Iterator[str]:
    """Give the measured figures, a line each."""
    delays = latencies(run.published, [(mail.event, mail.accepted_at) for mail in run.inbox.received])
    if delays:
        p50, p99, most = (1000 * percentile(delays, q) for q in (50, 99, 100))
        yield f"publish to accepted mail: p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {most:.0f} ms"
    starts = run.inbox.started
    if len(starts) > 1:
        limit = f" (limit {load.send_rate:g}/s)" if load.send_rate else ""
        yield f"starts: {steady_rate(starts):.2f}/s on average, at most {most_in_window(starts)} in any second{limit}"
    if run.sent:
        yield f"processor time of the service: {1000 * run.cpu / run.sent:.1f} ms a mail, its start included"
    if run.memory:
        first, last = (size / 2**20 for size in (run.memory[len(run.memory) // 10], run.memory[-1]))
        yield f"memory of the service: {first:.1f} MiB after a tenth of the time, {last:.1f} MiB at the end"
    if run.idle_cpu is not None:
        yield f"idle service: {100 * run.idle_cpu:.2f} % of a core"


def _lines() -> Callable[[Run], None]:
    calls = 0

    def show(run: Run) -> None:
        nonlocal calls
        if calls % PLAIN_EVERY == 0:
            print(f"published {len(run.published)}  waiting {run.waiting}  sent {run.sent}", file=sys.stderr)  # noqa: T201 - progress of a script
        calls += 1

    return show


def _move(bars: Progress, tasks: dict[str, TaskID], run: Run) -> None:
    for name, value in (("published", len(run.published)), ("waiting", run.waiting), ("sent", run.sent)):
        bars.update(tasks[name], completed=value)
