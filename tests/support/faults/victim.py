"""The service as a separate process, to which faults happen."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import psutil
from support.parts import PATIENCE
from support.privacy import leaks

from notifier.settings import FeedSettings

Line = dict[str, Any]

LAST = 40
"""Lines of the log that are shown if a test fails."""

FEED = re.compile(r"http://127\.0\.0\.1:(\d+)")


class Victim:
    """A running `notifier serve`, optionally under a tool; `lines` is its parsed log, `raw` the bytes of the log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.lines: list[Line] = []
        self.raw: list[bytes] = []
        self.feed = FeedSettings.model_validate({"NOTIFIER_PORT": 0})
        self._process = process
        self._silent = False
        self._grown = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(), name="service log")

    @classmethod
    @asynccontextmanager
    async def running(cls, environ: Mapping[str, str], *tool: str) -> AsyncIterator[Self]:
        """Start the service; it is killed if it still runs when the block ends."""
        victim = await cls.started(environ, *tool)
        try:
            line = await victim.wait_line(lambda line: FEED.search(str(line)))
            (port,) = FEED.findall(str(line))
            victim.feed = FeedSettings.model_validate({"NOTIFIER_PORT": port})
            yield victim
        finally:
            await victim.kill()

    @classmethod
    async def started(cls, environ: Mapping[str, str], *tool: str) -> Self:
        """Start the service without waiting; the caller must await its end."""
        return cls(
            await asyncio.create_subprocess_exec(
                *(*tool, sys.executable, "-m", "notifier", "serve"),
                env={**os.environ, "NOTIFIER_LOG_FORMAT": "json", **environ},
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    @property
    def pid(self) -> int:
        """The process id of the service itself, which a tool may have started as its child."""
        children = psutil.Process(self._process.pid).children()
        return children[0].pid if children else self._process.pid

    async def wait_line(self, wanted: Callable[[Line], Any], patience: float = PATIENCE) -> Line:
        """Wait for a line of the log, which may already be there."""
        found: list[Line] = []

        def there() -> bool:
            found[:] = [line for line in self.lines if wanted(line)]
            return bool(found) or self._silent

        async with asyncio.timeout(patience), self._grown:
            await self._grown.wait_for(there)
        assert found, f"the service ended without such a line: {self.lines[-5:]}"
        return found[0]

    async def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        with suppress(ProcessLookupError, psutil.NoSuchProcess):  # a fault may already have ended it
            os.kill(self.pid, signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """Kill the service if it still runs."""
        if self._process.returncode is None:
            os.kill(self.pid, signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int:
        """Wait for the end of the service and return its exit code."""
        async with asyncio.timeout(PATIENCE):
            code = await self._process.wait()
            await self._reading
        print(f"the service ended with {code}; its log:", *self.lines[-LAST:], sep="\n")  # noqa: T201 - pytest shows it with a failure
        assert not (found := leaks(self.raw)), found
        return code

    async def _read(self) -> None:
        stderr = self._process.stderr
        try:
            while stderr and (line := await stderr.readline()):
                text = line.decode(errors="replace").rstrip()
                async with self._grown:
                    self.raw.append(line)
                    self.lines.append(json.loads(text) if text.startswith("{") else {"event": text})
                    self._grown.notify_all()
        finally:
            async with self._grown:
                self._silent = True
                self._grown.notify_all()
