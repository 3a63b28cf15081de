"""Programs that tests need beside Python: found, or installed where that can be done without asking."""

import os
import shutil
import subprocess

from faults.conftest import needed


def provided(program: str, package: str) -> str:
    """Find a program, or install its Debian package as root; else the test is skipped (in CI: fails) and says how."""
    installed(program, package)
    return needed(program, package)


def installed(program: str, package: str) -> str | None:
    """Find a program, or install its Debian package as root; None where neither can be done."""
    if not shutil.which(program) and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing the package {package} with apt-get")  # noqa: T201 - it takes a while
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
            subprocess.run(command, check=False, capture_output=True, env=quiet)  # noqa: S603 - fixed commands
    return shutil.which(program)
