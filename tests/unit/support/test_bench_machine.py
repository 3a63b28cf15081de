"""How the benchmark describes the machine that it runs on."""

import os
from pathlib import Path

from support.benchmarks.machine import describe, file_system


def test_the_file_system_is_that_of_the_folder_itself() -> None:
    """A folder that does not exist yet is on that of its parents, and /proc is not on a disk."""
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/nothing/like/this")) == file_system(Path("/"))


def test_the_machine_is_one_line() -> None:
    """It has the number of cores and the file system, without which nobody can judge the figures."""
    line = describe(Path("/proc"))
    assert f"{os.cpu_count()} cores" in line
    assert "databases on proc" in line
    assert "\n" not in line
