"""The service as a process: how it is stopped, and what is known if it does not start."""

import asyncio
import signal

import pytest

from notifier.demo.process import serving
from notifier.errors import NotifierError


async def test_a_service_is_stopped_gracefully(environ: dict[str, str]) -> None:
    """It can be reached at its port until then, and stopping it again changes nothing."""
    async with serving(environ) as service:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.close()
        assert await service.stop() == 0
        assert await service.stop() == 0
    assert service.url == f"http://127.0.0.1:{service.port}"


async def test_a_service_that_still_runs_is_killed_at_the_end(environ: dict[str, str]) -> None:
    """A block that fails leaves no process behind."""
    with pytest.raises(ZeroDivisionError):
        async with serving(environ) as service:
            raise ZeroDivisionError
    assert service.process.returncode == -signal.SIGKILL


async def test_a_service_that_does_not_start_raises_its_log(environ: dict[str, str]) -> None:
    """The error contains what the service has written to stderr."""
    with pytest.raises(NotifierError, match=r"(?s)did not start:\n.*NOTIFIER_SMTP_URL"):
        async with serving({**environ, "NOTIFIER_SMTP_URL": "gmail"}):
            pytest.fail("a service without a valid server has started")
