"""The disk is full or fails, or the file is not a valid database."""

import asyncio
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from support.faults.load import booking
from support.faults.scene import Scene
from support.faults.victim import Victim
from support.provided import missing, needed

pytestmark = pytest.mark.faults

BEFORE, DURING = 60, 30
"""Messages that arrive before the fault, and in each second while nothing can be written."""
LASTING = 3.0
"""Seconds that the fault continues after the service has detected it."""
CONNECTIONS = 4
SETTINGS = {"SEND_RATE": "40", "SMTP_CONNECTIONS": str(CONNECTIONS)}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small separate file system."""
    if os.geteuid() != 0:
        missing("only root may mount the small tmpfs that this test fills: run it as root")
    mount, umount = needed("mount", "mount"), needed("umount", "mount")
    folder.mkdir()
    command = [mount, "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:  # noqa: S603 - fixed command
        missing("this machine does not allow mounting a tmpfs: in a container, add CAP_SYS_ADMIN")
    try:
        yield folder
    finally:
        subprocess.run([umount, str(folder)], check=True)  # noqa: S603 - fixed command


def fill(ballast: Path) -> None:
    """Use up all free space of a disk."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


async def publish(scene: Scene, count: int) -> None:
    """Publish `count` bookings."""
    for number in range(len(scene.load.published), len(scene.load.published) + count):
        await scene.load.publish(scene.rabbit.channel, *booking(number))


async def publish_until_refused(scene: Scene, victim: Victim) -> None:
    """Publish until the service cannot store any more: its files may still have room for a few messages."""
    refused = asyncio.create_task(
        victim.wait_line(lambda line: line.get("actor") == "consumer" and "reason" in line), name="refused"
    )
    while not refused.done():
        await publish(scene, DURING)
        await asyncio.wait({refused}, timeout=1)
    await refused


async def outlast(scene: Scene, victim: Victim, fail: Callable[[], None], repair: Callable[[], None]) -> None:
    """Make the store fail under load and repair it: meanwhile no mail is started and nothing is acknowledged."""
    await publish(scene, BEFORE)
    await scene.sink.wait_accepted(5)
    fail()
    try:
        await publish_until_refused(scene, victim)
        stopped_at = len(scene.sink.accepted)
        await asyncio.sleep(LASTING)
        begun = len(scene.sink.accepted) - stopped_at
        assert begun <= CONNECTIONS, f"{begun} mails while nothing could be recorded: {victim.lines[-5:]}"
    finally:
        repair()
    await scene.end(victim)
    assert not scene.sink.unanswered


async def test_a_full_disk(scene: Scene) -> None:
    """Sending stops before recording does.

    Both resume automatically when there is space again; nothing is lost or repeated.
    """
    with small_disk(scene.folder / "disk") as disk:
        scene.move(disk / "notifier.db")
        ballast = disk / "ballast"
        async with scene.service(**SETTINGS) as victim:
            await outlast(scene, victim, lambda: fill(ballast), ballast.unlink)


async def test_a_disk_that_fails(scene: Scene) -> None:
    """The same if every write to a file fails."""
    async with scene.service(**SETTINGS) as victim:
        _, hard = resource.prlimit(victim.pid, resource.RLIMIT_FSIZE)

        def limit(size: int) -> None:
            resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (size, hard))

        # Not the present size of the log: SQLite restarts the log after a checkpoint, and could then write to it.
        await outlast(scene, victim, lambda: limit(0), lambda: limit(hard))


async def test_a_locked_database(scene: Scene) -> None:
    """The same while another process holds the write lock of the file for longer than any timeout."""
    with closing(sqlite3.connect(scene.database, isolation_level=None)) as other:

        def say(sql: str) -> None:
            other.execute(sql).close()

        async with scene.service(**SETTINGS) as victim:
            await outlast(scene, victim, lambda: say("BEGIN EXCLUSIVE"), lambda: say("ROLLBACK"))


@pytest.mark.parametrize("damage", ["no database", "a damaged page"])
async def test_a_corrupt_database(scene: Scene, damage: str) -> None:
    """The service does not start, exits with 3, names the file, and leaves the file unchanged."""
    async with scene.service() as victim:
        await publish(scene, BEFORE)
        await scene.end(victim)
    whole = scene.database.read_bytes()
    broken = b"no database at all\n" * 500 if damage == "no database" else whole[:100] + bytes(4096) + whole[4196:]
    scene.database.write_bytes(broken)
    victim = await Victim.started(scene.environ)
    assert await victim.ended() == 3, victim.lines
    assert str(scene.database) in str(victim.lines[-1])
    assert scene.database.read_bytes() == broken
