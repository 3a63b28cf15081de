import heapq
import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import cycle, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.samples import NOW

from notifier.sending.pacing import AHEAD, BurstGuard, Reservation, reserve_slots
from notifier.settings import SLOWEST

RATES = st.sampled_from([1, 2, 3, 5, 7, 20, 50, 100, 250])
TICK = 1e-6


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def seconds(moment: datetime) -> float:
    return (moment - NOW).total_seconds()


def most_in_a_second(starts: Sequence[float]) -> int:
    ordered = sorted(starts)
    return max((bisect_right(ordered, start + 1) - number for number, start in enumerate(ordered)), default=0)


def run(
    rate: float, requests: Sequence[tuple[float, int]], stalls: Sequence[tuple[float, float]], jitter: Sequence[float]
) -> list[float]:
    """Simulate a sender: reserve slots for requests (when, how many), and delay each start by slot and burst guard.

    Nothing happens while the loop stalls (from, to); each start is late by the next of `jitter`.
    """

    def awake(when: float) -> float:
        for begin, end in sorted(stalls):
            if begin <= when < end:
                when = end
        return when

    burst_guard, late, next_start = BurstGuard(rate), cycle(jitter), None
    starts: list[float] = []
    agenda = [(awake(when), number, wanted) for number, (when, wanted) in enumerate(requests)]
    heapq.heapify(agenda)
    number = len(agenda)
    while agenda:
        now, _, wanted = heapq.heappop(agenda)
        if wanted:
            reservation = reserve_slots(next_start, wanted, rate, at(now))
            next_start = reservation.next_start if reservation.starts else next_start
            turns = [awake(max(now, seconds(start)) + next(late)) for start in reservation.starts]
        elif delay := burst_guard.delay(now):
            turns = [awake(now + max(delay, TICK))]
        else:
            burst_guard.started(now)
            starts.append(now)
            turns = []
        for turn in turns:
            number += 1
            heapq.heappush(agenda, (turn, number, 0))
    return starts


@given(
    rate=st.one_of(RATES.filter(lambda rate: rate <= 50), st.floats(0.3, 30)),
    requests=st.lists(st.tuples(st.floats(0, 4), st.integers(1, 40)), min_size=1, max_size=40),
    stalls=st.lists(st.tuples(st.floats(0, 4), st.floats(0, 2)).map(lambda s: (s[0], s[0] + s[1])), max_size=4),
    jitter=st.lists(st.floats(0, 0.5), min_size=1, max_size=5),
)
@example(rate=20, requests=[(n / 50, 9) for n in range(150)], stalls=[(0.5, 1.4)], jitter=[0.0])
def test_no_second_has_more_starts_than_the_rate_and_one(
    rate: float, requests: list[tuple[float, int]], stalls: list[tuple[float, float]], jitter: list[float]
) -> None:
    """However mail arrives and however long the process stalls, any second has at most RATE + 1 starts."""
    assert most_in_a_second(run(rate, requests, stalls, jitter)) <= int(rate) + 1


def backlog(rate: float, count: int, delays: Sequence[float]) -> list[float]:
    """Simulate a sender with a backlog that reserves and starts late by `delays` (in gaps) each time."""
    burst_guard, late = BurstGuard(rate), cycle(delays)
    starts: list[float] = []
    next_start, now = None, 0.0
    while len(starts) < count:
        reservation = reserve_slots(next_start, 8, rate, at(now))
        next_start = reservation.next_start
        for start in reservation.starts:
            turn = max(seconds(start), now) + next(late) / rate
            turn = max(turn, *starts[-1:], 0.0)
            while delay := burst_guard.delay(turn):
                turn += max(delay, TICK)
            burst_guard.started(turn)
            starts.append(turn)
        now = max(now, seconds(reservation.next_start - AHEAD)) + next(late) / rate
    return starts


@given(RATES, st.lists(st.floats(0, 0.49), min_size=1, max_size=12))
def test_a_backlog_goes_out_at_the_full_rate(rate: int, delays: list[float]) -> None:
    """Delays of less than half a gap do not cost throughput, and the limit holds."""
    starts = backlog(rate, 120 + 2 * rate, delays)
    assert (len(starts) - 1) / (starts[-1] - starts[0]) >= 0.975 * rate
    assert most_in_a_second(starts) <= rate + 1


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7, 1.9, 2.5, 20.9])
def test_a_fractional_rate_is_reached(rate: float) -> None:
    """The burst guard does not round the rate down to a whole number."""
    starts = backlog(rate, 120, [0.0])
    assert (len(starts) - 1) / (starts[-1] - starts[0]) >= 0.975 * rate


