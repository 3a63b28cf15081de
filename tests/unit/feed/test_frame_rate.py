"""How much a viewer may send in ten seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.feed.frame_rate import FRAME_RATE, FRAMES_WINDOW, MAX_FRAMES, MAX_VIEWER_BYTES, FrameRate


@pytest.mark.parametrize(("size", "frames"), [(1, MAX_FRAMES), (MAX_VIEWER_BYTES // 4, 4)])
def test_the_frame_beyond_the_limit_is_one_too_many(size: int, frames: int) -> None:
    """The limit in frames and the one in bytes hold for any ten seconds, and afterwards there is room again."""
    rate = FrameRate()
    assert not any(rate.exceeded(size, 100.0) for _ in range(frames))
    assert rate.exceeded(size, 100.0 + FRAMES_WINDOW)
    assert not rate.exceeded(size, 100.1 + FRAMES_WINDOW)


@given(st.lists(st.floats(0.001, 1.0), max_size=200))
def test_a_slow_viewer_is_never_too_fast(gaps: list[float]) -> None:
    """Frames of any small size at least 0.21 s apart are within the limit."""
    rate, now = FrameRate(), 0.0
    for gap in gaps:
        now += 0.21 + gap
        assert not rate.exceeded(100, now)


def test_the_limit_is_promised() -> None:
    """The reason of the close code has it in words, and the documentation has the same numbers."""
    assert FRAME_RATE == "50 frames or 512 KiB in 10 s"
    rate = FrameRate()
    assert [rate.exceeded(1, 0.0) for _ in range(51)] == [False] * 50 + [True]
    assert [FrameRate().exceeded(size, 0.0) for size in (512 * 1024, 512 * 1024 + 1)] == [False, True]


def test_frames_that_are_old_are_forgotten() -> None:
    """A viewer that sends for days takes no more memory than one that sends for ten seconds."""
    rate = FrameRate()
    for second in range(1000):
        rate.exceeded(1, float(second))
    assert len(rate._recent) == 11
