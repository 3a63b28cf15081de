"""The service as a process of its own, for faults to happen to."""

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
"""Lines of the log that are shown where a test fails."""

FEED = re.compile(r"http://127\.0\.0\.1:(\d+)")


class Victim:
    """A running `notifier serve`, perhaps under a tool that runs it; `lines` is its log, `raw` that as it came."""

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
        """Start the service and wait for nothing; whoever does must await its end."""
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
        """Give the service's own process, which a tool may have started as its child."""
        children = psutil.Process(self._process.pid).children()
        return children[0].pid if children else self._process.pid

    async def wait_line(self, wanted: Callable[[Line], Any], patience: float = PATIENCE) -> Line:
        """Wait for a line of the log, which may be there already."""
        found: list[Line] = []

        def there() -> bool:
            found[:] = [line for line in self.lines if wanted(line)]
            return bool(found) or self._silent

        async with asyncio.timeout(patience), self._grown:
            await self._grown.wait_for(there)
        assert found, f"the service ended without it: {self.lines[-5:]}"
        return found[0]

    async def terminate(self) -> int:
        """Ask it to end, as an init system would, and give its exit code."""
        with suppress(ProcessLookupError, psutil.NoSuchProcess):  # a fault may just have ended it
            os.kill(self.pid, signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """End it at once, if it still runs."""
        if self._process.returncode is None:
            os.kill(self.pid, signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int:
        """Wait for its end, and give its exit code."""
        async with asyncio.timeout(PATIENCE):
            code = await self._process.wait()
            await self._reading
        print(f"the service ended with {code}; its log:", *self.lines[-LAST:], sep="\n")  # noqa: T201 - pytest shows it beside a failure
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
