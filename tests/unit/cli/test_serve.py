"""`notifier serve` as a process: how it starts, and how it ends."""

import json
import resource
from pathlib import Path

import psutil
from support.cli import run, run_async, service
from support.parts import PATIENCE, request

from notifier.demo.inbox import Inbox


def test_all_problems_of_the_settings_are_listed_at_once() -> None:
    """The exit code is 2, and stderr has one line per problem and no traceback."""
    environ = {"NOTIFIER_SMTP_URL": "gmail", "NOTIFIER_SEND_RATE": "fast", "NOTIFIER_HOST": "0.0.0.0"}  # noqa: S104 - refused
    code, out, err = run("serve", environ=environ)
    assert (code, out) == (2, "")
    for name in ("NOTIFIER_SMTP_URL", "NOTIFIER_SEND_RATE", "NOTIFIER_MAIL_FROM", "NOTIFIER_VIEWER_TOKEN"):
        assert name in err
    assert len(err.splitlines()) == 4
    assert "Traceback" not in err


async def test_a_database_that_cannot_be_used_is_exit_3(environ: dict[str, str], tmp_path: Path) -> None:
    """A file that is not a database, and a file that another instance uses, are one line on stderr each."""
    (tmp_path / "garbage.db").write_bytes(b"garbage" * 1000)
    broken = {**environ, "NOTIFIER_DATABASE_URL": f"sqlite:///{tmp_path / 'garbage.db'}"}
    code, out, err = await run_async("serve", environ=broken)
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    async with service(environ):
        code, out, err = await run_async("serve", environ=environ)
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert "another notifier is using this database" in err
    assert "NOTIFIER_DATABASE_URL" in err


async def test_the_limit_of_open_files_is_raised(environ: dict[str, str]) -> None:
    """The service raises its own limit, because a thousand clients exceed the usual limit of a shell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        async with service(environ) as (running, _):
            now, _ = psutil.Process(running.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert now == min(8192, hard if hard > 0 else 8192)


async def test_sigterm_is_a_graceful_shutdown(environ: dict[str, str], inbox: Inbox) -> None:
    """If it comes while mails are being sent, the exit code is 0, and the next run sends the others exactly once."""
    slow = {**environ, "NOTIFIER_SEND_RATE": "20"}
    async with service(slow) as (process, client):
        addresses = [f"p{n}@example.com" for n in range(60)]
        message = json.dumps(request(1, to=addresses)).encode()
        await run_async("send", "-", environ=client, stdin=message)
        await inbox.wait_for(10, PATIENCE)
        assert await process.stop() == 0
    first = len(inbox.received)
    async with service(slow):
        await inbox.wait_for(60, PATIENCE)
    assert 10 <= first < 60
    assert sorted(mail.to for mail in inbox.received) == sorted(addresses)
