"""ServiceStatus of a run: latencies, percentiles and rates. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from notifier.demo.ledger import Confirmation


def latencies(published: Mapping[str, float], confirmations: Iterable[Confirmation]) -> list[float]:
    """Return the seconds from each publish to its first confirmation, in order of confirmation."""
    first: dict[str, float] = {}
    for event, accepted_at in confirmations:
        if event in published:
            first.setdefault(event, accepted_at - published[event])
    return list(first.values())


def percentile(values: Iterable[float], q: float) -> float:
    """Return the value below which `q` percent (0 to 100) of the values lie, interpolated between neighbours.

    Raises ValueError if there are no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values, so no percentile")
    position = (len(ordered) - 1) * q / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def most_in_window(times: Iterable[float], seconds: float = 1.0) -> int:
    """Return the largest number of times in any window of that many seconds, its end not included."""
    ordered = sorted(times)
    # The fullest window can always be moved right until it begins at one of the times.
    return max((bisect_left(ordered, start + seconds) - first for first, start in enumerate(ordered)), default=0)


def steady_rate(times: Sequence[float]) -> float:
    """Return the mean rate per second from the first to the last of these times, or 0 if they span no time."""
    span = max(times, default=0.0) - min(times, default=0.0)
    return (len(times) - 1) / span if span else 0.0
