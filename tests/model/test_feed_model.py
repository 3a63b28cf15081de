"""Whatever happens to the feed, at the end a client's view is the store's: random schedules, for both clients."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from support.browser import browser
from support.model.stage import OUTCOMES, Stage
from support.model.watchers import QUICK, PageWatcher, PythonWatcher, Watcher

from notifier.actors import broadcaster
from notifier.feed import client, outbox, session

PATIENCE = 5.0
"""Seconds without any change after which a view is considered final."""
STEPS = 20
FEW = st.integers(1, 4)
FLOOD = 250
"""Mails that are more than a client that does not read can have in its buffers."""

FILTERS = st.sampled_from(
    [
        {},
        {"status": ["pending"]},
        {"status": "sent"},
        {"status": ["failed", "cancelled"]},
        {"status": ["pending", "sending"]},
        {"kind": ["notification"]},
        {"booking": ["B1", "B2"], "status": ["pending", "sending", "sent"]},
        {"since": "2020-01-01T00:00:00Z"},
    ]
)

_T = TypeVar("_T")


class FeedMachine(RuleBasedStateMachine):
    """One schedule. The loop does not run between two steps, so the steps alone determine a schedule."""

    def __init__(self, runner: asyncio.Runner, watcher: Watcher) -> None:
        super().__init__()
        self.runner = runner
        self.watcher = watcher
        self.folder = Path(tempfile.mkdtemp(prefix="notifier-model-"))
        self.stage = Stage(self.folder)
        self.wanted: dict[str, Any] = {}
        self.is_flooded = False

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Let the loop run while this takes."""
        return self.runner.run(work)

    @initialize(wanted=FILTERS, before=st.integers(1, 4))
    def begin(self, wanted: dict[str, Any], before: int) -> None:
        """Serve a store that is not always empty."""
        self.wanted = wanted
        self.run(self._begin(before))

    async def _begin(self, before: int) -> None:
        await self.stage.open()
        await self.stage.serve()
        await self.stage.publish(before)
        await self.watcher.open(self.stage, self.wanted)

    @rule(requests=FEW, bookings=st.integers(0, 2))
    def publish(self, requests: int, bookings: int) -> None:
        """Messages come in."""
        self.run(self.stage.publish(requests, bookings))

    @rule(most=FEW)
    def claim(self, most: int) -> None:
        """Mails are being handed over."""
        self.run(self.stage.claim(most))

    @rule(outcome=st.sampled_from(sorted(OUTCOMES)), most=FEW)
    def end_attempts(self, outcome: str, most: int) -> None:
        """Attempts end, each way."""
        self.run(self.stage.end(outcome, most))

    @rule(most=FEW)
    def cancel(self, most: int) -> None:
        """Waiting mails are withdrawn."""
        self.run(self.stage.cancel(most))

    @rule(most=FEW)
    def retry(self, most: int) -> None:
        """Failed mails get another chance."""
        self.run(self.stage.retry(most))

    @rule()
    def purge(self) -> None:
        """What has finished is forgotten, log and all."""
        self.run(self.stage.purge())

    @rule()
    def beat(self) -> None:
        """Nothing has happened for a while."""
        self.run(self._beat())

    async def _beat(self) -> None:
        self.stage.beat()

    @rule(code=st.sampled_from([None, 1011, 4508]))
    def cut(self, code: int | None) -> None:
        """The connection is lost, or taken from a client that reads too slowly."""
        self.run(self.stage.cut(code))

    @rule(meanwhile=st.integers(0, 2), lost=st.sampled_from(["nothing", "nothing", "what was sent", "everything"]))
    def restart(self, meanwhile: int, lost: str) -> None:
        """The service ends and comes back, with what it does before it listens, perhaps without some of its data."""
        self.run(self._restart(meanwhile, lost))

    async def _restart(self, meanwhile: int, lost: str) -> None:
        await self.stage.close()
        if lost == "everything":
            self.stage.forget_store()
        await self.stage.open()
        if lost == "what was sent":
            await self.stage.send_and_purge(2)
        await self.stage.publish(meanwhile)
        await self.stage.serve()

    @rule(wanted=FILTERS)
    def refilter(self, wanted: dict[str, Any]) -> None:
        """The client wants to see other mails."""
        self.wanted = wanted
        self.run(self.watcher.refilter(wanted))

    @rule()
    def stop_reading(self) -> None:
        """The client reads nothing for a while."""
        self.run(self._read(on=False))

    @rule()
    def go_on_reading(self) -> None:
        """The client reads again."""
        self.run(self._read(on=True))

    async def _read(self, *, on: bool) -> None:
        self.watcher.read(on=on)

    @precondition(lambda self: not self.is_flooded)
    @rule()
    def fall_behind(self) -> None:
        """More events happen than fit into the buffers of a client that does not read, so it is closed."""
        self.is_flooded = True
        self.run(self._fall_behind())

    async def _fall_behind(self) -> None:
        self.watcher.read(on=False)
        await self.stage.publish(FLOOD)
        await asyncio.sleep(0.03)

    @rule(seconds=st.sampled_from([0.0, 0.005, 0.03]))
    def pass_time(self, seconds: float) -> None:
        """What is under way goes on."""
        self.run(asyncio.sleep(seconds))

    @rule()
    def compare(self) -> None:
        """After all events have arrived, the client's view is the store's."""
        self.run(self._compare())

    async def _compare(self) -> None:
        self.watcher.read(on=True)
        wanted, every = await self.stage.view(self.wanted), await self.stage.view({})
        view = await self.watcher.view()
        loop = asyncio.get_running_loop()
        changed_at = loop.time()
        # A client may keep what the store has forgotten meanwhile: nobody tells it. What it missed, it may not.
        known = every.keys() | self.stage.gone
        while {id_: mail for id_, mail in view.items() if id_ in known} != wanted:
            assert loop.time() - changed_at < PATIENCE, f"client {view}\nstore {wanted}"
            await asyncio.sleep(0.002)
            before, view = view, await self.watcher.view()
            if view != before:
                changed_at = loop.time()
        assert set(view) <= self.stage.ever
        # A cursor got under another filter is not even tried.
        assert set(await self.watcher.refusals()) <= {"none", "expired", "restarted"}

    def teardown(self) -> None:
        """Compare once more, and leave nothing behind."""
        try:
            if self.stage.feed.port:
                self.run(self._end())
        finally:
            shutil.rmtree(self.folder)

    async def _end(self) -> None:
        try:
            await self._compare()
        finally:
            await self.watcher.close()
            await self.stage.close()


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Runner]:
    """Provide one loop for all schedules of a test, and a feed that never waits."""
    monkeypatch.setattr(broadcaster, "BATCH_WINDOW", 0.001)
    monkeypatch.setattr(client, "BACK_OFF", QUICK)
    monkeypatch.setattr(session, "RECONNECT_AFTER", 20)
    monkeypatch.setattr(outbox, "MAX_EVENTS_BEHIND", 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


def schedules(config: pytest.Config, few: int) -> settings:
    """Return the number of schedules: a few, or with --faults 2,000."""
    return settings(
        max_examples=2000 if config.getoption("--faults") else few,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def test_the_clients_view_is_the_stores(runner: asyncio.Runner, pytestconfig: pytest.Config) -> None:
    """The package's client, over random schedules."""
    check(lambda: FeedMachine(runner, runner.run(_made())), schedules(pytestconfig, 40))


async def _made() -> Watcher:
    return PythonWatcher()


def test_the_pages_view_is_the_stores(runner: asyncio.Runner, pytestconfig: pytest.Config) -> None:
    """The page's client, over random schedules, in one browser."""
    stack = AsyncExitStack()

    async def opened() -> Watcher:
        return PageWatcher(await (await stack.enter_async_context(browser())).new_page())

    watcher = runner.run(opened())
    try:
        check(lambda: FeedMachine(runner, watcher), schedules(pytestconfig, 20))
    finally:
        runner.run(stack.aclose())


def check(make: Any, chosen: settings) -> None:
    """Run schedules of machines, each made anew."""
    run_state_machine_as_test(make, settings=chosen)
