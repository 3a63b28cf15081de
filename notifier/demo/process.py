"""The service as a process, as a user runs it."""

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from notifier.errors import NotifierError

START_TIMEOUT = 30.0  # seconds
STOP_TIMEOUT = 60.0  # seconds


@dataclass
class ServiceProcess:
    """A running `notifier serve`. `url` is the address of its feed, `log` the last lines of its stderr."""

    process: asyncio.subprocess.Process
    url: str = ""
    log: deque[str] = field(default_factory=lambda: deque(maxlen=200))

    @property
    def port(self) -> int:
        """The port of the feed."""
        return int(self.url.rpartition(":")[2])

    async def stop(self) -> int:
        """Send SIGTERM and return the exit code. Raises TimeoutError if the service does not end in STOP_TIMEOUT."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(STOP_TIMEOUT):
            return await self.process.wait()


@asynccontextmanager
async def serving(environ: Mapping[str, str]) -> AsyncIterator[ServiceProcess]:
    """Run the service with these settings until the block ends, and kill it then if it has not been stopped.

    Raises NotifierError with the end of its log if it does not start.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "notifier", "serve"),
        env={**os.environ, **environ, "NOTIFIER_LOG_FORMAT": "json"},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        # Ctrl-C in a terminal reaches all processes of the group; with `stop()` the service would get two signals.
        start_new_session=True,
    )
    service = ServiceProcess(process)
    started = asyncio.Event()
    reading = asyncio.create_task(_read_log(service, started), name="service log")
    try:
        async with asyncio.timeout(START_TIMEOUT):
            await started.wait()
        if not service.url:
            raise NotifierError("the service did not start:\n" + "\n".join(service.log))
        yield service
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def _read_log(service: ServiceProcess, started: asyncio.Event) -> None:
    stderr = service.process.stderr
    while stderr and (line := await stderr.readline()):
        text = line.decode(errors="replace").rstrip()
        service.log.append(text)
        if not service.url and text.startswith("{"):
            service.url = json.loads(text).get("feed", "")
        if service.url:
            started.set()
    started.set()
