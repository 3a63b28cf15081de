"""The lock that lets only one process use a database file."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from notifier.errors import StoreUnusable


class FileLock:
    """A locked database file; the lock ends with `release`, or with the process, however it ends."""

    def __init__(self, path: Path, descriptors: Sequence[int]) -> None:
        self.path = path
        """The file itself, wherever symbolic links lead."""
        self._descriptors = descriptors

    def release(self) -> None:
        """Let another process lock the file."""
        for descriptor in self._descriptors:
            os.close(descriptor)


def lock_file(path: Path) -> FileLock:
    """Lock a database file for this process, and create it if it does not exist.

    A symbolic link leads to the same lock file and write-ahead log as the file itself. Another hard link has others, so
    the database is locked as well: with flock, which SQLite does not use.

    Raises StoreUnusable if another process uses the file, or if it cannot be opened for writing.
    """
    path = path.resolve()
    descriptors: list[int] = []
    lock = FileLock(path, descriptors)
    try:
        for each in (Path(f"{path}.lock"), path):
            descriptors.append(_opened(each))
            fcntl.flock(descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.release()
        raise StoreUnusable(
            f"{path}: another notifier is using this database; stop it first, because only one process can use a file"
        ) from None
    except StoreUnusable:
        lock.release()
        raise
    return lock


def _opened(path: Path) -> int:
    # SQLite keeps the mode of an existing file; one that it creates would let everyone read the addresses.
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnusable(f"{path}: cannot be opened for writing: {error.strerror}") from error
