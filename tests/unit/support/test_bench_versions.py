"""How the benchmark finds the version to compare with, in a repository of the test's own."""

import subprocess
from pathlib import Path

import pytest
from support.benchmarks.versions import checked_out

from notifier.errors import NotifierError


def _git(repository: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    done = subprocess.run(["git", "-C", repository, *who, *words], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository with two commits."""
    _git(tmp_path, "init", "-q")
    (tmp_path / "notifier").mkdir()
    for text in ("old", "new"):
        (tmp_path / "notifier" / "text").write_text(text)
        _git(tmp_path, "add", ".")
        _git(tmp_path, "commit", "-qm", text)
    return tmp_path


def test_a_commit_is_checked_out_beside_the_repository(repository: Path) -> None:
    """Its files are there until the block ends, and the repository stays as it was."""
    with checked_out("HEAD~1", repository) as version:
        assert (version.root / "notifier" / "text").read_text() == "old"
        assert _git(repository, "rev-parse", "HEAD~1").startswith(version.name)
        assert (repository / "notifier" / "text").read_text() == "new"
    assert not version.root.exists()
    assert len(_git(repository, "worktree", "list").splitlines()) == 1


def test_a_clone_is_used_where_it_is(repository: Path) -> None:
    """A folder with the package is a version as it is, changed files included."""
    with checked_out(str(repository)) as version:
        assert version.root == repository
    assert repository.exists()


def test_an_unknown_version_is_an_error(repository: Path) -> None:
    """The error says what git says."""
    with pytest.raises(NotifierError, match="git worktree failed"), checked_out("nothing-like-this", repository):
        pass
