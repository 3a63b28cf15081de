"""The machine that a benchmark runs on, in one line: without it the figures mean little."""

import os
import platform
import sqlite3
from pathlib import Path

import psutil


def describe(folder: Path) -> str:
    """Return cores, processor, load, and what the databases are written to."""
    return (
        f"{os.cpu_count()} cores ({_processor()}), load average {os.getloadavg()[0]:.1f} at the start, databases on "
        f"{file_system(folder)}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on. On `tmpfs` nothing is ever written to a disk."""
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    found = next((mounts[parent] for parent in (folder.resolve(), *folder.resolve().parents) if parent in mounts), "")
    return found or "an unknown file system"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
