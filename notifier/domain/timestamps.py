"""Times as events, frames and logs write them. Pure."""

from datetime import datetime
from functools import lru_cache
from typing import overload


@overload
def timestamp(at: datetime) -> str: ...


@overload
def timestamp(at: None) -> None: ...


def timestamp(at: datetime | None) -> str | None:
    """Return a UTC time in RFC 3339 with milliseconds; None stays None."""
    return None if at is None else _written(at)


@lru_cache(maxsize=1024)  # the events of one message share most of their times
def _written(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
