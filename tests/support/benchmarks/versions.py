"""The versions of notifier that a benchmark compares: this checkout, and another commit or clone."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from support.places import ROOT

from notifier.errors import NotifierError


class Version(NamedTuple):
    """A source tree, and what the table calls it."""

    name: str
    root: Path


THIS = Version("this", ROOT)


@contextmanager
def checked_out(what: str, repository: Path = ROOT) -> Iterator[Version]:
    """Yield the version in a folder, or check out a commit in a temporary folder and yield it.

    Raises NotifierError if `what` is neither.
    """
    if (Path(what) / "notifier").is_dir():
        yield Version(Path(what).resolve().name, Path(what).resolve())
        return
    git = partial(_git, repository)
    with TemporaryDirectory(prefix="notifier-bench-version-") as folder:
        root = Path(folder) / "tree"
        git("worktree", "add", "--detach", str(root), what)
        try:
            yield Version(git("rev-parse", "--short", f"{what}^{{commit}}"), root)
        finally:
            git("worktree", "remove", "--force", str(root))


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, text=True, check=False)  # noqa: S603, S607 - fixed words
    if done.returncode:
        raise NotifierError(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()
