"""Programs of this folder that run as processes of their own, so that their work is not that of what is measured.

Each prints one line of JSON when it is ready, and then one for each line that it reads. It ends when its input ends.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psutil
from support.places import ROOT

PATIENCE = 600.0
"""Seconds after which a program that does not answer counts as stuck."""
_LINE_LIMIT = 1 << 28


class Child:
    """A running program. `ready` is its first line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.ready: dict[str, Any] = {}
        self.process = process

    def cpu(self) -> float:
        """Return the seconds of processor time that it has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    async def ask(self, line: str) -> dict[str, Any]:
        """Send a line and return the answer."""
        self.tell(line)
        return await self.answer()

    def tell(self, line: str) -> None:
        """Send a line without waiting for an answer."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())

    async def answer(self) -> dict[str, Any]:
        """Wait for the next line. Raises RuntimeError if the program has ended, and TimeoutError after PATIENCE."""
        assert self.process.stdout
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError("a program of the benchmark has ended")
        found: dict[str, Any] = json.loads(line)
        return found


@asynccontextmanager
async def child(program: str, *words: str) -> AsyncIterator[Child]:
    """Run a program of this folder until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"support.benchmarks.{program}", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"},
        cwd=ROOT,
    )
    try:
        running = Child(process)
        running.ready = await running.answer()
        yield running
    finally:
        with suppress(ProcessLookupError):  # it has ended, and the event loop does not know yet
            process.kill()
        await process.wait()


def say(answer: object) -> None:
    """Print one line of JSON; for the programs themselves."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def commands() -> AsyncIterator[str]:
    """Yield the lines of standard input until it ends; for the programs themselves."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()
