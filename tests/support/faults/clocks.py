"""A wall clock that a test sets; the monotonic clock is not changed."""

import struct
from datetime import timedelta
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")


class Clock:
    """The wall clock of a service: a preloaded library, and a file with the offset that it adds."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.environ = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(file)}
        self.set(timedelta(0))

    def set(self, ahead: timedelta) -> None:
        """Set the clock ahead of that of the machine (back, if `ahead` is negative)."""
        with self._file.open("r+b" if self._file.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("=q", int(ahead.total_seconds())))
