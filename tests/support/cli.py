"""The `notifier` command as its users run it, and a service for it to connect to."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from support.parts import PATIENCE
from support.privacy import leaks

from notifier.demo.process import ServiceProcess, serving


def run(*args: str, environ: Mapping[str, str] | None = None, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run the command until it ends; return its exit code, stdout and stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "notifier", *args],
        env={**clean, **(environ or {})},
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def run_async(*args: str, environ: Mapping[str, str], stdin: bytes = b"") -> tuple[int, str, str]:
    """Run the command in a thread, so that the event loop continues; return the same."""
    return await asyncio.to_thread(run, *args, environ=environ, stdin=stdin)


@asynccontextmanager
async def service(environ: Mapping[str, str]) -> AsyncIterator[tuple[ServiceProcess, dict[str, str]]]:
    """Run the service as a process; yield it and the environment of its clients.

    At the end, its log must not contain an address or a secret.
    """
    async with serving(environ) as process:
        yield process, {"NOTIFIER_PORT": str(process.port)}
    assert not leaks(process.log)
