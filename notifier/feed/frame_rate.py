"""How much a viewer may send: a number of frames and of bytes in any ten seconds. Pure."""

from collections import deque

MAX_FRAMES = 50
MAX_VIEWER_BYTES = 512 * 1024
FRAMES_WINDOW = 10.0
"""A viewer may send MAX_FRAMES frames and MAX_VIEWER_BYTES bytes in any FRAMES_WINDOW seconds."""
FRAME_RATE = f"{MAX_FRAMES} frames or {MAX_VIEWER_BYTES // 1024} KiB in {FRAMES_WINDOW:g} s"
"""The limit in words."""


class FrameRate:
    """The frames that a viewer has sent in the last FRAMES_WINDOW seconds."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int]] = deque()

    def exceeded(self, size: int, now: float) -> bool:
        """Count a frame of `size` bytes; return whether it is one too many. `now` is a monotonic time in seconds."""
        self._recent.append((now, size))
        while now - self._recent[0][0] > FRAMES_WINDOW:
            self._recent.popleft()
        return len(self._recent) > MAX_FRAMES or sum(each for _, each in self._recent) > MAX_VIEWER_BYTES
