"""The supervisor: actors that fail come back, others do not notice, and the log says it once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.parts import PATIENCE

from notifier import supervisor as supervising
from notifier.errors import Unreachable
from notifier.supervisor import Supervisor


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restart at once."""
    monkeypatch.setattr(supervising, "RESTART_DELAYS", (0.0,))


def failing(*errors: BaseException) -> tuple[Any, asyncio.Event]:
    """Build an actor that fails with each error in turn before it runs, and the event that it runs."""
    left, runs = list(errors), asyncio.Event()

    async def actor(running: Callable[[], None], stop: asyncio.Event) -> None:
        if left:
            raise left.pop(0)
        running()
        runs.set()
        await stop.wait()

    return actor, runs


async def test_an_actor_that_fails_is_restarted_until_it_runs(logged_lines: list[Any]) -> None:
    """A peer that is unavailable three times is logged once, and once more when it is back."""
    supervisor = Supervisor()
    actor, runs = failing(*[Unreachable("broker away")] * 3)
    supervisor.start("consumer", actor)
    async with asyncio.timeout(5):
        await runs.wait()
    states = [supervisor.conditions["consumer"].state]
    await supervisor.stop("consumer", grace=PATIENCE)
    states.append(supervisor.conditions["consumer"].state)
    assert states == ["running", "stopped"]
    assert [(line["log_level"], line["event"]) for line in logged_lines] == [
        ("warning", "cannot go on, will try again"),
        ("info", "recovered"),
    ]


@pytest.mark.parametrize(("steady", "expected"), [(60.0, [0.01, 0.02, 0.03, 0.03]), (0.0, [0.01] * 4)])
async def test_only_an_actor_that_ran_for_a_while_is_restarted_at_once(
    monkeypatch: pytest.MonkeyPatch, steady: float, expected: list[float]
) -> None:
    """An actor that fails again and again right after it began to run is restarted after growing delays."""
    monkeypatch.setattr(supervising, "RESTART_DELAYS", (0.01, 0.02, 0.03))
    monkeypatch.setattr(supervising, "MIN_UPTIME", steady)
    pauses: list[float] = []
    enough = asyncio.Event()

    async def noting(stop: asyncio.Event, seconds: float) -> None:
        del stop
        pauses.append(seconds)
        if len(pauses) == len(expected):
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(supervising, "_pause", noting)

    async def actor(running: Callable[[], None], stop: asyncio.Event) -> None:
        del stop
        running()
        raise Unreachable("thrown out")

    supervisor = Supervisor()
    supervisor.start("consumer", actor)
    async with asyncio.timeout(5):
        await enough.wait()
    await supervisor.stop("consumer", grace=0)
    assert pauses == expected


async def test_a_bug_is_logged_with_its_trace(logged_lines: list[Any]) -> None:
    """An unexpected error is logged as an error, with its traceback."""
    supervisor = Supervisor()
    actor, runs = failing(ZeroDivisionError("oops"))
    supervisor.start("sender", actor)
    async with asyncio.timeout(5):
        await runs.wait()
    await supervisor.stop("sender", grace=PATIENCE)
    assert logged_lines[0]["log_level"] == "error"
    assert "ZeroDivisionError: oops" in logged_lines[0]["trace"]


async def test_an_unreachable_peer_is_waited_for_and_a_bug_is_restarted() -> None:
    """Only the first of the two is a normal state."""
    supervisor = Supervisor()
    states = []

    def fail_with(error: Exception, seen: asyncio.Event) -> Any:
        async def actor(running: Callable[[], None], stop: asyncio.Event) -> None:
            del running, stop
            if supervisor.conditions["actor"].reason:
                states.append(supervisor.conditions["actor"].state)
                seen.set()
            raise error

        return actor

    for error in (Unreachable("away"), ValueError("bug")):
        seen = asyncio.Event()
        supervisor.start("actor", fail_with(error, seen))
        async with asyncio.timeout(5):
            await seen.wait()
        await supervisor.stop("actor", grace=PATIENCE)
    assert {states[0], states[-1]} == {"waiting", "restarting"}


