"""`notifier doctor` as a process."""

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


async def test_a_fault_is_exit_1() -> None:
    """The fault is marked and followed by its remedy; an invalid address of --send-to is exit 2."""
    environ = {"NOTIFIER_SMTP_URL": "smtp+plain://127.0.0.1:9", "NOTIFIER_MAIL_FROM": "fly@example.org"}
    code, out, _ = await run_async("doctor", environ=environ)
    lines = out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("✗ SMTP")]
    assert code == 1
    assert "NOTIFIER_SMTP_URL" in lines[at + 1]
    assert (await run_async("doctor", "--send-to", "nobody", environ=environ))[0] == 2
