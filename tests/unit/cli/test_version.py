"""`notifier version` as a process."""

from support.cli import run

from notifier import __version__


def test_the_version_is_printed() -> None:
    """The version is printed on stdout, and nothing else."""
    assert run("version") == (0, f"{__version__}\n", "")
