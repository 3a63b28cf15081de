"""The wall clock is set forward or back while mails go; the monotonic one runs on, as it does in life."""

import struct
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from faults.conftest import needed
from faults.scene import Scene

pytestmark = pytest.mark.faults

SOURCE = Path(__file__).with_name("wall_clock.c")
RATE = 20
A_DAY = timedelta(days=1)


class Clock:
    """The wall clock of one service, made of a library to preload and a file with what it is ahead."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.environ = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(file)}
        self.set(timedelta(0))

    def set(self, ahead: timedelta) -> None:
        """Set it so far ahead of this machine's (back, where that is negative)."""
        with self._file.open("r+b" if self._file.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("=q", int(ahead.total_seconds())))


@pytest.fixture(scope="module")
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


@pytest.mark.parametrize("ahead", [A_DAY, -A_DAY], ids=["a day forward", "a day back"])
async def test_a_jump_under_load(scene: Scene, clock: Clock, ahead: timedelta) -> None:
    """Mail goes on at its rate: no burst, no mail that waits for hours, none lost and none twice."""
    async with scene.service(SEND_RATE=str(RATE)) as victim:
        async with scene.load.flowing(rate=30):
            await scene.sink.wait_accepted(40)
            clock.set(ahead)
            await scene.sink.wait_accepted(len(scene.sink.accepted) + 60)
        await scene.end(victim)
    assert scene.sink.busiest() <= RATE * 1.5
