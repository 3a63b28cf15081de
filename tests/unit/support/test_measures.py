"""The figures that the load script prints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.benchmarks.measures import latencies, most_in_window, percentile, steady_rate

PUBLISHED = {"a": 10.0, "b": 11.0, "c": 12.0}
TIMES = st.lists(st.integers(0, 400).map(lambda n: n / 8), max_size=20)  # eighths are exact in binary


def test_latency_runs_from_publish_to_the_first_confirmation() -> None:
    """Later confirmations and unknown messages do not count."""
    assert latencies(PUBLISHED, [("b", 11.5), ("a", 12.0), ("b", 99.0), ("x", 1.0)]) == [0.5, 2.0]


def test_percentiles_interpolate_and_reach_both_ends() -> None:
    """0 is the smallest value, 100 the largest, 50 the median; without values, percentile() raises ValueError."""
    assert [percentile([4, 1, 2, 3], q) for q in (0, 50, 100)] == [1, 2.5, 4]
    assert percentile([7], 99) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@given(TIMES, st.integers(1, 40).map(lambda n: n / 8))
def test_the_fullest_window_is_found(times: list[float], seconds: float) -> None:
    """The count is that of trying every window that begins at one of the times or between two of them."""
    starts = [n / 16 for n in range(-16, 16 * 51)]
    fullest = max(sum(start <= t < start + seconds for t in times) for start in starts)
    assert most_in_window(times, seconds) == fullest


def test_a_window_does_not_include_its_end() -> None:
    """Two starts exactly one second apart are never in the same second."""
    assert most_in_window([5.0, 6.0]) == 1
    assert most_in_window([]) == 0


def test_a_steady_rate_counts_the_gaps() -> None:
    """Nine starts with eight gaps in one second are eight per second; fewer than two starts have no rate."""
    assert steady_rate([n / 8 for n in range(9)]) == 8
    assert steady_rate([]) == steady_rate([3.0]) == steady_rate([3.0, 3.0]) == 0
