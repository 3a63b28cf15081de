"""Checks of the machine: its clock and the time-zone data."""

import ctypes
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from zoneinfo import ZoneInfo

from notifier.doctor.finding import Finding, fault, note, ok, warning

_UNSYNCHRONISED = 0x0040
"""STA_UNSYNC of adjtimex(2)."""


def clock(now: datetime) -> Finding:
    """Check that the clock is synchronised, and not before the date of the time-zone data."""
    if now.year < tzdata_year():
        return fault(
            "clock",
            f"this machine's date is {now:%Y-%m-%d}, but its time-zone data is from {tzdata_year()}",
            "set the clock, and let NTP synchronise it (timedatectl set-ntp true)",
        )
    status = _kernel_status()
    if status is None:
        return note(
            "clock", f"{now:%Y-%m-%d %H:%M:%S} UTC; this system does not report whether its clock is synchronised"
        )
    if status & _UNSYNCHRONISED:
        return warning(
            "clock",
            f"{now:%Y-%m-%d %H:%M:%S} UTC, but the clock is not synchronised: reminders can leave at the wrong time",
            "let NTP synchronise the clock (timedatectl set-ntp true); for a container, on its host",
        )
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, synchronised by NTP")


def zones(now: datetime) -> Iterator[Finding]:
    """Check that local times can be computed, and how old the data is. Zones change several times a year."""
    try:
        local = now.astimezone(ZoneInfo("Asia/Kolkata"))
    except (OSError, ValueError) as error:
        yield fault("time zones", f"the time-zone data cannot be read: {error}", "reinstall the Python package tzdata")
        return
    found = f"tzdata {version('tzdata')}; it is {local:%H:%M} in Delhi"
    if now.year - tzdata_year() > 1:
        yield warning(
            "time zones",
            f"{found}; the data is over a year old",
            "install a newer release of the Python package tzdata",
        )
    else:
        yield ok("time zones", found)


def tzdata_year() -> int:
    """Return the year of the time-zone data: release 2026.2 is the second one of 2026."""
    return int(version("tzdata").split(".")[0])


class _Timex(ctypes.Structure):
    # The kernel writes 208 bytes; `status` is the lower half of the sixth word of 8 bytes.
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def _kernel_status() -> int | None:
    """Return the status bits of the kernel's clock, or None if the kernel does not report them. Changes nothing."""
    try:
        found = _Timex()
        return found.status if ctypes.CDLL(None).adjtimex(ctypes.byref(found)) >= 0 else None
    except (OSError, AttributeError):
        return None
