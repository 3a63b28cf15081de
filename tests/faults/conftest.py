"""Fixtures of the fault tests. `--faults` runs all cases; without it only a short selection runs."""

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.faults.clocks import SOURCE, Clock
from support.faults.proxy import Proxy
from support.faults.scene import DOT_DELAY, Scene, prepared
from support.faults.sink import Sink
from support.provided import missing, needed
from support.rabbit import Rabbit
from yarl import URL

from notifier.demo.node import SERVER, PrivateNode


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "faults: a case of the full fault suite; runs with --faults")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the long cases unless `--faults` is set."""
    if not config.getoption("--faults"):
        for item in items:
            if item.get_closest_marker("faults"):
                item.add_marker(pytest.mark.skip(reason="a case of the full fault suite: --faults runs it"))


@pytest.fixture
def chance() -> random.Random:
    """Return a random generator. Its seed is printed and can be set with NOTIFIER_FAULT_SEED."""
    seed = os.environ.get("NOTIFIER_FAULT_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"NOTIFIER_FAULT_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return random.Random(seed)  # noqa: S311 - repeatable, not secret


@pytest.fixture
def extensions() -> tuple[str, ...]:
    """Return what the ledger offers in reply to EHLO; tests about SMTP run with PIPELINING and without it."""
    return ("PIPELINING",)


@pytest.fixture
async def sink(tmp_path: Path, extensions: tuple[str, ...]) -> AsyncIterator[Sink]:
    """Run the ledger, an SMTP server that records every phase."""
    async with Sink.running(tmp_path / "journal", DOT_DELAY, *extensions) as sink:
        yield sink


@pytest.fixture
async def scene(tmp_path: Path, sink: Sink, rabbit: Rabbit) -> Scene:
    """Return a scene on the broker of the session, which must not be damaged."""
    return await prepared(tmp_path, sink, rabbit)


@pytest.fixture
async def proxy(scene: Scene) -> AsyncIterator[Proxy]:
    """Run a proxy in front of the broker of the session."""
    async with Proxy.to(URL(scene.rabbit.url).port or 5672) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def node() -> Iterator[PrivateNode]:
    """Run a private broker that a test may damage."""
    if not SERVER.exists():
        missing("no RabbitMQ is installed that a test may kill: apt-get install rabbitmq-server")
    with PrivateNode() as node:
        yield node


@pytest.fixture
async def fragile(tmp_path: Path, sink: Sink, node: PrivateNode) -> AsyncIterator[Scene]:
    """Return a scene on a private broker that a test may damage, a few seconds after its queue was declared."""
    await asyncio.to_thread(node.start)
    async with Rabbit.connected(node.url) as rabbit:
        scene = await prepared(tmp_path, sink, rabbit)
        # RabbitMQ 3.10 stores a new quorum queue with a delay, and forgets it if it is killed before.
        await asyncio.sleep(4)
        yield scene


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library that shifts the wall clock."""
    path = tmp_path_factory.mktemp("clock") / "wall_clock.so"
    compile_ = [needed("cc", "gcc"), "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(path), str(SOURCE)]
    subprocess.run(compile_, check=True)  # noqa: S603 - our own source
    return path


@pytest.fixture
def clock(scene: Scene, library: Path) -> Clock:
    """Return the clock of the services in the scene."""
    clock = Clock(library, scene.folder / "clock")
    scene.environ |= clock.environ
    return clock
