"""`./scripts/bench`: the speed of the service, beside the bare libraries and beside another version.

The service runs as a process, as a user runs it, and so does every peer. On a shared machine only ratios within one
round mean anything, so each round measures all subjects of a stage one after the other, in alternating order.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.table import Table
from support.benchmarks import fanout, intake, results, sending, starting, waiting
from support.benchmarks.machine import describe
from support.benchmarks.results import Line, Round, Subject, Values
from support.benchmarks.stage import FULL, QUICK, Place, Stage
from support.benchmarks.versions import THIS, Version, checked_out

from notifier.demo.broker import BrokerUnavailable, find_broker
from notifier.errors import NotifierError

Versions = Mapping[Subject, Version]
"""The versions that are measured, as `this` and perhaps `against`."""
STAGES: Sequence[Stage] = (
    *sending.STAGES,
    *intake.STAGES,
    *fanout.STAGES,
    *waiting.STAGES,
    *starting.STAGES,
)


async def measure(
    stage: Stage, versions: Versions, rounds: int, place: Place, say: Callable[[str], None]
) -> list[Line]:
    """Measure a stage and return its lines. Each measurement has a folder of its own, which is deleted at once."""
    found: list[Round] = []
    for number in range(rounds):
        measured: dict[Subject, Values] = {}
        for subject in _order(number, stage, versions):
            with _folder(place.folder) as folder:
                here = place._replace(folder=folder)
                if subject == "bare":
                    assert stage.bare
                    measured[subject] = await stage.bare(here)
                else:
                    measured[subject] = await stage.measure(here, versions[subject])
            say(f"{stage.name} {number + 1}/{rounds} {subject}: {_short(measured[subject])}")
        found.append(measured)
    return results.lines(stage.name, stage.figures, found)


def _order(number: int, stage: Stage, versions: Versions) -> list[Subject]:
    """Return what to measure in one round; every second round the order is reversed."""
    subjects: list[Subject] = list(versions)
    if stage.bare:
        subjects.append("bare")
    return subjects[::-1] if number % 2 else subjects


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _short(values: Values) -> str:
    return ", ".join(f"{name} {results.number(value)}" for name, value in values.items())


def _chosen(only: Sequence[str]) -> list[Stage]:
    unknown = set(only) - {stage.name for stage in STAGES}
    if unknown:
        names = " ".join(stage.name for stage in STAGES)
        raise NotifierError(f"there is no stage {', '.join(sorted(unknown))}; the stages are {names}")
    return [stage for stage in STAGES if not only or stage.name in only]


def _broker(stack: ExitStack, stages: Sequence[Stage]) -> tuple[str | None, list[Stage]]:
    """Return the broker and the stages that can be measured with it, or without one."""
    try:
        url = stack.enter_context(find_broker(os.environ, lambda line: typer.echo(line, err=True)))
    except BrokerUnavailable as error:
        typer.echo(f"{error}\nstages that need a broker are left out", err=True)
        return None, [stage for stage in stages if not stage.needs_broker]
    return url, list(stages)


def _print(found: Sequence[Line], versions: Versions) -> None:
    names = [versions[subject].name if subject in versions else subject for subject in ("this", "against")]
    table = Table("figure", *names, "bare", "this:against", "this:bare", "reach")
    for line in found:
        numbers = map(results.number, (line.this, line.against, line.bare, line.to_against, line.to_bare))
        table.add_row(f"{line.stage}: {line.label}, {line.unit}", *numbers, line.reach)
    Console(width=150).print(table)


def main(
    *,
    this: Annotated[str, typer.Option(help="What to measure: a commit, or a clone; this checkout by default.")] = "",
    against: Annotated[str, typer.Option(help="A commit, or the folder of a clone, to compare with.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each stage; the table shows medians.")] = 5,
    only: Annotated[list[str] | None, typer.Option(help="Measure this stage alone; can be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the table as JSON.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Do less in each round, and only one round.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where databases are written; a disk, not memory.")] = None,
) -> None:
    """Measure the service, beside the bare libraries and beside another version."""
    stages, sizes, rounds = _chosen(only or []), QUICK if quick else FULL, 1 if quick else rounds
    with ExitStack() as stack:
        versions: dict[Subject, Version] = {"this": stack.enter_context(checked_out(this)) if this else THIS}
        if against:
            versions["against"] = stack.enter_context(checked_out(against))
        broker, stages = _broker(stack, stages)
        parent = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="notifier-bench-", dir=folder)))
        about = f"{describe(parent)}, rounds: {rounds}{' in a small form' if quick else ''}"
        found = uvloop.run(_all(stages, versions, rounds, Place(broker, parent, parent / "kept", sizes)))
    if markdown:
        typer.echo(f"{about}\n")
        typer.echo(results.markdown(found, against))
    else:
        typer.echo(about)
        _print(found, versions)
    if json_file:
        json_file.write_text(
            json.dumps({"machine": about, "lines": results.as_json(found)}, indent=2) + "\n", encoding="utf-8"
        )


async def _all(stages: Sequence[Stage], versions: Versions, rounds: int, place: Place) -> list[Line]:
    if task := asyncio.current_task():
        # Otherwise SIGTERM would leave the services running.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    found: list[Line] = []
    for stage in stages:
        found += await measure(stage, versions, rounds, place, lambda line: typer.echo(line, err=True))
    return found


if __name__ == "__main__":
    try:
        typer.run(main)
    except NotifierError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except asyncio.CancelledError:
        sys.exit(1)
