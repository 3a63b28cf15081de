"""The service as a process of its own, as a user runs it: started, watched for its address, stopped by SIGTERM."""

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from notifier.errors import NotifierError

START_TIMEOUT = 30.0
STOP_TIMEOUT = 60.0


@dataclass
class ServiceProcess:
    """A running `notifier serve`."""

    process: asyncio.subprocess.Process
    url: str = ""
    log: deque[str] = field(default_factory=lambda: deque(maxlen=200))

    @property
    def port(self) -> int:
        """Where its feed listens."""
        return int(self.url.rpartition(":")[2])

    async def stop(self) -> int:
        """Ask it to end, as an init system would, and give its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(STOP_TIMEOUT):
            return await self.process.wait()


@asynccontextmanager
async def serving(environ: Mapping[str, str]) -> AsyncIterator[ServiceProcess]:
    """Run the service with these settings while the block lasts; NotifierError with its last words if it cannot."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "notifier", "serve"),
        env={**os.environ, **environ, "NOTIFIER_LOG_FORMAT": "json"},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        # A terminal's Ctrl-C goes to all processes of its group; with ours on top the service would get two signals.
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
