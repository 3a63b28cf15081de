"""The wall clock is set forward or back while mails go; the monotonic one runs on, as it does in life."""

import struct
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from faults.conftest import needed
from faults.load import booking
from faults.scene import Scene
from parts import wait_event

from notifier.client import FeedClient

pytestmark = pytest.mark.faults

SOURCE = Path(__file__).with_name("wall_clock.c")
RATE = 20
EVERY_SECOND = "* * * * * *"
DAY = timedelta(days=1)


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


@pytest.mark.parametrize("ahead", [DAY, -DAY], ids=["a day forward", "a day back"])
async def test_a_jump_under_load(scene: Scene, clock: Clock, ahead: timedelta) -> None:
    """Mail goes on at its rate: no burst, no mail that waits for hours, none lost and none twice."""
    async with scene.service(SEND_RATE=str(RATE)) as victim:
        async with scene.load.flowing(rate=30):
            await scene.sink.wait_accepted(40)
            clock.set(ahead)
            await scene.sink.wait_accepted(len(scene.sink.accepted) + 60)
        await scene.end(victim)
    assert scene.sink.busiest() <= RATE * 1.5


async def test_a_refused_mail_is_tried_again_after_a_jump_forward(scene: Scene, clock: Clock) -> None:
    """Its next attempt is due at once, and comes with the next tick."""
    await scene.sink.tell(phase="RCPT", act="reply", reply="451 4.3.0 come back later")
    async with scene.service(SEND_CRON=EVERY_SECOND, RETRY_DELAYS="12h") as victim:
        async with FeedClient.connect(victim.feed, snapshot=0) as client:
            await scene.load.publish(scene.rabbit.channel, *booking(0))
            await wait_event(client, "mail.retrying")
        clock.set(DAY)
        await scene.sink.wait_accepted(1)
        await scene.end(victim)


@pytest.mark.parametrize(("hours", "end"), [(46, "mail.sent"), (49, "mail.expired")])
async def test_reminders_follow_the_clock(scene: Scene, clock: Clock, hours: float, end: str) -> None:
    """A flight leaves in 48 hours: a jump into its last two sends the reminder, a jump past it expires that."""
    async with scene.service(SEND_CRON=EVERY_SECOND) as victim:
        async with FeedClient.connect(victim.feed, snapshot=0) as client:
            await scene.load.publish(scene.rabbit.channel, *booking(0))
            await wait_event(client, "mail.sent", kind="booking.confirmation")
            clock.set(timedelta(hours=hours))
            await wait_event(client, end, kind="flight.reminder")
        await scene.end(victim)
