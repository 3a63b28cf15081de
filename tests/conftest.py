"""Real servers for every test, and checks that each test leaves nothing behind."""

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
from support.scripted import offer_pipelining
from websockets.asyncio.client import ClientConnection

from notifier.demo.broker import find_broker
from notifier.demo.inbox import Inbox
from notifier.settings import Settings, load

# Test machines are shared, so the duration of an example means nothing.
hypothesis.settings.register_profile("notifier", deadline=None)
hypothesis.settings.load_profile("notifier")
# A wrong change must only be detected: shrinking its example would take most of the time.
hypothesis.settings.register_profile(
    "mutation",
    deadline=None,
    database=None,
    derandomize=True,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)


LOOPS_OWN = ("asyncio_", "uvloop_")
"""Prefixes of the threads that a loop keeps for to_thread(), and ends itself."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for tests that take minutes."""
    parser.addoption("--faults", action="store_true", help="run the long cases of the fault suite too (minutes)")
    parser.addoption("--image", action="store_true", help="build the image and run it (minutes, as root on Debian)")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:  # noqa: ARG001 - the hook's signature
    """Run the tests on the same kind of loop as the service."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check the tasks of every asynchronous test."""
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
    """Fail a session that leaves a process running; this fixture starts first and so ends last."""
    yield
    assert not psutil.Process().children(recursive=True)


@pytest.fixture(autouse=True)
def logged_lines() -> Iterator[list[Any]]:
    """Collect all log entries, which must contain no secret and no address."""
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as entries:
        yield entries
    assert not leaks(entries)


@pytest.fixture(autouse=True)
def every_frame_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that receives a frame of the feed that does not match the AsyncAPI document."""
    receive = ClientConnection.recv

    async def checked(self: ClientConnection, decode: bool | None = None) -> Any:  # noqa: FBT001 - the library's signature
        frame = await receive(self, decode)
        check_frame(frame)
        return frame

    monkeypatch.setattr(ClientConnection, "recv", checked)


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """Provide a RabbitMQ broker for the session; if that is impossible, the tests fail and name the remedy."""
    with ExitStack() as stack:
        with one_at_a_time():
            url = stack.enter_context(find_broker(os.environ, print))
        yield url


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    """Run an SMTP server that accepts everything."""
    async with Inbox(keep_bodies=True) as inbox:
        yield inbox


@pytest.fixture
def environ(tmp_path: Path, inbox: Inbox) -> dict[str, str]:
    """Return the variables of a service without a broker that sends to the inbox without a rate limit."""
    return {
        "NOTIFIER_DATABASE_URL": f"sqlite:///{tmp_path / 'notifier.db'}",
        "NOTIFIER_SMTP_URL": inbox.url,
        "NOTIFIER_MAIL_FROM": "Example Air <fly@example.org>",
        "NOTIFIER_SEND_RATE": "0",
        "NOTIFIER_PORT": "0",
    }


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    """Return the settings of the same service."""
    return load(environ)


@pytest.fixture
async def rabbit(broker_url: str) -> AsyncIterator[Rabbit]:
    """Connect to the broker with names of this test's own."""
    async with Rabbit.connected(broker_url) as rabbit:
        yield rabbit


@pytest.fixture(params=[False, True], ids=["one by one", "together"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test twice: with scripted SMTP servers that take one command at a time, and with ones that take several."""
    if request.param:
        offer_pipelining(monkeypatch)
    return bool(request.param)
