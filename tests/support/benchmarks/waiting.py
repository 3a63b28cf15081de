"""The stage with very many waiting mails: what each step costs when a million others are not due yet."""

import asyncio
import json
import sys
import time
import zlib
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from support.benchmarks import workload
from support.benchmarks.children import Child, child
from support.benchmarks.measures import percentile
from support.benchmarks.results import Figure, Goal, Values
from support.benchmarks.running import Names, Service, clean_environment, environment, served, started
from support.benchmarks.stage import Place, Stage
from support.benchmarks.starting import NO_WORSE
from support.benchmarks.versions import Version

from notifier import clock
from notifier.errors import NotifierError

ADDRESSES = 4
"""Mails of each message, as many as those of a booking of two passengers."""
DUE_RATE = 20
"""Mails that become due each second while the latency is measured."""
LEAD = 2.0
"""Seconds until the first of them is due, so that it is stored before."""
PORTION = 5000
"""Messages that are published before the next ones are."""
CLAIMS, CLAIMED = 8, 8
"""Claims that are timed, and the mails of each."""
_PROBE = Path(__file__).with_name("probe.py")


async def waiting(place: Place, version: Version) -> Values:
    """Measure a service with very many mails that are not due; the database is filled once for each version."""
    folder = place.kept / f"waiting-{zlib.crc32(bytes(version.root)):08x}"
    async with child("sink") as sink:
        environ = environment(folder, sink.ready["port"], None, Names("bench", "bench"))
        if not folder.exists():
            folder.mkdir(parents=True)
            await _fill(place, version, folder, place.sizes.waiting)
        began = time.perf_counter()
        async with started(version, environ) as service:
            start = time.perf_counter() - began
            late = await _due(service, round(DUE_RATE * place.sizes.seconds), sink)
            memory = service.memory()
            await service.command("send.pause")
            await service.give(workload.requests(CLAIMS * CLAIMED, f"claimed-{time.time_ns()}"))
        times = await _probe(version, folder / "notifier.db")
        size = sum(file.stat().st_size for file in folder.glob("notifier.db*"))
        # What the probe has claimed is sent again, so that the next round begins like this one.
        async with started(version, environ):
            await sink.ask(str(CLAIMS * CLAIMED))
    return {
        "p50": percentile(late, 50),
        "p99": percentile(late, 99),
        "claim": times["claim"],
        "look": times["snapshot"] + times["stats"],
        "start": start,
        "memory": memory / 1e6,
        "disk": size / 1e9,
    }


async def _fill(place: Place, version: Version, folder: Path, mails: int) -> None:
    """Let the service itself take in the mails, so that its tables are as it would write them."""
    async with served(version, place.broker, folder, counts=False) as subject:
        messages = workload.scheduled(mails // ADDRESSES, "million", clock.now(), ADDRESSES)
        given = 0
        # In portions, so that the broker need not keep all of them.
        while portion := len(await subject.service.give(islice(messages, PORTION))):
            given += portion * ADDRESSES
            while await subject.service.mails() < given:  # noqa: ASYNC110 - another process is waited for
                await asyncio.sleep(0.1)


async def _due(service: Service, count: int, sink: Child) -> list[float]:
    """Schedule mails for the next seconds; return by how many milliseconds each was accepted after it was due."""
    run, first = f"due-{time.time_ns()}", datetime.now(UTC) + timedelta(seconds=LEAD)
    due = [first + timedelta(seconds=n / DUE_RATE) for n in range(count)]
    messages = [workload.request(n, run, send_at=at) for n, at in enumerate(due)]
    await service.give(messages)
    at = {message["id"]: each.timestamp() for message, each in zip(messages, due, strict=True)}
    report = await sink.ask(str(count))
    return [1000 * (accepted - at[event]) for event, accepted in report["times"]]


async def _probe(version: Version, database: Path) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(_PROBE), str(database), str(CLAIMS)),
        env=clean_environment(version, {}),
        cwd=version.root,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise NotifierError("the store of this version could not be measured")
    found: dict[str, float] = json.loads(output)
    return found


STAGES = (
    Stage(
        "waiting",
        "a database with 10^6 mails that are not due",
        (
            Figure("p50", "due to accepted, p50", "ms", "less"),
            Figure("p99", "due to accepted, p99", "ms", "less", Goal("value", 15)),
            Figure("claim", f"claim of {CLAIMED} mails", "ms", "less", Goal("value", 5)),
            Figure("look", "snapshot and stats", "ms", "less", Goal("value", 50)),
            Figure("start", "start to ready", "s", "less", Goal("value", 0.5)),
            Figure("memory", "memory", "MB", "less", Goal("against", NO_WORSE)),
            Figure("disk", "size of the database", "GB", "less", Goal("value", 1)),
        ),
        waiting,
    ),
)
