"""What the machine itself must have right: its clock and the time-zone data."""

import ctypes
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from zoneinfo import ZoneInfo

from notifier.doctor.finding import Finding, fault, note, ok, warning

_UNSYNCHRONISED = 0x0040
"""STA_UNSYNC of adjtimex(2)."""


def clock(now: datetime) -> Finding:
    """Look whether the clock is right: by the kernel's word, and because it cannot be before the software's date."""
    if now.year < tzdata_year():
        return fault(
            "clock",
            f"it is {now:%Y-%m-%d} here, and the time-zone data is of {tzdata_year()}",
            "set the clock, and let NTP keep it (timedatectl set-ntp true)",
        )
    status = _kernel_status()
    if status is None:
        return note("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC; this system does not say whether that is kept right")
    if status & _UNSYNCHRONISED:
        return warning(
            "clock",
            f"{now:%Y-%m-%d %H:%M:%S} UTC, which nothing keeps right: reminders go by it",
            "let NTP keep the clock (timedatectl set-ntp true), in a container on its host",
        )
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, kept right by NTP")


def zones(now: datetime) -> Iterator[Finding]:
    """Look whether local times can be told, and how old the table is: zones change several times a year."""
    try:
        local = now.astimezone(ZoneInfo("Asia/Kolkata"))
    except (OSError, ValueError) as error:
        yield fault("time zones", f"the tables cannot be read: {error}", "install the package tzdata again")
        return
    found = f"tzdata {version('tzdata')}; it is {local:%H:%M} in Delhi"
    if now.year - tzdata_year() > 1:
        yield warning("time zones", f"{found}; that is over a year old", "install a newer release of tzdata")
    else:
        yield ok("time zones", found)


def tzdata_year() -> int:
    """Tell of which year the time-zone data is: release 2026.2 is the second of 2026."""
    return int(version("tzdata").split(".")[0])


class _Timex(ctypes.Structure):
    # The kernel fills in 208 bytes of which `status` is the fifth long word's lower half.
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
    """Ask the kernel how its clock is kept, without changing anything; None where it does not say."""
    try:
        found = _Timex()
        return found.status if ctypes.CDLL(None).adjtimex(ctypes.byref(found)) >= 0 else None
    except (OSError, AttributeError):
        return None
