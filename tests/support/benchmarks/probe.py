"""Times single queries of a store: `python probe.py DATABASE CLAIMS`, with the version to measure on PYTHONPATH.

It uses nothing but the port of the store, and prints one JSON object with times in milliseconds. There must be 8 due
mails for each claim; they stay claimed.
"""

import asyncio
import json
import statistics
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

from notifier import clock
from notifier.domain.events import MailFilter
from notifier.storage.sqlite.store import SqliteStore

CLAIMED = 8
QUERIES = 11


async def main(path: Path, claims: int) -> None:
    """Measure."""
    store = await SqliteStore.open(path)
    await store.pause(paused=False)

    async def claim() -> int:
        return len((await store.claim(CLAIMED, 0, clock.now())).starts)

    async def stats() -> None:
        await store.totals()
        await store.waiting(clock.now())

    found = {
        "claim": await _time(claim, claims),
        "snapshot": await _time(lambda: store.snapshot(MailFilter(), 200, urgent=True), QUERIES),
        "stats": await _time(stats, QUERIES),
    }
    await store.close()
    sys.stdout.write(json.dumps(found) + "\n")


async def _time(work: Callable[[], Awaitable[object]], times: int) -> float:
    """Return the median of the milliseconds that something takes. Raises RuntimeError if a claim finds too little."""
    took = []
    for _ in range(times):
        began = perf_counter()
        result = await work()
        took.append(1000 * (perf_counter() - began))
        if isinstance(result, int) and result < CLAIMED:
            raise RuntimeError(f"{result} mails were claimed instead of {CLAIMED}")
    return statistics.median(took)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