@given(RATES, st.lists(st.floats(0, 0.49), min_size=1, max_size=12), st.integers(1, 100), st.floats(0, 3))
def test_the_limit_holds_across_a_restart(rate: int, delays: list[float], before: int, away: float) -> None:
    """The next start is kept, so a new process with an empty burst guard does not begin with a second burst."""
    late = cycle(delays)
    grid: list[float] = []
    next_start, now = None, 0.0
    for number in range(200):
        reservation = reserve_slots(next_start, 4, rate, at(now))
        next_start = reservation.next_start
        ready = [max(seconds(start), now) for start in reservation.starts]
        # Starts that were reserved but not used when the process ended are lost.
        grid += ready if number != before else [start for start in ready if start <= now]
        now = max(now, seconds(reservation.next_start - AHEAD)) + (away if number == before else 0.0)
    starts = [start + next(late) / rate for start in grid]
    assert most_in_a_second(starts) <= rate + 1


@given(RATES)
def test_starts_are_evenly_apart_and_not_far_ahead(rate: int) -> None:
    """A reservation has the starts of the next tenth of a second, one gap apart, and says where the next one begins."""
    reservation = reserve_slots(NOW, 1000, rate, NOW)
    assert reservation.starts[0] == NOW
    (gap,) = {after - before for before, after in pairwise([*reservation.starts, reservation.next_start])}
    assert 0.975 * rate <= 1 / gap.total_seconds() <= rate * (1 + 1e-3)
    assert reservation.starts[-1] <= NOW + AHEAD < reservation.next_start


def test_no_more_starts_are_reserved_than_asked_for() -> None:
    """One mail gets one start, and the rest of the tenth of a second is left for the next request."""
    many, one = reserve_slots(NOW, 2, 20, NOW), reserve_slots(NOW, 1, 20, NOW)
    assert one == Reservation(many.starts[:1], many.starts[1])


def test_nothing_is_reserved_before_its_time() -> None:
    """A request that comes too early gets nothing and leaves the next start as it was."""
    assert reserve_slots(at(0.14), 5, 20, NOW) == Reservation((), at(0.14))


@given(RATES, st.floats(1, 1e6))
def test_idle_time_is_not_saved_up(rate: int, idle: float) -> None:
    """After a time without mail there is no burst: at most half a gap is made up for."""
    at_once = [start for start in reserve_slots(at(-idle), 1000, rate, NOW).starts if start <= NOW]
    assert len(at_once) == 1
    assert at_once[0] >= NOW - timedelta(seconds=0.52 / rate)


@given(RATES, st.floats(0.4, 1e9))
def test_a_clock_that_jumps_back_does_not_stop_sending(rate: int, jump: float) -> None:
    """A next start that no reservation can have left is ignored, and mail starts at once."""
    left = reserve_slots(None, 1, rate, at(jump)).next_start
    if left <= NOW + AHEAD + timedelta(seconds=1 / rate):
        left += timedelta(seconds=2)
    assert reserve_slots(left, 3, rate, NOW).starts[0] == NOW


@given(RATES, st.floats(0, 1e8))
def test_a_clock_that_jumps_forward_gives_no_burst(rate: int, jump: float) -> None:
    """After a jump the grid starts over at the new time."""
    starts = reserve_slots(reserve_slots(None, 1, rate, NOW).next_start, 10**6, rate, at(jump)).starts
    assert len(starts) <= math.ceil(AHEAD.total_seconds() * rate + 0.5) + 1


def test_without_a_limit_everything_may_start_at_once() -> None:
    """A rate of 0 means no limit for reservations and for the burst guard."""
    assert reserve_slots(at(50), 3, 0, NOW).starts == (NOW, NOW, NOW)
    burst_guard = BurstGuard(0)
    for _ in range(50):
        burst_guard.started(1.0)
    assert burst_guard.delay(1.0) == 0.0


def test_the_burst_guard_lets_a_full_second_pass() -> None:
    """RATE + 1 starts are free, and the next one waits until more than a second after the first of them."""
    burst_guard = BurstGuard(2)
    free = []
    for _ in range(3):
        free.append(burst_guard.delay(10.0))
        burst_guard.started(10.0)
    assert free == [0.0, 0.0, 0.0]
    wait = burst_guard.delay(10.0)
    assert 1.0 < wait < 1.5
    assert burst_guard.delay(10.5) == pytest.approx(wait - 0.5)
    assert burst_guard.delay(10.0 + wait) == burst_guard.delay(99.0) == 0.0


@pytest.mark.parametrize("rate", [1, 5, 20, 50])
def test_the_pace_is_below_the_limit(rate: int) -> None:
    """Starts on the grid keep a margin of more than a percent, because servers see them at irregular distances."""
    gap = reserve_slots(None, 1, rate, NOW).next_start - NOW
    assert timedelta(seconds=1.01) <= rate * gap <= timedelta(seconds=1.03)


@given(st.just(0.0) | st.floats(SLOWEST, 100_000), st.none() | st.floats(-1e9, 1e9))
@example(SLOWEST, None)
def test_every_rate_that_can_be_set_has_starts(rate: float, last: float | None) -> None:
    """Even at the lowest rate one mail starts now, and the time of the next start can be represented."""
    reservation = reserve_slots(None if last is None else at(min(last, 0)), 1, rate, NOW)
    assert len(reservation.starts) == 1
    assert reservation.next_start >= NOW
    assert BurstGuard(rate).delay(0) == 0
