"""Only one process can use a database file."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.stores import opened

from notifier.errors import StoreUnusable
from notifier.storage.sqlite.file_lock import lock_file
from notifier.storage.sqlite.store import SqliteStore


async def test_a_second_process_cannot_open_the_file(tmp_path: Path) -> None:
    """A second process gets an error in one line, and can open the file once the first one has closed it."""
    first = await SqliteStore.open(tmp_path / "n.db")
    with pytest.raises(StoreUnusable, match="another notifier is using this database"):
        await SqliteStore.open(tmp_path / "n.db")
    await first.close()
    await (await SqliteStore.open(tmp_path / "n.db")).close()


@pytest.mark.parametrize("other", ["link.db", "folder/n.db", "hard.db"])
async def test_a_second_process_cannot_open_the_file_by_another_name(tmp_path: Path, other: str) -> None:
    """Symbolic and hard links to the file, and a link to its folder, are the same database."""
    (tmp_path / "real").mkdir()
    path = tmp_path / "real" / "n.db"
    async with opened(path):
        (tmp_path / "link.db").symlink_to(path)
        (tmp_path / "folder").symlink_to(path.parent, target_is_directory=True)
        (tmp_path / "hard.db").hardlink_to(path)
        with pytest.raises(StoreUnusable, match="another notifier is using this database"):
            await (await SqliteStore.open(tmp_path / other)).close()
    await (await SqliteStore.open(tmp_path / "link.db")).close()
    assert not (tmp_path / "link.db.lock").exists()


def test_another_process_cannot_lock_the_file(tmp_path: Path) -> None:
    """A lock is exclusive between processes, and ends when its process is killed."""
    path = tmp_path / "n.db"
    script = "import sys, pathlib; from notifier.storage.sqlite.file_lock import lock_file; lock = lock_file("
    script += "pathlib.Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    command = (sys.executable, "-c", script, str(path))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # noqa: S603 - our own
        assert other.stdout
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(StoreUnusable, match="another notifier is using this database"):
            lock_file(path)
        other.kill()
    lock_file(path).release()


def test_a_file_that_cannot_be_opened_leaves_no_lock(tmp_path: Path) -> None:
    """The error names the file and the reason, and the lock file can be locked again."""
    path = tmp_path / "n.db"
    path.mkdir()
    with pytest.raises(StoreUnusable, match=r"n\.db: cannot be opened for writing: Is a directory"):
        lock_file(path)
    path.rmdir()
    lock_file(path).release()
