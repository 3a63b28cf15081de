"""Programs other than Python that tests need: found, or installed if that needs no confirmation."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Prevent parallel test processes from installing packages at the same time: apt-get allows only one."""
    with (Path(tempfile.gettempdir()) / "notifier-tests-install.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def provided(program: str, package: str) -> str:
    """Find a program, or install its Debian package as root.

    If neither is possible, the test is skipped (in CI it fails) with the name of the package.
    """
    installed(program, package)
    return needed(program, package)


def installed(program: str, package: str) -> str | None:
    """Find a program, or install its Debian package as root; return None if neither is possible."""
    if found := shutil.which(program):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        with one_at_a_time():
            if not shutil.which(program):
                _install(package)
    return shutil.which(program)


def _install(package: str) -> None:
    print(f"installing the package {package} with apt-get")  # noqa: T201 - it takes a while
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
        subprocess.run(command, check=False, capture_output=True, env=quiet)  # noqa: S603 - fixed commands


def needed(tool: str, package: str) -> str:
    """Find a tool without which a test cannot run."""
    found = shutil.which(tool)
    if not found:
        missing(f"{tool} is not installed: apt-get install {package}")
    return str(found)


def missing(what: str) -> None:
    """Skip a test and name what this machine lacks; in CI this is a failure."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
