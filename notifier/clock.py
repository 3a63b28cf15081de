"""The current time, and the ticks of a cron schedule. No other module reads the wall clock."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim, CronSimError


def now() -> datetime:
    """Return the current time in UTC, in whole milliseconds like the times in the store."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def check_cron(spec: str) -> None:
    """Raise ValueError, with the reason, if a cron schedule of five fields (or six, seconds first) is invalid."""
    try:
        CronSim(spec, now())
    except CronSimError as error:
        raise ValueError(str(error)) from None


async def ticks(spec: str) -> AsyncGenerator[datetime, None]:
    """Yield at every moment of a cron schedule in UTC.

    Each tick is computed from the current time. After a stall of the loop or a jump of the clock there is one
    tick instead of all that were missed, and a timer that fires a little early yields only one. If the clock is
    set back, ticks follow the new time.
    """
    # Loaded here, because only the service waits for schedules, and commands read the time too.
    import aiocron  # noqa: PLC0415

    last = now()
    while True:
        cron = aiocron.crontab(spec, start=False, tz=UTC)
        try:
            await cron.next()
        finally:
            cron.stop()  # otherwise its timer outlives a cancelled wait, and starts a task when it is due
        at = now()
        if 0 <= (at - last).total_seconds() < _EARLY:
            continue
        last = at
        yield at


_EARLY = 0.5
"""Seconds between two ticks below which they are the same one: the first timer fired a little early."""


async def first_of(*waits: Coroutine[Any, Any, Any], within: float | None) -> None:
    """Wait until the first wait ends, or `within` seconds have passed (None: no limit), and cancel the rest."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
