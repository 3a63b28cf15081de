"""Time: what it is, and the ticks of a cron schedule. The only file that asks the wall clock."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from datetime import UTC, datetime
from typing import Any

import aiocron
from cronsim import CronSim, CronSimError


def now() -> datetime:
    """Tell the time in UTC, in whole milliseconds as the store keeps it."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def check_cron(spec: str) -> None:
    """Raise ValueError, with the reason, where a cron schedule of five fields (or six, seconds first) is wrong."""
    try:
        CronSim(spec, now())
    except CronSimError as error:
        raise ValueError(str(error)) from None


async def ticks(spec: str) -> AsyncGenerator[datetime, None]:
    """Yield at every moment of a cron schedule in UTC.

    The schedule is read anew for each tick: after a stall of the loop or a jump of
    the clock there is one tick and not all the missed ones, and a timer that fires
    a little early does not fire twice. A clock that is set back does not suppress ticks.
    """
    last = now()
    while True:
        await aiocron.crontab(spec, start=False, tz=UTC).next()
        at = now()
        if 0 <= (at - last).total_seconds() < _EARLY:
            continue
        last = at
        yield at


_EARLY = 0.5
"""Two ticks of any schedule are at least a second apart; closer ones are one tick and its early timer."""


async def first_of(*waits: Coroutine[Any, Any, Any], within: float | None) -> None:
    """Wait until one of several waits is over, or `within` seconds have passed; the others are called off."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
