"""Time: the ticks of a cron schedule."""

import asyncio
from contextlib import aclosing
from datetime import UTC, timedelta
from itertools import pairwise

import pytest

from notifier import clock


def test_now_is_utc_in_whole_milliseconds() -> None:
    """The store keeps milliseconds, so the time has no more than they can hold."""
    now = clock.now()
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0


@pytest.mark.parametrize("spec", ["* *", "61 * * * *", "x * * * *", ""])
def test_a_wrong_schedule_is_refused(spec: str) -> None:
    """Fields that are missing, out of range or no numbers are a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        clock.check_cron(spec)


async def test_ticks_come_once_a_moment() -> None:
    """A schedule of every second ticks about a second apart, never twice for one second."""
    ticks = []
    async with asyncio.timeout(10), aclosing(clock.ticks("* * * * * *")) as source:
        async for at in source:
            ticks.append(at)
            if len(ticks) == 3:
                break
    gaps = [(b - a).total_seconds() for a, b in pairwise(ticks)]
    assert all(gap > 0.5 for gap in gaps)


async def test_a_clock_that_is_set_back_does_not_suppress_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next moment of the schedule ticks, and not only the one at which the clock has caught up."""
    real = clock.now
    async with asyncio.timeout(10), aclosing(clock.ticks("* * * * * *")) as source:
        first = await anext(source)
        monkeypatch.setattr(clock, "now", lambda: real() - timedelta(hours=12))
        second = await anext(source)
    assert second < first


async def test_the_first_wait_to_end_ends_the_waiting() -> None:
    """The other waits are called off, and a deadline ends all of them."""
    done, never = asyncio.Event(), asyncio.Event()
    done.set()
    async with asyncio.timeout(5):
        await clock.first_of(done.wait(), never.wait(), within=None)
        await clock.first_of(never.wait(), within=0.01)
