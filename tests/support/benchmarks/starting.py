"""What a user waits for, and what an idle service costs: start, a client command, processor time, memory."""

import asyncio
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

from support.benchmarks.children import child
from support.benchmarks.results import Figure, Goal, Values
from support.benchmarks.running import Names, Service, clean_environment, counted, environment, started
from support.benchmarks.stage import Place, Stage
from support.benchmarks.versions import Version

from notifier.errors import NotifierError

NO_WORSE = 1.05
"""Two measurements of the same version differ by so much."""
COMMAND = ("mails", "list")
"""A command that connects to the feed."""


class _Timed(NamedTuple):
    """Seconds that something took, and seconds of processor time."""

    wall: float
    cpu: float


async def starting(place: Place, version: Version) -> Values:
    """Start the service on an existing database, run commands, and let it idle."""
    names, starts = Names.new(), list[_Timed]()
    async with child("sink") as sink, counted(place.broker, names):
        environ = environment(place.folder, sink.ready["port"], place.broker, names)
        async with started(version, environ):
            pass  # creates the database, and the compiled files of Python
        for _ in range(place.sizes.starts - 1):
            starts.append(await _start(version, environ))
        began = time.perf_counter()
        async with started(version, environ) as service:
            starts.append(_Timed(time.perf_counter() - began, service.usage().cpu))
            commands = [await _command(version, service.feed.port) for _ in range(place.sizes.starts)]
            idle = await _idle(service, place.sizes.seconds)
            memory = service.memory()
    return {
        "start": statistics.median(each.wall for each in starts),
        "start cpu": statistics.median(each.cpu for each in starts),
        "command": statistics.median(each.wall for each in commands),
        "command cpu": statistics.median(each.cpu for each in commands),
        "idle": 100 * idle,
        "memory": memory / 1e6,
    }


async def _start(version: Version, environ: dict[str, str]) -> _Timed:
    began = time.perf_counter()
    async with started(version, environ) as service:
        return _Timed(time.perf_counter() - began, service.usage().cpu)


async def _command(version: Version, port: int) -> _Timed:
    before, began = _children(), time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "notifier", *COMMAND),
        env=clean_environment(version, {"NOTIFIER_PORT": str(port)}),
        cwd=version.root,
        stdout=asyncio.subprocess.DEVNULL,
    )
    if code := await process.wait():
        raise NotifierError(f"`notifier {' '.join(COMMAND)}` exited with {code}")
    return _Timed(time.perf_counter() - began, _children() - before)


def _children() -> float:
    """Return the processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _idle(service: Service, seconds: float) -> float:
    """Return the share of one core that the service uses while it has nothing to do."""
    before, began = _nanoseconds(service.pid), time.perf_counter()
    await asyncio.sleep(seconds)
    return (_nanoseconds(service.pid) - before) / 1e9 / (time.perf_counter() - began)


def _nanoseconds(pid: int) -> int:
    """Return the processor time of all threads; the usual counters of a process have steps of 10 ms."""
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))


STAGES = (
    Stage(
        "start",
        "start to ready on an existing database, a client command (`notifier mails list`), and an idle service",
        (
            Figure("start", "start to ready", "s", "less", Goal("value", 0.4)),
            Figure("start cpu", "processor time of a start", "s", "less"),
            Figure("command", "client command", "s", "less", Goal("value", 0.25)),
            Figure("command cpu", "processor time of a command", "s", "less"),
            Figure("idle", "idle service", "% of a core", "less", Goal("against", NO_WORSE)),
            Figure("memory", "memory of an idle service", "MB", "less", Goal("against", NO_WORSE)),
        ),
        starting,
    ),
)
