"""A wall clock that a test sets; the monotonic one runs on, as it does in life."""

import struct
from datetime import timedelta
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")


class Clock:
    """The wall clock of one service, made of a library to preload and a file with what it is ahead."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.environ = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(file)}
        self.set(timedelta(0))

    def set(self, ahead: timedelta) -> None:
        """Set it so far ahead of this machine's (back, where that is negative)."""
        with self._file.open("r+b" if self._file.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("=q", int(ahead.total_seconds())))
