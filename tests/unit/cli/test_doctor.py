"""`notifier doctor` as a process."""

from support.cli import run_async


async def test_a_fault_is_exit_1() -> None:
    """The fault is marked and followed by its remedy; an invalid address of --send-to is exit 2."""
    environ = {"NOTIFIER_SMTP_URL": "smtp+plain://127.0.0.1:9", "NOTIFIER_MAIL_FROM": "fly@example.org"}
    code, out, _ = await run_async("doctor", environ=environ)
    lines = out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("✗ SMTP")]
    assert code == 1
    assert "NOTIFIER_SMTP_URL" in lines[at + 1]
    assert (await run_async("doctor", "--send-to", "nobody", environ=environ))[0] == 2
