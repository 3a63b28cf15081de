"""Time: the ticks of a cron schedule."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import aiocron
import pytest

from notifier import clock


def test_now_is_utc_in_whole_milliseconds() -> None:
    """The store keeps milliseconds, so the current time has no more than that."""
    now = clock.now()
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0


@pytest.mark.parametrize("spec", ["* *", "61 * * * *", "x * * * *", ""])
def test_an_invalid_schedule_is_refused(spec: str) -> None:
    """Missing fields, fields out of range and fields that are no numbers raise ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        clock.check_cron(spec)


async def test_there_is_one_tick_for_each_moment() -> None:
    """A schedule of every second ticks about a second apart, and never twice in one second."""
    ticks = []
    async with asyncio.timeout(10), aclosing(clock.ticks("* * * * * *")) as source:
        async for at in source:
            ticks.append(at)
            if len(ticks) == 3:
                break
    gaps = [(b - a).total_seconds() for a, b in pairwise(ticks)]
    assert all(gap > 0.5 for gap in gaps)


async def test_a_clock_that_is_set_back_does_not_suppress_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a tick at the next moment of the schedule by the new time."""
    real = clock.now
    async with asyncio.timeout(10), aclosing(clock.ticks("* * * * * *")) as source:
        first = await anext(source)
        monkeypatch.setattr(clock, "now", lambda: real() - timedelta(hours=12))
        second = await anext(source)
    assert second < first


async def test_a_cancelled_wait_for_a_tick_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens when the tick would have been due; a task that started then could outlive the service."""
    fired: list[datetime] = []
    monkeypatch.setattr(aiocron.Cron, "call_func", lambda _: fired.append(clock.now()))
    waiting = asyncio.ensure_future(anext(clock.ticks("* * * * * *")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.sleep(1.1)
    assert not fired


async def test_the_first_wait_to_end_cancels_the_others() -> None:
    """A deadline cancels all of them."""
    done, never = asyncio.Event(), asyncio.Event()
    done.set()
    async with asyncio.timeout(5):
        await clock.first_of(done.wait(), never.wait(), within=None)
        await clock.first_of(never.wait(), within=0.01)
