"""The output of the doctor as a process."""

import json

from support.cli import run_async

from notifier.demo.inbox import Inbox


async def test_a_test_mail_is_sent_and_its_dialogue_shown() -> None:
    """Findings go to stdout and the SMTP dialogue to stderr; without a fault the exit code is 0."""
    async with Inbox(keep_bodies=True) as inbox:
        environ = {"NOTIFIER_SMTP_URL": inbox.url, "NOTIFIER_MAIL_FROM": "fly@example.org"}
        code, out, err = await run_async("doctor", "--json", "--send-to", "me@example.com", environ=environ)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0, out
    assert {"clock", "SMTP", "broker"} <= {each["topic"] for each in found}
    assert [mail.to for mail in inbox.received] == ["me@example.com"]
    assert [line.split()[:2] for line in err.splitlines()[1:]] == [
        ["MAIL", "250"],
        ["RCPT", "250"],
        ["DATA", "354"],
        ["DOT", "250"],
    ]


async def test_a_test_mail_that_is_rejected_is_exit_1() -> None:
    """The reply of the server is in the dialogue, although every check has passed."""
    async with Inbox(reply=lambda phase, _: "550 5.1.1 no such user" if phase == "RCPT" else None) as inbox:
        environ = {"NOTIFIER_SMTP_URL": inbox.url, "NOTIFIER_MAIL_FROM": "fly@example.org"}
        code, out, err = await run_async("doctor", "--send-to", "me@example.com", environ=environ)
    assert (code, "✗" in out) == (1, False)
    assert "RCPT     550 5.1.1 no such user" in err
