"""Runs tests repeatedly, each time in a fork of a process that has already imported the libraries.

Commands arrive as lines of JSON: `tests` (pytest's arguments), `limit` in seconds, and `output`, a file. Each is
answered by a line with pytest's exit code, or null if the tests did not end in time. Nothing of the package or of the
tests is imported here, so every fork reads their current files.
"""

import importlib
import json
import os
import resource
import select
import signal
import sys
from contextlib import suppress

STEADY = (
    "aiocron",
    "aiormq",
    "aiosmtpd.smtp",
    "aiosmtplib",
    "aiosqlite",
    "airportsdata",
    "dns.resolver",
    "email_validator",
    "hypothesis",
    "icalendar",
    "jinja2.sandbox",
    "jsonschema_rs",
    "libcst",
    "msgspec",
    "prometheus_client.parser",
    "psutil",
    "pydantic",
    "pytest",
    "pytest_asyncio",
    "rich.live",
    "structlog",
    "trustme",
    "typer",
    "uvloop",
    "websockets.asyncio.client",
    "websockets.asyncio.server",
    "yaml",
)
MEMORY = 4 << 30
"""Bytes of address space that tests may use: a change can make a list grow without end."""
GRACE = 20.0
"""Seconds that interrupted tests have to stop their processes."""


def main() -> None:
    """Execute commands until the input ends."""
    for name in STEADY:
        importlib.import_module(name)
    print(json.dumps("ready"), flush=True)  # noqa: T201 - the answer
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _test(command["tests"], command["output"])
        print(json.dumps(_wait(pid, command["limit"])), flush=True)  # noqa: T201 - the answer


def _test(tests: list[str], output: str) -> None:
    """Run tests in the fork, which ends with pytest's exit code."""
    code = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(file, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = int(sys.modules["pytest"].main(["-x", "-q", "--color=no", *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def _wait(pid: int, limit: float) -> int | None:
    """Wait for a fork, at most `limit` seconds; then kill all processes that it has left."""
    end = os.pidfd_open(pid)
    in_time = bool(select.select([end], [], [], limit)[0])
    if not in_time:
        os.kill(pid, signal.SIGINT)
        select.select([end], [], [], GRACE)
    os.close(end)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if in_time else None


if __name__ == "__main__":
    main()
