"""`notifier mails` with a running service."""

import json
from functools import partial

from support.cli import run_async, service
from support.parts import request

from notifier.demo.inbox import Inbox


async def test_an_address_that_is_not_utf8_is_exit_2() -> None:
    """An address from stdin is checked like an argument."""
    code, out, err = await run_async("mails", "erase", "-", "--yes", environ={"LC_ALL": "C.UTF-8"}, stdin=b"\xff\n")
    assert (code, out) == (2, "")
    assert "Traceback" not in err


async def test_mails_are_listed_shown_and_changed(environ: dict[str, str]) -> None:
    """A list has a line per mail with its id, `show` has history and text, and an impossible change exits 1."""
    async with Inbox(reply=lambda phase, _: "550 5.1.1 no such user" if phase == "RCPT" else None) as inbox:
        async with service({**environ, "NOTIFIER_SMTP_URL": inbox.url}) as (_, client):
            command = partial(run_async, environ=client)
            message = json.dumps(request(1, send_at="2126-01-01T00:00:00Z"))
            assert (await command("send", "-", stdin=message.encode()))[0] == 0
            assert (await command("send", "-", "--wait", stdin=json.dumps(request(2)).encode()))[0] == 1
            code, out, _ = await command("mails", "list", "--status", "failed", "--json")
            (failed,) = json.loads(out)["mails"]
            code, out, _ = await command("mails", "list")
            ids = [line.split()[0] for line in out.splitlines()]
            assert (code, ids[0], len(ids)) == (0, failed["id"], 2)
            code, out, _ = await command("mails", "show", failed["id"])
            assert "550 5.1.1 no such user" in out
            assert "Subject: Number 2" in out
            assert (await command("mails", "cancel", ids[1]))[0] == 0
            code, _, err = await command("mails", "retry", ids[1])
            assert (code, "conflict: the mail is cancelled" in err) == (1, True)
            assert (await command("mails", "retry", failed["id"]))[0] == 0
            assert (await command("mails", "resolve", failed["id"], "--as", "lost"))[0] == 2