async def test_stopping_waits_for_what_is_under_way() -> None:
    """An actor may finish its work after its stop event is set."""
    supervisor = Supervisor()
    finished = False

    async def actor(running: Callable[[], None], stop: asyncio.Event) -> None:
        nonlocal finished
        running()
        await stop.wait()
        await asyncio.sleep(0)
        finished = True

    supervisor.start("sender", actor)
    await asyncio.sleep(0)
    await supervisor.stop("sender", grace=PATIENCE)
    assert finished


async def test_an_actor_that_does_not_stop_in_time_is_cancelled() -> None:
    """It is cancelled after its grace."""
    supervisor = Supervisor()

    async def actor(running: Callable[[], None], stop: asyncio.Event) -> None:
        del stop
        running()
        await asyncio.Event().wait()

    supervisor.start("purger", actor)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await supervisor.stop("purger", grace=0)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(1), BaseExceptionGroup("", [SystemExit()])])
async def test_whatever_ends_an_actor_restarts_it(logged_lines: list[Any], error: BaseException) -> None:
    """A cancellation that was not requested is a failure like any other: aiormq cancels whoever waits for it."""
    supervisor = Supervisor()
    actor, runs = failing(error, error)
    supervisor.start("consumer", actor)
    async with asyncio.timeout(5):
        await runs.wait()
    assert supervisor.healthy
    await supervisor.stop("consumer", grace=PATIENCE)
    assert [line["event"] for line in logged_lines] == ["failed, will be restarted", "recovered"]


async def test_an_actor_that_returns_before_its_stop_is_restarted(logged_lines: list[Any]) -> None:
    """Its return is reported as a failure."""
    supervisor = Supervisor()
    returns, runs = iter((True, False)), asyncio.Event()

    async def actor(running: Callable[[], None], stop: asyncio.Event) -> None:
        if next(returns):
            return
        running()
        runs.set()
        await stop.wait()

    supervisor.start("purger", actor)
    async with asyncio.timeout(5):
        await runs.wait()
    await supervisor.stop("purger", grace=PATIENCE)
    assert "before it was stopped" in logged_lines[0]["reason"]


async def test_an_actor_without_a_task_is_not_healthy(logged_lines: list[Any]) -> None:
    """If its task is cancelled from outside, that is logged and shown."""
    supervisor = Supervisor()
    actor, runs = failing()
    supervisor.start("consumer", actor)
    async with asyncio.timeout(5):
        await runs.wait()
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "consumer"]
    task.cancel()
    await asyncio.wait({task})
    state = supervisor.conditions["consumer"].state
    assert (supervisor.healthy, state, logged_lines[0]["log_level"]) == (False, "stopped", "error")


@pytest.mark.parametrize(("limit", "healthy"), [(60.0, True), (0.0, False)])
async def test_an_actor_that_does_not_start_in_time_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch, limit: float, *, healthy: bool
) -> None:
    """It may start for STARTING_LIMIT; then the service is not ready."""
    monkeypatch.setattr(supervising, "STARTING_LIMIT", limit)
    supervisor = Supervisor()

    async def actor(running: Callable[[], None], stop: asyncio.Event) -> None:
        del running
        await stop.wait()

    supervisor.start("reporter", actor)
    await asyncio.sleep(0)
    assert supervisor.healthy is healthy
    await supervisor.stop("reporter", grace=PATIENCE)


async def test_an_actor_that_ignores_its_cancellation_does_not_delay_the_shutdown(
    monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """It is abandoned after a while, and the log names it."""
    monkeypatch.setattr(supervising, "CANCEL_GRACE", 0.01)
    supervisor = Supervisor()
    released = asyncio.Event()

    async def actor(running: Callable[[], None], stop: asyncio.Event) -> None:
        del stop
        running()
        try:
            await asyncio.Event().wait()
        finally:
            await released.wait()

    supervisor.start("reporter", actor)
    await asyncio.sleep(0)
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "reporter"]
    async with asyncio.timeout(5):
        await supervisor.stop("reporter", grace=0)
        assert [(line["log_level"], line["actor"]) for line in logged_lines] == [("error", "reporter")]
        released.set()
        await asyncio.wait({task})
