"""Show the progress of a run in a terminal: three bars, or plain lines if stderr is not a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from notifier.demo.simulation import Load, Run

PLAIN_EVERY = 10
"""If stderr is not a terminal, one line is printed for this many calls."""


@contextmanager
def progress(load: Load) -> Iterator[Callable[[Run], None]]:
    """Yield a function that shows how far a run is."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(40), TextColumn("{task.completed:>7.0f}"))
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bars:
        tasks = {name: bars.add_task(name, total=load.bookings) for name in ("published", "waiting", "sent")}
        yield lambda run: _move(bars, tasks, run)


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
