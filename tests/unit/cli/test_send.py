"""`notifier send` with a running service."""

import json
import re

from support.cli import run_async, service
from support.parts import request

from notifier.demo.inbox import Inbox


async def test_send_submits_and_waits(environ: dict[str, str], inbox: Inbox) -> None:
    """A message can come from flags, stdin or the example, and --wait shows each mail until it is finished."""
    async with service(environ) as (_, client):
        flags = ["--to", "a@example.com", "--subject", "Hi", "--text", "Hello."]
        code, out, err = await run_async("send", *flags, "--wait", environ=client)
        assert (code, out.splitlines()[-1].split()[:2]) == (0, ["sent", "notification"])
        assert "stored: 1 mails" in err
        code, out, _ = await run_async("send", "--example", "--wait", "--json", environ=client)
        lines = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert len(lines[0]["mails"]) == 2
        assert lines[-1]["status"] == "sent"
        code, _, _ = await run_async("send", "-", "--wait", environ=client, stdin=json.dumps(request(1)).encode())
        assert code == 0
        code, _, err = await run_async("send", "-", environ=client, stdin=json.dumps(request(1)).encode())
        assert (code, "already handled" in err) == (0, True)
    assert len(inbox.received) == 3


async def test_a_rejected_message_or_mail_is_exit_1(environ: dict[str, str]) -> None:
    """A message that the service rejects and a mail that the SMTP server rejects exit 1 with the reason."""
    async with Inbox(reply=lambda phase, _: "550 5.1.1 no such user" if phase == "RCPT" else None) as refusing:
        async with service({**environ, "NOTIFIER_SMTP_URL": refusing.url}) as (_, client):
            flags = ["--subject", "Hi", "--text", "Hello."]
            code, out, err = await run_async("send", "--to", "nobody", *flags, environ=client)
            assert (code, out) == (1, "")
            assert "invalid: data.to" in err
            code, out, _ = await run_async("send", "--to", "a@example.com", *flags, "--wait", environ=client)
            assert (code, "no such user" in out) == (1, True)


async def test_a_message_that_is_too_large_is_exit_1(environ: dict[str, str]) -> None:
    """The reason is one line, whether the message or its frame is larger than the service accepts."""
    async with service(environ) as (_, client):
        for size in (300_000, 600_000):
            message = json.dumps(request(1, html="x" * size)).encode()
            code, out, err = await run_async("send", "-", environ=client, stdin=message)
            assert (code, out, len(err.splitlines())) == (1, "", 1)
            assert re.search("too.large", err)
