"""How late the event loop is: everything in the process waits that long when one part of it does not let go."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

INTERVAL = 0.25
"""Seconds between two looks."""


@contextmanager
def measured(observe: Callable[[float], None]) -> Iterator[None]:
    """Look several times a second while the block lasts; `observe` gets the seconds by which each look was late."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look_later() -> None:
        nonlocal timer
        timer = loop.call_later(INTERVAL, look, perf_counter())

    def look(since: float) -> None:
        observe(max(0.0, perf_counter() - since - INTERVAL))
        look_later()

    look_later()
    try:
        yield
    finally:
        timer.cancel()
