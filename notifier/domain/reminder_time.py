"""When a reminder is sent: within the hour that begins `remind_before` before its flight departs. Pure."""

from datetime import datetime, timedelta
from zlib import crc32

SPREAD = timedelta(minutes=50)
"""Reminders of one flight are spread over this long, so that a full aircraft is no burst.

Their window is one hour; ten minutes of it are left for sending.
"""


def reminder_time(departs_at: datetime, remind_before: timedelta, *what: str) -> datetime:
    """Return when a reminder is sent (UTC). `what` identifies the reminder, which always gets the same time."""
    offset = crc32("\x1f".join(what).encode()) % SPREAD.seconds
    return departs_at - remind_before + timedelta(seconds=offset)


def is_before_window(departs_at: datetime, remind_before: timedelta, now: datetime) -> bool:
    """Return whether a reminder can still be planned; once its window has begun, another mail replaces it."""
    return now < departs_at - remind_before


def is_in_window(departs_at: datetime, remind_before: timedelta, now: datetime) -> bool:
    """Return whether a mail that is written now takes the place of the reminder, because the flight departs soon."""
    return not is_before_window(departs_at, remind_before, now) and now < departs_at
