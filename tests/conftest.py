"""Real parts for every test, and the proof that each test leaves nothing behind."""

import asyncio
import inspect
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
import structlog
import uvloop
from support.described import check_frame
from support.privacy import leaks
from support.provided import one_at_a_time
from support.rabbit import Rabbit
from websockets.asyncio.client import ClientConnection

from notifier.demo.broker import find_broker
from notifier.demo.inbox import Inbox
from notifier.settings import Settings, load

# Machines are shared: how long an example takes says nothing.
hypothesis.settings.register_profile("notifier", deadline=None)
hypothesis.settings.load_profile("notifier")
# A wrong change need only be noticed: to look for its smallest example would take most of the time.
hypothesis.settings.register_profile(
    "mutation",
    deadline=None,
    database=None,
    derandomize=True,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)


LOOPS_OWN = ("asyncio_", "uvloop_")
"""Names of the threads that a loop keeps for to_thread(), and ends itself."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switches for what takes minutes."""
    parser.addoption("--faults", action="store_true", help="run the long cases of the fault suite too (minutes)")
    parser.addoption("--image", action="store_true", help="build the image and run it (minutes, as root on Debian)")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:  # noqa: ARG001 - the hook's signature
    """Run the tests on the loop that the service runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch the tasks of every test that has a loop."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "no_task_left")


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task running."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a thread running."""
    before = set(threading.enumerate())
    yield
    left = [
        thread for thread in threading.enumerate() if thread not in before and not thread.name.startswith(LOOPS_OWN)
    ]
    for thread in left:
        thread.join(timeout=5)
    assert not [thread for thread in left if thread.is_alive()]


@pytest.fixture(autouse=True, scope="session")
def no_process_left() -> Iterator[None]:
    """Fail a session that leaves a process running; first to begin, it ends last."""
    yield
    assert not psutil.Process().children(recursive=True)


@pytest.fixture(autouse=True)
def logged_lines() -> Iterator[list[Any]]:
    """Collect what is logged, which must hold no secret and no address."""
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as entries:
        yield entries
    assert not leaks(entries)


@pytest.fixture(autouse=True)
def every_frame_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail whoever receives a frame of the feed that is not as the AsyncAPI document says."""
    receive = ClientConnection.recv

    async def checked(self: ClientConnection, decode: bool | None = None) -> Any:  # noqa: FBT001 - the library's signature
        frame = await receive(self, decode)
        check_frame(frame)
        return frame

    monkeypatch.setattr(ClientConnection, "recv", checked)


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """Give a RabbitMQ broker for the whole session; where none can be had, the tests fail and say how to get one."""
    with ExitStack() as stack:
        with one_at_a_time():
            url = stack.enter_context(find_broker(os.environ, print))
        yield url


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    """Give an SMTP server that accepts everything."""
    async with Inbox(keep_bodies=True) as inbox:
        yield inbox


@pytest.fixture
def environ(tmp_path: Path, inbox: Inbox) -> dict[str, str]:
    """Give the variables of a service without a broker, that sends to the inbox as fast as it can."""
    return {
        "NOTIFIER_DATABASE_URL": f"sqlite:///{tmp_path / 'notifier.db'}",
        "NOTIFIER_SMTP_URL": inbox.url,
        "NOTIFIER_MAIL_FROM": "Example Air <fly@example.org>",
        "NOTIFIER_SEND_RATE": "0",
        "NOTIFIER_PORT": "0",
    }


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    """Give the same as settings."""
    return load(environ)


@pytest.fixture
async def rabbit(broker_url: str) -> AsyncIterator[Rabbit]:
    """Give a connection to the broker with names of this test's own."""
    async with Rabbit.connected(broker_url) as rabbit:
        yield rabbit
