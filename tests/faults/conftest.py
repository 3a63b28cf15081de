"""Scenes for faults; `--faults` runs all of them, without it a short selection."""

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
    """Name the marker."""
    config.addinivalue_line("markers", "faults: a case of the full fault suite; runs with --faults")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long cases to those who ask for them."""
    if not config.getoption("--faults"):
        for item in items:
            if item.get_closest_marker("faults"):
                item.add_marker(pytest.mark.skip(reason="a case of the full fault suite: --faults runs it"))


@pytest.fixture
def chance() -> random.Random:
    """Give chance with a seed that is printed, and can be set by NOTIFIER_FAULT_SEED."""
    seed = os.environ.get("NOTIFIER_FAULT_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"NOTIFIER_FAULT_SEED={seed}")  # noqa: T201 - pytest shows it beside a failure
    return random.Random(seed)  # noqa: S311 - to be repeated, not to be secret


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[Sink]:
    """Give a ledger."""
    async with Sink.running(tmp_path / "journal", DOT_DELAY) as sink:
        yield sink


@pytest.fixture
async def scene(tmp_path: Path, sink: Sink, rabbit: Rabbit) -> Scene:
    """Give a scene on the session's broker, which is not to be hurt."""
    return await prepared(tmp_path, sink, rabbit)


@pytest.fixture
async def proxy(scene: Scene) -> AsyncIterator[Proxy]:
    """Give a proxy before the session's broker."""
    async with Proxy.to(URL(scene.rabbit.url).port or 5672) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def node() -> Iterator[PrivateNode]:
    """Give a broker that may be hurt."""
    if not SERVER.exists():
        missing("no RabbitMQ here that a test may kill: apt-get install rabbitmq-server")
    with PrivateNode() as node:
        yield node


@pytest.fixture
async def fragile(tmp_path: Path, sink: Sink, node: PrivateNode) -> AsyncIterator[Scene]:
    """Give a scene on a broker that may be hurt, a few seconds after its queue was declared."""
    await asyncio.to_thread(node.start)
    async with Rabbit.connected(node.url) as rabbit:
        scene = await prepared(tmp_path, sink, rabbit)
        # RabbitMQ 3.10 writes a new quorum queue's registration with a delay; who is killed before it forgets.
        await asyncio.sleep(4)
        yield scene


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library."""
    path = tmp_path_factory.mktemp("clock") / "wall_clock.so"
    compile_ = [needed("cc", "gcc"), "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(path), str(SOURCE)]
    subprocess.run(compile_, check=True)  # noqa: S603 - our own source
    return path


@pytest.fixture
def clock(scene: Scene, library: Path) -> Clock:
    """Give the clock of the scene's services."""
    clock = Clock(library, scene.folder / "clock")
    scene.environ |= clock.environ
    return clock
