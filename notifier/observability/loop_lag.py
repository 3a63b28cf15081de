"""How late the event loop is: everything in the process waits that long when one part of it blocks the loop."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

INTERVAL = 0.25
"""Seconds between two measurements."""


@contextmanager
def measured(observe: Callable[[float], None]) -> Iterator[None]:
    """Measure every INTERVAL while the block lasts; `observe` gets the seconds by which each timer was late."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def schedule() -> None:
        nonlocal timer
        timer = loop.call_later(INTERVAL, measure, perf_counter())

    def measure(since: float) -> None:
        observe(max(0.0, perf_counter() - since - INTERVAL))
        schedule()

    schedule()
    try:
        yield
    finally:
        timer.cancel()
