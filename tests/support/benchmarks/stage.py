"""What a stage of the benchmark is: figures, and the functions that measure them once."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from support.benchmarks.results import Figure, Values
from support.benchmarks.versions import Version


class Sizes(NamedTuple):
    """How much each stage does in one round. `seconds` is how long a steady load lasts."""

    mails: int
    confirmations: int
    bookings: int
    seconds: float
    slow_mails: int
    watchers: int
    watched: int
    waiting: int
    starts: int


FULL = Sizes(
    mails=3000,
    confirmations=1500,
    bookings=3000,
    seconds=10,
    slow_mails=600,
    watchers=1000,
    watched=3000,
    waiting=1_000_000,
    starts=3,
)
QUICK = Sizes(
    mails=500,
    confirmations=300,
    bookings=500,
    seconds=3,
    slow_mails=160,
    watchers=100,
    watched=1000,
    waiting=10_000,
    starts=2,
)
SMALLEST = Sizes(
    mails=30, confirmations=20, bookings=20, seconds=0.5, slow_mails=30, watchers=5, watched=200, waiting=200, starts=1
)


class Place(NamedTuple):
    """Where a stage is measured: the broker (None if there is none), folders on a disk, and the sizes.

    `folder` is empty and only for one measurement. What is in `kept` is there in the next rounds too.
    """

    broker: str | None
    folder: Path
    kept: Path
    sizes: Sizes


class Stage(NamedTuple):
    """One stage. `bare` measures minimal code on the bare library, if there is something to compare with."""

    name: str
    about: str
    figures: Sequence[Figure]
    measure: Callable[[Place, Version], Awaitable[Values]]
    bare: Callable[[Place], Awaitable[Values]] | None = None
    needs_broker: bool = False
