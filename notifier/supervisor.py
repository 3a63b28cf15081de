"""Keeps actors running: each of them either runs or is being restarted with back-off."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import structlog

from notifier import clock
from notifier.errors import NotifierError, Unreachable

log = structlog.get_logger(__name__)

RESTART_DELAYS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between an actor's end and its restart, one step for each failure in a row; the last one repeats."""

MIN_UPTIME = 2.0
"""Seconds that an actor must run before its earlier failures no longer count.

A peer may accept a connection and close it again at once, which must not restart the back-off.
"""

STARTING_LIMIT = 60.0
"""Seconds that the first start of an actor may take before the service is no longer ready."""

CANCEL_GRACE = 5.0
"""Seconds that a cancelled actor has to clean up before it is abandoned."""

Actor = Callable[[Callable[[], None], asyncio.Event], Awaitable[None]]
"""A function that runs until the event is set.

It calls its first argument as soon as it works normally, and raises if it cannot go on.
"""


@dataclass
class Condition:
    """The state of an actor, since when (UTC), and the reason if it does not run.

    `starting`: it has not run yet. `running`: it works normally. `waiting`: a peer is unavailable, which is a
    normal state. `restarting`: it failed because of an error of our own. `stopped`: it has ended.
    """

    state: Literal["starting", "running", "waiting", "restarting", "stopped"]
    since: datetime
    reason: str | None = None


class Supervisor:
    """Starts actors, restarts those that fail, and stops them gracefully; `conditions` has the state of each."""

    def __init__(self) -> None:
        self.conditions: dict[str, Condition] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, asyncio.Event] = {}
        self._started: dict[str, float] = {}

    def start(self, name: str, actor: Actor) -> None:
        """Start an actor, and restart it whenever it fails, until it is stopped."""
        self.conditions[name] = Condition("starting", clock.now())
        self._stops[name] = asyncio.Event()
        self._started[name] = _monotonic()
        self._tasks[name] = asyncio.create_task(self._keep(name, actor, self._stops[name]), name=name)
        self._tasks[name].add_done_callback(lambda _: self._ended(name))

    @property
    def healthy(self) -> bool:
        """Whether every actor runs, waits for a peer, or was started less than STARTING_LIMIT ago."""
        return all(self._is_healthy(name, condition) for name, condition in self.conditions.items())

    def _is_healthy(self, name: str, condition: Condition) -> bool:
        if condition.state == "starting":
            return _monotonic() - self._started[name] < STARTING_LIMIT
        return condition.state in ("running", "waiting")

    async def stop(self, *names: str, grace: float) -> None:
        """Stop actors gracefully within `grace` seconds, then cancel those that still run.

        An actor that does not end within CANCEL_GRACE of its cancellation is abandoned.
        """
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for name in names:
            if name in self._stops:
                self._stops[name].set()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                _, abandoned = await asyncio.wait(late, timeout=CANCEL_GRACE)
                for task in abandoned:
                    log.error("cancelled actor did not end and was abandoned", actor=task.get_name())

    async def _keep(self, name: str, actor: Actor, stop: asyncio.Event) -> None:
        failures = 0
        ran_from = float("inf")

        def running() -> None:
            nonlocal ran_from
            ran_from = min(ran_from, _monotonic())
            if self.conditions[name].reason:
                log.info("recovered", actor=name)
            if self.conditions[name].state != "running":
                self.conditions[name] = Condition("running", clock.now())

        while not stop.is_set():
            try:
                await actor(running, stop)
                if not stop.is_set():
                    self._failed(name, RuntimeError("the actor returned before it was stopped"))
            except GeneratorExit:
                raise
            except BaseException as error:
                # A library may cancel whoever waits for it: only a cancellation that was requested ends an actor.
                if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                    raise
                self._failed(name, error)
            if _monotonic() - ran_from >= MIN_UPTIME:
                failures = 0
            ran_from = float("inf")
            await _pause(stop, RESTART_DELAYS[min(failures, len(RESTART_DELAYS) - 1)])
            failures += 1

    def _ended(self, name: str) -> None:
        self.conditions[name] = Condition("stopped", clock.now())
        if not self._stops[name].is_set():
            log.error("actor ended before it was stopped", actor=name)

    def _failed(self, name: str, error: BaseException) -> None:
        """Note a failure, and log it unless the previous one had the same reason."""
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
        reason = str(error) if isinstance(error, NotifierError) else text
        before = self.conditions[name]
        if before.reason == reason:
            return
        self.conditions[name] = Condition(
            "waiting" if isinstance(error, Unreachable) else "restarting",
            clock.now() if before.reason is None else before.since,
            reason,
        )
        if isinstance(error, NotifierError):
            log.warning("cannot go on, will try again", actor=name, reason=reason)
        else:
            log.error("failed, will be restarted", actor=name, reason=reason, trace=traceback.format_exc())


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    if not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
